"""Whether the directions that a model gives beat the base rate, with a confidence interval that knows of overlaps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from models.crossval import FoldScore, Problem
from models.training import Answers

_DRAWS = 2000
_FEWEST_BLOCKS = 8  # fewer tell nothing of how far a mean may lie off


def direction_rows(problem: Problem, family: str, answers: Answers, score: FoldScore) -> list[dict[str, Any]]:
    """For each target and step: how often the direction was right on the holdout, and how far that is from the base
    rate, the share of the direction that was most frequent there: no constant answer could have done better.

    `low` and `high` bound the difference with 95% confidence; the verdict is theirs: "better", "worse" or "not told
    apart".
    """
    rows = []
    came, counts = problem.heads.came(score.truth - score.last[:, None])
    right = (answers["direction"].argmax(axis=3) == came) & counts
    times = problem.table.time[problem.split.final.valid]
    for k, target in enumerate(problem.table.targets):
        for h, step in enumerate(problem.steps.tolist()):
            counted = counts[:, h, k]
            n = int(counted.sum())
            classes = np.bincount(came[counted, h, k], minlength=len(problem.heads.classes))
            usual = counted & (came[:, h, k] == classes.argmax())
            low, high = bounds(right[:, h, k].astype(np.int64) - usual, counted, times, step)
            verdict = "better" if low > 0 else "worse" if high < 0 else "not told apart"
            rows.append(
                {
                    "family": family,
                    "target": target,
                    "step": step,
                    "windows": n,
                    "accuracy": float(right[:, h, k].sum() / n) if n else math.nan,
                    "base_rate": float(usual.sum() / n) if n else math.nan,
                    "low": low,
                    "high": high,
                    "verdict": verdict,
                }
            )
    return rows


def bounds(
    gain: NDArray[np.int64], counted: NDArray[np.bool_], times: NDArray[np.int64], step: int
) -> tuple[float, float]:
    """The mean of `gain` (N,) over the `counted` windows, bounded with about 95% confidence; NaN where too little is
    known.

    Student's t, with as many degrees of freedom as there are blocks but one, times the deviation of a circular
    block bootstrap (Politis & Romano 1992) over the distinct `times` (N,) of the windows: windows of one time,
    which move together in a panel, stay together, and so do neighbours in time, whose futures overlap. A block is
    as long as the forecast looks ahead, `step`, and at least the cube root of the number of times.
    """
    _, place = np.unique(times, return_inverse=True)
    gains, cases = (np.bincount(place, weights=each) for each in (gain * counted, counted))
    n = len(gains)
    length = max(step, math.ceil(n ** (1 / 3)))
    n_blocks = n // length
    if n_blocks < _FEWEST_BLOCKS:
        return math.nan, math.nan
    starts = np.random.default_rng(0).integers(n, size=(_DRAWS, n_blocks))
    sums = [np.concatenate([[0.0], np.cumsum(np.concatenate([each, each[: length - 1]]))]) for each in (gains, cases)]
    drawn = [(total[starts + length] - total[starts]).sum(axis=1) for total in sums]
    known = drawn[1] > 0
    if not known.any():
        return math.nan, math.nan
    mean = float(gains.sum() / cases.sum())
    away = float(stdtrit(n_blocks - 1, 0.975) * (drawn[0][known] / drawn[1][known]).std())
    return mean - away, mean + away
