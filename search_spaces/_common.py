"""Ranges that the studies of most networks share; one that needs others writes its own."""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

INPUT = {
    "normalisation": CategoricalDistribution(["none", "last", "mean_std", "last_std"]),
}

FIT = {
    "lr": FloatDistribution(3e-4, 1e-2, log=True),
    "weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
    "batch_size": CategoricalDistribution([64, 128, 256]),
    "loss": CategoricalDistribution(["mse", "mae", "huber"]),
}
