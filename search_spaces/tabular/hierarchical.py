"""Study of hierarchical clustering: how many clusters are there, and what does near mean of two of them?"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, IntDistribution

SPACE = {
    "model": {
        "clusters": IntDistribution(2, 12),
        "linkage": CategoricalDistribution(["ward", "average", "complete"]),
    },
}

DEFAULT = {
    "model": {"clusters": 3, "linkage": "ward"},
}
