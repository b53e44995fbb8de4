"""TabM study: how wide must the shared layers and how fine the embeddings be, once the rest is tuned?"""

from __future__ import annotations

from optuna.distributions import FloatDistribution, IntDistribution

SPACE = {
    "model": {
        "hidden": IntDistribution(64, 256, step=64),  # scientific: what we compare
        "layers": IntDistribution(1, 3),
        "bins": IntDistribution(16, 256, log=True),
        "channels": IntDistribution(4, 24, step=4),
        "members": IntDistribution(4, 32, step=4),  # nuisance: tuned to be fair, like all below
        "dropout": FloatDistribution(0.0, 0.4),
        "lr": FloatDistribution(5e-4, 5e-3, log=True),
        "weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
    },
}

DEFAULT = {
    "model": {
        "hidden": 128,
        "layers": 2,
        "bins": 64,
        "channels": 8,
        "members": 8,
        "dropout": 0.1,
        "lr": 2e-3,
        "weight_decay": 3e-4,
    },
}

STARTS = {
    "fine": {"model": {"hidden": 256, "layers": 3, "bins": 128, "channels": 16}},
}
