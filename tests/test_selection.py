"""The choice of inputs: rankings from train rows alone, and networks that see no more than what was chosen."""

from __future__ import annotations

import dataclasses
import types

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from optuna.distributions import FloatDistribution, IntDistribution

from data.errors import InputError
from data.folds import split
from data.table import check_table
from models import selection
from models.crossval import CrossValidation, lookback_windows, n_ranked, refit
from models.export import export_onnx
from models.features import Features
from models.layout import PLAIN
from models.memory import trial_bytes
from models.scaling import Statistics
from models.selection import rank
from ray_jobs import config, prepare, ship
from ray_jobs.params import check_select
from ray_jobs.series import open_book, unread
from search_spaces import KEEP, at_edge, load, with_keep
from tests.builders import equal, make_model, make_params, make_problem, make_table

WAYS = ("importance", "permutation")
FEATURES = Features(columns=(0, 2), lags=(1,), averages=(3,), returns=(2,))


def driven(n_rows=400):
    """ "load" is three times what "lead" was a step before and twice what "aid" was; the others are noise."""
    rng = np.random.default_rng(0)
    lead, aid = rng.normal(0, 1, (2, n_rows))
    columns = {
        "time": pd.date_range("2024-01-01", periods=n_rows, freq="h"),
        "load": 3 * np.roll(lead, 1) + 2 * np.roll(aid, 1) + rng.normal(0, 0.1, n_rows),
        "a": rng.normal(0, 1, n_rows),
        "aid": aid,
        "b": rng.normal(5, 2, n_rows),
        "lead": lead,
        "c": rng.normal(0, 100, n_rows),
    }
    return check_table(pd.DataFrame(columns), time="time", series=None, targets=["load"])


def with_values(problem, values):
    return dataclasses.replace(problem, table=dataclasses.replace(problem.table, values=values))


# --- rankings


@pytest.mark.parametrize("way", WAYS)
def test_what_drives_the_target_ranks_first_by_how_much_and_noise_last(way):
    problem = make_problem(driven(), steps=(1, 2))
    assert problem.inputs == ("load", "a", "aid", "b", "lead", "c")
    for number in range(3):
        order = rank(problem, number, way)
        assert order.dtype == np.int64 and order[:2].tolist() == [4, 2]  # lead, aid
        assert sorted(order.tolist()) == [1, 2, 3, 4, 5]
        assert np.array_equal(order, rank(problem, number, way))


def test_what_the_targets_say_themselves_does_not_hide_a_driver():
    # Without the load's own value, half of how far it goes is noise, and a block of 200 windows ranks "aid" last.
    problem = make_problem(driven(600), lookback=13, steps=(1, 2))
    parts = split(problem.table, scheme="blocked", n_folds=2, lookback=13, steps=(1, 2))
    assert rank(dataclasses.replace(problem, split=parts), 2, "permutation")[:2].tolist() == [4, 2]


def test_a_feature_is_ranked_by_what_it_tells():
    features = Features(columns=(0, 4), lags=(1,), differences=(1,))
    problem = dataclasses.replace(make_problem(driven(), lookback=9, steps=(1,)), features=features)
    # What the lead moves the load by, from 3 lead[t - 1] to 3 lead[t], is three times its difference.
    assert problem.inputs[rank(problem, 0, "importance")[0]] == "lead difference 1"


@pytest.mark.parametrize(("way", "scheme"), [("importance", "blocked"), ("permutation", "walk_forward")])
def test_no_row_that_a_fold_may_not_train_on_moves_its_ranking(way, scheme):
    problem = make_problem(driven(), steps=(1, 2))
    if scheme == "blocked":
        parts = split(problem.table, scheme=scheme, n_folds=2, lookback=8, steps=(1, 2))
        problem = dataclasses.replace(problem, split=parts)
    problem = dataclasses.replace(problem, features=FEATURES)
    for number, fold in enumerate((problem.split.final, *problem.split.folds)):
        before = rank(problem, number, way)
        unseen = np.setdiff1d(np.arange(len(problem.table.values)), fold.rows)
        assert len(unseen) > 50 and set(fold.valid) <= set(unseen)
        values = problem.table.values.copy()
        values[unseen] = np.random.default_rng(1).normal(50, 40, (len(unseen), 6))
        values[unseen[::7]] = np.nan
        assert np.array_equal(rank(with_values(problem, values), number, way), before)
        swapped = problem.table.values.copy()
        swapped[fold.rows] = swapped[fold.rows][:, [0, 4, 2, 3, 1, 5]]  # a and lead: the ranking is not for ever
        assert not np.array_equal(rank(with_values(problem, swapped), number, way), before)


def test_permutation_measures_on_windows_that_lie_behind_the_fitted_ones():
    problem = make_problem(driven(100), steps=(1, 4))
    fold = types.SimpleNamespace(name="1", train=np.arange(10, 60))
    early, late = selection._apart(problem, fold, fold.train)
    assert fold.train[late].tolist() == list(range(50, 60))  # the last fifth
    assert fold.train[early].tolist() == list(range(10, 47))  # the target of 46 that lies farthest is row 49


def test_a_fold_too_short_to_measure_on_is_refused():
    problem = make_problem(driven(100), steps=(1, 20))
    fold = types.SimpleNamespace(name="1", train=np.arange(10, 30))
    with pytest.raises(InputError, match=r"none of the 20 of fold 1 ends before .* use importance, fewer folds"):
        selection._apart(problem, fold, fold.train)


def test_long_folds_are_thinned_out_evenly(monkeypatch):
    monkeypatch.setattr(selection, "MOST_WINDOWS", 5)
    problem = make_problem(driven())
    fold = dataclasses.replace(problem.split.final, train=np.arange(100, 201))
    assert selection._evenly(problem, fold).tolist() == [100, 125, 150, 175, 200]


def test_the_forest_learns_from_the_last_row_how_far_the_targets_will_go():
    values = driven().values.copy()
    values[99] = [4, 1, np.nan, 3, 2, 7]  # the last row of the window with origin 100
    values[[100, 102]] = [[6, *[0] * 5], [1, *[0] * 5]]
    problem = make_problem(driven(), steps=(1, 2, 3))
    fold = dataclasses.replace(problem.split.final, rows=np.arange(200), train=np.arange(50, 150))
    problem = with_values(problem, values)
    x, y = selection._samples(problem, fold, np.array([100]))
    fitted = Statistics.fit(values, fold.rows)
    expected = (np.array([4, 1, fitted.mean[2], 3, 2, 7]) - fitted.mean) / fitted.std
    assert x[0] == pytest.approx(expected, abs=1e-5)
    assert y[0, [0, 2]] == pytest.approx(np.array([6 - 4, 1 - 4]) / fitted.std[0], rel=1e-5)


# --- what a network sees


def test_channels_that_are_seen_by_hand():
    statistics = Statistics(
        mean=np.zeros(4),
        std=np.ones(4),
        flagged=(1, 3),
        feature_mean=np.zeros(2),
        feature_std=np.ones(2),
        ranking=(5, 3, 1, 2, 4),  # column 0 is the target; 4 and 5 are features; 6 and 7 flags of 1 and 3
    )
    assert statistics.visible(None) == statistics.visible(5) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert statistics.visible(1) == [0, 5]
    assert statistics.visible(2) == [0, 3, 5, 7]
    assert statistics.visible(3) == [0, 1, 3, 5, 6, 7]
    assert PLAIN.channels(statistics.visible(None)) == 8 and PLAIN.channels(statistics.visible(2)) == 4


@pytest.fixture(scope="module")
def problem():
    """load (target), heat, wind (with holes), then six features; a ranking of its own for each fold."""
    plain = dataclasses.replace(make_problem(lookback=8 + FEATURES.reach), features=FEATURES)
    assert FEATURES.reach == 2 and len(plain.inputs) == 9
    rankings = {"1": [1, 2, 3, 4, 5, 6, 7, 8], "2": [4, 2, 1, 3, 5, 6, 7, 8], "holdout": [2, 8, 7, 6, 5, 4, 3, 1]}
    return dataclasses.replace(plain, rankings={name: np.array(order) for name, order in rankings.items()})


def made(problem, keep, **values):
    kept = {} if keep is None else {"input__keep": keep}
    return make_model("lstm", problem, random_weights=True, **kept, **values).eval()


def past_of(problem, n):
    windows = lookback_windows(problem, torch.from_numpy(problem.table.values.copy()), problem.split.final.train, 8)
    return windows.gather(torch.arange(n))[0]["past"]


def test_a_network_that_keeps_one_input_answers_the_same_whatever_the_others_say(problem):
    model, past = made(problem, 1), past_of(problem, 40)
    assert model.visible.tolist() == [0, 2, 9] and model.network.config.channels == 3  # load, wind, wind's flag
    answer = model(past)
    for value in (0.0, 1e6, torch.nan):
        other = past.clone()
        other[:, :, 1] = value
        assert torch.equal(model(other), answer)
    for i in (0, 2):
        other = past.clone()
        other[:, :, i] += 1
        assert not torch.equal(model(other), answer)


def test_keeping_all_is_not_choosing(problem):
    plain, whole = made(problem, None), made(problem, 8)
    assert "visible" not in plain.state_dict() and set(whole.state_dict()) == {*plain.state_dict(), "visible"}
    assert torch.equal(plain(past_of(problem, 40)), whole(past_of(problem, 40)))
    unranked = made(dataclasses.replace(problem, rankings={}), None)
    assert equal(unranked.state_dict(), plain.state_dict())


def test_every_fold_sees_its_own_choice(problem):
    params = make_params("lstm", input__keep=2)
    cv = CrossValidation(problem, "lstm", params, trial=0)
    # Fold 1: heat and wind; fold 2: load lag 1's neighbour, the feature at 4, and wind; wind's flag is channel 9.
    assert [t.model.visible.tolist() for t in cv.trainings] == [[0, 1, 2, 9], [0, 2, 4, 9]]
    assert np.isfinite(next(cv.epochs()).value)
    assert refit(problem, "lstm", params, trial=0).model.visible.tolist() == [0, 2, 8, 9]
    assert trial_bytes(problem, "lstm", params) < trial_bytes(problem, "lstm", make_params("lstm", input__keep=8))


@pytest.mark.parametrize("normalisation", ["last", "mean_std"])
def test_the_graph_takes_every_column_and_answers_as_torch_does(problem, normalisation, tmp_path):
    model, past = made(problem, 3, input__normalisation=normalisation), past_of(problem, 60)
    past[-1], past[-2, 3:, 2] = torch.nan, torch.inf
    file = tmp_path / "model.onnx"
    export_onnx(model, file, {"past": past[:2]}, metadata={})
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[1:] == [10, 3]
    for batch in (1, 17):
        with torch.inference_mode():
            expected = model(past[-batch:]).numpy()
        (found,) = session.run(None, {"past": past[-batch:].numpy()})
        assert np.isfinite(expected).all() and np.abs((found - expected) / model.std[:1].numpy()).max() < 1e-5


def test_the_bundle_lists_what_was_chosen(problem):
    params = {KEEP: 2}
    assert ship.chosen(problem, params, "refit") == ["wind", "wind return 2"]
    assert ship.chosen(problem, params, "average") == {"1": ["heat", "wind"], "2": ["wind lag 1", "wind"]}
    assert ship.chosen(problem, {}, "refit") is None


# --- the search


def test_how_many_are_kept_is_searched_from_all_of_them_on(problem, tmp_path):
    settings = config.check({"search": {"trials": 8, "algorithm": "random"}})
    url = f"sqlite:///{tmp_path}/study.db"
    book = open_book(settings, problem, "lstm", url)
    assert book.ranges[KEEP] == IntDistribution(1, 8)
    drawn = [book.suggest()[1][KEEP] for _ in range(8)]
    book.close()
    assert drawn[0] == 8 and set(drawn) <= set(range(1, 9)) and len(set(drawn)) > 3
    assert with_keep(load("lstm"), 8).ranges.keys() - load("lstm").ranges.keys() == {KEEP}
    assert at_edge({KEEP: 8}, {KEEP: book.ranges[KEEP]}) == []  # all inputs there are: no bound to be widened


def test_a_bound_that_nothing_lies_beyond_is_not_one_to_widen():
    found = at_edge(
        {
            "layers": 1,
            "rows": 1.0,
            "gamma": 0.0,
            "penalty": 1.0,
            "lr": 0.1,
            "depth": 9,
            "crossed": 0,
            "model.clusters": 2,
            "twos": 2,
            "shift": -1.0,
        },
        {
            "layers": IntDistribution(1, 3),
            "rows": FloatDistribution(0.5, 1.0),  # a share
            "gamma": FloatDistribution(0.0, 3.0),
            "penalty": FloatDistribution(1e-6, 1.0, log=True),
            "lr": FloatDistribution(0.01, 0.1),
            "depth": IntDistribution(3, 9),
            "crossed": IntDistribution(0, 8, step=2),
            "model.clusters": IntDistribution(2, 12),
            "twos": IntDistribution(2, 12),
            "shift": FloatDistribution(-1.0, 1.0),
        },
    )
    assert found == ["penalty", "lr", "depth", "twos", "shift"]


def test_how_many_are_kept_may_be_fixed(problem, tmp_path):
    settings = config.check({"search": {"trials": 3, "fixed": {KEEP: 2}}})
    book = open_book(settings, problem, "lstm", f"sqlite:///{tmp_path}/study.db")
    assert [book.suggest()[1][KEEP] for _ in range(3)] == [2, 2, 2] and KEEP not in book.ranges
    book.close()


def test_a_family_that_reads_targets_alone_chooses_nothing_and_says_so(problem, tmp_path):
    assert (n_ranked(problem, "linear"), n_ranked(problem, "lstm")) == (0, 8)
    assert n_ranked(make_problem(make_table()), "lstm") == 0
    book = open_book(config.check({}), problem, "linear", f"sqlite:///{tmp_path}/study.db")
    (said,) = unread(config.check({"window": {"lookback": 8}}), problem, book)
    book.close()
    assert said.endswith("other columns and features go unread, and none are chosen")


def test_choosing_for_families_that_read_targets_alone_is_refused():
    settings = config.check({"features": {"select": "importance"}})
    with pytest.raises(InputError, match=r"'importance' chooses inputs .* linear and segment_lstm read none"):
        check_select(settings, ["linear", "segment_lstm"])
    check_select(settings, ["linear", "lstm"])
    check_select(config.check({}), ["linear"])


def test_a_problem_is_ranked_where_that_is_asked_for(tmp_path, monkeypatch, capsys):
    file = tmp_path / "t.csv"
    table = driven()
    hours = pd.date_range("2024-01-01", periods=400, freq="h")
    pd.DataFrame(table.values, columns=list(table.names)).assign(time=hours).to_csv(file, index=False)
    asked = {
        "data": {"path": str(file), "targets": ["load"]},
        "window": {"lookback": 8, "horizon": 2},
        "validation": {"folds": 2},
    }
    assert prepare.problem(config.check(asked)).rankings == {}
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(prepare, "_SILENT_SECONDS", 0.0)
    ranked = prepare.problem(config.check({**asked, "features": {"select": "importance"}})).rankings
    assert {name: order[0] for name, order in ranked.items()} == {"holdout": 4, "1": 4, "2": 4}
    said = [line.partition(", at most")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == ["ranking 5 inputs by importance on 3 folds", "1 of 3 folds", "2 of 3 folds"]
