"""Windows of a table: where they may start, and their pasts and futures without a copy of the table.

A window is `lookback` rows of past and `horizon` rows ahead that follow one another without a gap in one series. It is
named by its origin, the row of the first target step. For lookback 3 and horizon 2:

    row         0 1 2 3 4 5 6
    origin 3    p p p f f
    origin 4      p p p f f
    origin 5        p p p f f

Shapes: T rows, S segments, N windows, L lookback steps, H steps ahead, F columns, K targets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from data.errors import InputError

__all__ = ["check_steps", "future_values", "origins", "past_view", "with_known_targets"]


def check_steps(steps: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Steps ahead as an int64 array (H,), 1 = the next row; InputError unless whole, at least 1 and increasing."""
    array = np.asarray(steps)
    whole = array.ndim == 1 and array.size > 0 and np.issubdtype(array.dtype, np.integer)
    if not whole or array[0] < 1 or bool((np.diff(array) <= 0).any()):
        raise InputError(f"steps ahead must be whole numbers from 1 on, each larger than the one before, got {steps}")
    return array.astype(np.int64)


def origins(segments: NDArray[np.int64], *, lookback: int, horizon: int) -> NDArray[np.int64]:
    """Every row o whose window, rows o - lookback .. o + horizon - 1, lies in one segment; in ascending order.

    `segments` (S, 2) holds rows [start, stop) that no gap and no change of series interrupts. For lookback 3 and
    horizon 2:

        row       0 1 2 3 4 5 | 6 7 8 9 | 10 11 12 13 14      three segments; the second is too short for a window
        origins         3 4   |         |          13
    """
    if lookback < 1 or horizon < 1:
        raise InputError(f"lookback and horizon must be at least 1 row, got {lookback} and {horizon}")
    length = segments[:, 1] - segments[:, 0]
    count = np.maximum(length - lookback - horizon + 1, 0)
    ends = np.cumsum(count)
    position = np.arange(int(count.sum())) - np.repeat(ends - count, count)  # 0, 1, 2 ... anew in each segment
    return np.asarray(np.repeat(segments[:, 0] + lookback, count) + position, dtype=np.int64)


def past_view(values: NDArray[np.float32], lookback: int) -> NDArray[np.float32]:
    """All runs of `lookback` rows of values (T, F) as a read-only view (T - L + 1, L, F), oldest row first.

    The past of origin o is `past_view(values, L)[o - L]`. For L = 3:

        row      0 1 2 3 4
        view[0]  p p p          past of origin 3
        view[1]    p p p        past of origin 4
        view[2]      p p p      past of the row after the last
    """
    if not 1 <= lookback <= len(values):
        raise InputError(f"lookback must be between 1 and the table's {len(values)} rows, got {lookback}")
    return np.moveaxis(sliding_window_view(values, lookback, axis=0), -1, 1)


def future_values(
    values: NDArray[np.float32], origins: NDArray[np.int64], steps: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Rows `origin + step - 1` of values (T, K), gathered to (N, H, K): step 1 is the origin itself.

    For origin 3 and steps 1, 3:

        row    0 1 2 3 4 5
        step         1   3
    """
    gathered: NDArray[np.float32] = values[origins[:, None] + (steps - 1)]
    return gathered


def with_known_targets(
    values: NDArray[np.float32], origins: NDArray[np.int64], steps: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Those of `origins` (N,) whose values (T, K) are finite in every column at every step; order kept."""
    known = np.asarray(np.isfinite(values).all(axis=1))
    keep = np.ones(len(origins), dtype=bool)
    for step in steps:  # one pass a step: an (N, H) index would need gigabytes for long horizons
        keep &= known[origins + (step - 1)]
    return origins[keep]
