"""The search space of each family, as pure data: one file a family, named like its file in `models/`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

_FEWEST = {"model.clusters": 2}  # below which a number means nothing; of other counts 0 or 1
KEEP = "input.keep"  # how many of the inputs that `features.select` ranks a network sees

FAMILIES: tuple[str, ...] = tuple(
    sorted(file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """What a study searches. Names are "group.name", groups "input", "model" and "fit"; bounds are inclusive."""

    family: str
    file: str  # where it is written, from the root of the checkout
    ranges: Mapping[str, BaseDistribution]
    starts: Mapping[str, Mapping[str, Any]]  # the first trials, "default" before all; a value for every range

    @property
    def default(self) -> Mapping[str, Any]:
        return self.starts["default"]


def load(family: str, folder: str = "search_spaces") -> Space:
    """The space of a family: its file's SPACE and DEFAULT, flattened; STARTS, where it has any, say how they differ."""
    module = importlib.import_module(f"{folder.replace('/', '.')}.{family}")
    default = flatten(module.DEFAULT)
    named = {name: {**default, **flatten(own)} for name, own in getattr(module, "STARTS", {}).items()}
    starts = {"default": default, **named}
    return Space(family=family, file=f"{folder}/{family}.py", ranges=flatten(module.SPACE), starts=starts)


def with_keep(space: Space, n_ranked: int) -> Space:
    """The space, and how many of so many ranked inputs are kept: all of them in the first trials."""
    starts = {name: {**start, KEEP: n_ranked} for name, start in space.starts.items()}
    return replace(space, ranges={**space.ranges, KEEP: IntDistribution(1, n_ranked)}, starts=starts)


def flatten(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """{"fit": {"lr": x}} -> {"fit.lr": x}"""
    return {f"{group}.{name}": value for group, names in groups.items() for name, value in names.items()}


def unflatten(params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{"fit.lr": x} -> {"fit": {"lr": x}}; every group that a trial needs is there, if empty."""
    groups: dict[str, dict[str, Any]] = {"window": {}, "input": {}, "model": {}, "fit": {}}
    for key, value in params.items():
        group, name = key.split(".", 1)
        groups[group][name] = value
    return groups


def at_edge(params: Mapping[str, Any], ranges: Mapping[str, BaseDistribution]) -> list[str]:
    """Names of the numbers whose value lies on a bound of its range: widen these and search again.

    What cannot be widened does not count: 0 below, of a count also 1, of clusters 2; 1 above, of a share (no
    logarithmic range).
    """
    return [
        name
        for name, d in ranges.items()
        if isinstance(d, IntDistribution | FloatDistribution)
        and d.low < d.high
        and params[name] in (d.low, d.high)
        and not (
            params[name] == d.low and 0 <= d.low <= (_FEWEST.get(name, 1) if isinstance(d, IntDistribution) else 0)
        )
        and not (params[name] == d.high == 1.0 and isinstance(d, FloatDistribution) and not d.log)
        and name != KEEP  # there are no more inputs than all
    ]
