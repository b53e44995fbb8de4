"""LightGBM study: how many leaves, and do pairs of columns pay, once step size and what is held back are tuned?"""

from __future__ import annotations

from optuna.distributions import FloatDistribution, IntDistribution

SPACE = {
    "model": {
        "leaves": IntDistribution(7, 127, log=True),  # scientific: what we compare
        "crossed": IntDistribution(0, 8, step=2),
        "lr": FloatDistribution(0.02, 0.15, log=True),  # nuisance: tuned to be fair, like all below
        "min_leaf": IntDistribution(5, 300, log=True),
        "columns": FloatDistribution(0.4, 1.0),
        "rows": FloatDistribution(0.6, 1.0),
        "l1": FloatDistribution(1e-3, 10.0, log=True),
        "l2": FloatDistribution(1e-3, 30.0, log=True),
    },
}

DEFAULT = {
    "model": {
        "leaves": 31,
        "crossed": 0,
        "lr": 0.05,
        "min_leaf": 20,
        "columns": 0.8,
        "rows": 0.9,
        "l1": 1e-2,
        "l2": 1e-2,
    },
}

STARTS = {
    "wide": {"model": {"leaves": 63, "lr": 0.03, "columns": 0.6, "rows": 1.0}},
    "crossed": {"model": {"leaves": 63, "lr": 0.03, "columns": 0.6, "rows": 1.0, "crossed": 6}},
    "shallow": {"model": {"leaves": 12, "l2": 5.0, "columns": 0.6}},
}
