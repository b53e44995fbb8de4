"""Optuna distributions as Ray Tune ranges. Ray's integer ranges leave out the top, Optuna's do not."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from ray import tune


def to_tune(d: BaseDistribution) -> Any:
    match d:
        case CategoricalDistribution():
            return tune.choice(list(d.choices))
        case IntDistribution(log=True, step=1):
            return tune.lograndint(d.low, d.high + 1)
        case IntDistribution(log=False, step=1):
            return tune.randint(d.low, d.high + 1)
        case IntDistribution(log=False):
            return tune.choice(list(range(d.low, d.high + 1, d.step)))
        case FloatDistribution(log=True):
            return tune.loguniform(d.low, d.high)
        case FloatDistribution(step=None):
            return tune.uniform(d.low, d.high)
        case FloatDistribution():
            return tune.quniform(d.low, d.high, d.step)
    raise TypeError(f"no Ray Tune range for {d!r}; add a case to ray_jobs/spaces.py")
