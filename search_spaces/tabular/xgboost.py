"""XGBoost study: how deep must the trees be, and do pairs of columns pay, once the rest is tuned for them?"""

from __future__ import annotations

from optuna.distributions import FloatDistribution, IntDistribution

SPACE = {
    "model": {
        "depth": IntDistribution(3, 9),  # scientific: what we compare
        "crossed": IntDistribution(0, 8, step=2),
        "lr": FloatDistribution(0.02, 0.15, log=True),  # nuisance: tuned to be fair, like all below
        "min_weight": FloatDistribution(0.5, 50.0, log=True),
        "columns": FloatDistribution(0.4, 1.0),
        "rows": FloatDistribution(0.6, 1.0),
        "l2": FloatDistribution(1e-2, 30.0, log=True),
        "gamma": FloatDistribution(0.0, 3.0),
    },
}

DEFAULT = {
    "model": {
        "depth": 6,
        "crossed": 0,
        "lr": 0.05,
        "min_weight": 1.0,
        "columns": 0.8,
        "rows": 0.9,
        "l2": 1.0,
        "gamma": 0.0,
    },
}

STARTS = {
    "deep": {"model": {"depth": 8, "lr": 0.03, "columns": 0.6, "min_weight": 5.0}},
    "crossed": {"model": {"depth": 7, "lr": 0.05, "columns": 0.6, "min_weight": 5.0, "crossed": 6}},
    "shallow": {"model": {"depth": 4, "l2": 5.0}},
}
