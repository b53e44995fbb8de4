"""Parameters of a trial that a configuration decides: fixed ones, the heads' weights; and what a value may be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import InputError, nearest
from models.crossval import family as family_module
from models.crossval import parameters, reads_targets_alone
from models.metrics import METRICS
from models.preprocess import NORMALISATIONS
from models.training import Config as FitConfig
from ray_jobs.settings import Config
from search_spaces import KEEP, Space, load, unflatten

_OF_HEADS = {f"fit.{name}_weight": f"heads.{name}" for name in ("value", "direction", "quantiles")}
_OF_HEADS["fit.step_weights"] = "heads.steps"


def check_fixed(config: Config, families: Sequence[str]) -> None:
    """InputError for a fixed parameter that no family has, or whose value lies outside of what a family searches.

    A number that is searched may have a value of its range, anything else any value that the family takes.
    """
    spaces = [load(family) for family in families]
    known = sorted({name for space in spaces for name in parameters(space.family)})
    for name, value in config.search.fixed.items():
        if name == KEEP and config.features.select != "none":
            continue  # held against the number of inputs once they are known
        if name in _OF_HEADS:
            raise InputError(f"search.fixed: {name} is decided by {_OF_HEADS[name]}; set that")
        if name not in known or name == "fit.max_epochs":
            raise InputError(
                f"search.fixed: no parameter {name!r}{nearest(name, known)} of {', '.join(families)}; "
                f"known: {', '.join(known)}"
            )
        for space in spaces:
            if name in space.ranges:
                _check_in_range(space, name, value, max(config.window.lookbacks))
            elif name in parameters(space.family):
                try:
                    _try(space, name, value, max(config.window.lookbacks))
                except ValueError as error:
                    raise InputError(f"search.fixed: {name} of {space.family}: {error}") from None
    for space in spaces if config.search.fixed else []:
        _check_together(space, config.search.fixed, config.window.lookbacks)


def judged_by_another(config: Config, metric: str) -> list[str]:
    """A sentence for each head whose weight is searched while the trials are ranked by another head's metric."""
    head = METRICS[metric].head
    return [
        f"the weight of heads.{name} is searched, and search.metric={metric} judges the {head} head alone: what is "
        f"best for the {name} head is not asked"
        for name in ("value", "direction", "quantiles")
        if isinstance(getattr(config.heads, name), list) and name != head
    ]


def _check_together(space: Space, fixed: Mapping[str, Any], lookbacks: Sequence[int]) -> None:
    """InputError where what is fixed does not go with what is searched: each choice, each end of a range of numbers."""
    module = family_module(space.family)
    own = {name: value for name, value in fixed.items() if name in parameters(space.family)}
    searched = {n: d for n, d in space.ranges.items() if n.startswith("model.") and n not in own}
    for values in itertools.product(*map(_ends, searched.values())):
        drawn = dict(zip(searched, values, strict=True))
        model = unflatten({**space.default, **own, **drawn})["model"]
        for lookback in {min(lookbacks), max(lookbacks)}:
            try:
                module.Config(channels=1, n_steps=1, n_targets=1, lookback=lookback, **model)
            except ValueError as error:
                at = ", ".join(f"{name}: {value!r}" for name, value in drawn.items())
                raise InputError(
                    f"search.fixed does not go with what is searched of {space.family} ({at}): {error}; fix that, too"
                ) from None


def _ends(d: BaseDistribution) -> Sequence[Any]:
    match d:
        case IntDistribution() | FloatDistribution():
            return d.low, d.high
        case CategoricalDistribution():
            return d.choices
    raise TypeError(f"no ends of a range {d!r}")


def _try(space: Space, name: str, value: Any, lookback: int) -> None:
    """ValueError where the family does not take it."""
    check_values(space.family, unflatten({**space.default, name: value}), lookback=lookback)


def check_select(config: Config, families: Sequence[str]) -> None:
    """InputError where inputs are to be chosen and no family reads any but the targets."""
    if config.features.select != "none" and all(map(reads_targets_alone, families)):
        raise InputError(
            f"features.select={config.features.select!r} chooses inputs besides the targets, and "
            f"{' and '.join(families)} read none; leave it out, or add a family that does"
        )


def check_keep(keep: object, n_ranked: int, where: str) -> None:
    """InputError where `keep` is no number of inputs; `where` says what gave it."""
    if type(keep) is not int or not 1 <= keep <= n_ranked:
        raise InputError(f"{where}: {KEEP} is the number of inputs kept, from 1 to {n_ranked}, got {keep!r}")


def _check_in_range(space: Space, name: str, value: Any, lookback: int) -> None:
    """A number lies in the range that is searched; a choice may be any that the family takes."""
    d = space.ranges[name]
    if isinstance(d, CategoricalDistribution) and not any(value is c or value == c for c in d.choices):
        try:
            _try(space, name, value, lookback)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"search.fixed: {name} of {space.family} is one of {list(d.choices)}, got {value!r}: {error}"
            ) from None
    if isinstance(d, IntDistribution | FloatDistribution):
        whole = isinstance(d, FloatDistribution) or type(value) is int
        if not (type(value) in (int, float) and whole and d.low <= float(value) <= d.high):
            raise InputError(
                f"search.fixed: {name} of {space.family} lies between {d.low} and {d.high}, got {value!r}; to "
                f"go beyond, edit search_spaces/{space.family}.py"
            )


def check_values(family: str, groups: Mapping[str, Mapping[str, Any]], *, lookback: int) -> None:
    """ValueError, TypeError or KeyError for parameters that the family does not take."""
    module = family_module(family)
    _check_types("fit", groups["fit"], FitConfig)
    _check_types("model", groups["model"], module.Config)
    FitConfig(**groups["fit"])
    module.Config(channels=1, n_steps=1, n_targets=1, lookback=lookback, **groups["model"])
    if groups["input"]["normalisation"] not in NORMALISATIONS:
        raise ValueError(f"input.normalisation must be one of {', '.join(NORMALISATIONS)}")


def _check_types(group: str, values: Mapping[str, Any], settings: type) -> None:
    """ValueError for a value that is not of its setting's type, so that none fails in a worker later on."""
    hints = get_type_hints(settings)
    for name, value in values.items():
        kind = hints.get(name)
        fits = {
            int: type(value) is int,
            float: type(value) in (int, float) and math.isfinite(value),
            bool: type(value) is bool,
        }.get(kind, True)  # type: ignore[arg-type]
        if not fits:
            raise ValueError(f"{group}.{name} must be {kind.__name__ if kind else 'known'}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class HeadWeights:
    """The heads' weights as parameters of a trial: what is fixed, and what is searched."""

    fixed: dict[str, Any]
    searched: dict[str, list[Any]]


def with_head_weights(config: Config, params: Mapping[str, Any]) -> dict[str, Any]:
    """One configuration's flat params with the heads' weights; InputError where the two contradict each other."""
    fixed = head_weights(config).fixed
    for name, value in fixed.items():
        if params.get(name, value) != value:
            raise InputError(
                f"{_OF_HEADS[name]} says {value!r}, and the params' {name} {params[name]!r}; leave out one of them"
            )
    whole = {**fixed, **params}
    try:
        FitConfig(**unflatten(whole)["fit"]).weights_of_steps(len(config.window.steps))
    except ValueError as error:
        raise InputError(f"fit.step_weights: {error}") from None
    return whole


def head_weights(config: Config) -> HeadWeights:
    """InputError where the steps' weights are not one for each step."""
    fixed: dict[str, Any] = {}
    searched: dict[str, list[Any]] = {}
    for name in ("value", "direction", "quantiles"):
        weight = getattr(config.heads, name)
        if isinstance(weight, list):
            searched[f"fit.{name}_weight"] = weight
        elif weight and weight != 1.0:
            fixed[f"fit.{name}_weight"] = weight
    steps = config.heads.steps
    several: list[Any] = steps if steps and isinstance(steps[0], list) else [steps] if steps else []
    for each in several:
        if len(each) != len(config.window.steps) or not any(each):
            raise InputError(
                f"heads.steps names a weight for each of the {len(config.window.steps)} steps ahead, one of them above "
                f"0, got {each}"
            )
    texts = [" ".join(f"{weight:g}" for weight in each) for each in several]
    if len(texts) > 1:
        searched["fit.step_weights"] = texts
    elif texts:
        fixed["fit.step_weights"] = texts[0]
    return HeadWeights(fixed=fixed, searched=searched)
