"""Study of linear models: does leaving out inputs (lasso) beat shrinking them all (ridge), each well penalised?"""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution

SPACE = {
    "model": {
        "l1_share": CategoricalDistribution([0.0, 0.5, 1.0]),  # scientific: what we compare
        "penalty": FloatDistribution(1e-6, 1.0, log=True),  # nuisance: tuned to be fair
    },
}

DEFAULT = {
    "model": {"l1_share": 0.0, "penalty": 1e-3},
}
