"""k-means study: how many clusters are there?"""

from __future__ import annotations

from optuna.distributions import IntDistribution

SPACE = {
    "model": {"clusters": IntDistribution(2, 12)},
}

DEFAULT = {
    "model": {"clusters": 3},
}
