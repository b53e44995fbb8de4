"""ModernTCN study: how large should the kernels over the patches be, and how many blocks do they need?"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

SPACE = {
    "input": {
        "normalisation": CategoricalDistribution(["none", "last", "mean_std"]),
    },
    "model": {
        "kernel": CategoricalDistribution([5, 13, 25, 51]),  # scientific: patches
        "blocks": CategoricalDistribution([1, 2]),  # scientific
        "patch": CategoricalDistribution([8, 16]),  # nuisance, like all below
        "features": CategoricalDistribution([16, 32, 64]),
        "expansion": CategoricalDistribution([1, 2, 4]),
        "dropout": FloatDistribution(0.0, 0.5),
    },
    "fit": {
        "lr": FloatDistribution(1e-4, 5e-3, log=True),
        "weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
        "batch_size": CategoricalDistribution([64, 128, 256]),
        "loss": CategoricalDistribution(["mse", "mae", "huber"]),
    },
}

DEFAULT = {
    "input": {"normalisation": "mean_std"},
    "model": {"kernel": 25, "blocks": 1, "patch": 8, "features": 32, "expansion": 2, "dropout": 0.2},
    "fit": {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 128, "loss": "mae"},
}
