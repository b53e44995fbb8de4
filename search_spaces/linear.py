"""Linear study: the best that one linear map can do, so that networks are held against a tuned yardstick."""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

SPACE = {
    "input": {
        "normalisation": CategoricalDistribution(["none", "last", "mean_std", "last_std"]),  # scientific
    },
    "model": {
        "individual": CategoricalDistribution([False, True]),  # scientific: one map, or one for each target
    },
    "fit": {
        "lr": FloatDistribution(1e-4, 1e-1, log=True),  # nuisance, like all below
        "weight_decay": FloatDistribution(1e-6, 1.0, log=True),
        "batch_size": CategoricalDistribution([64, 128, 256]),
        "loss": CategoricalDistribution(["mse", "mae", "huber"]),
    },
}

DEFAULT = {
    "input": {"normalisation": "last"},
    "model": {"individual": False},
    "fit": {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 64, "loss": "mse"},
}
