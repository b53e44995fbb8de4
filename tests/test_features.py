"""Features inside the graph: what pandas computes over the whole table, and nothing that a window may not know."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from data.errors import InputError
from models.crossval import CrossValidation, build, fit_statistics, lookback_windows
from models.export import export_onnx
from models.features import Features, compute, over_table
from models.preprocess import NORMALISATIONS, Forecaster
from models.scaling import Statistics
from ray_jobs import config, prepare
from tests.builders import make_params, make_problem, make_table, some_windows

ALL = Features(
    columns=(0, 2),
    lags=(1, 5),
    averages=(2, 7),
    minima=(3,),
    maxima=(4,),
    differences=(1, 6),
    returns=(1, 3),
    deviations=(2, 6),
    volatilities=(5,),
)
NO_WINDOW = Statistics(mean=np.zeros(3), std=np.ones(3), flagged=())


def in_pandas(x: pd.Series, kind: str, n: int) -> pd.Series:
    match kind:
        case "lag":
            return x.shift(n)
        case "average":
            return x.rolling(n).mean()
        case "minimum":
            return x.rolling(n).min()
        case "maximum":
            return x.rolling(n).max()
        case "difference":
            return x.diff(n)
        case "return":
            return x.pct_change(n, fill_method=None)
        case "deviation":
            return x.rolling(n).std(ddof=0)
    return x.pct_change(fill_method=None).rolling(n).std(ddof=0)


def rows(n=60, seed=0, holes=True):
    values = np.random.default_rng(seed).normal(10, 2, size=(n, 3))
    if holes:
        values[[7, 8, 30], 0] = np.nan
        values[41, 2] = np.inf
    return values.astype(np.float32)


def test_every_feature_equals_pandas_on_every_row():
    values = rows()
    known = np.nan_to_num(values, posinf=0.0)
    found = over_table(values, known, np.array([[0, 60]]), ALL)
    frame = pd.DataFrame(values.astype(np.float64)).replace(np.inf, np.nan)
    columns = [in_pandas(frame[i], kind, n) for kind, n in ALL.each for i in ALL.columns]
    expected = np.stack(columns, axis=1)
    expected[: ALL.reach] = np.nan  # a window has all its features, or the row is not used
    assert ALL.reach == 6
    assert found.shape == (60, 26) and len(ALL.names(("a", "b", "c"))) == 26
    assert (np.isnan(found) == np.isnan(expected)).all()
    assert 0.3 < np.isfinite(found).mean() < 0.9
    assert np.nanmax(np.abs(found - expected)) < 2e-5


def test_features_by_hand():
    features = Features(columns=(0,), lags=(1,), averages=(2,), differences=(2,), returns=(1,), deviations=(2,))
    raw = torch.tensor([[[1.0], [2.0], [4.0], [0.0], [3.0]]])
    value, known = compute(raw, raw, features)
    assert features.names(("x",)) == ("x lag 1", "x average 2", "x difference 2", "x return 1", "x deviation 2")
    assert value[0].tolist() == [[2, 3, 3, 1, 1], [4, 2, -2, -1, 2], [0, 1.5, -1, 0, 1.5]]
    assert known[0].tolist() == [[True] * 5, [True] * 5, [True, True, True, False, True]]  # 3 / 0


def test_no_feature_reaches_across_a_gap_or_into_another_series():
    values = rows(holes=False)
    found = over_table(values, values, np.array([[0, 20], [20, 25], [25, 60]]), ALL)
    assert np.isnan(found[:6]).all() and np.isnan(found[20:31]).all()
    assert np.isfinite(found[6:20]).all() and np.isfinite(found[31:]).all()
    assert np.array_equal(found[31:], over_table(values[25:], values[25:], np.array([[0, 35]]), ALL)[6:])


def test_statistics_come_from_train_rows_alone():
    values, train = rows(holes=False), np.r_[0:20, 30:40]
    fitted = Statistics.fit(values, train, ALL)
    changed = values.copy()
    changed[20:30] += 100.0
    changed[40:] -= 100.0
    again = Statistics.fit(changed, train, ALL)
    assert np.array_equal(fitted.feature_mean, again.feature_mean)
    assert np.array_equal(fitted.feature_std, again.feature_std)
    allowed = pd.DataFrame(values.astype(np.float64))
    allowed.loc[~allowed.index.isin(train)] = np.nan
    scaled = (allowed - fitted.mean) / fitted.std
    for at, (kind, n, i) in enumerate((kind, n, i) for kind, n in ALL.each for i in ALL.columns):
        if not ALL.levels[at]:
            column = allowed[i] if kind in ("return", "volatility") else scaled[i]
            known = in_pandas(column, kind, n)[ALL.reach :]
            assert fitted.feature_mean[at] == pytest.approx(known.mean(), abs=1e-5)
            assert fitted.feature_std[at] == pytest.approx(known.std(ddof=0), abs=1e-5)
    assert (fitted.feature_mean[ALL.levels] == 0).all() and (fitted.feature_std[ALL.levels] == 1).all()


class Echo(torch.nn.Module):
    """Answers with the last step of its channels."""

    def forward(self, x_BLC):
        self.seen = x_BLC
        return x_BLC[:, -1:, :1, None]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_levels_move_with_what_is_taken_off_the_window(normalisation):
    features = Features(columns=(1,), averages=(3,), differences=(2,))
    values = rows(40, holes=False)
    statistics = Statistics.fit(values, np.arange(40), features)
    network = Echo()
    model = Forecaster(network, statistics, 1, normalisation, features)
    past = torch.from_numpy(values[None, :10])
    model(past)
    seen = network.seen[0].numpy()  # 8 rows: columns a, b, c, average of b, difference of b
    assert seen.shape == (8, 5)
    # An average of the channel, from the third row on, is the channel's average, wherever the channel was moved to.
    assert np.allclose(seen[2:, 3], pd.Series(seen[:, 1]).rolling(3).mean()[2:], atol=1e-5)
    raw = pd.Series(values[:10, 1].astype(np.float64)).diff(2)[2:]
    every = pd.Series(values[:, 1].astype(np.float64)).diff(2)[2:]
    assert np.allclose(seen[:, 4], (raw - every.mean()) / every.std(ddof=0), atol=1e-4)


@pytest.fixture(scope="module")
def problem():
    table = make_table(n_targets=2)
    return dataclasses.replace(make_problem(table, lookback=8 + ALL.reach), features=ALL)


@pytest.mark.parametrize("normalisation", ["none", "last_std"])  # the least and the most that is done to them
def test_the_graph_computes_them_from_raw_columns(problem, normalisation, tmp_path):
    params = make_params("lstm", input__normalisation=normalisation)
    torch.manual_seed(0)
    model = build(problem, "lstm", params, fit_statistics(problem, problem.split.final)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    windows = lookback_windows(problem, torch.from_numpy(problem.table.values.copy()), problem.split.final.train, 8)
    past = windows.gather(torch.arange(60))[0]["past"]
    assert past.shape == (60, 8 + 6, 3)
    past[-1] = torch.nan
    past[-2, ::2, 0] = 0.0  # returns divide by it
    past[-3, 3:, 1] = torch.inf
    past[-4] *= 1e6
    file = tmp_path / "model.onnx"
    export_onnx(model, file, {"past": torch.zeros(2, 14, 3)}, metadata={})
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for batch in (1, 2, 17):
        with torch.inference_mode():
            expected = model(past[-batch:]).numpy()
        (found,) = session.run(None, {"past": past[-batch:].numpy()})
        assert np.isfinite(expected).all()
        assert np.abs((found - expected) / model.std[:2].numpy()).max() < 1e-5


def test_a_trial_trains_on_them(problem):
    cv = CrossValidation(problem, "lstm", make_params("lstm"), trial=0)
    assert cv.trainings[0].model.network.config.channels == 3 + 26 + len(cv.trainings[0].model.flagged)
    epoch = next(cv.epochs())
    assert np.isfinite(epoch.value)


def test_without_features_nothing_changes():
    problem = make_problem()
    one = fit_statistics(problem, problem.split.final)
    other = Statistics.fit(problem.table.values, problem.split.final.rows)
    assert np.array_equal(one.mean, other.mean) and np.array_equal(one.std, other.std) and one.flagged == other.flagged
    assert len(one.feature_mean) == 0 and Features(columns=(0, 1)).each == () and Features(lags=(3,)).reach == 0
    assert some_windows(problem).lookback == 8


@pytest.mark.parametrize(("field", "value", "least"), [("lags", 0, 1), ("averages", 1, 2), ("volatilities", 1, 2)])
def test_too_few_steps_are_refused(field, value, least):
    with pytest.raises(ValueError, match=f"{field} must be at least {least}, got {value}"):
        Features(columns=(0,), **{field: (value,)})


def test_a_column_that_is_no_input_is_refused_with_the_nearest_name(tmp_path):
    file = tmp_path / "t.csv"
    hours = pd.date_range("2024-01-01", periods=400, freq="h")
    noise = np.random.default_rng(0).normal(size=(400, 2)).cumsum(axis=0)
    pd.DataFrame({"time": hours, "load": noise[:, 0], "wind": noise[:, 1]}).to_csv(file, index=False)
    asked = {
        "data": {"path": str(file), "targets": ["load"]},
        "window": {"lookback": 8, "horizon": 2},
        "features": {"columns": ["wnd"], "lags": [24]},
    }
    with pytest.raises(InputError, match=r"features.columns: no input 'wnd' .did you mean 'wind'"):
        prepare.problem(config.check(asked))
    asked["features"]["columns"] = ["wind"]
    problem = prepare.problem(config.check(asked))
    assert problem.features == Features(columns=(1,), lags=(24,))
    assert problem.split.folds[0].train.min() == 8 + 24
