"""Training losses, against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch

from models.batches import Windows
from models.heads import Heads
from models.losses import LOSSES, WEIGHTINGS, Objective
from models.preprocess import Forecaster
from models.scaling import Statistics
from models.training import Config
from tests.builders import make_model, make_problem, make_training, some_windows

ERRORS = torch.tensor([0.0, 0.5, -2.0, 1.0])
TRUTH = torch.tensor([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("mse", [0, 0.25, 4, 1]),
        ("mae", [0, 0.5, 2, 1]),
        ("huber", [0, 0.125, 1.5, 0.5]),  # beyond 1: |e| - 1/2
        ("smooth_l1", [0, 0.45, 1.95, 0.95]),  # beyond 0.1: |e| - 0.05
        ("quantile", [0, 0.1, 1.6, 0.2]),  # level 0.8: too high costs 0.2 e, too low 0.8 e
    ],
)
def test_what_each_error_costs(name, values):
    assert LOSSES[name](TRUTH + ERRORS, TRUTH, 0.8).tolist() == pytest.approx(values, abs=1e-6)


def test_smooth_l1_is_square_near_zero():
    assert LOSSES["smooth_l1"](torch.tensor([0.05]), torch.zeros(1), 0.5).item() == pytest.approx(0.0125)  # e² / 0.2


@pytest.mark.parametrize(
    ("name", "slopes"),
    [
        ("mse", [0, 1, -4, 2]),
        ("mae", [0, 1, -1, 1]),
        ("huber", [0, 0.5, -1, 1]),
        ("smooth_l1", [0, 1, -1, 1]),
    ],
)
def test_the_gradient_points_up_the_error(name, slopes):
    predicted = (TRUTH + ERRORS).requires_grad_()
    LOSSES[name](predicted, TRUTH, 0.5).sum().backward()
    assert predicted.grad is not None and predicted.grad.tolist() == pytest.approx(slopes)


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_forecast_costs_nothing(name):
    assert LOSSES[name](TRUTH, TRUTH, 0.3).abs().max() == 0


def test_a_configuration_can_name_each_loss_and_weighting_and_no_other():
    hints = get_type_hints(Config)
    assert set(LOSSES) == set(get_args(hints["loss"]))
    assert set(WEIGHTINGS) == set(get_args(hints["weighting"]))


# --- the objective: rows 0 .. 7 of one target, lookback 3, steps 1 and 2; train mean 0 and deviation 2

ROWS = np.array([[0, 2, 2, 4, 8, 4, 0, 6]], np.float32).T


def windows(origins=(3, 4, 6), weight=None):
    steps = np.array([1, 2])
    return Windows(ROWS, np.array(origins), lookback=3, steps=steps, n_targets=1, weight=weight)


def model(**heads):
    statistics = Statistics(mean=np.zeros(1), std=np.full(1, 2.0), flagged=())
    return Forecaster(torch.nn.Identity(), statistics, 1, "none", heads=Heads(**heads))


def objective(made, train, *, heads=None, steps=(1.0, 1.0), weighting="none", emphasis=1.0, threshold=0.5):
    return Objective(
        made,
        train,
        loss="mae",
        level=0.5,
        heads=heads or {"value": 1.0},
        steps=torch.tensor(steps),
        weighting=weighting,
        emphasis=emphasis,
        threshold=threshold,
    )


def cost(aim, train, answers, index=(0, 1, 2)):
    inputs, future = train.gather(torch.tensor(index))
    return aim(answers, future, inputs["past"], train.weights(torch.tensor(index))).item()


def zeros(n=3):
    return {"future": torch.zeros(n, 2, 1)}


# Windows at rows 3, 4, 6: truths (4, 8), (8, 4), (0, 6); in deviations (2, 4), (4, 2), (0, 3).


def test_without_weights_the_cost_is_the_mean_error_in_deviations():
    train = windows()
    assert cost(objective(model(), train), train, zeros()) == pytest.approx((2 + 4 + 4 + 2 + 0 + 3) / 6)


def test_steps_weigh_by_their_share():
    train = windows()
    # weights 1 and 3, divided by their mean 2: 0.5 and 1.5
    expected = (0.5 * (2 + 4 + 0) + 1.5 * (4 + 2 + 3)) / 6
    assert cost(objective(model(), train, steps=(1.0, 3.0)), train, zeros()) == pytest.approx(expected)


def test_linear_emphasis_weighs_an_error_by_one_and_the_truth_s_place():
    train = windows()
    # the truths lie between 0 and 8: y = (0.5, 1), (1, 0.5), (0, 0.75); weights 1 + 2 y
    expected = (2 * 2 + 3 * 4 + 3 * 4 + 2 * 2 + 1 * 0 + 2.5 * 3) / 6
    assert cost(objective(model(), train, weighting="linear", emphasis=2.0), train, zeros()) == pytest.approx(expected)


def test_two_level_emphasis_weighs_errors_above_the_threshold():
    train = windows()
    # y > 0.6 are 1, 1 and 0.75, whose weight is 1 + 4
    expected = (2 + 5 * 4 + 5 * 4 + 2 + 0 + 5 * 3) / 6
    aim = objective(model(), train, weighting="step", emphasis=4.0, threshold=0.6)
    assert cost(aim, train, zeros()) == pytest.approx(expected)


def test_calm_windows_weigh_more_and_the_mean_weight_is_one():
    train = windows()
    # pasts 0 2 2, 2 2 4, 4 8 4: changes in deviations (1, 0), (0, 1), (2, -2); volatility 0.5, 0.5, 2
    raw = [1 / 0.6, 1 / 0.6, 1 / 2.1]
    mean = sum(raw) / 3
    expected = (raw[0] * 6 + raw[1] * 6 + raw[2] * 3) / mean / 6
    aim = objective(model(), train, weighting="volatility")
    assert cost(aim, train, zeros()) == pytest.approx(expected, rel=1e-5)
    inputs, future = train.gather(torch.arange(3))
    assert aim.weights(future, inputs["past"], None).mean().item() == pytest.approx(1.0)


def test_missing_values_take_no_part_in_the_volatility():
    past = torch.tensor([[[0.0], [2.0], [4.0], [math.nan], [2.0]], [[0.0], [math.nan], [2.0], [6.0], [math.nan]]])
    assert model().volatility(past).tolist() == [[0.0], [1.0]]  # two changes that are alike; one, which tells nothing
    assert model().last_known(torch.tensor([[[6.0], [4.0], [math.nan]]])).tolist() == [[4.0]]
    assert model().last_known(torch.full((1, 3, 1), math.nan)).tolist() == [[0.0]]  # the train rows' mean


def test_a_weight_column_counts_by_the_last_row_of_the_past():
    train = windows(weight=np.array([9, 9, 1, 3, 9, 2, 9, 9], np.float32))  # rows 2, 3 and 5 count: 1, 3, 2
    expected = (1 * 6 + 3 * 6 + 2 * 3) / 2 / 6  # the mean weight is 2
    assert cost(objective(model(), train), train, zeros()) == pytest.approx(expected)


def test_a_part_of_the_windows_has_the_weights_of_the_whole():
    train = windows(weight=np.array([9, 9, 1, 3, 9, 2, 9, 9], np.float32))
    assert cost(objective(model(), train), train, zeros(1), index=(1,)) == pytest.approx(3 / 2 * 6 / 2)


def test_the_direction_costs_minus_log_of_what_was_given_to_what_came():
    train = windows()
    # last values 2, 4, 4; changes (2, 6), (4, 0), (-4, 2): up up, up none, down up
    probabilities = torch.tensor([[[0.25, 0.75], [0.5, 0.5]], [[0.2, 0.8], [0.1, 0.9]], [[0.6, 0.4], [0.9, 0.1]]])
    answers = {**zeros(), "direction": probabilities.log()[:, :, None]}
    aim = objective(model(direction=True), train, heads={"direction": 1.0})
    expected = -(math.log(0.75) + math.log(0.5) + math.log(0.8) + math.log(0.6) + math.log(0.1)) / 6
    assert cost(aim, train, answers) == pytest.approx(expected, rel=1e-5)


def test_with_a_band_small_changes_are_a_class_of_their_own():
    train = windows()
    # changes of at most 2 are flat: flat up, up flat, down flat
    probabilities = torch.tensor([0.2, 0.3, 0.5]).expand(3, 2, 1, 3)
    aim = objective(model(direction=True, band=2.0), train, heads={"direction": 1.0})
    expected = -(math.log(0.3) + math.log(0.5) + math.log(0.5) + math.log(0.3) + math.log(0.2) + math.log(0.3)) / 6
    assert cost(aim, train, {**zeros(), "direction": probabilities.log()}) == pytest.approx(expected, rel=1e-5)


def test_quantiles_cost_the_mean_pinball_of_their_levels():
    train = windows(origins=(3,))  # truths 2 and 4 deviations
    answers = {"quantiles": torch.tensor([[[[1.0, 3.0]], [[5.0, 6.0]]]])}
    aim = objective(model(levels=(0.1, 0.9)), train, heads={"quantiles": 1.0})
    # step 1: 0.1 * 1 and 0.1 * 1; step 2: 0.9 * 1 and 0.1 * 2
    assert cost(aim, train, answers, index=(0,)) == pytest.approx((0.1 + 0.1 + 0.9 + 0.2) / 4)


def test_heads_weigh_by_their_weights():
    train = windows(origins=(3,))
    made = model(direction=True)
    answers = {"future": torch.zeros(1, 2, 1), "direction": torch.zeros(1, 2, 1, 2)}
    aim = objective(made, train, heads={"value": 0.5, "direction": 2.0})
    assert cost(aim, train, answers, index=(0,)) == pytest.approx(0.5 * 3 + 2 * math.log(2))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_and_weighting_trains(loss, weighting):
    problem = make_problem()
    loop = make_training(make_model("linear", problem), some_windows(problem), loss=loss, weighting=weighting)
    first, last = (epoch.train_loss for epoch in loop.epochs())
    assert 0 < last < first


def test_in_data_with_ticks_a_change_of_just_the_band_is_flat_for_loss_and_metric():
    ticks = np.random.default_rng(0).integers(-2, 3, 400).cumsum().astype(np.float32)[:, None] + 1000
    steps = np.array([1, 2])
    train = Windows(ticks, np.arange(8, 390), lookback=8, steps=steps, n_targets=1)
    statistics = Statistics.fit(ticks, np.arange(400))
    heads = Heads(direction=True, band=1.0)
    made = Forecaster(torch.nn.Identity(), statistics, 1, "none", heads=heads)
    inputs, future = train.gather(torch.arange(len(train)))
    classes, _ = heads.came(future.numpy() - ticks[train.origins.numpy() - 1][:, None])
    sure = torch.nn.functional.one_hot(torch.from_numpy(classes), 3) * 50.0  # certain of what came
    aim = objective(made, train, heads={"direction": 1.0})
    assert aim({"direction": sure}, future, inputs["past"], None).item() < 1e-6
