"""The checked table: what a frame of columns becomes before anything is windowed, split or trained on.

Rows in messages are data rows of the frame as it came: the first row after the header is 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.calendar import HOLIDAYS, Calendar, Gaps, find_calendar, find_gaps, show_time
from data.columns import read_columns, read_weight
from data.errors import InputError
from data.roles import check_roles
from data.series import check_constant, check_order, read_series
from data.times import read_times

__all__ = ["Table", "check_table"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """T rows of F columns in time order, with everything that windows and folds need to know of them."""

    values: NDArray[np.float32]  # (T, F), columns as `names`; NaN = missing; rows sorted by series, then time
    names: tuple[str, ...]  # inputs; the first `n_targets` are the targets, in the order given; the last are words
    n_targets: int
    time: NDArray[np.int64]  # (T,) seconds since 1970 UTC
    clock: NDArray[np.int64]  # (T,) rank of the row's time among the distinct times of the table
    series: NDArray[np.int64]  # (T,) code into `series_names`
    series_names: tuple[str, ...]  # ("",) when there is no series column
    segments: NDArray[np.int64]  # (S, 2) rows [start, stop) that no gap and no change of series interrupts
    calendar: Calendar
    notices: tuple[str, ...]  # sentences for people: what was found, left out, filled
    fingerprint: str  # sha256, hex, over names, values, time, series and what is below
    time_name: str = "time"
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """the last columns, which hold codes: name -> the words of codes 1, 2, ... in order; 0 = missing"""
    future: tuple[int, ...] = ()  # positions of the columns that are known ahead of time
    static: tuple[int, ...] = ()  # positions of the columns that are constant in each series
    weight: NDArray[np.float32] | None = None  # (T,) how much each row counts, 0 or more

    @property
    def n_rows(self) -> int:
        return len(self.time)

    @property
    def targets(self) -> tuple[str, ...]:
        return self.names[: self.n_targets]

    @property
    def n_numbers(self) -> int:
        """How many columns, the first ones, hold numbers; the others hold codes of words."""
        return len(self.names) - len(self.categories)

    @property
    def numbers(self) -> NDArray[np.float32]:
        """(T, n_numbers)"""
        return self.values[:, : self.n_numbers]


def check_table(
    frame: pd.DataFrame,
    *,
    time: str | None,
    series: str | None,
    targets: Sequence[str],
    past: Sequence[str] | Literal["auto"] = "auto",
    future: Sequence[str] = (),
    static: Sequence[str] = (),
    categorical: Sequence[str] | Literal["auto"] = "auto",
    weight: str | None = None,
    fill_gaps: int = 0,
) -> Table:
    """Give the columns of `frame` their roles, check them, and return the table; InputError for the first fault.

    `time` None takes the only column of dates or times. `past` names inputs beside the targets; "auto" takes every
    other column of numbers or booleans that is not constant. Booleans become 0 and 1. Numbers stored as text are read
    as numbers; a column of texts among which most are numbers is refused rather than left out.

    `future` names inputs that are known ahead of time, `static` inputs that are constant in each series, `categorical`
    inputs that are read as words, whatever they hold; "auto" takes, where `past` is "auto", the columns of text of at
    most 100 words that are no ids. `weight` names how much each row counts; it is no input.

    The rows of one series must be in time order, each time once. Rows of different series may be interleaved: they are
    regrouped, series in the order of their sorted ids. Gaps of at most `fill_gaps` missing steps are filled with rows
    without values, but for static ones, and without weight, so that segments continue; longer ones end a segment.

    Refused besides: unknown columns, a column in two roles, missing times or series ids, infinite values, integers
    beyond 2^53, values whose rounding to float32 exceeds a thousandth of the column's standard deviation, targets
    that are constant or without a value, more than 1,000 words, static columns that change, weights below 0.
    """
    frame = frame.set_axis([str(name) for name in frame.columns], axis="columns")
    roles = check_roles(
        frame,
        time=time,
        series=series,
        targets=targets,
        past=past,
        future=future,
        static=static,
        categorical=categorical,
        weight=weight,
    )
    if fill_gaps < 0:
        raise InputError(f"fill_gaps is a number of steps, 0 or more, got {fill_gaps}")
    seconds, notices = read_times(frame[roles.time], roles.time)
    codes, series_names = read_series(frame, series)
    order = np.argsort(codes, kind="stable")
    check_order(seconds, codes, order, roles.time, series)
    read = read_columns(
        frame, roles.columns, len(targets), named=roles.named, words=roles.words, perhaps_words=roles.perhaps_words
    )
    weights = None if weight is None else read_weight(frame[weight], weight)[order]
    known_ahead, constant = (
        tuple(sorted(read.names.index(name) for name in dict.fromkeys(each))) for each in (roles.future, roles.static)
    )
    seconds, codes, values = seconds[order], codes[order], read.values[order]
    n_numbers = len(read.names) - len(read.categories)
    for place in constant:
        words = read.categories.get(read.names[place])
        check_constant(values[:, place], words, codes, order, read.names[place], series_names)

    calendar = find_calendar(seconds, codes)
    gaps = find_gaps(calendar, seconds, codes)
    notices = [*_describe(calendar, gaps, seconds, codes, series_names), *notices, *read.notices]
    short = gaps.missing <= fill_gaps
    if short.any():
        gaps = Gaps(after=gaps.after[short], missing=gaps.missing[short])
        before = np.repeat(gaps.after, gaps.missing)
        seconds, codes, values = _fill(calendar, gaps, seconds, codes, values, n_numbers, constant)
        weights = None if weights is None else np.insert(weights, before + 1, np.float32(0))
        notices.append(f"{gaps.missing.sum()} rows without values fill {gaps.count} of the gaps.")
        gaps = find_gaps(calendar, seconds, codes)
    return Table(
        values=values,
        names=read.names,
        n_targets=len(targets),
        time=seconds,
        clock=np.unique(seconds, return_inverse=True)[1].astype(np.int64),
        series=codes,
        series_names=series_names,
        segments=_segments(gaps, codes),
        calendar=calendar,
        notices=tuple(notices),
        fingerprint=_fingerprint(
            read.names, values, seconds, codes, series_names, (read.categories, known_ahead, constant), weights
        ),
        time_name=roles.time,
        categories=read.categories,
        future=known_ahead,
        static=constant,
        weight=weights,
    )


# ---- gaps, segments, words


def _fill(
    calendar: Calendar,
    gaps: Gaps,
    seconds: NDArray[np.int64],
    codes: NDArray[np.int64],
    values: NDArray[np.float32],
    n_numbers: int,
    constant: tuple[int, ...],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Put rows without values into `gaps`, at the calendar's times; `constant` columns keep theirs.

    Missing is NaN in the first `n_numbers` columns, 0 in the others.
    """
    before = np.repeat(gaps.after, gaps.missing)
    count = np.arange(len(before)) - np.repeat(np.cumsum(gaps.missing) - gaps.missing, gaps.missing) + 1  # 1, 2, ...
    times = calendar.later(seconds[before], count)
    new = np.zeros((len(before), values.shape[1]), np.float32)
    new[:, :n_numbers] = np.nan
    kept = np.array(constant, np.int64)
    new[:, kept] = values[np.ix_(before, kept)]
    return (
        np.insert(seconds, before + 1, times),
        np.insert(codes, before + 1, codes[before]),
        np.insert(values, before + 1, new, axis=0),
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
    roles: tuple[dict[str, tuple[str, ...]], tuple[int, ...], tuple[int, ...]],
    weights: NDArray[np.float32] | None,
) -> str:
    """`roles` are words, future and static; a table that has none of them keeps the sum it would have without roles."""
    digest = hashlib.sha256(repr((tuple(names), tuple(series_names), values.shape)).encode())
    clean = np.where(np.isnan(values), np.float32(np.nan), values)  # one kind of NaN
    for array, kind in ((clean, "<f4"), (seconds, "<i8"), (codes, "<i8")):
        digest.update(np.ascontiguousarray(array, dtype=kind).data)
    if any(roles):
        digest.update(repr(roles).encode())
    if weights is not None:
        digest.update(b"weight")
        digest.update(np.ascontiguousarray(weights, dtype="<f4").data)
    return digest.hexdigest()
