"""The next configuration, as a function of (algorithm, finished trials, seed, trial number) and of nothing else.

No searcher lives between two suggestions: each is made anew from the study, so that a sweep that was interrupted goes
on as if it had not been, and no draw depends on what ran before it in the process.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from models.training import draw_seed

Ranges = Mapping[str, BaseDistribution]

GRID_POINTS = 3  # of a range of numbers; choices all stand in the grid
STARTUP_TRIALS = 6  # random ones, before a model of the space guides


def suggest(
    study: optuna.Study, algorithm: str, ranges: Ranges, *, seed: int, number: int, index: int
) -> dict[str, Any] | None:
    """A value for each range, for trial `number`; None when a grid has been walked to its end.

    `index` counts the trials that an algorithm has suggested: the first configurations are given, not suggested.
    Nothing is written to the study.
    """
    sampler_seed = draw_seed(seed, number) % 2**32
    if algorithm == "grid":
        return grid_point(ranges, seed=seed, index=index)
    if algorithm == "hyperopt":
        return _hyperopt(study, ranges, sampler_seed, number)
    sampler = _sampler(algorithm, sampler_seed)
    trial = create_trial(state=TrialState.RUNNING)
    trial.number = number  # constant_liar leaves a trial out of what it learns from by its number
    return {name: sampler.sample_independent(study, trial, name, d) for name, d in ranges.items()}


def grid_size(ranges: Ranges) -> int:
    return math.prod(len(points(d)) for d in ranges.values())


def grid_point(ranges: Ranges, *, seed: int, index: int) -> dict[str, Any] | None:
    """Point `index` of the grid in an order drawn from the seed, so that a grid cut short still covers the space.

    The order is an affine walk (start + index * stride, stride coprime to the size): it needs no memory.
    """
    size = grid_size(ranges)
    if not 0 <= index < size:
        return None
    rng = np.random.default_rng(seed)
    stride = next(s for s in (int(s) for s in rng.integers(1, size + 1, 10_000)) if math.gcd(s, size) == 1)
    left = (int(rng.integers(size)) + index * stride) % size
    point = {}
    for name, d in ranges.items():
        left, at = divmod(left, len(points(d)))
        point[name] = points(d)[at]
    return point


def points(d: BaseDistribution) -> list[Any]:
    """What of a range stands in the grid: every choice, a few numbers from the lowest to the highest."""
    match d:
        case CategoricalDistribution():
            return list(d.choices)
        case IntDistribution():
            count = (d.high - d.low) // d.step + 1
            picks = np.unique(np.linspace(0, count - 1, min(GRID_POINTS, count)).round().astype(int))
            return [d.low + int(i) * d.step for i in picks]
        case FloatDistribution(log=True):
            return [float(x) for x in np.geomspace(d.low, d.high, GRID_POINTS)]
        case FloatDistribution():
            return [float(x) for x in np.linspace(d.low, d.high, GRID_POINTS)]
    raise TypeError(f"no grid points for {d!r}; add a case to ray_jobs/suggest.py")


def _sampler(algorithm: str, seed: int) -> optuna.samplers.BaseSampler:
    if algorithm == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed)


def _hyperopt(study: optuna.Study, ranges: Ranges, seed: int, number: int) -> dict[str, Any]:
    """What HyperOpt's TPE suggests after the study's finished trials."""
    from hyperopt import JOB_STATE_DONE, STATUS_OK, Trials, tpe
    from hyperopt.base import Domain

    domain = Domain(lambda _: 0.0, {name: _hyperopt_range(name, d) for name, d in ranges.items()})
    history = Trials()
    sign = 1.0 if study.direction is optuna.study.StudyDirection.MINIMIZE else -1.0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        value = trial.user_attrs["end"]["value"]
        if value is None:  # the time was up before its first epoch
            continue
        encoded = {name: [_encode(d, trial.params[name])] for name, d in ranges.items()}
        tid = trial.number
        misc = {"tid": tid, "cmd": ("domain_attachment", "FMinIter_Domain"), "workdir": None, "vals": encoded}
        misc["idxs"] = {name: [tid] for name in ranges}
        result = {"status": STATUS_OK, "loss": sign * value}
        document = history.new_trial_docs([tid], [None], [result], [misc])[0]
        document["state"] = JOB_STATE_DONE
        history.insert_trial_doc(document)
    history.refresh()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # HyperOpt's own use of deprecated numpy and networkx names
        new = tpe.suggest([number], domain, history, seed, n_startup_jobs=STARTUP_TRIALS)
    values = new[0]["misc"]["vals"]
    return {name: _decode(d, values[name][0]) for name, d in ranges.items()}


def _hyperopt_range(name: str, d: BaseDistribution) -> Any:
    from hyperopt import hp

    match d:
        case CategoricalDistribution():
            return hp.choice(name, list(range(len(d.choices))))
        case IntDistribution(log=False):
            # HyperOpt rounds, which gives the ends of an integer range half their weight: widen it by a half.
            return hp.quniform(name, -0.5, (d.high - d.low) // d.step + 0.5, 1)
        case FloatDistribution(log=True):
            return hp.loguniform(name, math.log(d.low), math.log(d.high))
        case FloatDistribution(step=None):
            return hp.uniform(name, d.low, d.high)
    raise TypeError(f"no HyperOpt range for {d!r}; add a case to ray_jobs/suggest.py")


def _encode(d: BaseDistribution, value: Any) -> float | int:
    match d:
        case CategoricalDistribution():
            return d.choices.index(value)
        case IntDistribution():
            return int(value - d.low) // d.step
    return float(value)


def _decode(d: BaseDistribution, value: float) -> Any:
    match d:
        case CategoricalDistribution():
            return d.choices[int(value)]
        case IntDistribution():
            return d.low + min(max(round(value), 0), (d.high - d.low) // d.step) * d.step
        case FloatDistribution():
            return min(max(float(value), d.low), d.high)
    raise TypeError(f"no HyperOpt range for {d!r}; add a case to ray_jobs/suggest.py")
