"""A bundle of rows: the directory in which a winner is shipped.

model.onnx  bundle.json  validation.json  vectors.json  README.md  requirements.txt
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.rows import RowTable
from models.bundle import VECTORS, begin, lists, seal, write_json
from models.predictor import FORMAT
from models.session import open_session
from models.tabular.blend import Blend
from models.tabular.graph import sent
from models.tabular.outputs import CLUSTER, LABEL, PROBABILITIES, VALUE
from models.validation import Proof


def write_bundle(
    folder: Path,
    graph: Path,
    blend: Blend,
    table: RowTable,
    names: Mapping[str, str],
    *,
    card: Mapping[str, Any],
    proof: Proof,
) -> None:
    """Write the bundle of `graph`, which is `blend`, to `folder`, replacing one that stands there.

    `card` is everything bundle.json says besides inputs, outputs and sums; of `table`, whose rows were held out, the
    first go into vectors.json with their answers; `names` are the graph's, by column.
    """
    new = begin(folder, graph, proof)
    some = sent(table, np.arange(min(VECTORS, table.n_rows)), names)
    session = open_session(graph)
    outputs = [each.name for each in session.get_outputs()]
    found = dict(zip(outputs, session.run(outputs, some), strict=True))
    write_json(
        new / "vectors.json",
        {
            "inputs": {name: lists(each) for name, each in some.items()},
            "outputs": {name: lists(np.asarray(each)) for name, each in found.items()},
        },
    )
    whole = {"format": FORMAT, **card, "inputs": _inputs(table, names), "outputs": _outputs(blend, table)}
    (new / "README.md").write_text(_model_card(whole, proof), encoding="utf8")
    seal(new, folder, whole)


def _inputs(table: RowTable, names: Mapping[str, str]) -> list[dict[str, Any]]:
    listed = [
        _input(names[name], name, "float32", "as in the training table; NaN = missing")
        for name in table.names[: table.n_numbers]
    ]
    for name, words in table.categories.items():
        one = _input(names[name], name, "string", "words; an empty text = missing; others are taken for rare ones")
        listed.append({**one, "words": len(words)})
    when = "seconds since 1970 UTC; the least int64 = missing"
    return [*listed, *(_input(names[name], name, "int64", when) for name in table.time_names)]


def _input(name: str, column: str, dtype: str, unit: str) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": ["batch"], "columns": [column], "unit": unit}


def _outputs(blend: Blend, table: RowTable) -> list[dict[str, Any]]:
    if blend.clusters:
        meaning = "the cluster's number, 0 the largest; -1: none"
        return [{"name": CLUSTER, "dtype": "int64", "shape": ["batch"], "meaning": meaning}]
    if not blend.classes:
        return [{"name": VALUE, "dtype": "float32", "shape": ["batch"], "unit": f"unit of {table.target_name}"}]
    two = len(blend.classes) == 2
    rule = f"{blend.classes[1]!r} from a probability of {blend.threshold:g} on" if two else "the likeliest class"
    shape = ["batch", len(blend.classes)]
    return [
        {"name": PROBABILITIES, "dtype": "float32", "shape": shape, "columns": list(blend.classes)},
        {"name": LABEL, "dtype": "string", "shape": ["batch"], "meaning": rule},
    ]


_ONE_OF = {"float32": "np.zeros(1, np.float32)", "int64": "np.zeros(1, np.int64)", "string": 'np.array([""], object)'}


def _model_card(card: dict[str, Any], proof: Proof) -> str:
    metrics = card["metrics"]
    name, folds = metrics["name"], metrics["folds"]
    asked = "".join(
        f'    "{each["name"]}": {_ONE_OF[each["dtype"]]},  # {each["columns"][0]}: {each["unit"]}\n'
        for each in card["inputs"]
    )
    names = ", ".join(each["name"] for each in card["outputs"])
    held = "".join(f"| {metric} | {value:.6g} |\n" for metric, value in metrics["holdout"].items() if value is not None)
    rule = f"\nThe label is {card['outputs'][1]['meaning']}.\n" if len(card["outputs"]) > 1 else ""
    said = f"\n{card['rule']}\n" if card.get("rule") else ""
    what = f"{card['target']} ({card['task']})" if card["target"] else "the cluster that a row belongs to"
    return f"""# {card["name"]}: {card["family"]}

Answers {what} from {len(card["inputs"])} columns of one row.
{rule}{said}
| on the holdout | |
|---|---|
{held}
Cross-validated {name}: {metrics["mean"]:.6g} ± {metrics["std"]:.2g} over {len(folds)} folds.
Largest difference between this graph and its models: {proof.error:.2g}. One row takes
{proof.costs["latency_p50_ms"]:.2g} ms (p50), {proof.costs["latency_p95_ms"]:.2g} ms (p95) on one thread.

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
inputs = {{
{asked}}}
answers = session.run(None, inputs)  # {names}
```

`vectors.json` holds inputs with the answers they must give; `validation.json` what was compared, and the costs.
"""
