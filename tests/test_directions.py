"""Whether directions beat the base rate: numbers by hand, and verdicts on what is known to be right or luck."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from models.heads import Heads
from ray_jobs.directions import bounds, direction_rows

UP, DOWN = [0.2, 0.8], [0.9, 0.1]


def rows_of(truth, last, answered, times=None, steps=(1,)):
    """One target; truth (N, H), last (N,), answered (N, H, 2)."""
    truth = np.asarray(truth, np.float64)
    times = np.arange(len(truth)) if times is None else np.asarray(times)
    problem = SimpleNamespace(
        heads=Heads(direction=True),
        steps=np.array(steps),
        table=SimpleNamespace(targets=("price",), time=times),
        split=SimpleNamespace(final=SimpleNamespace(valid=np.arange(len(truth)))),
    )
    score = SimpleNamespace(truth=truth[:, :, None], last=np.asarray(last, np.float64)[:, None])
    return direction_rows(problem, "lstm", {"direction": np.asarray(answered)[:, :, None]}, score)


def test_the_base_rate_is_the_most_frequent_direction_of_the_holdout() -> None:
    # Up, up, down, no change, up: the fourth has no direction. Right: 1st, 3rd, 5th.
    truth = [[2.0], [2.0], [0.0], [1.0], [2.0]]
    (row,) = rows_of(truth, [1.0] * 5, [[UP], [DOWN], [DOWN], [UP], [UP]])
    assert (row["windows"], row["accuracy"], row["base_rate"]) == (4, 0.75, 0.75)
    assert math.isnan(row["low"]) and row["verdict"] == "not told apart"  # five times are two blocks


@pytest.mark.parametrize(
    ("right", "verdict"), [(0.9, "better"), (0.1, "worse"), (0.5, "not told apart")], ids=["skill", "spite", "a coin"]
)
def test_the_verdict_follows_the_interval(right: float, verdict: str) -> None:
    rng = np.random.default_rng(0)
    ups = rng.random(600) < 0.5
    said = np.where(rng.random(600) < right, ups, ~ups)
    truth = np.where(ups, 2.0, 0.0)[:, None]
    (row,) = rows_of(truth, np.ones(600), np.where(said[:, None, None], UP, DOWN))
    assert row["accuracy"] == pytest.approx(right, abs=0.05)
    assert row["base_rate"] == pytest.approx(max(ups.mean(), 1 - ups.mean()))
    assert row["low"] < row["accuracy"] - row["base_rate"] < row["high"]
    assert row["verdict"] == verdict


def test_a_constant_answer_never_beats_the_base_rate() -> None:
    """Not even where the train rows mostly rose and the holdout mostly falls."""
    truth = np.where(np.random.default_rng(1).random(500) < 0.4, 2.0, 0.0)[:, None]
    (row,) = rows_of(truth, np.ones(500), np.broadcast_to(DOWN, (500, 1, 2)))
    assert row["accuracy"] == row["base_rate"]
    assert (row["low"], row["high"], row["verdict"]) == (0.0, 0.0, "not told apart")


def test_without_a_single_direction_nothing_is_told() -> None:
    (row,) = rows_of(np.ones((40, 1)), np.ones(40), np.broadcast_to(UP, (40, 1, 2)))
    assert row["windows"] == 0
    assert math.isnan(row["accuracy"]) and math.isnan(row["base_rate"]) and row["verdict"] == "not told apart"


def test_series_that_move_together_count_once() -> None:
    """Ten copies of one series make no interval narrower."""
    rng = np.random.default_rng(2)
    gain, times = rng.integers(-1, 2, 300), np.arange(300)
    alone = bounds(gain, np.ones(300, bool), times, 1)
    copies = bounds(np.tile(gain, 10), np.ones(3000, bool), np.tile(times, 10), 1)
    assert copies == pytest.approx(alone)


def test_overlapping_futures_widen_the_interval() -> None:
    """Of what stays as it is for twenty times, there are fifteen cases and not three hundred: about 4.5 times wider."""
    gain = np.repeat(np.random.default_rng(3).integers(-1, 2, 15), 20)
    narrow, wide = (np.diff(bounds(gain, np.ones(300, bool), np.arange(300), step))[0] for step in (1, 20))
    assert wide > 1.4 * narrow  # blocks of 7, the cube root of 300, know a part of it already
    free = np.random.default_rng(3).integers(-1, 2, 300)
    assert wide > 3 * np.diff(bounds(free, np.ones(300, bool), np.arange(300), 1))[0]


def test_the_interval_is_that_of_a_mean_of_independent_cases() -> None:
    """1,000 fair coins of +-1: 1.96 / sqrt(1000) = 0.062 to either side."""
    gain = np.random.default_rng(4).choice([-1, 1], 1000)
    low, high = bounds(gain, np.ones(1000, bool), np.arange(1000), 1)
    assert (high - low) / 2 == pytest.approx(0.062, rel=0.15)
