"""From which probability on the second of two classes is answered."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.rows import RowTable
from models.tabular.metrics import METRICS, Scores, score

_TAILS = np.geomspace(1e-6, 0.1, 100)  # where what is rare is told from the rest
_SHARES = np.concatenate([[0.0], _TAILS, np.linspace(0.1, 0.9, 81), 1 - _TAILS[::-1], [1.0]])
DEFAULT = "f1"  # what a threshold is chosen by where the trials are ranked by probabilities


def choose(table: RowTable, rows: NDArray[np.int64], scores: Scores, metric: str) -> float:
    """The threshold that does best by `metric` on these rows; of equals the one nearest to a half.

    Tried are a half and the quantiles of the scores that are halfway between two of them.
    """
    sign = 1.0 if METRICS[metric].direction == "max" else -1.0
    found = np.unique(np.quantile(scores[:, 1], _SHARES))
    tried = [0.5, *((found[1:] + found[:-1]) / 2).tolist()]
    values = [sign * score(table, rows, scores, [metric], threshold=each)[metric] for each in tried]
    best = max(range(len(tried)), key=lambda i: (values[i], -abs(tried[i] - 0.5)))
    return float(np.float32(tried[best]))
