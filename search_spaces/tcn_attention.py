"""TCN with attention study: does reading all steps, by attention, beat reading the last one?"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces._common import FIT, INPUT

SPACE = {
    "input": INPUT,
    "model": {
        "query": CategoricalDistribution(["last", "mean"]),  # scientific: who attends
        "layers": IntDistribution(2, 5),  # nuisance, like all below
        "kernel": IntDistribution(3, 7, step=2),
        "filters": CategoricalDistribution([16, 32, 64]),
        "norm": CategoricalDistribution(["weight", "layer"]),
        "heads": CategoricalDistribution([2, 4, 8]),
        "dropout": FloatDistribution(0.0, 0.4),
    },
    "fit": FIT,
}

DEFAULT = {
    "input": {"normalisation": "last"},
    "model": {"query": "last", "layers": 4, "kernel": 3, "filters": 32, "norm": "weight", "heads": 4, "dropout": 0.1},
    "fit": {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 128, "loss": "mae"},
}
