"""From an Arrow table to pandas, and the checks that every file format needs."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data.errors import InputError

EXACT = 2**53  # above it, a float64 no longer holds every integer


def check_size(size: float, shown: str) -> None:
    """A table of so many bytes leaves room for the work on it: at most half of this machine's memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory / 2:
        raise InputError(
            f"{shown} needs {size / 2**30:.1f} GiB in memory, more than half of the {memory / 2**30:.1f} GiB here; "
            f"leave out columns or rows"
        )


def check_names(names: list[str], shown: str) -> None:
    """Every column has a name of its own."""
    for position, name in enumerate(names, 1):
        if not name:
            raise InputError(
                f"column {position} of {shown} has no name; name it in the header, or drop it "
                f"(pandas writes such a column for its index: to_csv(..., index=False))"
            )
        if names.index(name) < position - 1:
            raise InputError(
                f"{shown} has two columns named {name!r}: {names.index(name) + 1} and {position}; rename one"
            )


def check_digits(number: int, name: str, row: int, shown: str) -> None:
    """A float64 holds this integer exactly; `row` counts from 0."""
    if int(float(number)) != number:
        raise InputError(
            f"{shown}: integer {number} in column {name!r}, data row {row + 1}, would lose digits as a float64 (it is "
            f"beyond 2^53); fill the column's gaps and keep it below 2^63, or subtract a constant"
        )


def to_series(column: pa.ChunkedArray, name: str, shown: str) -> pd.Series[Any]:
    """int64, float64, bool, datetime64 in UTC without a zone, or object (text); missing values are NaN or None."""
    values = _values(column, name, shown)
    return pd.Series(values, dtype=values.dtype)  # the dtype is said, or pandas 3 would turn text into its own


def _values(column: pa.ChunkedArray, name: str, shown: str) -> NDArray[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.cast(kind.value_type), name, shown)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_integer(kind):
        return _integers(column, name, shown)
    if pa.types.is_timestamp(kind):  # through int64, so that a zone is dropped and the instant in UTC kept
        column = column.cast(pa.int64()).cast(pa.timestamp(kind.unit))
    elif pa.types.is_date(kind):
        column = column.cast(pa.timestamp("ms"))
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.int8()).cast(pa.float64()) if column.null_count else column
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    else:
        return _texts(column)
    return np.asarray(column.to_numpy())


def _integers(column: pa.ChunkedArray, name: str, shown: str) -> NDArray[Any]:
    if column.null_count == 0 and pc.max(column).as_py() < 2**63:
        return np.asarray(column.cast(pa.int64()).to_numpy())
    numbers = np.asarray(column.cast(pa.float64(), safe=False).to_numpy())
    large = np.flatnonzero(np.abs(numbers) >= EXACT)
    for row, number in zip(large.tolist(), column.take(large).to_pylist(), strict=True):
        check_digits(number, name, row, shown)
    return numbers


def _texts(column: pa.ChunkedArray) -> NDArray[Any]:
    """Each distinct text becomes one Python object, shared by its rows."""
    encoded = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
    words = [word or None for word in encoded.dictionary.to_pylist()]
    objects = np.array([*words, None], dtype=object)  # -1, a missing text, points to the last
    return np.asarray(objects[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)], dtype=object)
