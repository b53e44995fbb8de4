"""What each naive baseline answers on a fold, with every head that the models have.

Beside its value (`models.baselines`), a baseline answers the base rate for the direction, how often each class came in
the train windows, and for the quantiles its value and the quantiles of its errors in the train windows.

Shapes: N windows, H steps ahead, K targets, C classes, Q quantiles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.folds import Fold
from data.windows import future_values
from models import baselines
from models.baselines import last_known
from models.crossval import Problem, segment_starts
from models.scaling import Statistics
from models.training import Answers

_MOST = 4096  # train windows that rates and errors are taken from, evenly spread


def naive_answers(problem: Problem, fold: Fold) -> dict[str, Answers]:
    """Baseline name -> its answers for the fold's validation windows, in the targets' units."""
    origins = fold.train[np.linspace(0, len(fold.train) - 1, min(_MOST, len(fold.train))).astype(np.int64)]
    found: dict[str, Answers] = {}
    rates_HKC = _rates(problem, fold, origins) if problem.heads.direction else None
    for name in baselines.NAMES:
        value = _forecast(problem, fold, name, fold.valid)
        found[name] = {"future": value}
        if rates_HKC is not None:
            found[name]["direction"] = np.broadcast_to(rates_HKC, (len(value), *rates_HKC.shape))
        if problem.heads.levels:
            error = future_values(_targets(problem), origins, problem.steps) - _forecast(problem, fold, name, origins)
            away_QHK = np.quantile(error, problem.heads.levels, axis=0).astype(np.float32)
            found[name]["quantiles"] = value[..., None] + np.moveaxis(away_QHK, 0, -1)
    return found


def _targets(problem: Problem) -> NDArray[np.float32]:
    return problem.table.values[:, : problem.table.n_targets]


def _forecast(problem: Problem, fold: Fold, name: str, origins: NDArray[np.int64]) -> NDArray[np.float32]:
    return baselines.forecast(
        name,
        _targets(problem),
        origins,
        problem.steps,
        starts=segment_starts(problem.table, origins),
        seasons=problem.seasons[fold.name],
        means=Statistics.fit(_targets(problem), fold.rows).mean,
    )


def _rates(problem: Problem, fold: Fold, origins: NDArray[np.int64]) -> NDArray[np.float32]:
    """(H, K, C): how often each class came; one that never came counts as half a window: no loss is infinite."""
    targets = _targets(problem)
    means = Statistics.fit(targets, fold.rows).mean
    last_NK = last_known(targets, origins, starts=segment_starts(problem.table, origins), means=means)
    classes, counts = problem.heads.came(future_values(targets, origins, problem.steps) - last_NK[:, None])
    each = [(counts & (classes == c)).sum(axis=0) for c in range(len(problem.heads.classes))]
    times_HKC = np.maximum(np.stack(each, axis=2), 0.5)
    rates: NDArray[np.float32] = (times_HKC / times_HKC.sum(axis=2, keepdims=True)).astype(np.float32)
    return rates
