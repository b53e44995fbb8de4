"""The leakage audit: run before the first trial, it stops the sweep with a reason.

    future-target       an input column is a target from the future, or a scaled copy of it
    equals-target       an input column is a target of the same time, or a scaled copy of it
    known-ahead         a column that is said to be known ahead holds a target of earlier rows that are not yet known
    duplicate-windows   windows that validate stand verbatim among those that train
    overlap             a training window or a row of the statistics reaches what it is validated on, or the holdout
    statistics          a mean or a standard deviation was not taken from its fold's rows

Of rows (`audit_rows`): an input that tells the target one to one.

Shapes: T rows, F columns, K targets, L lookback, H horizon (the largest step ahead).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.folds import Fold, Split
from data.rows import RowTable
from data.table import Table
from data.windows import check_steps, origins

__all__ = ["LeakError", "audit", "audit_rows", "check_statistics"]

NEARLY_ALL = 0.999  # of the rows that tell something must agree before two columns count as one
LIKE = 0.01  # two changes agree when they differ by less than this share of a typical change
FEW = 10  # rows that tell something below which nothing is concluded
SAMPLE = 512  # rows that decide which shifts deserve a look at all rows
MANY = 0.01  # share of repeated validation windows above which the sweep stops

Rows = NDArray[np.int64]


class LeakError(InputError):
    """Something that would not be known in use has reached the inputs or the training; `reason` is a short slug."""

    def __init__(self, message: str, reason: str = "") -> None:  # one argument suffices, so that it can be unpickled
        super().__init__(message)
        self.reason = reason


def audit(table: Table, split: Split, *, lookback: int, steps: Sequence[int] | NDArray[np.int64]) -> None:
    """Look for leaks between targets and inputs, and between what trains and what validates, in every fold.

    `lookback` and `steps` are those of the split. Raises LeakError on the first leak found, None if there is none.
    """
    horizon = int(check_steps(steps)[-1])
    possible = origins(table.segments, lookback=lookback, horizon=horizon)
    for fold in (*split.folds, split.final):
        _check_overlap(table, split, fold, possible, lookback, horizon)
    _check_columns(table, lookback, horizon)
    hashes, bits = _window_hashes(table, possible, lookback, horizon)
    for fold in (*split.folds, split.final):
        _check_duplicates(table, fold, possible, hashes, bits)


def audit_rows(table: RowTable) -> None:
    """LeakError for an input that is the target under another name: each of its kinds stands for one class and each
    class for one of its kinds, or the value is a multiple of it and a constant, to float32."""
    if table.target is None or table.n_rows < FEW:
        return
    for name, column in zip(table.names, table.values.T, strict=True):
        if not np.isfinite(column).all():
            continue
        if table.classes:
            kinds, codes = np.unique(column, return_inverse=True)
            pairs = len(np.unique(codes * len(table.classes) + table.target.astype(np.int64)))
            same = len(kinds) == pairs == len(table.classes)
        else:
            same = _is_multiple(column.astype(np.float64), table.target.astype(np.float64))
        if same:
            raise LeakError(
                f"column {name!r} tells the target {table.target_name!r} one to one: a copy of it; leave it out by "
                f"data.drop",
                "equals-target",
            )


def _is_multiple(column: NDArray[np.float64], target: NDArray[np.float64]) -> bool:
    spread = column.std()
    if spread == 0:
        return False
    x, y = (column - column.mean()) / spread, (target - target.mean()) / target.std()
    return bool(np.abs(y - np.sign(np.mean(x * y)) * x).max() < 1e-5)


def check_statistics(
    mean: NDArray[np.float64], std: NDArray[np.float64], values: NDArray[np.float32], rows: Rows, *, fold: str = ""
) -> None:
    """Whether `mean` and `std` (F,) are those of `values[rows]`; LeakError "statistics" names the first column if not.

    The standard deviation is that of the population, over finite values, computed in float64; a constant column's is 1,
    a column without any value counts as constant 0. The tolerance, 0.0001 standard deviations, is for float32.
    """
    seen = values[rows].astype(np.float64)
    seen[~np.isfinite(seen)] = np.nan
    known = ~np.isnan(seen)
    count = np.maximum(known.sum(axis=0), 1)
    true_mean = np.where(known, seen, 0.0).sum(axis=0) / count
    true_std = np.sqrt((np.where(known, seen - true_mean, 0.0) ** 2).sum(axis=0) / count)
    true_std = np.where(true_std <= 1e-9 * np.abs(true_mean), 1.0, true_std)
    allowed = 1e-4 * true_std + 1e-6 * np.abs(true_mean)
    for name, given, true in (("mean", np.asarray(mean), true_mean), ("std", np.asarray(std), true_std)):
        wrong = ~(np.abs(given - true) <= allowed)  # so that NaN is wrong
        if wrong.any():
            column = int(wrong.argmax())
            raise LeakError(
                f"{f'fold {fold}: ' if fold else ''}the {name} of column {column} is {given[column]:.7g}, that of "
                f"the {len(rows)} training rows is {true[column]:.7g}; take statistics from the fold's own rows",
                "statistics",
            )


# --- overlap


def _check_overlap(table: Table, split: Split, fold: Fold, possible: Rows, lookback: int, horizon: int) -> None:
    name = "the holdout's fold" if fold is split.final else f"fold {fold.name}"
    for kind, found in (("training", fold.train), ("validation", fold.valid)):
        outside = ~np.isin(found, possible)
        if outside.any():
            row = int(found[outside.argmax()])
            raise _overlap(f"{name}: the {kind} window at row {row} leaves its series, a gap-free stretch or the table")
    if not len(fold.valid):
        return
    begins, ends = fold.train - lookback, fold.train + (horizon - 1)
    in_time = split.scheme in ("walk_forward", "sliding") or fold is split.final
    if split.scheme == "grouped" and fold is not split.final:
        _check_series_apart(table, fold, name)
    # Rows, unless time is what separates the parts: then every series counts at the moments that are validated on.
    place = np.arange(len(table.clock)) if split.scheme == "grouped" and not in_time else table.clock
    taken = _marked(place[fold.valid], place[fold.valid + (horizon - 1)], int(place.max()) + 1)
    if in_time:
        taken[int(table.clock[fold.valid].min()) :] = True
    before = np.concatenate([[0], np.cumsum(taken)])
    if (before[place[ends] + 1] > before[place[begins]]).any():
        later = " or later values" if in_time else ""
        raise _overlap(f"{name}: a training window contains validation targets{later}")
    if taken[place[fold.rows]].any():
        raise _overlap(f"{name}: statistics would be taken from rows that hold validation targets")
    if fold is not split.final and len(split.final.valid):
        start = table.clock[split.final.valid].min()
        last_rows = np.concatenate([ends, fold.valid + (horizon - 1), fold.rows])
        if (table.clock[last_rows] >= start).any():
            raise _overlap(f"{name} uses rows of the holdout")


def _check_series_apart(table: Table, fold: Fold, name: str) -> None:
    validating = np.unique(table.series[fold.valid])
    both = np.intersect1d(validating, table.series[np.concatenate([fold.train, fold.rows])])
    if len(both):
        raise _overlap(f"{name}: series {table.series_names[both[0]]!r} trains and validates")


def _marked(first: Rows, last: Rows, size: int) -> NDArray[np.bool_]:
    """Places 0 .. size - 1 that lie in any of the stretches first .. last."""
    change = np.bincount(first, minlength=size + 1) - np.bincount(last + 1, minlength=size + 1)
    return np.asarray(np.cumsum(change)[:size] > 0)


def _overlap(message: str) -> LeakError:
    return LeakError(f"{message}; make the folds with data.folds.split", "overlap")


# --- columns that give the target away


def _check_columns(table: Table, lookback: int, horizon: int) -> None:
    """Compare the changes from row to row of every input column with those of every target, now and ahead.

    Changes, not values, because a copy in another unit has the same changes but for one factor, which is their median
    ratio. Rows where neither changes tell nothing. A target whose own changes repeat from row to row (a constant, a
    straight line) tells nothing either. Of a column that is known ahead, the last step's value is an input: it may hold
    no target of less than `horizon` rows earlier.
    """
    changes = np.full(table.values.shape, np.nan)
    changes[1:] = np.diff(table.values.astype(np.float64), axis=0)
    changes[table.segments[:, 0]] = np.nan
    segment = np.full(len(changes), -1)
    for number, (start, stop) in enumerate(table.segments):
        segment[start:stop] = number
    for k in range(table.n_targets):
        target = changes[:, k]
        if _same(target, target, 1, segment):
            continue
        for column in range(table.n_targets, len(table.names)):
            nearest = horizon if column in table.future else 1  # lag that is known in time
            shifts = sorted(_likely(changes[:, column], target, np.arange(1 - nearest, horizon + 1), segment), key=abs)
            shift = next((int(s) for s in shifts if _same(changes[:, column], target, int(s), segment)), None)
            if shift is None:
                continue
            name, of = table.names[column], table.names[k]
            if shift == 0:
                raise LeakError(
                    f"column {name!r} equals the target {of!r}, or is it in another unit; leave one of the two out",
                    "equals-target",
                )
            if _is_lag(changes[:, column], target, segment, nearest, max(lookback, horizon) + 1000):
                continue  # of a target that repeats itself: what lies ahead has been seen before
            if shift < 0:
                raise LeakError(
                    f"column {name!r}, said to be known ahead, holds the target {of!r} of {-shift} rows earlier, which "
                    f"is not known {horizon} steps ahead; take it out of data.future, or shift it by "
                    f"{horizon + shift} rows",
                    "known-ahead",
                )
            raise LeakError(
                f"column {name!r} holds the target {of!r} of {shift} rows later, which is not known in time; "
                f"leave the column out or shift it by {shift} rows",
                "future-target",
            )


def _is_lag(
    change: NDArray[np.float64], target: NDArray[np.float64], segment: Rows, nearest: int, longest: int
) -> bool:
    back = -np.arange(nearest, min(longest, len(change) - 1) + 1)
    return any(_same(change, target, int(s), segment) for s in _likely(change, target, back, segment))


def _likely(change: NDArray[np.float64], target: NDArray[np.float64], shifts: Rows, segment: Rows) -> Rows:
    """Those of `shifts` for which a sample of the rows where the column changes does not rule a copy out."""
    telling = np.flatnonzero(np.isfinite(change) & (change != 0))
    if len(telling) < FEW:
        return shifts[:0]
    rows = telling[np.linspace(0, len(telling) - 1, min(SAMPLE, len(telling))).astype(np.int64)]
    index = rows[:, None] + shifts
    inside = (index >= 0) & (index < len(target))
    index = np.where(inside, index, 0)
    other = np.where(inside & (segment[index] == segment[rows, None]), target[index], np.nan)
    agree, known = _agree(np.broadcast_to(change[rows, None], other.shape), other)
    return shifts[(known > 0) & (agree >= 0.9 * known)]


def _same(change: NDArray[np.float64], target: NDArray[np.float64], shift: int, segment: Rows) -> bool:
    """Whether change[t] is target[t + shift] times one factor, for nearly all rows t that tell something."""
    first, last = max(-shift, 0), len(change) - max(shift, 0)
    if first >= last:
        return False
    a, b = change[first:last], target[first + shift : last + shift]
    telling = (segment[first:last] == segment[first + shift : last + shift]) & ((a != 0) | (b != 0))
    agree, known = _agree(a[telling, None], b[telling, None])
    return bool(known[0] >= FEW and agree[0] >= NEARLY_ALL * known[0])


def _agree(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[Rows, Rows]:
    """For each column of a and b (N, S): rows where a is nearly b times the column's factor, and rows with both."""
    known = np.isfinite(a) & np.isfinite(b)
    both = known & (a != 0) & (b != 0)
    some = both.any(axis=0)
    agree = np.zeros(a.shape[1], dtype=np.int64)
    if some.any():
        a, b, both = a[:, some], b[:, some], both[:, some]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            factor = np.nanmedian(np.where(both, a / b, np.nan), axis=0)
            typical = np.nanmedian(np.where(both, np.abs(a), np.nan), axis=0)
            agree[some] = (np.abs(a - factor * b) <= LIKE * typical).sum(axis=0)
    return agree, known.sum(axis=0)


# --- windows that occur twice


def _check_duplicates(
    table: Table, fold: Fold, possible: Rows, hashes: NDArray[np.uint64], bits: NDArray[np.float64]
) -> None:
    """Count validation windows that stand among the training windows, where chance and habit do not explain it.

    Chance: a window of few or common values recurs anyway, so it counts only with more information than it takes to
    single out one training window, and 10 bits to spare (constant windows have none). Habit: a series that repeats
    itself already in its training part, as a timetable does, will do so again.
    """
    train, valid = np.searchsorted(possible, fold.train), np.searchsorted(possible, fold.valid)
    if not len(train) or not len(valid):
        return
    needed = np.log2(len(train)) + 10
    train = train[bits[train] >= needed]
    repeated = int(np.isin(hashes[valid], hashes[train]).sum())
    share = repeated / len(valid)
    if share <= MANY:
        return
    own = _mixed(hashes[train] ^ _mixed(table.series[possible[train]].astype(np.uint64)))
    _, counts = np.unique(own, return_counts=True)
    habit = counts[counts > 1].sum() / len(train)
    if share > 3 * habit:
        where = "the holdout" if fold.name == "holdout" else f"fold {fold.name}"
        raise LeakError(
            f"{where}: {repeated} of {len(valid)} validation windows stand verbatim among its training windows; "
            f"remove rows or series that occur twice",
            "duplicate-windows",
        )


def _window_hashes(
    table: Table, windows: Rows, lookback: int, horizon: int
) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """Of each window at origins `windows` (N,): a 64-bit hash of its target columns, and how much it tells, in bits.

    A window's hash is the sum of its rows' hashes times the powers of one odd number modulo 2^64, taken from running
    sums: the same for the same rows wherever they stand, at a cost that depends on neither lookback nor horizon, so no
    window needs to be left out. A row tells the more bits the rarer its value is; none if it repeats the row before.
    """
    targets = table.values[:, : table.n_targets] + np.float32(0)  # -0.0 becomes 0.0
    targets[np.isnan(targets)] = np.nan  # one NaN for all
    rows = np.zeros(len(targets), dtype=np.uint64)
    for column in targets.view(np.uint32).T:
        rows = _mixed(rows + column)
    _, which, counts = np.unique(rows, return_inverse=True, return_counts=True)
    surprise = np.where(np.diff(rows, prepend=~rows[:1]) != 0, np.log2(len(rows) / counts[which]), 0.0)
    starts, stops = windows - lookback, windows + horizon
    told = np.concatenate([[0.0], np.cumsum(surprise)])
    base = 0x9E3779B97F4A7C15
    size = len(rows) + 1
    powers, inverses = _powers(base, size), _powers(pow(base, -1, 2**64), size)
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(rows * powers[:-1])])
    hashes = (sums[stops] - sums[starts]) * inverses[starts]
    return hashes, told[stops] - told[starts + 1]  # the first row repeats or does not: it is counted in neither case


def _powers(base: int, size: int) -> NDArray[np.uint64]:
    factors = np.full(size, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each number sent to one that looks random (the finishing steps of SplitMix64, Steele et al. 2014)."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
