"""Attention LSTM study: what does attention over all steps add, and is it worth several layers?"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces._common import FIT, INPUT

SPACE = {
    "input": INPUT,
    "model": {
        "query": CategoricalDistribution(["last", "mean"]),  # scientific: who attends
        "layers": IntDistribution(1, 3),  # scientific
        "hidden": CategoricalDistribution([64, 128, 256]),  # nuisance, like all below
        "heads": CategoricalDistribution([2, 4, 8]),
        "bidirectional": CategoricalDistribution([False, True]),
        "dropout": FloatDistribution(0.0, 0.4),
    },
    "fit": FIT,
}

DEFAULT = {
    "input": {"normalisation": "last"},
    "model": {"query": "last", "layers": 2, "hidden": 128, "heads": 4, "bidirectional": False, "dropout": 0.1},
    "fit": {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 128, "loss": "mae"},
}

STARTS = {
    "lightweight": {"model": {"hidden": 64, "layers": 2, "heads": 2}},  # 64-32 units
    "deep": {"model": {"hidden": 256, "layers": 3, "heads": 8}},  # 256-128-64
}
