"""How much each of several models counts: greedy selection with replacement on out-of-fold predictions
(Caruana et al. 2004, doi.org/10.1145/1015330.1015432)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.rows import RowTable
from models.tabular.metrics import METRICS, Scores, score

ROUNDS = 40


def weights(table: RowTable, rows: NDArray[np.int64], members: Sequence[Scores], metric: str) -> list[float]:
    """The share of each of `members`, (N, C) scores of these rows; the sum is 1.

    Each round adds the member whose addition does best; the best of all rounds counts, the earliest of equals, so that
    a model alone stays alone unless others help.
    """
    sign = 1.0 if METRICS[metric].direction == "min" else -1.0
    counts, total = np.zeros(len(members)), np.zeros_like(members[0])
    best, chosen = np.inf, counts
    for number in range(1, ROUNDS + 1):
        tried = [sign * score(table, rows, (total + each) / number, [metric])[metric] for each in members]
        place = int(np.argmin(tried))
        counts, total = counts + (np.arange(len(members)) == place), total + members[place]
        if tried[place] < best:
            best, chosen = tried[place], counts
    return [float(count) / float(chosen.sum()) for count in chosen]
