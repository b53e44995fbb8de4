"""Value columns: numbers, booleans and numbers stored as text, checked and narrowed to float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.arrow import EXACT
from data.errors import InputError

COARSEST = 1e-3  # the largest rounding error of float32 allowed, in standard deviations of the column
BLANKS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "n/a")


def read_columns(
    frame: pd.DataFrame, columns: Sequence[str], n_targets: int, *, optional: bool
) -> tuple[tuple[str, ...], NDArray[np.float32], list[str]]:
    """Return names, values (T, F) and notices. `optional`: what is no target may be left out when it is of no use."""
    kept: dict[str, NDArray[np.float32]] = {}
    left, blank, texts = [], [], []
    for place, name in enumerate(columns):
        target, may_leave = place < n_targets, optional and place >= n_targets
        numbers = _numbers(frame[name], name, may_leave=may_leave)
        if numbers is None:
            left.append(f"{name!r} ({'times' if pd.api.types.is_datetime64_any_dtype(frame[name].dtype) else 'text'})")
            continue
        missing = int(np.isnan(numbers).sum())
        if missing == len(numbers):
            if not may_leave:
                raise InputError(f"{'target' if target else 'past'} column {name!r} has no value at all; name another")
            left.append(f"{name!r} (no value)")
            continue
        low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
        if low == high and target:
            raise InputError(f"target column {name!r} is constant: every value is {low:g}; there is nothing to predict")
        if low == high and may_leave:
            left.append(f"{name!r} (constant {low:g})")
            continue
        kept[name] = _to_float32(numbers, name)
        if missing:
            blank.append(f"{name!r} {missing}")
        if not pd.api.types.is_numeric_dtype(frame[name].dtype):
            texts.append(repr(name))
    notices = [
        f"{what}: {', '.join(which)}."
        for what, which in (("Columns left out", left), ("Missing values", blank), ("Text read as numbers", texts))
        if which
    ]
    return tuple(kept), np.stack(list(kept.values()), axis=1), notices


def _numbers(column: pd.Series[Any], name: str, *, may_leave: bool) -> NDArray[np.float64] | None:
    """Return the column as float64, or None when it holds no numbers and may be left out."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        if may_leave:
            return None
        raise InputError(f"column {name!r} holds times, not numbers; name another column")
    if not pd.api.types.is_numeric_dtype(column.dtype):
        numbers = _numbers_in_text(column, name, may_leave=may_leave)
    else:
        if column.dtype.kind in "iu":
            wrong = np.flatnonzero((column > EXACT) | (column < -EXACT))
            if len(wrong):
                raise InputError(
                    f"column {name!r}: integer {column.iloc[wrong[0]]} in data row {wrong[0] + 1} would lose digits "
                    f"(it is beyond 2^53); subtract a constant, or leave the column out of the inputs"
                )
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if numbers is not None:
        wrong = np.flatnonzero(np.abs(numbers) > float(np.finfo(np.float32).max))
        if len(wrong):
            worst = numbers[wrong[0]]
            fault = "is infinite; leave it empty" if np.isinf(worst) else "is too large for a float32; rescale it"
            raise InputError(f"column {name!r}: {worst:g} in data row {wrong[0] + 1} {fault}")
    return numbers


def _numbers_in_text(column: pd.Series[Any], name: str, *, may_leave: bool) -> NDArray[np.float64] | None:
    """Read a column of texts. When most are numbers, one that is not is a fault, and not a reason to leave it out."""
    column = column.astype(object)
    blank = (column.isna() | column.isin(BLANKS)).to_numpy()
    numbers = pd.to_numeric(column.where(~blank), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(np.isnan(numbers) & ~blank)
    if not len(wrong):
        return np.asarray(numbers)
    if may_leave and 2 * len(wrong) >= np.count_nonzero(~blank):
        return None
    raise InputError(
        f"column {name!r} must hold numbers: {column.iloc[wrong[0]]!r} in data row {wrong[0] + 1} is none; correct it "
        f"or leave it empty"
    )


def _to_float32(numbers: NDArray[np.float64], name: str) -> NDArray[np.float32]:
    """Networks compute in float32, whose steps are coarse far from zero: 16 in a value of 2e8, for one."""
    rounded = numbers.astype(np.float32)
    error, spread = float(np.nanmax(np.abs(rounded - numbers))), float(np.nanstd(numbers))
    if spread and error > COARSEST * spread:
        raise InputError(
            f"column {name!r}: float32 would round its values, near {np.nanmean(numbers):g}, by up to {error:g}, too "
            f"much for a standard deviation of {spread:g}; subtract a constant first"
        )
    return rounded
