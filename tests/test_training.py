"""The training loop: stopping worked out by hand, repetition to the bit."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from models.batches import Windows
from models.preprocess import Forecaster
from models.scaling import Statistics
from models.training import Config, draw_seed, predict
from tests.builders import (
    equal,
    loop_of,
    make_model,
    make_problem,
    make_training,
    scripted,
    some_windows,
    watch,
    weights,
)


@pytest.fixture(scope="module")
def problem():
    return make_problem()


@pytest.fixture
def windows(problem):
    """Four batches of 32."""
    return some_windows(problem, origins=slice(0, 128))


@pytest.fixture
def valid(problem):
    return some_windows(problem, origins=slice(-20, None))


# --- early stopping


def run_to_the_end(loop):
    """The epochs, and a copy of the weights after each."""
    epochs, after = [], []
    for epoch in loop.epochs():
        epochs.append(epoch)
        after.append(weights(loop.model))
    return epochs, after


def test_stops_when_patience_is_spent_and_restores_the_best(problem, windows, valid):
    loop = loop_of(problem, windows, valid, [5, 4, 4.5, 4, 1], max_epochs=9, patience=2)
    epochs, after = run_to_the_end(loop)
    assert [e.number for e in epochs] == [1, 2, 3, 4]  # the equal value of epoch 4 is no improvement
    assert [e.last for e in epochs] == [False, False, False, True]
    assert [e.valid for e in epochs] == [5, 4, 4.5, 4]
    assert [(e.best, e.best_number) for e in epochs] == [(5, 1), (4, 2), (4, 2), (4, 2)]
    assert loop.finished and equal(weights(loop.model), after[3])
    loop.restore_best()
    assert equal(weights(loop.model), after[1]) and not equal(after[1], after[3])


def test_an_improvement_must_be_larger_than_min_delta(problem, windows, valid):
    # 4.75 is 0.25 below the best, 5, though only 0.1 below the value before it; 4.6 is too near to 4.75.
    loop = loop_of(problem, windows, valid, [5, 4.85, 4.75, 4.6, 4.6, 0], max_epochs=9, patience=2, min_delta=0.2)
    epochs, after = run_to_the_end(loop)
    assert [(e.best, e.best_number) for e in epochs] == [(5, 1), (5, 1), (4.75, 3), (4.75, 3), (4.75, 3)]
    loop.restore_best()
    assert equal(weights(loop.model), after[2])


def test_a_patience_of_one_stops_at_the_first_epoch_that_is_no_better(problem, windows, valid):
    epochs, _ = run_to_the_end(loop_of(problem, windows, valid, [3, 2, 2], max_epochs=9, patience=1))
    assert len(epochs) == 3


def test_a_metric_may_be_maximised(problem, windows, valid):
    model = make_model("linear", problem)
    loop = make_training(
        model, windows, valid, metric=scripted([0.2, 0.6, 0.5, 0.6]), minimise=False, max_epochs=9, patience=2
    )
    epochs, after = run_to_the_end(loop)
    assert [(e.best, e.best_number) for e in epochs] == [(0.2, 1), (0.6, 2), (0.6, 2), (0.6, 2)]
    loop.restore_best()
    assert equal(weights(model), after[1])


def test_the_last_epoch_says_so(problem, windows, valid):
    epochs, _ = run_to_the_end(loop_of(problem, windows, valid, [3, 2, 1], max_epochs=3, patience=2))
    assert [e.last for e in epochs] == [False, False, True] and epochs[-1].best_number == 3


def test_a_score_that_is_no_number_never_counts(problem, windows, valid):
    loop = loop_of(problem, windows, valid, [math.nan, 2, math.nan, math.inf], max_epochs=9, patience=2)
    epochs, after = run_to_the_end(loop)
    assert [e.best for e in epochs] == [math.inf, 2, 2, 2]
    loop.restore_best()
    assert equal(weights(loop.model), after[1])


def test_without_validation_every_epoch_is_trained_and_the_last_is_kept(problem, windows):
    loop = loop_of(problem, windows, max_epochs=4, patience=1)
    epochs, after = run_to_the_end(loop)
    assert len(epochs) == 4 and all(math.isnan(e.valid) for e in epochs)
    loop.restore_best()
    assert equal(weights(loop.model), after[-1])


def test_the_metric_sees_predictions_in_the_target_s_unit(problem, windows, valid):
    seen = []
    model = make_model("linear", problem)
    loop = make_training(
        model, windows, valid, metric=lambda p: seen.append(p["future"]) or float(seen[0].mean()), max_epochs=1
    )
    (epoch,) = loop.epochs()
    assert seen[0].shape == (20, 3, 1) and seen[0].dtype == np.float32
    assert 40 < epoch.valid < 60  # "load" lies around 50
    assert (seen[0] == predict(model, valid)["future"]).all()


def test_predicting_leaves_the_model_in_its_mode(problem, valid):
    model = make_model("lstm", problem, model__dropout=0.4)
    assert model.training
    first = predict(model, valid)["future"]
    assert model.training and (predict(model, valid)["future"] == first).all()  # no dropout


# --- steps


def test_train_loss_is_the_mean_over_steps(problem):
    """At a rate too small to change anything, the mean loss can be computed without training."""
    windows = some_windows(problem, origins=slice(0, 10))
    loop = loop_of(problem, windows, lr=1e-30, weight_decay=0.0, batch_size=3, max_epochs=1, loss="mae")
    inputs, future = windows.gather(torch.arange(10))
    with torch.inference_mode():
        error = (loop.model.scaled(**inputs)["future"] - loop.model.scale_targets(future)).abs().mean(dim=(1, 2))
    order = torch.randperm(10, generator=torch.Generator().manual_seed(draw_seed(0, 1)))
    expected = torch.stack([error[batch].mean() for batch in order.split(3)]).mean().item()
    (epoch,) = loop.epochs()
    assert epoch.train_loss == pytest.approx(expected, rel=1e-5)


def test_gradients_are_clipped_to_their_norm(problem, windows):
    norms: dict[float, list[float]] = {}
    for clip in (1e-3, 1e6):
        loop = loop_of(problem, windows, clip_norm=clip, max_epochs=1)
        norms[clip] = []

        def look(*_, found=norms[clip], model=loop.model):
            found.append(math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters())))

        loop.optimizer.register_step_pre_hook(look)
        list(loop.epochs())
    assert norms[1e-3] == pytest.approx([1e-3] * 4, rel=1e-3) and min(norms[1e6]) > 1e-2


@pytest.mark.parametrize(("optimizer", "left"), [("adamw", 0.9), ("adam", 0.0)])
def test_weight_decay_is_decoupled_for_adamw_and_a_penalty_for_adam(optimizer, left):
    """One step at rate 1 and decay 0.1 of a weight of 1 without gradient: 1 - 0.1, or 1 - 1 (Adam takes the sign)."""

    class OneWeight(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x_BLC):
            return x_BLC[:, -1:, :1, None] + 0 * self.weight

    model = Forecaster(OneWeight(), Statistics(mean=np.zeros(1), std=np.ones(1), flagged=()), 1, "none")
    windows = Windows(np.zeros((4, 1), np.float32), np.array([2]), lookback=2, steps=np.array([1]), n_targets=1)
    config = {"lr": 1.0, "schedule": "constant", "warmup_epochs": 0, "max_epochs": 1, "loss": "mse"}
    list(make_training(model, windows, optimizer=optimizer, weight_decay=0.1, **config).epochs())
    assert model.network.weight.item() == pytest.approx(left, abs=1e-6)


# --- the same again


def test_same_seed_same_result_to_the_bit(problem, windows, valid):
    states = []
    for noise in (1, 2):
        torch.manual_seed(noise)  # what ran before does not matter
        loop = loop_of(problem, windows, valid, [3, 2], family="lstm")
        for _ in loop.epochs():
            torch.rand(noise)
        states.append(loop.state_dict())
    assert equal(*states)


@pytest.mark.parametrize("change", ["model_seed", "seed"])
def test_another_seed_gives_another_result(problem, windows, change):
    states = []
    for value in (0, 1):
        loop = loop_of(problem, windows, family="lstm", **{change: value})
        list(loop.epochs())
        states.append(weights(loop.model))
    assert not equal(*states)


def test_every_epoch_has_an_order_of_its_own(problem):
    windows = some_windows(problem, origins=slice(0, 64))
    asked: list[list[int]] = []
    gather = windows.gather
    windows.gather = lambda index: asked.append(index.tolist()) or gather(index)  # type: ignore[method-assign]
    list(loop_of(problem, windows, max_epochs=2).epochs())
    first, second = asked[0] + asked[1], asked[2] + asked[3]
    assert sorted(first) == sorted(second) == list(range(64)) and first != second


@pytest.mark.parametrize("schedule", ["cosine", "plateau", "constant"])
@pytest.mark.parametrize("done", [1, 4, 5])
def test_a_resumed_run_equals_an_undisturbed_one_to_the_bit(problem, windows, valid, schedule, done):
    script = [5.0, 4.0, 4.5, 4.5, 4.5, 3.0]  # the plateau's rate falls between epochs 5 and 6
    config = {"family": "lstm", "schedule": schedule, "max_epochs": 6, "patience": 6, "warmup_epochs": 1.5}
    undisturbed = loop_of(problem, windows, valid, script, **config)
    wanted = list(undisturbed.epochs())

    first = loop_of(problem, windows, valid, script, **config)
    for _ in range(done):
        next(first.epochs())
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)

    torch.manual_seed(99)
    resumed = loop_of(problem, windows, valid, script[done:], model_seed=7, **config)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    found = list(resumed.epochs())
    assert [e.number for e in found] == list(range(done + 1, 7))
    for one, other in zip(found, wanted[done:], strict=True):
        names = ("train_loss", "valid", "best", "best_number", "learning_rate", "last")
        assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
    assert equal(resumed.state_dict(), undisturbed.state_dict())


def test_a_finished_run_stays_finished_when_resumed(problem, windows, valid):
    loop = loop_of(problem, windows, valid, [1, 2, 3], max_epochs=9, patience=2)
    list(loop.epochs())
    again = loop_of(problem, windows, valid, [], max_epochs=9, patience=2)
    again.load_state_dict(loop.state_dict())
    assert again.finished and list(again.epochs()) == []


def test_a_resumed_run_takes_its_own_rate_and_decay(problem, windows):
    loop = loop_of(problem, windows, max_epochs=1, lr=0.1, weight_decay=0.2)
    list(loop.epochs())
    again = loop_of(problem, windows, max_epochs=2, lr=0.03, weight_decay=0.4, schedule="constant")
    again.load_state_dict(loop.state_dict())
    rates = watch(again)
    list(again.epochs())
    assert rates == [0.03] * 4 and again.optimizer.param_groups[0]["weight_decay"] == 0.4


def test_a_seed_is_a_function_of_its_key():
    assert draw_seed(1, 2, 3) == draw_seed(1, 2, 3)
    keys = [(a, b, c) for a in range(5) for b in range(5) for c in range(5)] + [(2**31, 0, 0), (0, 10**6, 0)]
    seeds = [draw_seed(*key) for key in keys]
    assert len(set(seeds)) == len(keys) and all(0 <= seed < 2**63 for seed in seeds)


# --- what a Config refuses


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        *[(name, value, "at least 1") for name in ("max_epochs", "batch_size", "patience") for value in (0, -1)],
        *[(n, v, "above 0 and finite") for n in ("lr", "clip_norm") for v in (0.0, -1e-3, math.inf, math.nan)],
        *[
            (n, v, "at least 0 and finite")
            for n in ("weight_decay", "warmup_epochs", "min_delta")
            for v in (-1e-9, math.inf, math.nan)
        ],
        ("optimizer", "sgd", "one of adamw, adam"),
        ("loss", "rmse", "one of mse, mae, huber, smooth_l1, quantile"),
        ("weighting", "squared", "one of none, linear, step, volatility"),
        ("level", 1.0, "between 0 and 1"),
        ("threshold", 0.0, "between 0 and 1"),
        ("direction_weight", -1.0, "at least 0 and finite"),
        *[("step_weights", each, 'weights like "1 1 2"') for each in ("1 x", "0 0", "-1 2", "inf", 3)],
        ("schedule", "linear", "one of cosine, plateau, constant"),
        ("precision", "float16", "one of auto, float32, bfloat16"),
    ],
)
def test_a_config_refuses(name, value, rule):
    with pytest.raises(ValueError, match=rf"^{name} must be {rule}, got {name}={value!r}$"):
        Config(**{name: value})


def test_the_bounds_themselves_are_taken():
    lowest = {
        "max_epochs": 1,
        "batch_size": 1,
        "patience": 1,
        "weight_decay": 0.0,
        "warmup_epochs": 0.0,
        "min_delta": 0.0,
    }
    config = Config(**lowest)
    assert {name: getattr(config, name) for name in lowest} == lowest
