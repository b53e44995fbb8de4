"""How much each of several models counts: greedy selection with replacement on out-of-fold predictions
(Caruana et al. 2004, doi.org/10.1145/1015330.1015432)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.rows import RowTable
from models.tabular.metrics import METRICS, Scores, score

ROUNDS = 40


def weights(table: RowTable, folds: Sequence[NDArray[np.int64]], members: Sequence[Scores], metric: str) -> list[float]:
    """The share of each of `members`, (N, C) scores of the folds' rows, one fold after the other; the sum is 1.

    Judged is what trials are judged by, the mean of the folds' scores. Each round adds the member whose addition
    does best; the best of all rounds counts, the earliest of equals, so that a model alone stays alone unless others
    help.
    """
    sign = 1.0 if METRICS[metric].direction == "min" else -1.0
    counts, total = np.zeros(len(members)), np.zeros_like(members[0])
    best, chosen = np.inf, counts
    for number in range(1, ROUNDS + 1):
        tried = [sign * float(np.mean(by_fold(table, folds, (total + each) / number, metric))) for each in members]
        place = int(np.argmin(tried))
        counts, total = counts + (np.arange(len(members)) == place), total + members[place]
        if tried[place] < best:
            best, chosen = tried[place], counts
    return [float(count) / float(chosen.sum()) for count in chosen]


def by_fold(table: RowTable, folds: Sequence[NDArray[np.int64]], scores: Scores, metric: str) -> list[float]:
    """The metric of each fold's rows; `scores` (N, C) of one fold after the other."""
    bounds = np.cumsum([len(rows) for rows in folds])[:-1]
    parts = zip(folds, np.split(scores, bounds), strict=True)
    return [score(table, rows, part, [metric])[metric] for rows, part in parts]


def judged(table: RowTable, folds: Sequence[NDArray[np.int64]], members: Sequence[Scores], metric: str) -> list[float]:
    """The metric of each fold under weights learnt of the other folds: what an ensemble is worth on rows that did not
    weigh it."""
    bounds = np.cumsum([len(rows) for rows in folds])[:-1]
    parts = [np.split(member, bounds) for member in members]
    found = []
    for out, rows in enumerate(folds):
        kept = [i for i in range(len(folds)) if i != out]
        others = [np.concatenate([part[i] for i in kept]) for part in parts]
        shares = weights(table, [folds[i] for i in kept], others, metric)
        scores = np.sum([share * part[out] for share, part in zip(shares, parts, strict=True)], axis=0)
        found.append(score(table, rows, scores, [metric])[metric])
    return found
