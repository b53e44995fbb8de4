"""How much each column matters: by what its loss costs on out-of-fold rows, and by what the models themselves say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data.rows import RowTable
from models.tabular.crossval import FoldLearner, RowProblem
from models.tabular.metrics import METRICS, score

_MOST_ROWS = 2000  # of a fold


def permutation(problem: RowProblem, learners: Sequence[FoldLearner], *, seed: int) -> dict[str, list[float]]:
    """Column -> of each fold, how much worse the metric becomes when that column of its validation rows is shuffled
    (Breiman 2001; Fisher et al. 2019, arxiv.org/abs/1801.01489)."""
    metric, rng = problem.metric, np.random.default_rng(seed)
    sign = 1.0 if METRICS[metric].direction == "min" else -1.0
    costs: dict[str, list[float]] = {name: [] for name in problem.table.columns}
    for learner in learners:
        weight, valid = problem.table.weight, learner.fold.valid
        valid = valid if weight is None else valid[weight[valid] > 0]
        some = problem.table.take(valid if len(valid) <= _MOST_ROWS else rng.permutation(valid)[:_MOST_ROWS])
        before = _scored(learner, some, metric)
        for name in costs:
            after = _scored(learner, _shuffled(some, name, rng.permutation(some.n_rows)), metric)
            if np.isfinite(after - before):  # a draw may lack a class
                costs[name].append(sign * (after - before))
    return {name: each for name, each in costs.items() if each}


def own(learners: Sequence[FoldLearner]) -> dict[str, list[float]] | None:
    """Column -> of each fold, the share of what its trees gain; None for a family that tells nothing of the kind."""
    found: dict[str, list[float]] = {}
    for learner in learners:
        if not hasattr(learner.learner, "importance"):
            return None
        shares = learner.learner.importance()
        total = float(shares.sum()) or 1.0
        for name, columns in learner.shape.encoding.sources.items():
            found.setdefault(name, []).append(float(shares[columns].sum()) / total)
    return found


def _scored(learner: FoldLearner, table: RowTable, metric: str) -> float:
    rows = np.arange(table.n_rows)
    return score(table, rows, learner.learner.predict(learner.shape.encoding.matrix(table, rows)), [metric])[metric]


def _shuffled(table: RowTable, name: str, order: NDArray[np.int64]) -> RowTable:
    if name in table.time_names:
        times, place = table.times.copy(), table.time_names.index(name)
        times[:, place] = times[order, place]
        return replace(table, times=times)
    values, place = table.values.copy(), table.names.index(name)
    values[:, place] = values[order, place]
    return replace(table, values=values)
