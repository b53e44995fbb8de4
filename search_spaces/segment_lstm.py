"""Segment LSTM study: how long should a segment be, when the width and the step size are tuned for it?"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

SPACE = {
    "input": {
        "normalisation": CategoricalDistribution(["last", "mean_std", "last_std"]),  # the source has no form without
    },
    "model": {
        "segment": CategoricalDistribution([12, 24, 48]),  # scientific: steps
        "hidden": CategoricalDistribution([32, 64, 128]),  # nuisance, like all below
        "dropout": FloatDistribution(0.0, 0.5),
    },
    "fit": {
        "lr": FloatDistribution(2e-4, 5e-3, log=True),
        "weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
        "batch_size": CategoricalDistribution([64, 128, 256]),
        "loss": CategoricalDistribution(["mse", "mae", "huber"]),
    },
}

DEFAULT = {
    "input": {"normalisation": "last_std"},
    "model": {"segment": 24, "hidden": 64, "dropout": 0.3},
    "fit": {"lr": 2e-3, "weight_decay": 1e-4, "batch_size": 64, "loss": "mae"},
}

STARTS = {
    "squared": {"fit": {"loss": "mse"}},
    "two days": {"model": {"segment": 48}, "fit": {"loss": "mse"}},  # of hours: half the LSTM's steps
    "wide": {"model": {"segment": 48, "hidden": 128, "dropout": 0.5}, "fit": {"lr": 1e-3, "loss": "mse"}},
}
