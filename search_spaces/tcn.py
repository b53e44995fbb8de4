"""TCN study: how far back must the network see, and is it better bought by layers or by longer kernels?"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces._common import FIT, INPUT

SPACE = {
    "input": INPUT,
    "model": {
        "layers": IntDistribution(3, 6),  # scientific, with the kernel: steps seen = 1 + 2 (kernel - 1) (2^layers - 1)
        "kernel": IntDistribution(3, 7, step=2),
        "filters": CategoricalDistribution([32, 64, 128]),  # nuisance, like all below
        "norm": CategoricalDistribution(["weight", "layer"]),
        "dropout": FloatDistribution(0.0, 0.4),
    },
    "fit": FIT,
}

DEFAULT = {
    "input": {"normalisation": "last_std"},
    "model": {"layers": 5, "kernel": 5, "filters": 64, "norm": "weight", "dropout": 0.1},
    "fit": {"lr": 2e-3, "weight_decay": 1e-4, "batch_size": 128, "loss": "mae"},
}

STARTS = {
    "lightweight": {"model": {"filters": 32, "layers": 4, "kernel": 3}},
    "deep": {"model": {"filters": 128, "layers": 6, "kernel": 7}},
}
