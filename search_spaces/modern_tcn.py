"""ModernTCN study: how large should the kernels over the patches be, and how many blocks do they need?"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

SPACE = {
    "input": {
        "normalisation": CategoricalDistribution(["none", "last", "mean_std", "last_std"]),
    },
    "model": {
        "kernel": CategoricalDistribution([5, 13, 25, 51]),  # scientific: patches
        "blocks": CategoricalDistribution([1, 2]),  # scientific
        "patch": CategoricalDistribution([8, 16, 32]),  # nuisance, like all below; an epoch's seconds fall with it
        "features": CategoricalDistribution([16, 32, 64]),
        "expansion": CategoricalDistribution([1, 2]),
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
    "input": {"normalisation": "last_std"},
    "model": {"kernel": 25, "blocks": 1, "patch": 16, "features": 32, "expansion": 1, "dropout": 0.3},
    "fit": {"lr": 1e-3, "weight_decay": 1e-3, "batch_size": 64, "loss": "mae"},
}

STARTS = {
    "long patches": {"model": {"patch": 32, "dropout": 0.5}, "fit": {"weight_decay": 0.1, "loss": "mse"}},
    "narrow": {"model": {"features": 16, "dropout": 0.5}, "fit": {"loss": "mse"}},
}
