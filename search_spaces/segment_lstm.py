"""Segment LSTM study: how long should a segment be, when the width and the step size are tuned for it?"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

SPACE = {
    "input": {
        "normalisation": CategoricalDistribution(["last", "mean_std"]),  # the source has no form without
    },
    "model": {
        "segment": CategoricalDistribution([12, 24, 48]),  # scientific: steps
        "hidden": CategoricalDistribution([64, 128, 256]),  # nuisance, like all below
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
    "input": {"normalisation": "last"},
    "model": {"segment": 24, "hidden": 128, "dropout": 0.2},
    "fit": {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 128, "loss": "mae"},
}
