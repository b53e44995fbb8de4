"""Inputs beside the numbers of the past: what is known ahead, constant columns, and words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from torch import nn

from data.calendar import DAY, Calendar
from data.errors import InputError
from data.words import words_of
from models import crossval, fourier, training
from models.ahead import Correction
from models.batches import Windows
from models.crossval import CrossValidation, Problem, build, example, fit_statistics
from models.export import export_onnx
from models.layout import Layout
from models.memory import trial_bytes
from models.predictor import BundleError, Predictor
from models.preprocess import LIMIT, NORMALISATIONS, Forecaster
from models.scaling import Statistics
from models.validation import prove
from models.words import Embedding, encode, input_names
from ray_jobs import config, prepare
from ray_jobs import ship as shipping
from ray_jobs.settings import Features
from tests.builders import make_model, make_params, make_problem, make_rich_table, make_training, some_windows

LOOKBACK, STEPS = 8, [1, 2, 4]
NAN = float("nan")
HOUR = Calendar(unit="seconds", step=3600)


@pytest.fixture(scope="module")
def rich() -> Problem:
    waves = fourier.waves({"day": 2, "week": 1}, HOUR)
    return make_problem(make_rich_table(), lookback=LOOKBACK, steps=STEPS, waves=waves)


# --- what a network sees, by hand: "y" of mean 10 and deviation 2, "plan" of 5 and 1, "size" of 100 and 50


class Probe(nn.Module):
    """Keeps what it sees, answers 0 for two steps of one target."""

    def forward(self, x_BLC: torch.Tensor, ahead_BHA: torch.Tensor | None = None) -> torch.Tensor:
        self.seen, self.ahead = x_BLC, ahead_BHA
        return torch.zeros(len(x_BLC), 2, 1, 1)


def probe(normalisation: Any = "none", *, flagged: tuple[int, ...] = (), reads_ahead: bool = True) -> Forecaster:
    statistics = Statistics(mean=np.array([10.0, 5, 100]), std=np.array([2.0, 1, 50]), flagged=flagged)
    layout = Layout(future=(1,), static=(2,))
    return Forecaster(Probe(), statistics, 1, normalisation, layout=layout, reads_ahead=reads_ahead)


PAST = torch.tensor([[[12.0, 6, 150], [14, 5, 150]]])
AHEAD = torch.tensor([[[8.0], [NAN]]])


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_constant_and_known_columns_are_scaled_by_their_train_rows_alone(normalisation: str) -> None:
    model = probe(normalisation)
    model(past=PAST, ahead=AHEAD)
    assert model.network.seen[0, :, 1:].tolist() == [[1, 1], [0, 1]]  # the plan's own, and a size that does not vanish
    first = {"none": [1, 2], "last": [-1, 0], "mean_std": [-1, 1], "last_std": [-2, 0]}[normalisation]
    assert model.network.seen[0, :, 0].tolist() == pytest.approx(first, abs=1e-4)


def test_what_is_known_ahead_is_scaled_imputed_and_flagged() -> None:
    model = probe(flagged=(0, 1))
    model(past=PAST, ahead=AHEAD)
    assert model.network.ahead[0].tolist() == [[3, 0], [0, 1]]  # 8 is 3 deviations up; the second is missing
    assert model.network.seen[0].shape == (2, 5)  # three columns, two flags
    model = probe()
    model(past=PAST, ahead=torch.tensor([[[1e9], [float("inf")]]]))
    assert model.network.ahead[0].tolist() == [[LIMIT], [0]]


def test_missing_values_of_constant_columns_are_imputed_and_flagged() -> None:
    model = probe("last", flagged=(2,))
    model(past=torch.tensor([[[12.0, 5, NAN], [14, 5, NAN]]]), ahead=AHEAD)
    assert model.network.seen[0, :, 2:].tolist() == [[0, 1], [0, 1]]


def test_of_a_network_that_reads_no_step_ahead_the_answer_is_corrected() -> None:
    model = probe("last", reads_ahead=False)
    assert model(past=PAST, ahead=AHEAD).flatten().tolist() == [14, 14]  # nothing is corrected before it is trained
    assert model.network.ahead is None and isinstance(model.correction, Correction)
    with torch.no_grad():
        model.correction.answer.bias[:] = 1.5
    assert model(past=PAST, ahead=AHEAD).flatten().tolist() == [17, 17]  # 1.5 deviations of 2


def test_every_number_of_every_head_is_corrected() -> None:
    correction, y_BHKO = Correction(2, n_targets=3, n_outputs=4), torch.randn(5, 7, 3, 4)
    assert torch.equal(correction(torch.ones(5, 7, 2), y_BHKO), y_BHKO)
    with torch.no_grad():
        correction.answer.bias[:] = torch.arange(12.0)  # targets by numbers
    moved = correction(torch.ones(5, 7, 2), y_BHKO) - y_BHKO
    assert torch.allclose(moved[4, 6], torch.arange(12.0).view(3, 4), atol=1e-5)


def test_a_family_that_reads_the_steps_ahead_is_told_its_sizes(rich: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    module = SimpleNamespace(READS_AHEAD=True, Config=lambda **given: told.update(given), Model=lambda _: Probe())
    monkeypatch.setattr(crossval, "family", lambda _: module)
    params = {**make_params("linear"), "model": {}}
    model = build(rich, "reader", params, fit_statistics(rich, rich.split.final))
    inputs, _ = some_windows(rich).gather(torch.arange(3))
    model.scaled(**inputs)
    assert model.correction is None
    # load, heat?, wind, plan, size; flags of wind, plan and size; 3 + 2 channels of words; 3 waves
    assert model.network.seen.shape == (3, LOOKBACK, told["channels"]) and told["channels"] == 5 + 3 + 3 + 2 + 6
    assert model.network.ahead.shape == (3, len(STEPS), told["n_ahead"]) and told["n_ahead"] == 1 + 1 + 6
    assert told["static"] == (4, 11, 12)  # the size, and the place behind flags and kind


@pytest.mark.parametrize("family", ["linear", "lstm"])
def test_a_plan_that_decides_the_answer_is_learnt(family: str) -> None:
    rng = np.random.default_rng(0)
    plan = rng.normal(size=2400)
    table = np.stack([plan + 0.1 * rng.normal(size=2400), plan], axis=1).astype(np.float32)
    origins = np.arange(8, 2390)
    train, valid = (
        Windows(table, each, lookback=8, steps=np.array([1, 3]), n_targets=1, future=(1,))
        for each in (origins[:2000], origins[2000:])
    )
    module = crossval.family(family)
    sizes = {"channels": 2, "lookback": 8, "n_steps": 2, "n_targets": 1}
    torch.manual_seed(0)
    network = module.Model(module.Config(**sizes, **make_params(family)["model"]))
    model = Forecaster(network, Statistics.fit(table, np.arange(2000)), 1, "none", layout=Layout(future=(1,)))
    *_, _ = make_training(model, train, max_epochs=4, lr=0.01, loss="mse").epochs()
    error = float(np.square(training.predict(model, valid)["future"] - valid.truth()).mean())
    assert error < 0.1, "the past tells nothing: without the plan it is 1"


# --- words


def test_a_word_that_no_train_row_holds_is_an_unknown_one() -> None:
    values = np.array([[1.0, 1], [2, 2], [3, 0], [4, 3]], np.float32)  # codes of three words
    statistics = Statistics.fit(values, np.array([0, 1, 2]), words=(3,))
    assert statistics.mean.tolist() == [2] and statistics.flagged == ()
    assert statistics.seen[0].tolist() == [False, True, True, False]
    layer = Embedding(statistics.seen[0], 2)
    channels = layer(torch.tensor([[0.0, 1, 2, 3]]))[0]
    assert channels[0].tolist() == channels[3].tolist() == [0, 0]
    assert channels[1].any() and channels[2].any()


@pytest.mark.parametrize(("words", "width"), [(1, 2), (2, 2), (3, 3), (6, 4), (14, 8), (1000, 8)])
def test_more_words_have_more_channels_up_to_eight(words: int, width: int) -> None:
    assert Layout(words=(words,)).widths == (width,)


def test_words_and_codes_undo_each_other() -> None:
    words = np.array([["b", "", "a"], ["?", "b", "b"]], object)
    codes = encode({"past": np.zeros((2, 3, 1), np.float32), "kind": words}, {"kind": ("a", "b")})["past"]
    assert codes[:, :, 1].tolist() == [[2, 0, 1], [0, 2, 2]]
    assert words_of(codes[:, :, 1], ("a", "b")).tolist() == [["b", "", "a"], ["", "b", "b"]]


def test_an_input_has_its_column_s_name_where_onnx_takes_it() -> None:
    names = input_names(["kind", "past", "Größe", "words_3", "attention", "self"], taken=["attention"])
    assert names == ("kind", "words_2", "words_3_", "words_3", "words_5", "words_6")


# --- a trial


def test_a_trial_trains_on_every_input(rich: Problem) -> None:
    cv = CrossValidation(rich, "lstm", make_params("lstm", model__hidden=8), trial=0)
    assert np.isfinite(next(cv.epochs()).value)
    again = CrossValidation(rich, "lstm", make_params("lstm", model__hidden=8), trial=0)
    again.load_state_dict(cv.state_dict())
    for one, other in zip(cv.predict_folds(), again.predict_folds(), strict=True):
        assert (one["future"] == other["future"]).all()
    assert trial_bytes(rich, "lstm", make_params("lstm")) > 0


def test_a_fold_s_words_are_those_of_its_own_rows(rich: Problem) -> None:
    first, last = rich.split.folds[0], rich.split.final
    place = list(rich.table.categories).index("place")
    assert rich.table.categories["place"] == (
        "north",
        "south",
    )  # the later series is in the north
    assert fit_statistics(rich, first).seen[place].tolist() == [False, False, True]
    assert fit_statistics(rich, last).seen[place].tolist() == [False, True, True]


# --- the graph, the proof, the bundle, the predictor


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


# --- the configuration


def test_the_configuration_names_the_roles(tmp_path: Path) -> None:
    rich = make_rich_table()
    frame = pd.DataFrame(rich.numbers, columns=list(rich.names[: rich.n_numbers]))
    frame = frame.assign(time=pd.to_datetime(rich.time, unit="s"), kind=["x", "y"] * 100, one=1.0)
    frame = frame.drop(columns="size")
    frame.to_csv(tmp_path / "t.csv", index=False)
    flags = ["--data", str(tmp_path / "t.csv"), "--target", "load", "--lookback", "8", "--horizon", "2"]
    flags += ["--data.future", "plan", "--data.static", "one", "--data.weight", "heat"]
    flags += ["--features.fourier", "{day: 2}", "--features.lags", "3"]
    settings = config.parse(flags, prog="x", description="")
    assert config.check(config.yaml.safe_load(config.to_yaml(settings))) == settings
    problem = prepare.problem(settings)
    assert problem.table.names == ("load", "wind", "plan", "one", "kind")
    assert problem.layout == Layout(future=(2,), static=(3,), words=(2,), waves=((DAY, 1), (DAY, 2)))
    assert problem.table.weight is not None
    named = settings.model_copy(update={"features": Features(columns=["kind"], lags=[2])})
    with pytest.raises(InputError, match=r"features\.columns: 'kind' holds words, not numbers"):
        prepare.problem(named)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{dya: 1}", "features.fourier: input should be 'hour', 'day', 'week' or 'year', got 'dya'"),
        ("{day: 0}", "got 0"),
    ],
)
def test_a_wrong_fourier_setting_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        config.parse(["--features.fourier", text], prog="x", description="")
