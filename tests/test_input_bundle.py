"""A bundle of a model that reads more than numbers of the past: its graph, its proof, and who asks it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from torch import nn

from data.calendar import Calendar
from data.words import words_of
from models import fourier
from models.crossval import Problem, example, fit_statistics
from models.export import export_onnx
from models.predictor import BundleError, Predictor
from models.validation import prove
from ray_jobs import config
from ray_jobs import ship as shipping
from tests.builders import make_model, make_problem, make_rich_table, some_windows

LOOKBACK, STEPS = 8, [1, 2, 4]
HOUR = Calendar(unit="seconds", step=3600)


@pytest.fixture(scope="module")
def rich() -> Problem:
    waves = fourier.waves({"day": 2, "week": 1}, HOUR)
    return make_problem(make_rich_table(), lookback=LOOKBACK, steps=STEPS, waves=waves)


@pytest.fixture(scope="module")
def model(rich: Problem) -> nn.Module:
    return make_model("lstm", rich, model__hidden=8, random_weights=True).eval()


@pytest.fixture(scope="module")
def bundle(rich: Problem, model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "lstm"
    settings = config.check({"name": "rich", "data": {"path": "x.csv", "targets": ["load"], "series": "who"}})
    cv = {"mean": 0.5, "std": 0.1, "folds": [0.4, 0.6]}
    trial = {"trial": 0, "params": {}, "kind": "refit"}
    candidate = shipping.Candidate(model=model, family="lstm", lookback=LOOKBACK, cv=cv, trial=trial)
    shipping.ship(candidate, rich, settings, folder)
    return folder


def inputs_of(problem: Problem, n: int) -> dict[str, np.ndarray]:
    """The first n windows before the holdout, as the graph takes them."""
    takes = shipping.signature(problem, ())
    return shipping._inputs(problem, takes, problem.split.final.train[:n], LOOKBACK)


def torch_answer(model: nn.Module, problem: Problem, n: int) -> np.ndarray:
    with torch.inference_mode():
        answer: np.ndarray = model(**some_windows(problem).gather(torch.arange(n))[0]).numpy()
    return answer


def test_the_bundle_lists_every_input(bundle: Path, rich: Problem) -> None:
    card = json.loads((bundle / "bundle.json").read_text())
    assert [(each["name"], each["dtype"], each["shape"][1:], each["columns"]) for each in card["inputs"]] == [
        ("past", "float32", [8, 5], ["load", "heat", "wind", "plan", "size"]),
        ("ahead", "float32", [3, 1], ["plan"]),
        ("time", "int64", [8], ["time"]),
        ("time_ahead", "int64", [3], ["time"]),
        ("kind", "string", [8], ["kind"]),
        ("place", "string", [8], ["place"]),
    ]
    assert all({"unit", "order", "meaning"} <= set(each) for each in card["inputs"])
    assert card["inputs"][4]["words"] == ["high", "low", "mid"] and card["step"] == {"unit": "seconds", "step": 3600}


def test_the_proof_covers_every_input(bundle: Path) -> None:
    said = json.loads((bundle / "validation.json").read_text())
    assert said["verdict"] == "equal"
    assert {"nothing known ahead", "infinite ahead", "largest float32 ahead", "before 1970", "in the year 3000"} | {
        "empty texts",
        "unknown words",
        "the last words",
    } <= {check["rows"] for check in said["checks"]}


def test_a_changed_word_of_the_graph_is_found_by_the_proof(
    bundle: Path, rich: Problem, model: nn.Module, tmp_path: Path
) -> None:
    graph = onnx.load(bundle / "model.onnx")
    encoder = next(node for node in graph.graph.node if node.op_type == "LabelEncoder")
    keys = next(each for each in encoder.attribute if each.name == "keys_strings")
    keys.strings[0] = b"hihg"
    onnx.save(graph, tmp_path / "model.onnx")
    statistics = fit_statistics(rich, rich.split.final)
    proof = prove(
        model,
        tmp_path / "model.onnx",
        inputs_of(rich, 40),
        targets=("load",),
        mean=statistics.mean,
        std=statistics.std,
        tolerance=1e-5,
        words=shipping.signature(rich, ()).words,
    )
    assert not proof.passed
    assert all(check.passed for check in proof.checks if check.rows == "unknown words")


def test_the_predictor_answers_as_the_model_does(bundle: Path, rich: Problem, model: nn.Module) -> None:
    found = Predictor(bundle).predict(**inputs_of(rich, 20))
    assert found == pytest.approx(torch_answer(model, rich, 20), rel=1e-4)


def test_the_vectors_reproduce(bundle: Path) -> None:
    said = json.loads((bundle / "vectors.json").read_text())
    kinds = {"float32": np.float32, "int64": np.int64, "string": object}
    predictor = Predictor(bundle)
    inputs = {name: np.array(each, kinds[predictor.inputs[name]["dtype"]]) for name, each in said["inputs"].items()}
    assert predictor.predict(**inputs) == pytest.approx(np.array(said["outputs"]["future"]), rel=1e-5)


def test_the_code_in_the_model_card_runs(bundle: Path) -> None:
    text = (bundle / "README.md").read_text()
    columns = "load, heat, wind, plan, size, time, kind, place; and from what is known of the steps ahead: plan, time."
    assert f"from the last 8 steps of: {columns}" in text
    code = text.split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", code + "print(future.shape)"], cwd=bundle, capture_output=True, text=True
    )
    assert done.stdout == "(1, 3, 1)\n", done.stderr


def frame_of(problem: Problem, origin: int) -> pd.DataFrame:
    """The table's rows before `origin`, as a person has them."""
    table, numbers = problem.table, problem.table.n_numbers
    frame = pd.DataFrame(table.values[:origin], columns=list(table.names)).iloc[-20:]
    for i, (name, words) in enumerate(table.categories.items()):
        frame[name] = words_of(table.values[origin - 20 : origin, numbers + i], words)
    frame["kind"] = frame["kind"].replace("", None)
    return frame.assign(time=pd.to_datetime(table.time[origin - 20 : origin], unit="s"), who="a")


def test_a_table_is_read_with_its_times_and_words(bundle: Path, rich: Problem, model: nn.Module) -> None:
    origin = int(rich.split.final.train[30])
    frame = frame_of(rich, origin)
    rows = origin + np.array(STEPS) - 1
    ahead = pd.DataFrame({"plan": rich.table.values[rows, 3]})
    expected = torch_answer(model, rich, 31)[30]
    predictor = Predictor(bundle)
    assert predictor.predict_table(frame, ahead) == pytest.approx(expected, rel=1e-4)  # times by the calendar
    dated = ahead.assign(time=pd.to_datetime(rich.table.time[rows], unit="s").strftime("%Y-%m-%d %H:%M"))
    assert predictor.predict_table(frame, dated) == pytest.approx(expected, rel=1e-4)
    later = dated.assign(time=pd.to_datetime(rich.table.time[rows] + 6 * 3600, unit="s"))
    assert np.abs(predictor.predict_table(frame, later) - expected).max() > 1e-3


def test_a_table_with_a_gap_or_out_of_order_is_refused(bundle: Path, rich: Problem) -> None:
    origin = int(rich.split.final.train[30])
    frame, ahead = frame_of(rich, origin), pd.DataFrame({"plan": [1.0, 2, 3]})
    predictor = Predictor(bundle)
    at = np.datetime64(int(rich.table.time[origin - 6]), "s")
    with pytest.raises(ValueError, match=rf"steps missing in 'time' \(hour\) after {at}: 2; put in rows"):
        predictor.predict_table(frame.drop(index=frame.index[[-5, -4]]), ahead)
    with pytest.raises(ValueError, match="the rows are not in the order of 'time'"):
        predictor.predict_table(frame.iloc[::-1], ahead)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an input is missing": ({"ahead": None}, r"input 'ahead' is missing: \(batch, 3 steps, 1 columns\) float32, plan"),
    "an unknown input": ({"aheda": np.zeros(1)}, "no input 'aheda'; it takes past, ahead, time, time_ahead, kind, pla"),
    "another shape": ({"ahead": np.zeros((2, 4, 1))}, r"ahead must be \(batch, 3 steps, 1 columns\), got \(2, 4, 1\)"),
    "another batch": ({"ahead": np.zeros((3, 3, 1))}, "ahead must be a batch of 2 as past is, got 3"),
    "times in fractions": ({"time": np.zeros((2, 8))}, r"time must be whole seconds since 1970 \(int64\), got float64"),
    "codes for words": ({"kind": np.zeros((2, 8))}, "kind must be texts, an empty one where there is none, got 0.0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_input_is_refused(case: str, bundle: Path, rich: Problem) -> None:
    change, message = REFUSED[case]
    given = {name: values for name, values in {**inputs_of(rich, 2), **change}.items() if values is not None}
    with pytest.raises(ValueError, match=message):
        Predictor(bundle).predict(**given)


@pytest.mark.parametrize(
    ("column", "ahead", "message"),
    [
        ("", None, "give ahead, a table of 3 rows with what is known of the steps ahead: plan"),
        ("", {"plan": [1.0, 2]}, "ahead must have a row for each of the 3 steps ahead, got 2"),
        ("", {"plans": [1.0, 2, 3]}, "ahead lacks column 'plan'; needed are plan"),
        ("kind", {"plan": [1.0, 2, 3]}, "the table lacks column 'kind'"),
        ("time", {"plan": [1.0, 2, 3]}, "the table lacks column 'time'"),
    ],
)
def test_a_table_that_lacks_an_input_is_refused(
    column: str, ahead: dict[str, list[float]] | None, message: str, bundle: Path, rich: Problem
) -> None:
    frame = frame_of(rich, 60).drop(columns=[column] if column else [])
    with pytest.raises(ValueError, match=message):
        Predictor(bundle).predict_table(frame, None if ahead is None else pd.DataFrame(ahead))


def test_a_card_with_other_inputs_than_the_graph_s_is_refused(bundle: Path) -> None:
    card = json.loads((bundle / "bundle.json").read_text())
    before = (bundle / "bundle.json").read_bytes()
    try:
        (bundle / "bundle.json").write_text(json.dumps({**card, "inputs": card["inputs"][:-1]}))
        with pytest.raises(BundleError, match=r"says inputs past, .*kind, model\.onnx past, .*kind, place"):
            Predictor(bundle)
    finally:
        (bundle / "bundle.json").write_bytes(before)


def test_a_column_may_have_the_name_of_a_value_inside_the_graph(rich: Problem, tmp_path: Path) -> None:
    model = make_model("linear", rich).eval()
    export_onnx(model, tmp_path / "plain.onnx", example(rich, LOOKBACK, 2), metadata={})
    inside = next(node.output[0] for node in onnx.load(tmp_path / "plain.onnx").graph.node)
    words = {inside: rich.table.categories["kind"], "place": rich.table.categories["place"]}
    export_onnx(model, tmp_path / "model.onnx", example(rich, LOOKBACK, 2), metadata={}, words=words)
    names = [put.name for put in onnx.load(tmp_path / "model.onnx").graph.input]
    assert len(names) == len(set(names)) and names[-2:] == [inside, "place"]
