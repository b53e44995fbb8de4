"""Reading a column of times, as people and files write them, as seconds since 1970."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data.errors import InputError

__all__ = ["MISSING_TIME", "holds_times", "read_known_times", "read_times"]

MISSING_TIME = int(np.iinfo(np.int64).min)

ISO = r"^\d{4}-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?([zZ]|[+-]\d\d(:?\d\d)?)?)?)?$"
WHOLE_DATE = r"^\d{4}-\d\d-\d\d"  # 2024 alone is a number
ZONE = r"[T ].*([zZ]|[+-]\d\d(:?\d\d)?)$"


def read_times(column: pd.Series[Any], name: str) -> tuple[NDArray[np.int64], list[str]]:
    """Turn a column into whole seconds since 1970 UTC, (T,) int64; also return what people should know about it.

    Accepts dates and times with or without a zone (none means UTC), ISO text, seconds since 1970 from 1e8 on and
    milliseconds from 1e11 on. Fractions of a second are cut off. Raises InputError with the data row (the first after
    the header is 1) for a missing time or one that cannot be read, and for columns with and without zones mixed.
    """
    missing = np.flatnonzero(column.isna().to_numpy())
    if len(missing):
        raise InputError(f"time column {name!r}: data row {missing[0] + 1} has no time; remove such rows")
    if pd.api.types.is_bool_dtype(column.dtype):
        raise InputError(f"time column {name!r} holds booleans; name a column of dates or times")
    if pd.api.types.is_numeric_dtype(column.dtype):
        return _from_numbers(column.to_numpy(), name)
    notices: list[str] = []
    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        column = _from_text(column, name, notices)
    elif isinstance(column.dtype, pd.DatetimeTZDtype):
        notices.append(f"Times in {name!r} were converted from {column.dtype.tz} to UTC.")
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    return _whole(column.to_numpy(), name, notices), notices


def holds_times(column: pd.Series[Any]) -> bool:
    """Whether a column is one of dates or times, or of texts that all look like dates."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return True
    if pd.api.types.is_numeric_dtype(column.dtype):
        return False
    known = column.dropna().astype(str).str.strip()
    return len(known) > 0 and bool(known.str.match(WHOLE_DATE).all()) and bool(known.str.match(ISO).all())


def read_known_times(column: pd.Series[Any], name: str) -> NDArray[np.int64]:
    """The same as `read_times` for a column in which some are missing: MISSING_TIME."""
    known = column.notna().to_numpy()
    if not known.any():
        return np.full(len(column), MISSING_TIME, np.int64)
    times = read_times(column.where(known, column[known].iloc[0]), name)[0]  # as a whole: messages count its rows
    return np.where(known, times, MISSING_TIME)


def _whole(times: NDArray[Any], name: str, notices: list[str]) -> NDArray[np.int64]:
    whole = times.astype("datetime64[s]")
    if bool((whole != times).any()):
        notices.append(f"Times in {name!r} have fractions of a second, which were cut off.")
    return np.asarray(whole.astype(np.int64))


def _from_numbers(numbers: NDArray[Any], name: str) -> tuple[NDArray[np.int64], list[str]]:
    for low, high, unit, divisor in ((1e8, 1e11, "seconds", 1), (1e11, 1e14, "milliseconds", 1000)):
        if low <= numbers[0] < high:
            wrong = np.flatnonzero((numbers < low) | (numbers >= high))
            if not len(wrong):
                ticks = np.floor(numbers * (1000 // divisor)).astype(np.int64).astype("datetime64[ms]")
                notices = [f"Numbers in {name!r} were read as {unit} since 1970."]
                return _whole(ticks, name, notices), notices
            break
    else:
        wrong = np.zeros(1, dtype=np.int64)
    raise InputError(
        f"time column {name!r}: number {numbers[wrong[0]]} in data row {wrong[0] + 1} is no time; write ISO dates such "
        f"as 2024-01-31 or 2024-01-31T18:30, or seconds since 1970 (1e8 to 1e11)"
    )


def _from_text(column: pd.Series[Any], name: str, notices: list[str]) -> pd.Series[Any]:
    """Parse dates, times and ISO text; one shape and real dates only, since pandas alone would read "now"."""
    text = pa.array(column.astype(str).str.strip().to_numpy(dtype=object), type=pa.large_string())
    shaped = pc.match_substring_regex(text, ISO).to_numpy(zero_copy_only=False)
    dates = pd.Series(text.to_numpy(zero_copy_only=False), dtype=object).where(shaped)
    parsed = pd.to_datetime(dates, format="ISO8601", errors="coerce", utc=True)
    wrong = np.flatnonzero(parsed.isna().to_numpy())
    if len(wrong):
        raise InputError(
            f"time column {name!r}: {column.iloc[wrong[0]]!r} in data row {wrong[0] + 1} is no ISO date or time; write "
            f"2024-01-31 or 2024-01-31T18:30"
        )
    zoned = pc.match_substring_regex(text, ZONE).to_numpy(zero_copy_only=False)
    if zoned.any():
        odd = np.flatnonzero(zoned != zoned[0])
        if len(odd):
            raise InputError(
                f"time column {name!r} mixes times with and without a time zone: {text[0].as_py()!r} in data row 1, "
                f"{text[int(odd[0])].as_py()!r} in data row {odd[0] + 1}; write a zone on all or on none"
            )
        notices.append(f"Times in {name!r} were converted to UTC.")
    return parsed.dt.tz_localize(None)
