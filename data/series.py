"""The series of a table: who each row belongs to, in time order, and what is constant in each.

Rows in messages are data rows of the frame as it came: the first row after the header is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import show_time
from data.errors import InputError

__all__ = ["check_constant", "check_order", "read_series"]


def read_series(frame: pd.DataFrame, series: str | None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return each row's code (T,) and the sorted ids that the codes point to."""
    if series is None:
        return np.zeros(len(frame), dtype=np.int64), ("",)
    column = frame[series]
    missing = np.flatnonzero(column.isna().to_numpy())
    if len(missing):
        raise InputError(
            f"series column {series!r}: data row {missing[0] + 1} has no series id; fill it or drop the row"
        )
    if pd.api.types.is_float_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        raise InputError(f"series column {series!r} must hold texts or integers, it holds {column.dtype}")
    if not pd.api.types.is_numeric_dtype(column.dtype):
        column = column.astype(object).map(str)
    codes, ids = pd.factorize(column, sort=True)
    return codes.astype(np.int64), tuple(str(name) for name in ids)


def check_order(
    seconds: NDArray[np.int64], codes: NDArray[np.int64], order: NDArray[np.int64], time: str, series: str | None
) -> None:
    """Each series must run forward in time; the earliest row of the frame that does not is named."""
    same = codes[order[1:]] == codes[order[:-1]]
    wrong = np.flatnonzero(same & (np.diff(seconds[order]) <= 0))
    if not len(wrong):
        return
    place = wrong[np.argmin(order[wrong + 1])]
    before, row = int(order[place]), int(order[place + 1])
    then, now = show_time(int(seconds[before])), show_time(int(seconds[row]))
    if series is None:
        hint = "if the rows belong to several series, name the series column"
    else:
        hint = f"rows of one {series!r} are compared"
    if then == now:
        raise InputError(
            f"time column {time!r}: data rows {before + 1} and {row + 1} are both {now}, in whole seconds; keep one "
            f"({hint})"
        )
    raise InputError(
        f"time column {time!r} is not in order: data row {row + 1} ({now}) comes after data row {before + 1} ({then}); "
        f"sort the rows by time ({hint})"
    )


def check_constant(
    values: NDArray[np.float32],
    words: Sequence[str] | None,
    codes: NDArray[np.int64],
    order: NDArray[np.int64],
    name: str,
    series_names: Sequence[str],
) -> None:
    """A static column has one value in each series, where it has any; the first row of the frame that differs is named.

    `values` (T,) are in the table's order, codes of `words` if there are any; `order` (T,) are the frame's rows.
    """
    known = np.flatnonzero(np.isfinite(values) if words is None else values > 0)
    which, first = np.unique(codes[known], return_index=True)
    reference = np.full(len(series_names), -1)
    reference[which] = known[first]
    wrong = known[values[known] != values[reference[codes[known]]]]
    if not len(wrong):
        return
    row = int(wrong[np.argmin(order[wrong])])
    here, there = (
        f"{values[i]:g}" if words is None else repr(words[int(values[i]) - 1]) for i in (row, reference[codes[row]])
    )
    where = f" of series {series_names[codes[row]]!r}" if len(series_names) > 1 else ""
    raise InputError(
        f"static column {name!r} must be constant in a series: {here} in data row {order[row] + 1}{where}, {there} "
        f"before; take it out of data.static"
    )
