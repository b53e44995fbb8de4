"""LSTM study: does a second layer pay, once width, step size and what is taken off each window are tuned for it?"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces._common import FIT, INPUT

SPACE = {
    "input": INPUT,
    "model": {
        "layers": CategoricalDistribution([1, 2]),  # scientific: what we compare
        "hidden": IntDistribution(16, 64, step=16),  # nuisance: tuned to be fair, like all below
        "pooling": CategoricalDistribution(["last", "mean"]),
        "dropout": FloatDistribution(0.0, 0.4),
    },
    "fit": FIT,
}

DEFAULT = {
    "input": {"normalisation": "last"},
    "model": {"layers": 1, "hidden": 48, "pooling": "last", "dropout": 0.1},
    "fit": {"lr": 2e-3, "weight_decay": 1e-4, "batch_size": 128, "loss": "mae"},
}
