"""DBSCAN study: how dense must rows lie to be a cluster?"""

from __future__ import annotations

from optuna.distributions import FloatDistribution, IntDistribution

SPACE = {
    "model": {
        "quantile": FloatDistribution(0.3, 0.98),
        "neighbours": IntDistribution(3, 30, log=True),
    },
}

DEFAULT = {
    "model": {"quantile": 0.8, "neighbours": 8},
}
