"""What preprocessing learns from the rows that a fold trains on, and from no other.

Shapes: T rows, F columns of numbers, P features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.features import NO_FEATURES, Features, over_table


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """What preprocessing has learnt from the train rows of one fold: (F,) each, numbers in the table's order."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]  # population; 1 where a column is constant
    flagged: tuple[int, ...]  # columns with missing values in the train rows
    feature_mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # (P,); 0 for levels
    feature_std: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # (P,); 1 for levels
    ranking: tuple[int, ...] = ()  # what may be left out, best first, by its place among numbers, then features
    seen: tuple[NDArray[np.bool_], ...] = ()  # of each column of words, by code: whether these rows hold the word

    @classmethod
    def fit(
        cls,
        values: NDArray[np.float32],
        rows: NDArray[np.int64],
        features: Features = NO_FEATURES,
        segments: NDArray[np.int64] | None = None,
        words: Sequence[int] = (),
    ) -> Statistics:
        """Statistics of `values[rows]`, values (T, F) float32 with NaN for missing, computed in float64.

        The last columns hold codes of so many `words` each. A column without any value in these rows counts as constant
        zero. A feature counts at those rows alone whose every needed row is among `rows`, in one of the table's
        `segments` (one, where None).
        """
        n_numbers = values.shape[1] - len(words)
        seen = tuple(
            np.isin(np.arange(n + 1), values[rows, n_numbers + i]) & (np.arange(n + 1) > 0) for i, n in enumerate(words)
        )
        values = values[:, :n_numbers]
        mean, std, known = _moments(values[rows])
        flagged = tuple(int(i) for i in np.flatnonzero(~known.all(axis=0)))
        if not features.each:
            return cls(mean=mean, std=std, flagged=flagged, seen=seen)
        allowed, scaled = only_rows(values, rows, mean, std)
        segments = np.array([[0, len(values)]]) if segments is None else segments
        feature_mean, feature_std, _ = _moments(over_table(allowed, scaled, segments, features))
        return cls(
            mean=mean,
            std=std,
            flagged=flagged,
            feature_mean=np.where(features.levels, 0.0, feature_mean),
            feature_std=np.where(features.levels, 1.0, feature_std),
            seen=seen,
        )

    def visible(self, keep: int | None) -> list[int]:
        """Which of all channels (numbers, features, flags) a network sees that is given the `keep` best of `ranking`.

        What is not ranked is always seen, a flag with its column; None leaves nothing out.
        """
        left_out = set() if keep is None else set(self.ranking[keep:])
        n_values = len(self.mean) + len(self.feature_mean)
        values = [i for i in range(n_values) if i not in left_out]
        return values + [n_values + i for i, column in enumerate(self.flagged) if column not in left_out]


def only_rows(
    values: NDArray[np.float32], rows: NDArray[np.int64], mean: NDArray[np.float64], std: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The table (T, F) as it would be if nothing but `rows` were known, NaN elsewhere; and scaled, 0 where missing."""
    allowed = np.full_like(values, np.nan)
    allowed[rows] = values[rows]
    return allowed, np.nan_to_num(((allowed - mean) / std).astype(np.float32), posinf=0.0, neginf=0.0)


def _moments(seen: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Mean and population standard deviation of each column's known values, 1 where it is constant; what is known."""
    values = seen.astype(np.float64)
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / count
    std = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / count)
    return mean, np.where(std <= 1e-9 * np.abs(mean), 1.0, std), known
