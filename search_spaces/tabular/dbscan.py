"""DBSCAN study: how dense must rows lie to be a cluster?"""

from __future__ import annotations

from optuna.distributions import FloatDistribution, IntDistribution

SPACE = {
    "model": {
        "quantile": FloatDistribution(0.05, 0.95),
        "neighbours": IntDistribution(3, 30, log=True),
    },
}

DEFAULT = {
    "model": {"quantile": 0.3, "neighbours": 8},
}

STARTS = {
    "loose": {"model": {"quantile": 0.8}},
}
