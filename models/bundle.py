"""A bundle: the directory in which a winner is shipped. Written under a temporary name, renamed when it is whole.

model.onnx  weights.npz  bundle.json  validation.json  vectors.json  README.md  requirements.txt
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from models.export import OUTPUT
from models.predictor import FORMAT
from models.restore import describe, weights
from models.session import open_session
from models.signature import Signature
from models.validation import IN_UNITS, Inputs, Proof, answers, count, part

VECTORS = 3


def write_bundle(
    folder: Path,
    graph: Path,
    model: nn.Module,
    *,
    card: dict[str, Any],
    signature: Signature,
    targets: tuple[str, ...],
    lookback: int,
    steps: list[int],
    proof: Proof,
    inputs: Inputs,
    extras: Mapping[str, str],
    weighed: Mapping[str, list[str]] = MappingProxyType({}),
) -> None:
    """Write the bundle of `graph`, which is `model`, to `folder`, replacing one that stands there.

    `card` is everything bundle.json says besides inputs, outputs and sums: family, task, metrics, config, ... ;
    `signature` says what the graph takes; `inputs` are real windows, by its names, of which a few go into vectors.json
    with their answers; `extras` what the graph tells besides, name -> what it is, and `weighed` the columns of those
    that are weights.
    """
    new = begin(folder, graph, proof)
    arrays: dict[str, Any] = weights(model)
    np.savez(new / "weights.npz", **arrays)
    some = part(inputs, np.arange(count(inputs))[:: max(1, count(inputs) // VECTORS)][:VECTORS])
    session = open_session(graph)
    found = answers(session, some, count(some), (OUTPUT, *extras))
    outputs = {name: lists(each) for name, each in found.items()}
    shapes = {each.name: each.shape[1:] for each in session.get_outputs()}
    write_json(new / "vectors.json", {"inputs": {name: lists(each) for name, each in some.items()}, "outputs": outputs})
    whole = {
        "format": FORMAT,
        **card,
        "model": describe(model),  # what, with weights.npz, PyTorch needs
        "inputs": signature.inputs(lookback, len(steps)),
        "outputs": [
            {
                "name": OUTPUT,
                "dtype": "float32",
                "shape": ["batch", len(steps), len(targets)],
                "columns": list(targets),
                "unit": "each target's own",
                "order": "steps ahead as in `steps`",
            },
            *(
                {"name": name, "dtype": "float32", "shape": ["batch", *shapes[name]], "meaning": meaning}
                | ({"columns": weighed[name]} if name in weighed else {})
                for name, meaning in extras.items()
            ),
        ],
        "targets": list(targets),
        "steps": steps,
    }
    (new / "README.md").write_text(_model_card(whole, proof), encoding="utf8")
    seal(new, folder, whole)


def begin(folder: Path, graph: Path, proof: Proof) -> Path:
    """The folder that becomes `folder` once it is sealed, with what every bundle holds."""
    new = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True, mode=0o700)
    shutil.copyfile(graph, new / "model.onnx")
    write_json(new / "validation.json", proof.as_dict())
    requirements = f"onnxruntime>={version('onnxruntime')}\nnumpy>={version('numpy')}\n"
    (new / "requirements.txt").write_text(requirements, encoding="utf8")
    return new


def seal(new: Path, folder: Path, card: dict[str, Any]) -> None:
    """Write bundle.json with every file's sum, and put the bundle in its place."""
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(new.iterdir())}
    write_json(new / "bundle.json", {**card, "sha256": sums})
    shutil.rmtree(folder, ignore_errors=True)
    new.replace(folder)


def _model_card(card: dict[str, Any], proof: Proof) -> str:
    inputs, metrics = card["inputs"], card["metrics"]
    targets, columns = ", ".join(card["targets"]), ", ".join(_columns(inputs, ahead=False))
    known = ", ".join(_columns(inputs, ahead=True))
    if known:
        columns += f"; and from what is known of the steps ahead: {known}"
    unit, name = metrics["unit"], metrics["name"]
    baselines = "".join(f"| {b['name']} | {b['holdout']:.6g} |\n" for b in metrics["baselines"])
    lookback = inputs[0]["shape"][1]
    error_unit = "standard deviations of the target" if proof.output in IN_UNITS else f"in {proof.output}"
    return f"""# {card["name"]}: {card["family"]}

Forecasts {targets}, {_ahead(card["steps"])} of {card["calendar"]} ahead, from the last {lookback} steps of: {columns}.

| | {name} on the holdout ({unit}) |
|---|---|
| this model | {metrics["holdout"][name]:.6g} |
{baselines}
{_judged(metrics)}
Largest difference between this graph and PyTorch on real rows: {proof.error:.2g} {error_unit}.
One row takes {proof.costs["latency_p50_ms"]:.2g} ms (p50), {proof.costs["latency_p95_ms"]:.2g} ms (p95) on one thread.

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
inputs = {{
{_example(inputs)}}}
future = session.run(None, inputs)[0]  # (1, {len(card["steps"])}, {len(card["targets"])})
```

`vectors.json` holds inputs with the answers they must give; `validation.json` what was compared, and the costs.
"""


def _columns(inputs: list[dict[str, Any]], *, ahead: bool) -> list[str]:
    """The columns that are read of the past, or of the steps ahead, each once."""
    names = [name for each in inputs if (each["name"] in ("ahead", "time_ahead")) == ahead for name in each["columns"]]
    return list(dict.fromkeys(names))


_ONE_OF = {
    "float32": "np.zeros({}, np.float32)",
    "int64": "np.zeros({}, np.int64)",
    "string": 'np.full({}, "", object)',
}


def _example(inputs: list[dict[str, Any]]) -> str:
    """A line of Python for each input: a batch of one, with what stands in it."""
    return "".join(
        f'    "{each["name"]}": {_ONE_OF[each["dtype"]].format((1, *each["shape"][1:]))},'
        f"  # {', '.join(each['columns'])}: {each['unit']}; {each['order']}\n"
        for each in inputs
    )


def _judged(metrics: dict[str, Any]) -> str:
    if not metrics["folds"]:
        return "Trained on everything before the holdout; not cross-validated in this run."
    spread = f"{metrics['mean']:.6g} ± {metrics['std']:.2g} over {len(metrics['folds'])} folds"
    return f"Cross-validated {metrics['name']}: {spread}."


def _ahead(steps: list[int]) -> str:
    whole = steps == list(range(1, len(steps) + 1))
    return f"steps 1 to {steps[-1]}" if whole else f"steps {', '.join(map(str, steps))}"


def lists(values: NDArray[Any]) -> Any:
    """Nested lists, NaN and infinities as null, so that every JSON reader takes them."""
    if values.dtype.kind != "f":
        return values.tolist()
    known: list[Any] = np.where(np.isfinite(values), values.astype(object), np.array(None, object)).tolist()
    return known


def no_nan(value: Any) -> Any:
    """NaN and infinities as null, numpy numbers as plain ones: what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): no_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [no_nan(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(no_nan(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf8")
