"""Rows judged fold by fold: metrics worked out by hand, folds in step, a search that goes on."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.row_folds import RowFold, kfold, stratified
from models.tabular.crossval import PATIENCE, CrossValidation, RowProblem
from models.tabular.metrics import METRICS, calibration_error, fits, score
from tests.test_tabular import make_rows


def make_problem(task: str, metric: str) -> RowProblem:
    table = make_rows(task)
    rows = np.arange(table.n_rows)
    assert table.target is not None
    inner = stratified(table.target[:500], 3, seed=0) if table.classes else kfold(500, 3, seed=0)
    final = RowFold(name="holdout", train=rows[:500], valid=rows[500:])
    return RowProblem(table=table, folds=inner, final=final, scheme="stratified", metric=metric, seed=0)


def by_hand(task: str, truth: list[float], scores: list[list[float]]) -> dict[str, float]:
    """Every metric of the task, of rows that are the table's first with this truth."""
    problem = make_problem(task, "rmse" if task == "regression" else "log_loss")
    assert problem.table.target is not None
    problem.table.target[: len(truth)] = truth
    return score(problem.table, np.arange(len(truth)), np.array(scores, np.float64))


def test_metrics_of_two_classes() -> None:
    # Predicted 0, 1, 1, 1 of truth 0, 0, 1, 1.
    found = by_hand("binary", [0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    assert found["accuracy"] == 0.75 and found["balanced_accuracy"] == 0.75
    assert found["precision"] == pytest.approx(2 / 3) and found["recall"] == 1.0
    assert found["f1"] == pytest.approx(0.8)
    assert found["roc_auc"] == found["pr_auc"] == 1.0
    assert found["log_loss"] == pytest.approx(-np.mean(np.log([0.9, 0.4, 0.7, 0.8])))
    assert found["brier"] == pytest.approx(np.mean([0.01, 0.36, 0.09, 0.04]))


def test_metrics_of_three_classes_are_means_over_them() -> None:
    found = by_hand("classes", [0, 1, 2, 2], [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6]])
    assert found["accuracy"] == 0.75
    assert found["recall"] == pytest.approx((1 + 0 + 1) / 3)
    assert found["precision"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert found["roc_auc"] == 1.0  # each class lies above the others where it is true
    assert found["brier"] == pytest.approx(np.mean([0.06, 0.86, 0.06, 0.24]) / 2)


def test_metrics_of_values() -> None:
    found = by_hand("regression", [1.0, 2.0, 0.0, 5.0], [[2.0], [2.0], [1.0], [3.0]])
    assert found["mae"] == 1.0 and found["rmse"] == pytest.approx(math.sqrt(1.5))
    assert found["r2"] == pytest.approx(1 - 6 / 14)  # mean 2: 1 + 0 + 4 + 9
    assert found["mape"] == pytest.approx(100 * (1 + 0 + 0.4) / 3)  # without the truth of 0


def test_calibration_is_how_far_confidence_lies_from_the_share_that_is_right() -> None:
    scores = np.array([[0.8, 0.2]] * 10)
    truth = np.array([0] * 8 + [1] * 2, np.float32)
    assert calibration_error(truth, scores, None, bins=1) == pytest.approx(0.0)
    assert calibration_error(1 - truth, scores, None, bins=1) == pytest.approx(0.6)


def test_a_score_that_is_not_finite_has_no_metric() -> None:
    assert math.isnan(by_hand("regression", [1.0, 2.0], [[np.nan], [2.0]])["mae"])


def test_each_task_has_metrics_of_its_own() -> None:
    names = {task: {m.name for m in METRICS.values() if fits(m, make_rows(task))} for task in ("binary", "regression")}
    assert names["binary"] >= {"roc_auc", "log_loss", "calibration_error"}
    assert names["regression"] == {"rmse", "mae", "r2", "mape"}


@pytest.mark.parametrize(("task", "metric"), [("binary", "roc_auc"), ("regression", "rmse")])
def test_folds_advance_in_step_and_end_when_they_grow_no_better(task: str, metric: str) -> None:
    problem = make_problem(task, metric)
    cv = CrossValidation(problem, "lightgbm", {"model": {"lr": 0.3}, "fit": {"max_epochs": 60}}, trial=0)
    epochs = list(cv.epochs())
    assert [epoch.number for epoch in epochs] == list(range(1, len(epochs) + 1))
    last = epochs[-1]
    assert last.last and len(epochs) < 60
    assert [fold.done for fold in cv.trainings] == [best + PATIENCE for best in last.best_epochs]
    assert last.value == pytest.approx(np.mean(last.folds))
    for fold, scores, kept in zip(problem.folds, cv.predict_folds(), last.folds, strict=True):
        assert score(problem.table, fold.valid, scores, [metric])[metric] == kept


def test_a_configuration_goes_on_as_if_undisturbed() -> None:
    problem = make_problem("binary", "log_loss")
    params = {"model": {"rows": 0.7}, "fit": {"max_epochs": 4}}
    whole = [epoch.folds for epoch in CrossValidation(problem, "lightgbm", params, trial=1).epochs()]
    first = CrossValidation(problem, "lightgbm", params, trial=1)
    begun = [next(first.epochs()).folds for _ in range(2)]
    again = CrossValidation(problem, "lightgbm", params, trial=1)
    again.load_state_dict(first.state_dict())
    assert [*begun, *(epoch.folds for epoch in again.epochs())] == whole
    other = [epoch.folds for epoch in CrossValidation(problem, "lightgbm", params, trial=2).epochs()]
    assert other != whole  # each trial draws for itself
