"""Tune's schedulers by name. All of them compare `value`, the mean over folds, epoch by epoch."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from ray_jobs.spaces import to_tune

REDUCTION = 3
NEEDS_CHECKPOINTS = ("hyperband", "pbt")


def make(
    name: str, *, minimise: bool, max_epochs: int, ranges: Mapping[str, BaseDistribution], seed: int
) -> TrialScheduler:
    common: dict[str, Any] = {
        "time_attr": "training_iteration",
        "metric": "value",
        "mode": "min" if minimise else "max",
    }
    match name:
        case "asha":
            return ASHAScheduler(**common, max_t=max_epochs, grace_period=1, reduction_factor=REDUCTION)
        case "median":
            return MedianStoppingRule(**common, grace_period=min(2, max_epochs), min_samples_required=3)
        case "hyperband":
            return HyperBandScheduler(**common, max_t=max_epochs, reduction_factor=REDUCTION)
        case "pbt":
            random.seed(seed)  # Tune draws its mutations from the process's generators
            np.random.seed(seed)
            return PopulationBasedTraining(
                **common,
                perturbation_interval=max(1, max_epochs // 5),
                hyperparam_mutations={"trial": {"params": mutations(ranges)}},
            )
    return FIFOScheduler()


def mutations(ranges: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """What PBT may change while a trial runs: the numbers of `fit`, since a model cannot change its shape."""
    return {
        name: to_tune(d) for name, d in ranges.items() if name.startswith("fit.") and isinstance(d, FloatDistribution)
    }
