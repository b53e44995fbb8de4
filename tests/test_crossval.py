"""Folds in step: scores worked out by hand, and draws that depend on (seed, trial, fold, epoch) and nothing else."""

from __future__ import annotations

import dataclasses
import io
import math

import numpy as np
import pytest
import torch

from data.folds import Fold, Split
from models.crossval import CrossValidation, FoldScore, build, find_seasons, refit, segment_starts
from models.scaling import Statistics
from models.training import Training, draw_seed, predict
from tests.builders import equal, make_params, make_problem, make_table, scripted, weights

LSTM = make_params("lstm", model__hidden=8, model__layers=2, model__dropout=0.3, fit__max_epochs=3)
LINEAR = make_params("linear", fit__max_epochs=3)
NONE = np.zeros(0, np.int64)


@pytest.fixture(scope="module")
def problem():
    return make_problem()


def play(problem, *scripts, family="linear", patience=2, max_epochs=9, **values):
    """All epochs of a configuration whose folds' metrics answer `scripts`, and the cross-validation itself."""
    params = make_params(family, fit__patience=patience, fit__max_epochs=max_epochs, **values)
    cv = CrossValidation(problem, family, params, trial=0)
    for each, script in zip(cv.trainings, scripts, strict=True):
        each.metric = scripted(script)
    return list(cv.epochs()), cv


# --- scores


def test_the_score_is_the_mean_of_the_bests_and_a_stopped_fold_keeps_its_own(problem):
    epochs, _ = play(problem, [1, 2, 3], [5, 4, 6, 3, 3.5, 3.25])
    assert [e.number for e in epochs] == [1, 2, 3, 4, 5, 6]
    assert [e.folds for e in epochs] == [(1, 5), (1, 4), (1, 4), (1, 3), (1, 3), (1, 3)]
    assert [e.value for e in epochs] == [3, 2.5, 2.5, 2, 2, 2]
    assert [e.best_epochs for e in epochs] == [(1, 1), (1, 2), (1, 2), (1, 4), (1, 4), (1, 4)]
    assert [e.last for e in epochs] == [False] * 5 + [True]
    # The first fold stopped after its third epoch; the second went on.
    assert [[part is not None for part in e.epochs] for e in epochs] == [[True, True]] * 3 + [[False, True]] * 3
    assert [part.number for e in epochs for part in e.epochs[1:] if part] == [1, 2, 3, 4, 5, 6]


def test_a_metric_that_is_maximised(problem):
    epochs, _ = play(dataclasses.replace(problem, metric="r2"), [0.5, 0.25, 0.75], [0.25, 0.5, 0.125], max_epochs=3)
    assert [e.folds for e in epochs] == [(0.5, 0.25), (0.5, 0.5), (0.75, 0.5)]
    assert [e.value for e in epochs] == [0.375, 0.5, 0.625]


@pytest.mark.parametrize("missing", [math.nan, math.inf])
def test_a_configuration_with_a_missing_fold_has_no_score(problem, missing):
    epochs, _ = play(problem, [1, 1, 1], [missing, missing])
    assert not any(math.isfinite(e.value) for e in epochs) and epochs[-1].last


def test_seconds_are_those_of_the_folds_that_trained(problem):
    epochs, _ = play(problem, [1, 2, 3], [4, 3, 2, 1], max_epochs=4)
    assert epochs[-1].epochs[0] is None
    assert epochs[-1].train_seconds == epochs[-1].epochs[1].train_seconds > 0
    assert epochs[0].valid_seconds == sum(part.valid_seconds for part in epochs[0].epochs) > 0


def test_the_score_of_a_fold_is_that_of_its_kept_weights(problem):
    cv = CrossValidation(problem, "lstm", LSTM, trial=0)
    *_, last = cv.epochs()
    for fold, predicted, score in zip(problem.split.folds, cv.predict_folds(), last.folds, strict=True):
        assert predicted["future"].shape == (len(fold.valid), 3, 1)
        truth = problem.table.values[fold.valid[:, None] + [0, 1, 2], 0]
        assert score == pytest.approx(np.abs(predicted["future"][..., 0] - truth).mean(dtype=np.float64), rel=1e-12)


def test_a_fold_is_scored_by_its_own_statistics():
    """Two targets are each divided by their deviation in the fold's train rows, then averaged."""
    problem = make_problem(make_table(n_targets=2))
    fold = problem.split.folds[0]
    score = FoldScore(problem, fold)
    std = problem.table.values[fold.rows, :2].astype(np.float64).std(axis=0)
    off = score.truth + np.array([3.0, 0.5], np.float32)
    assert score({"future": off}) == pytest.approx((3 / std[0] + 0.5 / std[1]) / 2, rel=1e-5)
    assert score({"future": score.truth}) == 0


# --- models


def test_each_fold_has_the_statistics_of_its_own_rows(problem):
    cv = CrossValidation(problem, "linear", LINEAR, trial=0)
    for each, fold in zip(cv.trainings, problem.split.folds, strict=True):
        own = problem.table.values[fold.rows].astype(np.float64)
        assert each.model.mean.tolist() == pytest.approx(np.nanmean(own, axis=0).tolist(), rel=1e-6)
        assert each.model.std.tolist() == pytest.approx(np.nanstd(own, axis=0).tolist(), rel=1e-6)
        assert each.model.flagged.tolist() == [2]  # "wind" has holes
        assert each.train.origins.tolist() == fold.train.tolist()
        assert each.valid.origins.tolist() == fold.valid.tolist()
    assert cv.trainings[0].model.mean[0] != cv.trainings[1].model.mean[0]


def test_a_model_is_as_large_as_the_problem_and_the_configuration_say(problem):
    statistics = Statistics.fit(problem.table.values, problem.split.final.rows)
    config = build(problem, "lstm", LSTM, statistics).network.config
    assert (config.channels, config.lookback, config.n_steps, config.n_targets) == (4, 8, 3, 1)
    assert (config.hidden, config.layers, config.dropout) == (8, 2, 0.3)


def test_the_final_model_learns_from_every_row_before_the_holdout(problem):
    loop = refit(problem, "linear", LINEAR, trial=3)
    final = problem.split.final
    assert loop.train.origins.tolist() == final.train.tolist() and loop.valid is None
    own = problem.table.values[final.rows].astype(np.float64)
    assert loop.model.mean.tolist() == pytest.approx(np.nanmean(own, axis=0).tolist(), rel=1e-6)
    assert loop.seeds(5) == draw_seed(problem.seed, 3, 0, 5)
    assert [epoch.number for epoch in loop.epochs()] == [1, 2, 3]
    assert {fold.name for fold in problem.split.folds} == {"1", "2"}  # so that 0 is free for it
    second = refit(problem, "linear", LINEAR, trial=3, member=1)
    assert second.seeds(5) == draw_seed(problem.seed, 3, 3, 5)


# --- draws


def finish(problem, family, params, *, trial, disturb=lambda: None):
    cv = CrossValidation(problem, family, params, trial=trial)
    values = []
    for epoch in cv.epochs():
        values.append(epoch.value)
        disturb()
    return values, cv.state_dict()


def test_what_else_runs_in_the_process_makes_no_difference(problem):
    quiet = finish(problem, "lstm", LSTM, trial=4)
    torch.manual_seed(1234)
    np.random.seed(1234)
    loud = finish(problem, "lstm", LSTM, trial=4, disturb=lambda: torch.rand(7))
    assert quiet[0] == loud[0] and equal(quiet[1], loud[1])


def test_two_configurations_interleaved_are_the_same_as_alone(problem):
    other = make_params("lstm", model__hidden=6, model__dropout=0.1, fit__lr=0.01, fit__max_epochs=3)
    alone = finish(problem, "lstm", LSTM, trial=1), finish(problem, "lstm", other, trial=2)
    both = [CrossValidation(problem, "lstm", LSTM, trial=1), CrossValidation(problem, "lstm", other, trial=2)]
    values: list[list[float]] = [[], []]
    for epochs in zip(*(cv.epochs() for cv in both), strict=True):
        for found, epoch in zip(values, epochs, strict=True):
            found.append(epoch.value)
    for (wanted, state), found, cv in zip(alone, values, both, strict=True):
        assert found == wanted and equal(cv.state_dict(), state)


def test_folds_do_not_disturb_each_other(problem):
    """The second fold's numbers are the same when the first stops at once."""
    _, together = finish(problem, "lstm", LSTM, trial=1)
    cv = CrossValidation(problem, "lstm", LSTM, trial=1)
    for _ in cv.trainings[1].epochs():
        pass
    assert equal(cv.trainings[1].state_dict(), together["folds"][1])


@pytest.mark.parametrize(("seed", "trial"), [(1, 4), (0, 5)])
def test_another_seed_or_trial_draws_other_numbers(problem, seed, trial):
    values, state = finish(problem, "lstm", LSTM, trial=4)
    others, other = finish(dataclasses.replace(problem, seed=seed), "lstm", LSTM, trial=trial)
    assert values != others and not equal(state, other)


def test_every_fold_and_epoch_has_a_seed_of_its_own(problem):
    cv = CrossValidation(problem, "linear", LINEAR, trial=4)
    seeds = [[each.seeds(epoch) for epoch in (1, 2, 3)] for each in cv.trainings]
    assert seeds == [[draw_seed(problem.seed, 4, fold, epoch) for epoch in (1, 2, 3)] for fold in (1, 2)]
    assert len({seed for fold in seeds for seed in fold}) == 6


def test_first_weights_are_a_function_of_seed_trial_and_fold(problem):
    first, again, other = (CrossValidation(problem, "lstm", LSTM, trial=trial) for trial in (4, 4, 5))

    def kernel(cv, fold):
        return weights(cv.trainings[fold].model)["network.lstm.weight_ih_l0"]

    assert equal(kernel(first, 0), kernel(again, 0)) and equal(kernel(first, 1), kernel(again, 1))
    assert not equal(kernel(first, 0), kernel(other, 0)) and not equal(kernel(first, 0), kernel(first, 1))


@pytest.mark.parametrize("done", [1, 2])
def test_a_resumed_configuration_equals_an_undisturbed_one(problem, done):
    values, state = finish(problem, "lstm", LSTM, trial=4)
    first = CrossValidation(problem, "lstm", LSTM, trial=4)
    for _ in range(done):
        next(first.epochs())
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = CrossValidation(problem, "lstm", LSTM, trial=4)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    epochs = list(resumed.epochs())
    assert [e.number for e in epochs] == list(range(done + 1, 4))
    assert [e.value for e in epochs] == values[done:] and equal(resumed.state_dict(), state)


def test_a_fold_that_had_stopped_stays_stopped_when_resumed(problem):
    _, cv = play(problem, [1, 2, 3], [5, 4, 3], max_epochs=3)
    again = CrossValidation(problem, "linear", make_params("linear", fit__patience=2, fit__max_epochs=4), trial=0)
    again.load_state_dict(cv.state_dict())
    again.trainings[1].metric = scripted([2])
    (epoch,) = again.epochs()
    assert epoch.number == 4 and epoch.folds == (1, 2) and epoch.value == 1.5 and epoch.epochs[0] is None


def test_predictions_of_the_folds_are_by_their_best_weights(problem):
    _, cv = play(problem, [1, 2, 3], [5, 4, 6, 7])
    bests = [each.best_weights for each in cv.trainings]
    predicted = cv.predict_folds()
    for each, best, found in zip(cv.trainings, bests, predicted, strict=True):
        assert equal(weights(each.model), best)
        assert (predict(each.model, each.valid)["future"] == found["future"]).all()


# --- the table


def test_a_segment_s_start_is_found_for_each_origin():
    table = dataclasses.replace(make_table(), segments=np.array([[0, 50], [50, 120], [120, 200]]))
    assert segment_starts(table, np.array([0, 49, 50, 119, 120, 199])).tolist() == [0, 0, 50, 50, 120, 120]


def test_the_season_is_found_in_the_rows_that_a_fold_trains_on():
    table = make_table(n_targets=2)  # 200 rows of a wave of 12 hours
    values = table.values.copy()
    values[100:, 0] = np.sin(2 * np.pi * np.arange(100) / 7)
    table = dataclasses.replace(table, values=values)
    early = Fold(name="1", train=NONE, valid=NONE, rows=np.arange(100), train_spans=(), valid_spans=())
    late = dataclasses.replace(early, name="holdout", rows=np.concatenate([np.arange(30), np.arange(100, 200)]))
    seasons = find_seasons(table, Split(folds=(early,), final=late, scheme="blocked"))
    assert {name: found.tolist() for name, found in seasons.items()} == {"1": [12, 12], "holdout": [7, 12]}


def test_a_score_is_nan_from_the_epoch_on_in_which_a_fold_s_loss_is_no_number(problem, monkeypatch):
    cv = CrossValidation(problem, "linear", LINEAR, trial=0)
    train = Training._train

    def spoiled(self, number, generator):
        return math.nan if self is cv.trainings[1] and number == 2 else train(self, number, generator)

    monkeypatch.setattr(Training, "_train", spoiled)
    values = [epoch.value for epoch in cv.epochs()]
    assert math.isfinite(values[0]) and math.isnan(values[1])


def test_a_weight_column_reaches_the_training_of_every_fold():
    table = make_table()
    weight = np.arange(len(table.time), dtype=np.float32)
    problem = make_problem(dataclasses.replace(table, weight=weight))
    cv = CrossValidation(problem, "linear", LINEAR, trial=0)
    for each, fold in zip(cv.trainings, problem.split.folds, strict=True):
        found = each.train.weights(torch.arange(len(fold.train)))
        assert found.tolist() == (fold.train - 1).tolist()  # of the last row of each past
        assert each.objective.mean_weight == pytest.approx((fold.train - 1).mean())
