"""Folds of a table of rows: plain, stratified by class, or by whole groups."""

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
