"""The checked table of rows: what a frame of columns becomes before it is split or trained on, where no time orders it.

Rows in messages are data rows of the frame as it came: the first row after the header is 1.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.columns import read_columns, read_weight
from data.errors import InputError, nearest
from data.times import MISSING_TIME, holds_times, read_known_times, read_times
from data.words import BLANKS, MISSING, as_words, codes_of

__all__ = ["RowTable", "Task", "check_rows"]

Task = Literal["classification", "regression", "clustering"]
FEW = 10  # whole numbers of at most so many kinds are classes, unless the task is said
MOST_CLASSES = 1000
_ID_SHARE, _FEWEST_IDS = 0.95, 30  # of values that differ, in a column of so many rows
_ANY_NUMBER = 1 << 30  # of words: rare ones are put together by each fold's own statistics


@dataclass(frozen=True, kw_only=True, eq=False)
class RowTable:
    """N rows: inputs of three kinds, and what is to be predicted of them."""

    values: NDArray[np.float32]  # (N, F), columns as `names`: numbers, NaN = missing, then codes of words, 0 = missing
    names: tuple[str, ...]
    times: NDArray[np.int64]  # (N, C), columns as `time_names`: seconds since 1970 UTC, MISSING_TIME = missing
    time_names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]  # the last of `names`: name -> the words of codes 1, 2, ... in order
    task: Task
    target: NDArray[np.float32] | None  # (N,) the value, or the code into `classes`; None where nothing is predicted
    target_name: str | None
    classes: tuple[str, ...] = ()  # of a classification, by name; of two the last is the positive one
    weight: NDArray[np.float32] | None = None  # (N,) how much each row counts, 0 or more
    group: NDArray[np.int64] | None = None  # (N,) rows of one group stay together
    clock: NDArray[np.int64] | None = None  # (N,) seconds since 1970 of the column that orders the rows
    notices: tuple[str, ...] = ()
    fingerprint: str = ""
    places: NDArray[np.int64]  # (N,) of the rows in the file, from 0
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # of a clustering: known words it is held against

    @property
    def n_rows(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.int64]) -> RowTable:
        """These rows alone, in this order."""

        def some(array: NDArray[Any] | None) -> Any:
            return None if array is None else array[rows]

        return replace(
            self,
            values=self.values[rows],
            times=self.times[rows],
            target=some(self.target),
            weight=some(self.weight),
            group=some(self.group),
            clock=some(self.clock),
            places=self.places[rows],
            labels={name: words[rows] for name, words in self.labels.items()},
        )

    @property
    def n_numbers(self) -> int:
        """How many of `names`, the first ones, hold numbers; the others hold codes of words."""
        return len(self.names) - len(self.categories)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every input, as the graph takes them: numbers, words, times."""
        return (*self.names, *self.time_names)


def check_rows(
    frame: pd.DataFrame,
    *,
    target: str | None,
    task: Task | Literal["auto"] = "auto",
    inputs: Sequence[str] | Literal["auto"] = "auto",
    drop: Sequence[str] = (),
    categorical: Sequence[str] | Literal["auto"] = "auto",
    weight: str | None = None,
    group: str | None = None,
    time: str | None = None,
    labels: Sequence[str] = (),
) -> RowTable:
    """Give the columns of `frame` their roles, check them, and return the table; InputError for the first fault.

    `target` None is a clustering. `task` "auto" is a classification where the target is text, boolean, has two values,
    or whole numbers of at most `FEW` kinds, else a regression. `inputs` "auto" takes every column without another role
    that is not constant and no id (a text in which no two rows are alike); dates and times become inputs of their own
    kind. `drop` names columns that are of no use, `categorical` those that are read as words whatever they hold, as
    texts are without being named.

    `group` names the column whose equal values keep rows together, `time` the one that orders the rows: it is no input,
    because what is predicted lies beyond all times that were seen. `labels` are known groups that a clustering is held
    against. Rows without a target are left out, and notices say how many, and which inputs look like ids all the same.

    Refused besides: unknown columns, a column in two roles, infinite values, integers beyond 2^53, values whose
    rounding to float32 exceeds a thousandth of the column's standard deviation, weights below 0, a constant
    target, one of more than `MOST_CLASSES`, or of more than half as many as there are rows.
    """
    frame = frame.set_axis([str(name) for name in frame.columns], axis="columns")
    named = () if inputs == "auto" else tuple(inputs)
    as_words_named = () if categorical == "auto" else tuple(categorical)
    _check_roles(frame, target, named, drop, as_words_named, {"weight": weight, "group": group, "time": time}, labels)
    known, left_out = _with_target(frame, target)
    rows = np.flatnonzero(known)  # read as a whole all the same: messages count the rows of the frame
    kind, guessed = _task(frame[known], target, task)
    taken = {target, weight, group, time, *drop, *labels}
    wanted = list(named) or [name for name in frame.columns if name not in taken]
    time_names = [name for name in wanted if name not in as_words_named and holds_times(frame[name])]
    rest = [name for name in dict.fromkeys([*wanted, *as_words_named]) if name not in time_names]
    read = read_columns(
        frame,
        rest,
        0,
        named={*named, *as_words_named},
        words=as_words_named,
        perhaps_words=rest,
        most_words=_ANY_NUMBER,
    )
    if not read.names and not time_names:
        raise InputError(f"no column is left to predict {target!r} from; name some by data.past")
    times = [read_known_times(frame[name], name)[rows] for name in time_names]
    classes, answers = _target(frame, target, kind, rows)

    def own(name: str) -> pd.Series[Any]:
        """A column whose value in a row that is left out does not matter."""
        return frame[name].where(known, frame[name][known].iloc[0])

    n = len(rows)
    table = RowTable(
        values=read.values[rows],
        names=read.names,
        times=np.stack(times, axis=1) if times else np.zeros((n, 0), np.int64),
        time_names=tuple(time_names),
        categories=read.categories,
        task=kind,
        target=answers,
        target_name=target,
        classes=classes,
        weight=None if weight is None else read_weight(own(weight), weight)[rows],
        group=None if group is None else _codes(own(group), group)[rows],
        clock=None if time is None else read_times(own(time), time)[0][rows],
        places=rows.astype(np.int64),
        notices=(
            f"{n} rows.",
            *left_out,
            *guessed,
            *read.notices,
            *_said_of_times(dict(zip(time_names, times, strict=True))),
            *_said_of_ids(frame[known], [name for name in read.names if name not in as_words_named]),
        ),
        labels={name: as_words(frame[name])[rows] for name in labels},
    )
    return replace(table, fingerprint=_fingerprint(table))


def _with_target(frame: pd.DataFrame, target: str | None) -> tuple[NDArray[np.bool_], list[str]]:
    """(rows of the frame,): which have a value of the target, and a sentence where some have none."""
    if target is None:
        return np.ones(len(frame), bool), []
    known = (frame[target].notna() & ~frame[target].isin(BLANKS)).to_numpy()
    if not known.any():
        raise InputError(f"target column {target!r} has no value at all; name another")
    n_lacking = int(len(known) - known.sum())
    return known, [f"{n_lacking} rows without a value of {target!r} were left out."] if n_lacking else []


def with_positive(table: RowTable, name: str) -> RowTable:
    """The table with `name` as the positive one of its two classes; InputError where there are not two, or not it."""
    if len(table.classes) != 2:
        raise InputError(
            f"data.positive={name!r} chooses between two classes, and target {table.target_name!r} has "
            f"{len(table.classes) or 'amounts, no classes'}; leave it out"
        )
    if name not in table.classes:
        raise InputError(f"data.positive={name!r} is no class of {table.target_name!r}: {', '.join(table.classes)}")
    if table.classes[1] == name:
        return table
    assert table.target is not None
    turned = replace(table, classes=table.classes[::-1], target=1 - table.target)
    return replace(turned, fingerprint=_fingerprint(turned))


def _check_roles(
    frame: pd.DataFrame,
    target: str | None,
    inputs: Sequence[str],
    drop: Sequence[str],
    categorical: Sequence[str],
    own: Mapping[str, str | None],
    labels: Sequence[str],
) -> None:
    """Every name is a column, and none has two roles that exclude each other."""
    names = list(frame.columns)
    if not len(frame):
        raise InputError("the table has no rows")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"two columns are named {twice[0]!r}; rename one")
    roles = [(target, "target"), *((name, role) for role, name in own.items())]
    roles += [(name, "dropped") for name in drop] + [(name, "label") for name in labels]
    taken: dict[str, str] = {}
    for name, role in [*roles, *((n, "input") for n in inputs), *((n, "categorical") for n in categorical)]:
        if name is None:
            continue
        if name not in names:
            raise InputError(f"no {role} column {name!r}{nearest(name, names)}; columns: {', '.join(names[:20])}")
        if name in taken and not (role == "categorical" and taken[name] == "input"):
            also = f"named twice as {role}" if taken[name] == role else f"both {taken[name]} and {role}"
            raise InputError(f"column {name!r} is {also}; give each role a column of its own")
        taken.setdefault(name, role)


def _task(frame: pd.DataFrame, target: str | None, task: str) -> tuple[Task, list[str]]:
    """The task, and a sentence where it was guessed of numbers."""
    if target is None:
        if task in ("classification", "regression"):
            raise InputError(f"no target given for a {task}; name the column to predict, e.g. --target churned")
        return "clustering", []
    if task == "clustering":
        raise InputError(f"a clustering has no target, got {target!r}; leave it out, or name it in data.labels")
    column = frame[target]
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        raise InputError(f"target column {target!r} holds times, which are not predicted; name another")
    if task != "auto":
        return ("classification" if task == "classification" else "regression"), []
    if pd.api.types.is_bool_dtype(column.dtype):
        return "classification", []
    numbers = pd.to_numeric(column, errors="coerce")
    if bool(numbers.isna().any()):
        return "classification", []
    kinds = np.unique(numbers.to_numpy(np.float64))
    if len(kinds) == 2 or (len(kinds) <= FEW and bool((kinds == np.floor(kinds)).all())):
        return "classification", [
            f"{target!r} has {len(kinds)} different numbers, which were taken for classes; data.task: regression "
            f"takes them for amounts."
        ]
    return "regression", []


def _target(
    frame: pd.DataFrame, target: str | None, task: Task, rows: NDArray[np.int64]
) -> tuple[tuple[str, ...], NDArray[np.float32] | None]:
    """Class names, and the class or value of each of `rows`."""
    if target is None:
        return (), None
    if task == "regression":
        return (), read_columns(frame, [target], 1, named={target}).values[rows, 0]
    said = _class_names(frame[target].iloc[rows])
    classes = tuple(sorted(set(said) - {MISSING}, key=_numbers_first))
    if len(classes) < 2:
        raise InputError(f"target column {target!r} is constant: every row is {classes[0]!r}; nothing can be learnt")
    if len(classes) > MOST_CLASSES:
        raise InputError(
            f"target column {target!r} has {len(classes)} classes, at most {MOST_CLASSES} are learnt; give "
            f"data.task: regression where they are amounts"
        )
    if len(classes) > max(FEW, len(said) / 2):
        raise InputError(
            f"target column {target!r} has {len(classes)} classes in {len(said)} rows, too few of each to learn from; "
            f"give data.task: regression where they are amounts"
        )
    return classes, codes_of(said, classes) - 1


def _class_names(column: pd.Series[Any]) -> NDArray[Any]:
    """Each row's class: numbers are the same however they are written, 1 and 1.0; all else goes by its words."""
    numbers = pd.to_numeric(column, errors="coerce")
    if pd.api.types.is_bool_dtype(column.dtype) or bool(numbers.isna().any()):
        return as_words(column)
    if np.isinf(numbers.to_numpy(np.float64)).any():
        raise InputError(f"target column {column.name!r} holds infinite values, which are no class; correct them")
    return np.array([np.format_float_positional(number, trim="-") for number in numbers.to_numpy()], object)


def _numbers_first(word: str) -> tuple[bool, float, str]:
    """Classes that are numbers in the order of numbers: 2 before 10."""
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    return (False, number, word) if math.isfinite(number) else (True, 0.0, word)


def _codes(column: pd.Series[Any], name: str) -> NDArray[np.int64]:
    codes, _ = pd.factorize(column)
    if (codes < 0).any():
        raise InputError(f"group column {name!r}: data row {int((codes < 0).argmax()) + 1} has none; fill it in")
    return codes.astype(np.int64)


def _said_of_times(times: Mapping[str, NDArray[np.int64]]) -> list[str]:
    missing = {name: int((seconds == MISSING_TIME).sum()) for name, seconds in times.items()}
    each = [f"{name!r} ({n} missing)" if n else repr(name) for name, n in missing.items()]
    return [f"Dates and times: {', '.join(each)}."] if each else []


def _said_of_ids(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """What looks like an id, and is an input all the same: whole numbers of which no two are alike, and words nearly
    all of which stand in one row alone."""
    found = []
    for name in names:
        column = frame[name].dropna()
        numbers = pd.to_numeric(column, errors="coerce")
        if bool(numbers.isna().any()):
            alike = column.nunique() < _ID_SHARE * len(column)
        else:
            alike = column.nunique() < len(column) or bool((numbers % 1 != 0).any())
        if not alike and len(column) >= _FEWEST_IDS:
            found.append(repr(name))
    said = "has a value of its own in (nearly) every row, as an id has: leave it out by data.drop if it is one"
    return [f"{', '.join(found)} {said}."] if found else []


def _fingerprint(table: RowTable) -> str:
    """sha256, hex, over every column, its role and its values."""
    roles = (table.names, table.time_names, dict(table.categories), table.task, table.target_name, table.classes)
    digest = hashlib.sha256(repr((roles, table.values.shape, sorted(table.labels))).encode())
    clean = np.where(np.isnan(table.values), np.float32(np.nan), table.values)  # one kind of NaN
    arrays: list[NDArray[Any] | None] = [clean, table.times, table.target, table.weight, table.group, table.clock]
    for array in arrays:
        digest.update(b"none" if array is None else np.ascontiguousarray(array).data)
    for words in table.labels.values():
        digest.update("\0".join(words).encode())
    return digest.hexdigest()
