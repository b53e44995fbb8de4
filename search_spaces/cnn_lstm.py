"""CNN-LSTM study: do convolutions in front pay for the steps that they take away from the LSTM?"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces._common import FIT, INPUT

SPACE = {
    "input": INPUT,
    "model": {
        "convolutions": IntDistribution(1, 3),  # scientific: each halves the steps
        "filters": CategoricalDistribution([16, 32, 64]),  # nuisance, like all below
        "kernel": IntDistribution(3, 7, step=2),
        "hidden": IntDistribution(32, 128, step=32),
        "layers": CategoricalDistribution([1, 2]),
        "dropout": FloatDistribution(0.0, 0.4),
    },
    "fit": FIT,
}

DEFAULT = {
    "input": {"normalisation": "last"},
    "model": {"convolutions": 1, "filters": 32, "kernel": 5, "hidden": 64, "layers": 1, "dropout": 0.1},
    "fit": {"lr": 2e-3, "weight_decay": 1e-4, "batch_size": 128, "loss": "mae"},
}
