"""Folds that cannot leak: which windows of a table train and which validate.

Every boundary is a clock value, the rank of a time among the table's distinct times, so in a panel one boundary cuts
all series at the same moment. T train, V validation, x embargo, H holdout; two folds:

    walk_forward        sliding             blocked             grouped
    T T x V V . . H H   T T x V V . . H H   V V V x T T T H H   series A  V V V V V V V H H
    T T T T x V V H H   . . T T x V V H H   T T x V V V V H H   series B  T T T T T T T H H

The targets of a validation window lie wholly in its block; its past may reach back before it, as it will in use. A
training window, past and targets, lies wholly in the rows that may train.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, nearest
from data.row_folds import deal
from data.table import Table
from data.windows import check_steps, origins, with_known_targets

__all__ = ["SCHEMES", "Fold", "Split", "smallest", "split"]

SCHEMES = ("auto", "walk_forward", "sliding", "blocked", "grouped")
Span = tuple[int, int]
Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fold:
    """One fold of windows; all arrays int64 and ascending."""

    name: str  # "1", "2", ... or "holdout"
    train: Rows  # origins of training windows
    valid: Rows  # origins of validation windows
    rows: Rows  # rows whose values may enter statistics (scaling, imputation, season)
    train_spans: tuple[Span, ...]  # first and last time, seconds since 1970, of each stretch that may train
    valid_spans: tuple[Span, ...]  # the same of the validation targets


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    folds: tuple[Fold, ...]
    final: Fold  # trains on everything before the holdout, validates on the holdout
    scheme: str  # never "auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cut:
    """Clock values [start, stop) of one fold: where windows may train, and where validation targets lie."""

    train: tuple[Span, ...]
    valid: Span


@dataclass(frozen=True, kw_only=True, eq=False)
class _Windows:
    """The windows with known targets: origin, and the clock of first past row, first target row and last target row."""

    origins: Rows
    begin: Rows
    target: Rows
    end: Rows


def split(
    table: Table,
    *,
    scheme: str = "auto",
    n_folds: int = 5,
    holdout: float = 0.2,
    embargo: int = 0,
    lookback: int,
    steps: Sequence[int] | NDArray[np.int64],
) -> Split:
    """Cut a table into a holdout at the end of time and, before it, folds by `scheme`.

    `holdout` is the share of distinct times kept for the end, `embargo` the number of distinct times left out between
    training and validation, `lookback` the longest that will be used, in rows, `steps` the 1-based steps ahead; a
    window ends with the largest. "auto" is walk_forward, for one series and for a panel.

    Checked here, all at once: the settings; that the table has enough time steps (else the smallest number that would
    do is named); that every fold has training and validation windows. Raises InputError.
    """
    steps = check_steps(steps)
    horizon = int(steps[-1])
    scheme = _check(scheme, n_folds=n_folds, holdout=holdout, embargo=embargo, lookback=lookback)
    n_times = int(table.clock.max()) + 1 if len(table.clock) else 0
    cuts = _cuts(n_times, scheme, n_folds, holdout, embargo)
    if not _enough(cuts, lookback, horizon):
        least = smallest(
            scheme=scheme, n_folds=n_folds, holdout=holdout, embargo=embargo, lookback=lookback, horizon=horizon
        )
        raise InputError(
            f"{n_folds} {scheme} folds with lookback {lookback}, horizon {horizon}, embargo {embargo} and a holdout "
            f"of {holdout:g} need at least {least} time steps, the table has {n_times}; "
            f"use fewer folds or a shorter lookback or horizon"
        )
    windows = _windows(table, lookback, horizon, steps)
    group = _deal_series(table, windows, cuts[0], n_folds) if scheme == "grouped" else None
    folds = tuple(
        _fold(table, windows, cut, str(i + 1), None if group is None else group == i) for i, cut in enumerate(cuts[:-1])
    )
    final = _fold(table, windows, cuts[-1], "holdout", None)
    for fold in (*folds, final):
        _check_filled(fold, lookback, horizon)
    return Split(folds=folds, final=final, scheme=scheme)


def smallest(*, scheme: str, n_folds: int, holdout: float, embargo: int, lookback: int, horizon: int) -> int:
    """The smallest number of time steps from which on `split` of one series without gaps works.

    One step less fails. Below that, single lengths may happen to work: the remainder that the blocks leave goes to the
    first, and may make that one long enough.
    """
    scheme = _check(scheme, n_folds=n_folds, holdout=holdout, embargo=embargo, lookback=lookback)

    def certainly(n: int) -> bool:
        kept = round(n * holdout)
        return kept >= horizon and n - kept - embargo >= (n_folds + 1) * (lookback + horizon + embargo)

    high = 1
    while not certainly(high):
        high *= 2
    n = bisect_left(range(high), True, key=certainly)
    while _enough(_cuts(n - 1, scheme, n_folds, holdout, embargo), lookback, horizon):
        n -= 1
    return n


def _check(scheme: str, *, n_folds: int, holdout: float, embargo: int, lookback: int) -> str:
    """The scheme, with "auto" resolved; InputError for a setting that no table could satisfy."""
    if scheme not in SCHEMES:
        raise InputError(f"no validation scheme {scheme!r}{nearest(scheme, SCHEMES)}; known: {', '.join(SCHEMES)}")
    least = 2 if scheme in ("blocked", "grouped") else 1
    if n_folds < least:
        raise InputError(f"{scheme} needs at least {least} folds, got {n_folds}")
    if not 0 < holdout < 1:
        raise InputError(f"the holdout must be a share between 0 and 1, both left out, got {holdout}")
    if embargo < 0:
        raise InputError(f"the embargo must be 0 or more time steps, got {embargo}")
    if lookback < 1:
        raise InputError(f"the lookback must be at least 1 row, got {lookback}")
    return "walk_forward" if scheme == "auto" else scheme


def _cuts(n_times: int, scheme: str, n_folds: int, holdout: float, embargo: int) -> list[_Cut]:
    """One cut for each fold, then the holdout's; the blocks are equal, and the first takes the remainder."""
    holdout_start = n_times - round(n_times * holdout)
    stop = max(holdout_start - embargo, 0)  # development: clocks 0 .. stop - 1
    last = _Cut(train=((0, stop),), valid=(holdout_start, n_times))
    if scheme == "grouped":
        return [_Cut(train=((0, stop),), valid=(0, stop))] * n_folds + [last]
    n_blocks = n_folds if scheme == "blocked" else n_folds + 1
    size = stop // n_blocks
    first = stop - size * (n_blocks - 1)
    bounds = [0, *(first + size * i for i in range(n_blocks))]
    cuts = []
    for start, end in zip(bounds[-1 - n_folds : -1], bounds[-n_folds:], strict=True):
        before = start - embargo
        train = {
            "walk_forward": [(0, before)],
            "sliding": [(max(before - first, 0), before)],
            "blocked": [(0, before), (end + embargo, stop)],
        }[scheme]
        cuts.append(_Cut(train=tuple(span for span in train if span[0] < span[1]), valid=(start, end)))
    return [*cuts, last]


def _enough(cuts: list[_Cut], lookback: int, horizon: int) -> bool:
    """Whether each cut holds a training and a validation window of one series that has a row at every clock value."""
    return all(
        any(stop - start >= lookback + horizon for start, stop in cut.train)
        and max(cut.valid[0], lookback) + horizon <= cut.valid[1]
        for cut in cuts
    )


def _windows(table: Table, lookback: int, horizon: int, steps: Rows) -> _Windows:
    every = origins(table.segments, lookback=lookback, horizon=horizon)
    known = with_known_targets(table.values[:, : table.n_targets], every, steps)
    clock = table.clock
    return _Windows(origins=known, begin=clock[known - lookback], target=clock[known], end=clock[known + (horizon - 1)])


def _fold(table: Table, windows: _Windows, cut: _Cut, name: str, held_out: NDArray[np.bool_] | None) -> Fold:
    """`held_out` (series,) marks the series that validate in a grouped fold; the others train."""
    may_train = np.zeros(len(windows.origins), dtype=bool)
    may_count = np.zeros(len(table.clock), dtype=bool)
    for start, stop in cut.train:
        may_train |= (windows.begin >= start) & (windows.end < stop)
        may_count |= (table.clock >= start) & (table.clock < stop)
    may_validate = (windows.target >= cut.valid[0]) & (windows.end < cut.valid[1])
    if held_out is not None:
        mine = held_out[table.series]
        may_count &= ~mine
        may_train &= ~mine[windows.origins]
        may_validate &= mine[windows.origins]
    return Fold(
        name=name,
        train=windows.origins[may_train],
        valid=windows.origins[may_validate],
        rows=np.flatnonzero(may_count),
        train_spans=_times(table, cut.train),
        valid_spans=_times(table, (cut.valid,)),
    )


def _times(table: Table, spans: tuple[Span, ...]) -> tuple[Span, ...]:
    times = np.unique(table.time)
    return tuple((int(times[start]), int(times[stop - 1])) for start, stop in spans)


def _check_filled(fold: Fold, lookback: int, horizon: int) -> None:
    for kind, found in (("training", fold.train), ("validation", fold.valid)):
        if not len(found):
            name = "the holdout" if fold.name == "holdout" else f"fold {fold.name}"
            raise InputError(
                f"{name} has no {kind} window: gaps or missing targets leave no {lookback + horizon} unbroken rows "
                f"(lookback {lookback} + horizon {horizon}) there; fill the gaps, or use fewer folds or shorter windows"
            )


def _deal_series(table: Table, windows: _Windows, cut: _Cut, n_folds: int) -> NDArray[np.int64]:
    """The fold, from 0, of each series: balanced by the number of its windows before the holdout."""
    before_holdout = windows.origins[windows.end < cut.valid[1]]
    counts = np.bincount(table.series[before_holdout], minlength=len(table.series_names))
    usable = int((counts > 0).sum())
    if usable < n_folds:
        raise InputError(
            f"{n_folds} grouped folds need at least {n_folds} series with a window before the holdout, "
            f"the table has {usable}; use fewer folds or walk_forward"
        )
    return deal(counts, n_folds)
