"""Perceptron study: how fine must the embeddings of amounts be, once width, depth and step size are tuned for it?"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

SPACE = {
    "model": {
        "bins": IntDistribution(8, 256, log=True),  # scientific: what we compare
        "channels": IntDistribution(4, 24, step=4),
        "layers": IntDistribution(1, 3),  # nuisance: tuned to be fair, like all below
        "hidden": IntDistribution(64, 384, step=64),
        "dropout": FloatDistribution(0.0, 0.5),
        "lr": FloatDistribution(3e-4, 5e-3, log=True),
        "weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
        "batch_size": CategoricalDistribution([128, 256, 512]),
    },
}

DEFAULT = {
    "model": {
        "bins": 32,
        "channels": 8,
        "layers": 2,
        "hidden": 192,
        "dropout": 0.1,
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "batch_size": 256,
    },
}

STARTS = {
    "fine": {"model": {"bins": 128, "channels": 16, "layers": 3, "hidden": 256, "lr": 2e-3}},
}
