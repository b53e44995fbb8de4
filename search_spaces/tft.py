"""Temporal fusion transformer study: how many heads should attend, and does the LSTM below them need a second layer?"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

from search_spaces._common import FIT, INPUT

SPACE = {
    "input": INPUT,
    "model": {
        "heads": CategoricalDistribution([1, 2, 4]),  # scientific: the source found 1 or 4 best
        "layers": CategoricalDistribution([1, 2]),  # scientific: the source has one
        "hidden": CategoricalDistribution([16, 32, 64]),  # nuisance, like all below; the source's 160 is for a GPU
        "dropout": FloatDistribution(0.0, 0.5),
    },
    "fit": FIT,
}

DEFAULT = {
    "input": {"normalisation": "last"},
    "model": {"heads": 4, "layers": 1, "hidden": 32, "dropout": 0.1},
    "fit": {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 128, "loss": "mae"},
}

STARTS = {
    "lightweight": {"model": {"hidden": 16, "heads": 2}},
    "wide": {"model": {"hidden": 64}},
}
