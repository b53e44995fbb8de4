"""Inputs beside the numbers of the past: what is known ahead, constant columns, and words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
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
from models.crossval import CrossValidation, Problem, build, fit_statistics
from models.layout import Layout
from models.memory import trial_bytes
from models.preprocess import LIMIT, NORMALISATIONS, Forecaster
from models.scaling import Statistics
from models.words import Embedding, encode, input_names
from ray_jobs import config, prepare
from ray_jobs.settings import Features
from tests.builders import make_params, make_problem, make_rich_table, make_training, some_windows

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
