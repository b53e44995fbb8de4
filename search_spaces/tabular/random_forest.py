"""Random forest study: how many columns may a split choose from, once the size of the leaves is tuned for it?"""

from __future__ import annotations

from optuna.distributions import FloatDistribution, IntDistribution

SPACE = {
    "model": {
        "columns": FloatDistribution(0.1, 1.0),  # scientific: what we compare
        "depth": IntDistribution(6, 24),  # nuisance: tuned to be fair, like all below
        "min_leaf": IntDistribution(1, 30, log=True),
        "rows": FloatDistribution(0.4, 1.0),
    },
}

DEFAULT = {
    "model": {"columns": 0.4, "depth": 16, "min_leaf": 3, "rows": 0.8},
}
