"""Value columns: numbers, booleans and numbers stored as text, checked and narrowed to float32; and words, as codes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.arrow import EXACT
from data.errors import InputError
from data.words import BLANKS, MISSING, as_words, codes_of

COARSEST = 1e-3  # the largest rounding error of float32 allowed, in standard deviations of the column
MOST_WORDS = 100  # of a text column that nobody has named as categorical
MOST_NAMED = 1000  # of one that somebody has


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What was read: numbers first, then the columns of words as their codes."""

    names: tuple[str, ...]
    values: NDArray[np.float32]  # (T, F)
    categories: dict[str, tuple[str, ...]]  # the last columns: name -> words
    notices: list[str]


@dataclass(frozen=True, kw_only=True)
class _Column:
    values: NDArray[np.float32]  # (T,)
    missing: int
    words: tuple[str, ...] = ()


def read_columns(
    frame: pd.DataFrame,
    columns: Sequence[str],
    n_targets: int,
    *,
    named: Collection[str],
    words: Collection[str] = (),
    perhaps_words: Collection[str] = (),
    most_words: int | None = None,
) -> Columns:
    """Read `columns`, targets first. Those that are not `named` may be left out when they are of no use.

    `words` are read as words whatever they hold, `perhaps_words` where they hold text. No column may have more than
    `most_words`; None: 100, or 1,000 where it is named.
    """
    found: dict[str, _Column] = {}
    left, blank, texts = [], [], []
    for place, name in enumerate(columns):
        column, is_target, may_leave = frame[name], place < n_targets, name not in named
        numbers = None
        if name not in words:
            numbers = _numbers(column, name, may_leave=may_leave, may_be_words=name in perhaps_words)
        if numbers is not None:
            read = _read_numbers(numbers, name, is_target=is_target, may_leave=may_leave)
        elif pd.api.types.is_datetime64_any_dtype(column.dtype):
            if not may_leave:
                raise InputError(f"categorical column {name!r} holds times; name another column")
            read = "times"
        else:
            most = (MOST_WORDS if may_leave else MOST_NAMED) if most_words is None else most_words
            may_be = name in (*words, *perhaps_words)
            read = _read_words(column, name, may_leave=may_leave, most=most) if may_be else "text"
        if isinstance(read, str):
            left.append(f"{name!r} ({read})")
            continue
        found[name] = read
        if read.missing:
            blank.append(f"{name!r} {read.missing}")
        if not read.words and not pd.api.types.is_numeric_dtype(column.dtype):
            texts.append(repr(name))
    names = sorted(found, key=lambda name: bool(found[name].words))  # the order is kept otherwise
    categories = {name: found[name].words for name in names if found[name].words}
    counted = [f"{name!r} ({len(each)} words)" for name, each in categories.items()]
    odd = [f"{name!r} {word!r}" for name, each in categories.items() for word in each if word in BLANKS]
    notices = [
        f"{what}: {', '.join(which)}."
        for what, which in (
            ("Columns left out", left),
            ("Missing values", blank),
            ("Text read as numbers", texts),
            ("Categorical columns", counted),
            ("Words, though pandas.read_csv reads a missing value unless keep_default_na=False", odd),
        )
        if which
    ]
    values = np.zeros((len(frame), len(names)), np.float32)
    for place, name in enumerate(names):
        values[:, place] = found[name].values
    return Columns(names=tuple(names), values=values, categories=categories, notices=notices)


def _read_numbers(numbers: NDArray[np.float64], name: str, *, is_target: bool, may_leave: bool) -> _Column | str:
    """A column of numbers, or why it is left out."""
    missing = int(np.isnan(numbers).sum())
    if missing == len(numbers):
        if not may_leave:
            raise InputError(f"{'target' if is_target else 'past'} column {name!r} has no value at all; name another")
        return "no value"
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    if low == high and is_target:
        raise InputError(f"target column {name!r} is constant: every value is {low:g}; there is nothing to predict")
    if low == high and may_leave:
        return f"constant {low:g}"
    return _Column(values=_to_float32(numbers, name), missing=missing)


def _read_words(column: pd.Series[Any], name: str, *, may_leave: bool, most: int) -> _Column | str:
    """A column of words as their codes, or why it is left out."""
    said = as_words(column)
    known = said[said != MISSING]
    words = tuple(sorted(set(known)))
    if may_leave:
        if len(words) == len(known):
            return "text, no two alike" if words else "no value"
        if len(words) == 1:
            return f"constant {words[0][:40]!r}"
        if len(words) > most:
            return f"text, {len(words)} words"
    if not words:
        raise InputError(f"categorical column {name!r} has no value at all; name another")
    if len(words) > most:
        raise InputError(
            f"categorical column {name!r} has {len(words)} words, at most {most} are taken; write one word for "
            f"all rare ones, or leave the column out"
        )
    return _Column(values=codes_of(said, words), missing=len(said) - len(known), words=words)


def read_weight(column: pd.Series[Any], name: str) -> NDArray[np.float32]:
    """The weight of each row (T,): known, 0 or more, and not 0 for all."""
    numbers = _numbers(column, name, may_leave=False, may_be_words=False)
    assert numbers is not None  # it may not be left out
    for wrong, fault in ((np.isnan(numbers), "is missing; fill it"), (numbers < 0, "is below 0; a weight is not")):
        if wrong.any():
            row = int(wrong.argmax())
            raise InputError(f"weight column {name!r}: {numbers[row]:g} in data row {row + 1} {fault}")
    if not numbers.any():
        raise InputError(f"weight column {name!r}: every weight is 0; name another column")
    return _to_float32(numbers, name)


def _numbers(column: pd.Series[Any], name: str, *, may_leave: bool, may_be_words: bool) -> NDArray[np.float64] | None:
    """Return the column as float64, or None when it holds no numbers and may be left out, or be taken as words."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        if may_leave:
            return None
        raise InputError(f"column {name!r} holds times, not numbers; name another column")
    if not pd.api.types.is_numeric_dtype(column.dtype):
        numbers = _numbers_in_text(column, name, may_be_none=may_leave or may_be_words)
    else:
        if column.dtype.kind in "iu":
            wrong = np.flatnonzero((column > EXACT) | (column < -EXACT))
            if len(wrong):
                raise InputError(
                    f"column {name!r}: integer {column.iloc[wrong[0]]} in data row {wrong[0] + 1} would lose digits "
                    f"(it is beyond 2^53); subtract a constant, or leave the column out of the inputs"
                )
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if numbers is not None:
        wrong = np.flatnonzero(np.abs(numbers) > float(np.finfo(np.float32).max))
        if len(wrong):
            worst = numbers[wrong[0]]
            fault = "is infinite; leave it empty" if np.isinf(worst) else "is too large for a float32; rescale it"
            raise InputError(f"column {name!r}: {worst:g} in data row {wrong[0] + 1} {fault}")
    return numbers


def _numbers_in_text(column: pd.Series[Any], name: str, *, may_be_none: bool) -> NDArray[np.float64] | None:
    """Read a column of texts. When most are numbers, one that is not is a fault, and not a reason to leave it out."""
    column = column.astype(object)
    blank = (column.isna() | column.isin(BLANKS)).to_numpy()
    numbers = pd.to_numeric(column.where(~blank), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(np.isnan(numbers) & ~blank)
    if not len(wrong):
        return np.asarray(numbers)
    if may_be_none and 2 * len(wrong) >= np.count_nonzero(~blank):
        return None
    raise InputError(
        f"column {name!r} must hold numbers: {column.iloc[wrong[0]]!r} in data row {wrong[0] + 1} is none; correct it "
        f"or leave it empty"
    )


def _to_float32(numbers: NDArray[np.float64], name: str) -> NDArray[np.float32]:
    """Networks compute in float32, whose steps are coarse far from zero: 16 in a value of 2e8, for one."""
    rounded = numbers.astype(np.float32)
    error, spread = float(np.nanmax(np.abs(rounded - numbers))), float(np.nanstd(numbers))
    if spread and error > COARSEST * spread:
        raise InputError(
            f"column {name!r}: float32 would round its values, near {np.nanmean(numbers):g}, by up to {error:g}, too "
            f"much for a standard deviation of {spread:g}; subtract a constant first"
        )
    return rounded
