"""Times: reading a column of them, finding the step they keep, and finding where the step is broken.

A calendar is found, never asked for: the one by which most steps are exactly 1. Three kinds are tried:

    seconds        a fixed number of seconds, the commonest difference (30 minutes, 1 day, 1 week)
    business_day   one row a day and none on a Saturday or Sunday: Friday to Monday is one step
    month          1, 3 or 12 calendar months, whatever their lengths

When no kind makes half of the steps exactly 1, the calendar is "row": each row is one step, and no gap can be known.
A gap is where more than one step lies between two rows of a series. Up to `HOLIDAYS` business days without a row are
taken for holidays, not for a gap. Times that jitter are counted to the nearest step, and never less than one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data.errors import InputError

__all__ = ["Calendar", "Gaps", "find_calendar", "find_gaps", "read_times", "show_time"]

DAY = 86_400
HOLIDAYS = 4  # business days in a row; the longest closure of the New York exchange since 1933 took four (2001)
NAMES = ((7 * DAY, "week"), (DAY, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
ISO = r"^\d{4}-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?([zZ]|[+-]\d\d(:?\d\d)?)?)?)?$"
ZONE = r"[T ].*([zZ]|[+-]\d\d(:?\d\d)?)$"


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """The step of a table's rows: `step` seconds, business days (always 1), months, or rows (always 1)."""

    unit: Literal["seconds", "business_day", "month", "row"]
    step: int

    @property
    def name(self) -> str:
        """The step in words: "30 minutes", "hour", "business day", "month", "irregular"."""
        if self.unit == "row":
            return "irregular"
        if self.unit == "business_day":
            return "business day"
        if self.unit == "month":
            return {1: "month", 3: "quarter", 12: "year"}.get(self.step, f"{self.step} months")
        length, word = next((length, word) for length, word in NAMES if self.step % length == 0)
        return word if self.step == length else f"{self.step // length} {word}s"

    def strides(self, time: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many steps, at least 1, lie between neighbours of `time` ((T,) ascending seconds): (T - 1,)."""
        if self.unit == "row":
            return np.ones(max(len(time) - 1, 0), dtype=np.int64)
        if self.unit == "seconds":
            strides = (np.diff(time) + self.step // 2) // self.step
        elif self.unit == "month":
            strides = (np.diff(_months(time)) + self.step // 2) // self.step
        else:
            days = _days(time)
            strides = np.asarray(np.busday_count(days[:-1], days[1:]), dtype=np.int64)
        return np.asarray(np.maximum(strides, 1))

    def steps(self, time: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of steps from the first of one series' times ((T,) ascending seconds) to each: (T,)."""
        return np.concatenate([np.zeros(min(len(time), 1), dtype=np.int64), np.cumsum(self.strides(time))])

    def later(self, time: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the times `count` steps after `time`, both (N,); the last day of a month stays the last."""
        if self.unit == "row":
            raise ValueError("an irregular calendar knows no later time")
        if self.unit == "seconds":
            return time + count * self.step
        days, clock = _days(time), time % DAY
        if self.unit == "business_day":
            return np.asarray(np.busday_offset(days, count, roll="backward").astype(np.int64) * DAY + clock)
        months = days.astype("datetime64[M]")
        day = (days - months.astype("datetime64[D]")).astype(np.int64)  # 0 is the first
        last = _last_day(months)
        target = months + (count * self.step).astype("timedelta64[M]")
        day = np.where(day == last, _last_day(target), np.minimum(day, _last_day(target)))
        return np.asarray((target.astype("datetime64[D]").astype(np.int64) + day) * DAY + clock)

    def is_gap(self, strides: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say of each stride whether rows are missing in it."""
        return strides > (1 + HOLIDAYS if self.unit == "business_day" else 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaps:
    """Where rows are missing: `after` (G,) the last row before each gap, `missing` (G,) how many steps lack a row."""

    after: NDArray[np.int64]
    missing: NDArray[np.int64]

    @property
    def count(self) -> int:
        return len(self.after)

    @property
    def longest(self) -> int:
        """The most steps missing in one gap; 0 when there is no gap."""
        return int(self.missing.max()) if self.count else 0


def find_calendar(time: NDArray[np.int64], series: NDArray[np.int64]) -> Calendar:
    """Find the calendar of `time` (T,) in seconds, ascending in each series; `series` (T,) codes, rows grouped by it.

    Differences are taken inside a series only. On a tie fixed seconds win, then business days.
    """
    inside = series[1:] == series[:-1]
    seconds = np.diff(time)[inside]
    if not len(seconds):
        return Calendar(unit="row", step=1)
    lengths, counts = np.unique(seconds, return_counts=True)
    modal = int(counts.argmax())
    shares = {Calendar(unit="seconds", step=int(lengths[modal])): counts[modal] / len(seconds)}
    if counts[modal] < len(seconds):  # the common case, a regular table, is done
        days = _days(time)
        if lengths[0] > DAY // 2 and bool(np.is_busday(days).all()):
            strides = np.busday_count(days[:-1], days[1:])[inside]
            shares[Calendar(unit="business_day", step=1)] = np.mean(strides == 1)
        months = np.diff(_months(time))[inside]
        for step in (1, 3, 12):
            shares[Calendar(unit="month", step=step)] = np.mean(months == step)
    best = max(shares, key=lambda calendar: float(shares[calendar]))
    return best if shares[best] >= 0.5 else Calendar(unit="row", step=1)


def find_gaps(calendar: Calendar, time: NDArray[np.int64], series: NDArray[np.int64]) -> Gaps:
    """Find the gaps in rows as those of `find_calendar`; from one series to the next there is none."""
    strides = calendar.strides(time)
    after = np.flatnonzero(calendar.is_gap(strides) & (series[1:] == series[:-1]))
    return Gaps(after=after, missing=strides[after] - 1)


def show_time(seconds: int) -> str:
    """Write seconds since 1970 as people do, without a clock that is zero: "2016-02-15", "2016-02-15 00:30"."""
    text = str(np.datetime64(int(seconds), "s")).replace("T", " ")
    return text.removesuffix(" 00:00:00") if text.endswith(" 00:00:00") else text.removesuffix(":00")


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


def _days(time: NDArray[np.int64]) -> NDArray[np.datetime64]:
    return (time // DAY).astype("datetime64[D]")


def _months(time: NDArray[np.int64]) -> NDArray[np.int64]:
    return _days(time).astype("datetime64[M]").astype(np.int64)


def _last_day(months: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """The number of a month's last day, counted from 0."""
    following = (months + np.timedelta64(1, "M")).astype("datetime64[D]")
    return np.asarray((following - months.astype("datetime64[D]")).astype(np.int64) - 1)
