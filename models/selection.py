"""Which inputs matter: each fold's ranking of all that is no target, by a random forest over the windows it trains on.

    importance    how much the splits by an input lower the error within the forest (Breiman 2001)
    permutation   how much worse the forest answers later windows of the fold once an input is shuffled there

A row of the forest's data is a window: from the inputs' values at its last row, how far each target will be from its
last known value, some steps ahead. The targets' own values are among the inputs, unranked: a network always sees them,
so what counts is what another input adds, and what they explain would otherwise be noise that hides it. A forest needs
no scale and finds bends and joint effects; it sees no earlier row, so what is to count from there has to be among the
features.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.folds import Fold
from data.windows import future_values
from models.baselines import last_known
from models.crossval import Problem, fit_statistics, segment_starts
from models.features import over_table
from models.preprocess import LIMIT
from models.scaling import only_rows
from models.training import draw_seed

Way = Literal["importance", "permutation"]

MOST_WINDOWS = 5000
# Every split looks at all inputs: where each looks at a third of a few, a noisy copy may stand before what it copies.
_FOREST = {"n_estimators": 50, "max_features": 1.0, "min_samples_leaf": 5, "n_jobs": 1}
_LATE = 5  # permutation measures on the last one of so many parts
_SHUFFLES = 5


def rank(problem: Problem, number: int, way: Way) -> NDArray[np.int64]:
    """What is no target, best first, by its place in `problem.inputs`; from the fold's train rows alone.

    `number` counts the folds from 1; 0 is the final training's. The same problem has the same ranking. Raises
    InputError where the fold is too short to measure permutation apart from what the forest was fitted to.
    """
    # Imported here: it takes a second, and only a run that chooses inputs needs it.
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    fold = (problem.split.final, *problem.split.folds)[number]
    seed = draw_seed(problem.seed, number) % 2**32
    origins = _evenly(problem, fold)
    x, y = _samples(problem, fold, origins)
    forest = RandomForestRegressor(**_FOREST, random_state=seed)
    if way == "importance":
        scores = forest.fit(x, y).feature_importances_
    else:
        early, late = _apart(problem, fold, origins)
        forest.fit(x[early], y[early])
        scores = permutation_importance(
            forest,
            x[late],
            y[late],
            scoring="neg_mean_squared_error",
            n_repeats=_SHUFFLES,
            n_jobs=1,
            random_state=seed,
        ).importances_mean
    k = problem.table.n_targets
    return k + np.argsort(-scores[k:], kind="stable")


def _evenly(problem: Problem, fold: Fold) -> NDArray[np.int64]:
    """Origins of the fold's train windows in the order of time, all or `MOST_WINDOWS`, evenly spread."""
    origins = fold.train[np.argsort(problem.table.clock[fold.train], kind="stable")]
    at = np.linspace(0, len(origins) - 1, min(MOST_WINDOWS, len(origins))).astype(np.int64)
    return origins[at]


def _samples(
    problem: Problem, fold: Fold, origins: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a forest learns from: (N, inputs) as the network sees them, (N,) or (N, outputs) in train deviations."""
    table, k = problem.table, problem.table.n_targets
    fitted = fit_statistics(problem, fold)
    allowed, scaled = only_rows(table.numbers, fold.rows, fitted.mean, fitted.std)
    features = over_table(allowed, scaled, table.segments, problem.features)[origins - 1]
    inputs = np.hstack([scaled[origins - 1], (features - fitted.feature_mean) / fitted.feature_std])
    x = np.nan_to_num(inputs, posinf=LIMIT, neginf=-LIMIT).clip(-LIMIT, LIMIT)
    targets = allowed[:, :k]
    last = last_known(targets, origins, starts=segment_starts(table, origins), means=fitted.mean[:k])
    steps = problem.steps[sorted({0, len(problem.steps) // 2, len(problem.steps) - 1})]
    changes = (future_values(targets, origins, steps) - last[:, None]) / fitted.std[:k]
    y = changes.reshape(len(origins), -1)
    return x, y[:, 0] if y.shape[1] == 1 else y


def _apart(problem: Problem, fold: Fold, origins: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which windows (N,) permutation fits to, and which it measures on, all of whose targets lie after the first's."""
    clock = problem.table.clock
    cut = clock[origins[len(origins) - max(1, len(origins) // _LATE)]]
    early, late = clock[origins + problem.steps[-1] - 1] < cut, clock[origins] >= cut
    if not early.any():
        raise InputError(
            f"features.select=permutation fits to the first four fifths of a fold's train windows, and none of the "
            f"{len(origins)} of fold {fold.name} ends before the last fifth begins; use importance, fewer folds or a "
            f"shorter horizon"
        )
    return early, late
