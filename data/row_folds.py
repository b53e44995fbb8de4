"""Folds of a table of rows: at random, stratified by class, by whole groups, or in the order of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data.errors import InputError

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class RowFold:
    """One fold of a table of rows: int64 row numbers, ascending."""

    name: str
    train: Rows
    valid: Rows


def kfold(n_rows: int, n_folds: int, *, seed: int) -> tuple[RowFold, ...]:
    """Rows 0 .. n_rows - 1 dealt at random to folds of equal size, give or take one row."""
    _check_rows(n_rows, n_folds, "rows")
    order = np.random.default_rng(seed).permutation(n_rows)
    return _row_folds(_dealt_in(order, n_folds), n_folds)


def stratified(labels: ArrayLike, n_folds: int, *, seed: int) -> tuple[RowFold, ...]:
    """Rows dealt at random so that each class of `labels` (n_rows,) is spread over the folds, give or take one row.

    Raises InputError when a label is missing, or a class has fewer rows than there are folds.
    """
    codes, names = _codes(labels, "label")
    _check_rows(len(codes), n_folds, "rows")
    counts = np.bincount(codes, minlength=len(names))
    if counts.min() < n_folds:
        rare = int(counts.argmin())
        raise InputError(
            f"class {names[rare]!r} has {counts[rare]} rows, {n_folds} stratified folds need at least {n_folds}; "
            f"use fewer folds, or merge or leave out that class"
        )
    shuffled = np.random.default_rng(seed).permutation(len(codes))
    return _row_folds(_dealt_in(shuffled[np.argsort(codes[shuffled], kind="stable")], n_folds), n_folds)


def grouped_rows(groups: ArrayLike, n_folds: int) -> tuple[RowFold, ...]:
    """Whole groups of `groups` (n_rows,) dealt to folds, balanced by rows; nothing random.

    Raises InputError when a group is missing, or there are fewer groups than folds.
    """
    codes, names = _codes(groups, "group")
    _check_rows(len(names), n_folds, "groups")
    return _row_folds(deal(np.bincount(codes, minlength=len(names)), n_folds)[codes], n_folds)


def in_order(clock: ArrayLike, n_folds: int) -> tuple[RowFold, ...]:
    """Fold i trains on the first i of n_folds + 1 blocks of time and validates on the next; `clock` (n_rows,) seconds.

    Blocks hold as many rows each, but for rows of one time, which stay together. InputError where there are too few
    times.
    """
    times = np.asarray(clock)
    distinct, counts = np.unique(times, return_counts=True)
    if len(distinct) <= n_folds:
        raise InputError(f"{n_folds} folds in the order of time need more than {n_folds} times, got {len(distinct)}")
    before = np.cumsum(counts) - counts  # rows before each time
    block_of_time = np.minimum(before * (n_folds + 1) // len(times), n_folds)
    if len(np.unique(block_of_time)) <= n_folds:  # many rows share a time: as many times each
        block_of_time = np.arange(len(distinct)) * (n_folds + 1) // len(distinct)
    block = block_of_time[np.searchsorted(distinct, times)]
    return tuple(
        RowFold(name=str(i), train=np.flatnonzero(block < i), valid=np.flatnonzero(block == i))
        for i in range(1, n_folds + 1)
    )


def split_rows(
    n_rows: int,
    *,
    scheme: str,
    n_folds: int,
    holdout: float,
    seed: int,
    labels: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    clock: ArrayLike | None = None,
) -> tuple[tuple[RowFold, ...], RowFold]:
    """The folds, and the fold "holdout" whose validation rows are in none of them.

    `scheme` is random, stratified (by `labels`), grouped (whole `groups`) or walk_forward (by `clock`). The holdout is
    drawn in the same way: at random, of each class its share, whole groups, or the last rows.
    """
    if scheme == "grouped" and (found := len(np.unique(np.asarray(groups)))) <= n_folds:
        raise InputError(
            f"{n_folds} folds and a holdout need at least {n_folds + 1} groups, got {found}; use fewer folds"
        )
    held = _held(n_rows, scheme, holdout, seed, labels, groups, clock)
    rest, last = np.flatnonzero(~held), np.flatnonzero(held)
    if not len(rest) or not len(last):
        raise InputError(f"validation.holdout={holdout:g} of {n_rows} rows leaves none on one side; choose another")
    match scheme:
        case "random":
            inner = kfold(len(rest), n_folds, seed=seed)
        case "stratified":
            inner = stratified(np.asarray(labels)[rest], n_folds, seed=seed)
        case "grouped":
            inner = grouped_rows(np.asarray(groups)[rest], n_folds)
        case "walk_forward":
            inner = in_order(np.asarray(clock)[rest], n_folds)
        case _:
            raise ValueError(f"no scheme {scheme!r} of rows")
    folds = tuple(RowFold(name=fold.name, train=rest[fold.train], valid=rest[fold.valid]) for fold in inner)
    return folds, RowFold(name="holdout", train=rest, valid=last)


def _held(
    n_rows: int,
    scheme: str,
    share: float,
    seed: int,
    labels: ArrayLike | None,
    groups: ArrayLike | None,
    clock: ArrayLike | None,
) -> NDArray[np.bool_]:
    """(n_rows,) whether a row is held out."""
    rng = np.random.default_rng([seed, 1])  # other draws than the folds'
    if scheme == "walk_forward":
        times = np.sort(np.asarray(clock))
        return np.asarray(np.asarray(clock) >= times[max(0, min(n_rows - 1, round(n_rows * (1 - share))))])
    if scheme == "grouped":
        codes, names = _codes(np.asarray(groups), "group")
        order = rng.permutation(len(names))
        sizes, wanted = np.bincount(codes, minlength=len(names)), share * n_rows
        taken: list[int] = []
        total = 0
        for group in order:  # those that bring the sum nearer to the share
            if total + sizes[group] / 2 <= wanted:
                taken.append(group)
                total += sizes[group]
        return np.isin(codes, taken)
    held = np.zeros(n_rows, bool)
    codes = np.zeros(n_rows, np.int64) if scheme == "random" else _codes(np.asarray(labels), "label")[0]
    for code in np.unique(codes):
        rows = rng.permutation(np.flatnonzero(codes == code))
        held[rows[: round(len(rows) * share)]] = True
    return held


def _check_rows(found: int, n_folds: int, what: str) -> None:
    if n_folds < 2:
        raise InputError(f"at least 2 folds are needed to train on one part and validate on another, got {n_folds}")
    if found < n_folds:
        raise InputError(f"{n_folds} folds need at least {n_folds} {what}, got {found}; use fewer folds")


def _codes(values: ArrayLike, what: str) -> tuple[NDArray[np.int64], list[Any]]:
    codes, names = pd.factorize(np.asarray(values))
    if (codes < 0).any():
        raise InputError(f"row {int((codes < 0).argmax())} has no {what}; fill it in or leave the row out")
    return codes.astype(np.int64), list(names.tolist())


def _dealt_in(order: NDArray[np.int64], n_folds: int) -> NDArray[np.int64]:
    """The fold of each row when rows are dealt one by one, like cards, in `order`."""
    fold = np.empty(len(order), dtype=np.int64)
    fold[order] = np.arange(len(order)) % n_folds
    return fold


def _row_folds(fold: NDArray[np.int64], n_folds: int) -> tuple[RowFold, ...]:
    return tuple(
        RowFold(name=str(i + 1), train=np.flatnonzero(fold != i), valid=np.flatnonzero(fold == i))
        for i in range(n_folds)
    )


def deal(sizes: NDArray[np.int64], n_folds: int) -> NDArray[np.int64]:
    """The fold of each group: the largest first, each to the fold that has least so far; no draw is involved."""
    fold = np.zeros(len(sizes), dtype=np.int64)
    load = np.zeros(n_folds, dtype=np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        fold[group] = load.argmin()
        load[fold[group]] += sizes[group]
    return fold
