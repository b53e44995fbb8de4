"""Metrics, against numbers worked out by hand."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from models.heads import Heads
from models.metrics import METRICS, mase_scale, score, score_by_step, selection

# errors: +1, -2 / 0, +2; changes against last: truth 0, +2 / -1, 0; forecast +1, 0 / -1, +2
TRUTH = np.array([[2.0, 4.0], [1.0, 2.0]], dtype=np.float32)
PREDICTED = np.array([[3.0, 2.0], [1.0, 4.0]], dtype=np.float32)
LAST = np.array([2.0, 2.0], dtype=np.float32)
OF_THE_VALUE = [name for name, metric in METRICS.items() if metric.head == "value"]


def test_every_metric_equals_the_value_worked_out_by_hand():
    assert score(TRUTH, PREDICTED, LAST, mase_scale=2.5) == pytest.approx(
        {
            "mse": 9 / 4,
            "rmse": 1.5,
            "mae": 5 / 4,
            "mape": 100 * (1 / 2 + 2 / 4 + 0 + 2 / 2) / 4,
            "smape": 200 * (1 / 5 + 2 / 6 + 0 + 2 / 6) / 4,
            "mase": 1.25 / 2.5,
            "r2": 1 - 9 / (0.0625 + 3.0625 + 1.5625 + 0.0625),
            "directional_accuracy": 1 / 2,  # two of the truths change: the first forecast of no change is wrong
            "pearson": 0.5 / math.sqrt(4.75 * 5),
            "sign_precision": 0.0,  # of these two, neither was said to go up, and one did
            "sign_recall": 0.0,
            "sign_f1": 0.0,
        },
    )


def test_by_step_scores_each_column_alone():
    by_step = score_by_step(TRUTH, PREDICTED, LAST, mase_scale=2.5)
    assert list(by_step) == OF_THE_VALUE
    assert by_step["mae"].tolist() == [0.5, 2.0]
    assert by_step["mse"].tolist() == [0.5, 4.0]
    assert by_step["mape"].tolist() == [25.0, 75.0]
    assert by_step["mase"].tolist() == [0.2, 0.8]
    assert by_step["r2"].tolist() == [1 - 1 / 0.5, 1 - 8 / 2.0]
    assert by_step["directional_accuracy"].tolist() == [1.0, 0.0]


def test_every_metric_says_unit_direction_and_source():
    for name, metric in METRICS.items():
        assert metric.name == name and metric.source
        assert metric.unit in ("target", "target^2", "%", "1") and metric.direction in ("min", "max")
    figures = ("precision", "recall", "f1")
    assert {name for name, metric in METRICS.items() if not metric.minimise} == {
        "r2", "directional_accuracy", "pearson", "direction_accuracy", "coverage",
        *(f"sign_{each}" for each in figures), *(f"direction_{each}" for each in figures),
    }  # fmt: skip


def test_a_perfect_forecast_has_no_error():
    perfect = score(TRUTH, TRUTH, LAST, mase_scale=1.0)
    assert perfect == pytest.approx({name: float(not METRICS[name].minimise) for name in OF_THE_VALUE})


def test_percentages_leave_out_zero_truth_and_have_no_value_without_any_other():
    zero, one = np.zeros((1, 2)), np.ones((1, 2))
    some = score(np.array([[0.0, 4.0]]), np.array([[9.0, 5.0]]), np.zeros(1), 1.0)
    assert some["mape"] == 25.0
    assert math.isnan(score(zero, one, np.zeros(1), 1.0)["mape"])
    assert score(zero, one, np.zeros(1), 1.0)["smape"] == 200.0
    assert score(zero, zero, np.zeros(1), 1.0)["smape"] == 0.0


def test_constant_truth_has_no_r2_and_no_direction():
    constant = score(np.full((3, 2), 0.1), np.zeros((3, 2)), np.full(3, 0.1), 1.0)
    assert math.isnan(constant["r2"]) and math.isnan(constant["directional_accuracy"])
    steps = score_by_step(np.array([[1.0, 5.0], [1.0, 7.0]]), np.zeros((2, 2)), np.zeros(2), 1.0)
    assert math.isnan(steps["r2"][0]) and math.isfinite(steps["r2"][1])


@pytest.mark.parametrize("scale", [0.0, math.nan])
def test_mase_has_no_value_without_a_scale(scale):
    assert math.isnan(score(TRUTH, PREDICTED, LAST, scale)["mase"])


def test_no_windows_give_no_values_and_no_warning():
    assert all(math.isnan(value) for value in score(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), 1.0).values())
    assert score_by_step(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), 1.0)["r2"].shape == (2,)


def test_forecasts_that_are_not_finite_are_no_reason_to_warn():
    scores = score(TRUTH, np.array([[np.inf, np.nan], [1.0, 2.0]]), LAST, 1.0)
    assert all(math.isnan(scores[name]) for name in ("mse", "mae", "smape", "r2"))


def test_large_values_of_float32_are_squared_without_overflow():
    assert score(np.full((1, 1), 3e38, np.float32), np.zeros((1, 1), np.float32), np.zeros(1), 1.0)["rmse"] == (
        pytest.approx(3e38)
    )


def test_shapes_that_do_not_fit_are_refused_with_their_shapes():
    with pytest.raises(ValueError, match=r"truth=\(2, 2\), predicted=\(2, 1\)"):
        score(TRUTH, PREDICTED[:, :1], LAST, 1.0)


def test_selection_of_one_target_is_in_its_unit():
    one = selection("mae", TRUTH[..., None], PREDICTED[..., None], LAST[:, None], np.array([10.0]), np.array([1.0]))
    assert one == 1.25


def test_selection_of_several_targets_weighs_them_by_their_scale():
    truth = np.stack([TRUTH, 100 * TRUTH], axis=-1)
    predicted = np.stack([PREDICTED, 100 * PREDICTED], axis=-1)
    last = np.stack([LAST, 100 * LAST], axis=-1)
    scales, mase_scales = np.array([2.0, 50.0]), np.array([2.5, 500.0])
    assert selection("mae", truth, predicted, last, scales, mase_scales) == (1.25 / 2 + 1.25 * 2) / 2
    assert selection("mse", truth, predicted, last, scales, mase_scales) == (2.25 / 4 + 2.25 * 4) / 2
    assert selection("mase", truth, predicted, last, scales, mase_scales) == pytest.approx((0.5 + 0.25) / 2)
    assert selection("directional_accuracy", truth, predicted, last, scales, mase_scales) == 1 / 2


def test_selection_leaves_out_a_target_whose_truth_defines_no_value():
    truth = np.stack([TRUTH, np.ones_like(TRUTH)], axis=-1)
    predicted = np.stack([PREDICTED, TRUTH], axis=-1)
    last = np.stack([LAST, LAST], axis=-1)
    assert selection("r2", truth, predicted, last, np.ones(2), np.ones(2)) == pytest.approx(1 - 9 / 4.75)


def test_selection_of_a_diverged_forecast_is_not_a_number():
    diverged = PREDICTED[..., None].copy()
    diverged[0, 0] = np.inf
    for name in OF_THE_VALUE:
        assert math.isnan(selection(name, TRUTH[..., None], diverged, LAST[:, None], np.ones(1), np.ones(1)))


def test_mase_scale_counts_pairs_of_known_train_rows_in_one_segment():
    #                  segment 1            | segment 2
    values = np.array([1.0, 3.0, np.nan, 4.0, 100.0, 101.0, 90.0, 500.0])
    segments = np.array([[0, 4], [4, 8]])
    rows = np.array([0, 1, 2, 3, 4, 5, 6])  # not the last
    assert mase_scale(values, rows, segments, season=1) == (2 + 1 + 11) / 3
    assert mase_scale(values, rows, segments, season=2) == (1 + 10) / 2
    assert math.isnan(mase_scale(values, rows, segments, season=7))
    assert math.isnan(mase_scale(values, rows, segments, season=8))


def test_mase_scale_ignores_rows_that_lie_in_no_segment():
    assert mase_scale(np.array([0.0, 9.0, 1.0, 3.0]), np.arange(4), np.array([[2, 4]]), season=1) == 2.0


def test_the_seasonal_naive_forecast_of_the_train_rows_has_a_mase_of_one():
    values = np.random.default_rng(0).standard_normal(200).cumsum()
    scale = mase_scale(values, np.arange(200), np.array([[0, 200]]), season=7)
    assert score(values[7:, None], values[:-7, None], values[:-7], scale)["mase"] == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["mae", "mse"])
def test_ranking_two_thousand_windows_costs_milliseconds(name):
    generator = np.random.default_rng(0)
    truth, predicted = generator.standard_normal((2, 2000, 24, 1), dtype=np.float32)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        selection(name, truth, predicted, truth[:, 0], np.ones(1), np.ones(1))
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.02  # about 0.5 ms; the rest is for a busy machine


# --- the other heads: truth and last as above; changes 0, +2 / -1, 0

UP = np.array([[0.9, 0.6], [0.7, 0.2]])  # the probability given to "up"; of two classes
TWO = Heads(direction=True)


def directions(heads, probabilities):
    return score(TRUTH, TRUTH, LAST, 1.0, heads, {"direction": probabilities})


def test_directions_of_two_classes_count_where_the_truth_changes():
    found = directions(TWO, np.stack([1 - UP, UP], axis=2))
    # +2 was called up by 0.6, -1 was called up by 0.7
    assert found["direction_accuracy"] == 1 / 2
    assert found["direction_precision"] == 1 / 2 and found["direction_recall"] == 1
    assert found["direction_f1"] == pytest.approx(2 / 3)
    assert found["log_loss"] == pytest.approx(-(math.log(0.6) + math.log(0.3)) / 2)


def test_directions_of_three_classes_are_averaged_over_them():
    probabilities = np.eye(3)[[[1, 2], [1, 1]]] * 0.8 + 0.2 / 3  # flat, up / flat, flat; band 1: flat, up / flat, flat
    found = directions(Heads(direction=True, band=1.0), probabilities)
    assert found["direction_accuracy"] == 1
    assert found["direction_f1"] == found["direction_precision"] == 1  # nothing went down, and nothing was said to
    sharper = directions(Heads(direction=True, band=0.5), probabilities)  # now flat, up / down, flat
    assert sharper["direction_accuracy"] == 3 / 4
    # down: 0 of 1 came; flat: answered 3, came 2, right 2; up: right
    assert sharper["direction_recall"] == pytest.approx((0 + 1 + 1) / 3)
    assert sharper["direction_f1"] == pytest.approx((0 + 4 / 5 + 1) / 3)


def test_quantiles_by_hand():
    quantiles = np.array([[[1.0, 3.0], [5.0, 6.0]], [[1.0, 1.0], [0.0, 4.0]]])  # of 2, 4 / 1, 2
    found = score(TRUTH, TRUTH, LAST, 1.0, Heads(levels=(0.1, 0.5)), {"quantiles": quantiles})
    # level 0.1: 0.1, 0.9, 0, 0.2; level 0.5: 0.5, 1, 0, 1
    assert found["pinball"] == pytest.approx((0.1 + 0.9 + 0 + 0.2 + 0.5 + 1 + 0 + 1) / 8)
    assert found["coverage"] == 3 / 4
    assert found["width"] == (2 + 1 + 0 + 4) / 4


def test_heads_of_several_targets_are_scored_in_their_deviations():
    truth = np.stack([TRUTH, 100 * TRUTH], axis=-1)
    last = np.stack([LAST, 100 * LAST], axis=-1)
    quantiles = (truth[..., None] - np.array([1.0, -1.0])) * 1.0  # one unit to either side
    heads = Heads(levels=(0.1, 0.9))
    given = (truth, truth, last, np.array([2.0, 50.0]), np.ones(2), heads, {"quantiles": quantiles})
    assert selection("width", *given) == pytest.approx((2 / 2 + 2 / 50) / 2)
    assert selection("coverage", *given) == 1
    assert math.isnan(selection("log_loss", *given))  # no direction was answered


def test_a_correlation_with_a_constant_has_no_value():
    assert math.isnan(score(TRUTH, np.full((2, 2), 7.0), LAST, 1.0)["pearson"])
    assert score(TRUTH, 3 * TRUTH - 9, LAST, 1.0)["pearson"] == pytest.approx(1.0)
