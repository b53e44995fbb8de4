"""Which column of a frame plays which part, checked before a value is read.

A column has one role of its own: time, series, target, weight, or an input that is known up to now (past). An input
may besides be known ahead of time (future), be constant in each series (static), or be read as words (categorical).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from data.errors import InputError, nearest

__all__ = ["Roles", "check_roles"]

Names = Sequence[str]
Auto = Literal["auto"]


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Columns by name; `columns` are all inputs, the targets first."""

    time: str
    series: str | None
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    future: tuple[str, ...]
    static: tuple[str, ...]
    words: tuple[str, ...]  # to be read as words
    perhaps_words: tuple[str, ...]  # likewise if they hold text
    named: frozenset[str]  # of `columns`, those that may not be left out
    weight: str | None


def check_roles(
    frame: pd.DataFrame,
    *,
    time: str | None,
    series: str | None,
    targets: Names,
    past: Names | Auto,
    future: Names,
    static: Names,
    categorical: Names | Auto,
    weight: str | None,
) -> Roles:
    """The roles, of columns that exist, none in two that exclude each other; InputError for the first that is wrong."""
    names = list(frame.columns)
    if not len(frame):
        raise InputError("the table has no rows")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two columns are named {name!r}; rename one")
    if not targets:
        raise InputError(f"name at least one target column; columns: {_listed(names)}")
    own = [(name, role) for name, role in ((time, "time"), (series, "series"), (weight, "weight")) if name is not None]
    own += [(name, "target") for name in targets]
    inputs = {
        "past": () if past == "auto" else tuple(past),
        "future": tuple(future),
        "static": tuple(static),
        "categorical": () if categorical == "auto" else tuple(categorical),
    }
    for name, role in [*own, *((name, role) for role, each in inputs.items() for name in each)]:
        if name not in names:
            raise InputError(f"no {role} column {name!r}{nearest(name, names)}; columns: {_listed(names)}")
    if time is None:
        time = _only_time(frame, series)
        own.insert(0, (time, "time"))
    roles: dict[str, str] = {}
    for name, role in own:
        if name in roles:
            twice = f"named twice as {role}" if roles[name] == role else f"both {roles[name]} and {role}"
            raise InputError(f"column {name!r} is {twice}; give each role a column of its own")
        roles[name] = role
    _check_inputs(roles, inputs)
    named = dict.fromkeys([*targets, *(name for each in inputs.values() for name in each)])
    columns = tuple(dict.fromkeys([*targets, *names])) if past == "auto" else tuple(named)
    columns = tuple(name for name in columns if roles.get(name, "target") == "target")
    perhaps: tuple[str, ...] = ()
    if categorical == "auto":
        perhaps = tuple(name for name in columns if name not in named or name in inputs["static"])
    return Roles(
        time=time,
        series=series,
        columns=columns,
        targets=tuple(targets),
        future=inputs["future"],
        static=inputs["static"],
        words=inputs["categorical"],
        perhaps_words=perhaps,
        named=frozenset(named),
        weight=weight,
    )


def _check_inputs(roles: dict[str, str], inputs: dict[str, tuple[str, ...]]) -> None:
    """No input is what it cannot be: time, series or weight; nor a target, but for its past."""
    for role, names in inputs.items():
        for name in names:
            taken = roles.get(name)
            if taken in ("time", "series", "weight"):
                raise InputError(f"column {name!r} is the {taken} column and cannot be a {role} input too")
            if taken == "target" and role != "past":
                why = {
                    "future": "what is forecast is not known ahead",
                    "static": "a constant needs no forecast",
                    "categorical": "a target is a number",
                }[role]
                raise InputError(f"column {name!r} is a target and cannot be {role}: {why}; take it out of data.{role}")
    for role, why in (
        ("static", "a constant is known ahead anyway"),
        ("categorical", "what is known ahead is a number"),
    ):
        both = [name for name in inputs["future"] if name in inputs[role]]
        if both:
            raise InputError(f"column {both[0]!r} is both future and {role}: {why}; take it out of one of the two")


def _listed(names: Names) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _only_time(frame: pd.DataFrame, series: str | None) -> str:
    found = [name for name in frame.columns if pd.api.types.is_datetime64_any_dtype(frame[name].dtype)]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise InputError(f"name the time column with --time: {_listed(found)} all hold dates or times")
    others = [name for name in frame.columns if name != series]
    raise InputError(f"name the time column with --time: no column holds dates or times; columns: {_listed(others)}")
