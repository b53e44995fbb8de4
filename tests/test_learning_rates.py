"""Learning rates worked out by hand, of an epoch of four steps."""

from __future__ import annotations

import math

import pytest

from tests.builders import (
    loop_of,
    make_model,
    make_problem,
    make_training,
    scripted,
    some_windows,
    watch,
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


def test_warm_up_then_constant(problem, windows):
    loop = loop_of(problem, windows, lr=0.8, schedule="constant", warmup_epochs=1.5, max_epochs=3)
    rates = watch(loop)
    epochs = list(loop.epochs())
    sixths = [0.8 * i / 6 for i in range(1, 7)]  # 1.5 epochs are 6 steps
    assert rates == pytest.approx([*sixths, *[0.8] * 6], rel=1e-12)
    assert [e.learning_rate for e in epochs] == [rates[3], rates[7], rates[11]]


def test_no_warm_up_begins_with_the_whole_rate(problem, windows):
    loop = loop_of(problem, windows, lr=0.8, schedule="constant", warmup_epochs=0, max_epochs=1)
    rates = watch(loop)
    list(loop.epochs())
    assert rates == [0.8] * 4


def test_cosine_after_a_warm_up_ends_at_a_hundredth(problem, windows):
    loop = loop_of(problem, windows, lr=0.1, schedule="cosine", warmup_epochs=0.5, max_epochs=2)
    rates = watch(loop)
    list(loop.epochs())
    # Two steps of warm-up; then 1/6, 2/6 ... 6/6 of the way: 0.01 + 0.99 (1 + cos(way pi)) / 2.
    half_root = math.sqrt(3) / 4
    parts = [0.5, 1, 0.01 + 0.99 * (0.5 + half_root), 0.7525, 0.505, 0.2575, 0.01 + 0.99 * (0.5 - half_root), 0.01]
    assert rates == pytest.approx([0.1 * part for part in parts], rel=1e-12)


def test_cosine_without_a_warm_up(problem, windows):
    loop = loop_of(problem, windows, lr=1.0, schedule="cosine", warmup_epochs=0, max_epochs=1)
    rates = watch(loop)
    list(loop.epochs())
    root = math.sqrt(2) / 4
    assert rates == pytest.approx([0.01 + 0.99 * (0.5 + root), 0.505, 0.01 + 0.99 * (0.5 - root), 0.01], rel=1e-12)


def test_a_warm_up_longer_than_the_run_only_grows(problem, windows):
    loop = loop_of(problem, windows, lr=0.1, schedule="cosine", warmup_epochs=4, max_epochs=2)
    rates = watch(loop)
    list(loop.epochs())
    assert rates == pytest.approx([0.1 * i / 16 for i in range(1, 9)], rel=1e-12)


def test_plateau_halves_after_three_epochs_without_an_improvement(problem, windows, valid):
    script = [5, 4, 4, 4, 4, 3, 3, 3, 3, 3]
    # Epochs 3, 4, 5 do not improve: halved from the 6th. 6 does; 7, 8, 9 do not: halved again from the 10th.
    loop = loop_of(
        problem, windows, valid, script, lr=0.4, schedule="plateau", warmup_epochs=0, max_epochs=10, patience=10
    )
    rates = [epoch.learning_rate for epoch in loop.epochs()]
    assert rates == pytest.approx([0.4] * 5 + [0.2] * 4 + [0.1], rel=1e-12)


def test_plateau_of_a_metric_that_is_maximised(problem, windows, valid):
    model = make_model("linear", problem)
    loop = make_training(
        model,
        windows,
        valid,
        metric=scripted([0.5] * 6),
        minimise=False,
        **{"lr": 0.4, "schedule": "plateau", "warmup_epochs": 0, "max_epochs": 6, "patience": 10},
    )
    rates = [epoch.learning_rate for epoch in loop.epochs()]
    assert rates == pytest.approx([0.4] * 4 + [0.2] * 2, rel=1e-12)


def test_plateau_counts_as_an_improvement_what_stopping_does(problem, windows, valid):
    script = [5, 4.9, 4.8, 4.7, 4.7]  # none by more than half
    loop = loop_of(
        problem,
        windows,
        valid,
        script,
        **{"lr": 0.4, "schedule": "plateau", "warmup_epochs": 0, "max_epochs": 5, "patience": 9, "min_delta": 0.5},
    )
    assert [e.learning_rate for e in loop.epochs()] == pytest.approx([0.4] * 4 + [0.2], rel=1e-12)


def test_warm_up_and_plateau_multiply(problem, windows, valid):
    script = [3, 3, 3, 3, 3]
    loop = loop_of(
        problem, windows, valid, script, lr=0.4, schedule="plateau", warmup_epochs=1, max_epochs=5, patience=9
    )
    rates = watch(loop)
    list(loop.epochs())
    assert rates == pytest.approx([0.1, 0.2, 0.3, *[0.4] * 13, *[0.2] * 4], rel=1e-12)
