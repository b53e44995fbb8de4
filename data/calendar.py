"""Calendars: the step that times keep, where it is broken, and which times come next. numpy alone.

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
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Calendar", "Gaps", "find_calendar", "find_gaps", "show_time"]

DAY = 86_400
YEAR = 31_556_952  # seconds of the mean Gregorian year: 365.2425 days
HOLIDAYS = 4  # business days in a row; the longest closure of the New York exchange since 1933 took four (2001)
NAMES = ((7 * DAY, "week"), (DAY, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


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

    @property
    def seconds(self) -> int:
        """How long a step is, a month counted as the twelfth of a mean year; 0 where no step is known."""
        return self.step * {"seconds": 1, "business_day": DAY, "month": YEAR // 12, "row": 0}[self.unit]

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


def _days(time: NDArray[np.int64]) -> NDArray[np.datetime64]:
    return (time // DAY).astype("datetime64[D]")


def _months(time: NDArray[np.int64]) -> NDArray[np.int64]:
    return _days(time).astype("datetime64[M]").astype(np.int64)


def _last_day(months: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """The number of a month's last day, counted from 0."""
    following = (months + np.timedelta64(1, "M")).astype("datetime64[D]")
    return np.asarray((following - months.astype("datetime64[D]")).astype(np.int64) - 1)
