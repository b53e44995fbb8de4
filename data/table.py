"""The checked table: what a frame of columns becomes before anything is windowed, split or trained on.

Rows in messages are data rows of the frame as it came: the first row after the header is 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import HOLIDAYS, Calendar, Gaps, find_calendar, find_gaps, read_times, show_time
from data.columns import read_columns
from data.errors import InputError, nearest

__all__ = ["Table", "check_table"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """T rows of F numeric columns in time order, with everything that windows and folds need to know of them."""

    values: NDArray[np.float32]  # (T, F), columns as `names`; NaN = missing; rows sorted by series, then time
    names: tuple[str, ...]  # inputs; the first `n_targets` are the targets, in the order given
    n_targets: int
    time: NDArray[np.int64]  # (T,) seconds since 1970 UTC
    clock: NDArray[np.int64]  # (T,) rank of the row's time among the distinct times of the table
    series: NDArray[np.int64]  # (T,) code into `series_names`
    series_names: tuple[str, ...]  # ("",) when there is no series column
    segments: NDArray[np.int64]  # (S, 2) rows [start, stop) that no gap and no change of series interrupts
    calendar: Calendar
    notices: tuple[str, ...]  # sentences for people: what was found, left out, filled
    fingerprint: str  # sha256, hex, over names, values, time and series

    @property
    def n_rows(self) -> int:
        return len(self.time)

    @property
    def targets(self) -> tuple[str, ...]:
        return self.names[: self.n_targets]


def check_table(
    frame: pd.DataFrame,
    *,
    time: str | None,
    series: str | None,
    targets: Sequence[str],
    past: Sequence[str] | Literal["auto"] = "auto",
    fill_gaps: int = 0,
) -> Table:
    """Give the columns of `frame` their roles, check them, and return the table; InputError for the first fault.

    `time` None takes the only column of dates or times. `past` names inputs beside the targets; "auto" takes every
    other column of numbers or booleans that is not constant. Booleans become 0 and 1. Numbers stored as text are read
    as numbers; a column of texts among which most are numbers is refused rather than left out.

    The rows of one series must be in time order, each time once. Rows of different series may be interleaved: they are
    regrouped, series in the order of their sorted ids. Gaps of at most `fill_gaps` missing steps are filled with rows
    without values, so that segments continue; longer ones end a segment.

    Refused besides: unknown columns, a column in two roles, missing times or series ids, infinite values, integers
    beyond 2^53, values whose rounding to float32 exceeds a thousandth of the column's standard deviation, targets
    that are constant or without a value.
    """
    frame = frame.set_axis([str(name) for name in frame.columns], axis="columns")
    time, columns = _check_roles(frame, time, series, targets, past)
    if fill_gaps < 0:
        raise InputError(f"fill_gaps is a number of steps, 0 or more, got {fill_gaps}")
    seconds, notices = read_times(frame[time], time)
    codes, series_names = _read_series(frame, series)
    order = np.argsort(codes, kind="stable")
    _check_order(seconds, codes, order, time, series)
    names, values, found = read_columns(frame, columns, len(targets), optional=past == "auto")
    seconds, codes, values = seconds[order], codes[order], values[order]

    calendar = find_calendar(seconds, codes)
    gaps = find_gaps(calendar, seconds, codes)
    notices = [*_describe(calendar, gaps, seconds, codes, series_names), *notices, *found]
    short = gaps.missing <= fill_gaps
    if short.any():
        gaps = Gaps(after=gaps.after[short], missing=gaps.missing[short])
        seconds, codes, values = _fill(calendar, gaps, seconds, codes, values)
        notices.append(f"{gaps.missing.sum()} rows without values fill {gaps.count} of the gaps.")
        gaps = find_gaps(calendar, seconds, codes)
    return Table(
        values=values,
        names=names,
        n_targets=len(targets),
        time=seconds,
        clock=np.unique(seconds, return_inverse=True)[1].astype(np.int64),
        series=codes,
        series_names=series_names,
        segments=_segments(gaps, codes),
        calendar=calendar,
        notices=tuple(notices),
        fingerprint=_fingerprint(names, values, seconds, codes, series_names),
    )


# ---- roles


def _check_roles(
    frame: pd.DataFrame,
    time: str | None,
    series: str | None,
    targets: Sequence[str],
    past: Sequence[str] | Literal["auto"],
) -> tuple[str, list[str]]:
    """Return the time column and the value columns, targets first; they exist and none has two roles."""
    names = list(frame.columns)
    if not len(frame):
        raise InputError("the table has no rows")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two columns are named {name!r}; rename one")
    if not targets:
        raise InputError(f"name at least one target column; columns: {_listed(names)}")
    inputs = [] if past == "auto" else list(past)
    asked = [(name, role) for name, role in ((time, "time"), (series, "series")) if name is not None]
    asked += [(name, "target") for name in targets]
    for name, role in [*asked, *((name, "past") for name in inputs)]:
        if name not in names:
            raise InputError(f"no {role} column {name!r}{nearest(name, names)}; columns: {_listed(names)}")
    if time is None:
        time = _only_time(frame, series)
        asked.insert(0, (time, "time"))
    roles: dict[str, str] = {}
    for name, role in asked:
        if name in roles:
            twice = f"named twice as {role}" if roles[name] == role else f"both {roles[name]} and {role}"
            raise InputError(f"column {name!r} is {twice}; give each role a column of its own")
        roles[name] = role
    for name in inputs:
        if roles.get(name) in ("time", "series"):
            raise InputError(f"column {name!r} is the {roles[name]} column and cannot be a past input too")
    rest = [name for name in names if name not in roles] if past == "auto" else inputs
    return time, list(dict.fromkeys([*targets, *rest]))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _only_time(frame: pd.DataFrame, series: str | None) -> str:
    found = [name for name in frame.columns if pd.api.types.is_datetime64_any_dtype(frame[name].dtype)]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise InputError(f"name the time column: {_listed(found)} all hold dates or times")
    others = [name for name in frame.columns if name != series]
    raise InputError(f"name the time column: no column holds dates or times; columns: {_listed(others)}")


# ---- series and order


def _read_series(frame: pd.DataFrame, series: str | None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
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


def _check_order(
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


# ---- gaps, segments, words


def _fill(
    calendar: Calendar,
    gaps: Gaps,
    seconds: NDArray[np.int64],
    codes: NDArray[np.int64],
    values: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Put rows of NaN into `gaps`, at the calendar's times."""
    before = np.repeat(gaps.after, gaps.missing)
    count = np.arange(len(before)) - np.repeat(np.cumsum(gaps.missing) - gaps.missing, gaps.missing) + 1  # 1, 2, ...
    times = calendar.later(seconds[before], count)
    return (
        np.insert(seconds, before + 1, times),
        np.insert(codes, before + 1, codes[before]),
        np.insert(values, before + 1, np.float32(np.nan), axis=0),
    )


def _segments(gaps: Gaps, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    cuts = np.union1d(gaps.after, np.flatnonzero(np.diff(codes))) + 1
    return np.stack([np.concatenate([[0], cuts]), np.concatenate([cuts, [len(codes)]])], axis=1).astype(np.int64)


def _describe(
    calendar: Calendar,
    gaps: Gaps,
    seconds: NDArray[np.int64],
    codes: NDArray[np.int64],
    series_names: tuple[str, ...],
) -> Iterator[str]:
    """Say in sentences how many rows there are, when, by what calendar, and where it is broken."""

    def place(gap: int) -> str:
        row = int(gaps.after[gap])
        name = f" in {series_names[codes[row]]}" if len(series_names) > 1 else ""
        return f"after {show_time(int(seconds[row]))}{name} ({gaps.missing[gap]} missing)"

    several = f" in {len(series_names)} series" if len(series_names) > 1 else ""
    span = f"{show_time(int(seconds.min()))} to {show_time(int(seconds.max()))} UTC"
    yield f"{len(seconds)} rows{several}, {span}; step: {calendar.name}."
    if calendar.unit == "row":
        yield "Times keep no regular step, so each row counts as one step and no gap can be known."
        return
    inside = codes[1:] == codes[:-1]
    strides, lengths = calendar.strides(seconds)[inside], np.diff(seconds)[inside]
    closed = int(np.count_nonzero((strides > 1) & ~calendar.is_gap(strides)))
    if closed:
        yield f"{closed} times, up to {HOLIDAYS} business days without a row were taken for holidays."
    if calendar.unit == "seconds":
        uneven = int(np.count_nonzero((strides == 1) & (lengths != calendar.step)))
        if uneven:
            yield f"{uneven} steps are not exactly {calendar.name} long and count as one step."
    if gaps.count:
        longest = int(gaps.missing.argmax())
        yield (
            f"{gaps.count} gaps, {gaps.missing.sum()} steps missing in all; the first {place(0)}, the longest "
            f"{place(longest)}. A window never crosses a gap that is not filled."
        )


def _fingerprint(
    names: Sequence[str],
    values: NDArray[np.float32],
    seconds: NDArray[np.int64],
    codes: NDArray[np.int64],
    series_names: Sequence[str],
) -> str:
    digest = hashlib.sha256(repr((tuple(names), tuple(series_names), values.shape)).encode())
    clean = np.where(np.isnan(values), np.float32(np.nan), values)  # one kind of NaN
    for array, kind in ((clean, "<f4"), (seconds, "<i8"), (codes, "<i8")):
        digest.update(np.ascontiguousarray(array, dtype=kind).data)
    return digest.hexdigest()
