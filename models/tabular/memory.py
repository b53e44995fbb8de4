"""How much memory a trial of rows takes: its folds' matrices, what a family keeps of them, and what it has grown."""

from __future__ import annotations

import importlib

from models.in_step import Params
from models.tabular._boosting import ROUNDS
from models.tabular._clusters import MOST_ROWS
from models.tabular._networks import EVAL_BATCH
from models.tabular.crossing import n_crossed
from models.tabular.crossval import RowProblem
from models.tabular.encoding import Encoding
from models.tabular.random_forest import TREES

_COPIES = 2.5  # of a fold's matrix: itself, the family's own form of it, batches or bins on their way
_OF_FORESTS = 3.0  # of the matrix again for each core that grows trees
_OF_WORDS = 20  # bytes of a word as a channel of its own: float32 on the way to float64, and the solver's copy
_NODE = 72  # bytes of a grown tree's node
_ONE_HOT = ("linear", "kmeans", "dbscan", "hierarchical")  # families that make channels of words


def trial_bytes(problem: RowProblem, name: str, params: Params, *, epochs: int) -> int:
    """Bytes that a trial of family `name` needs besides its process, after so many epochs. Matrices bound what was
    measured; words and trees are worked out of their sizes."""
    encoding = Encoding.fit(problem.table, problem.final.train)
    width = len(encoding.names) + n_crossed(encoding.n_amounts, int(params["model"].get("crossed", 0)))
    rows = sum(len(fold.train) + len(fold.valid) for fold in problem.folds)
    scores = 8 * rows * problem.n_scores * 6
    if problem.table.target is None:  # all distances between the rows that are looked at
        scores += 3 * 8 * MOST_ROWS**2
    copies = _COPIES + (_OF_FORESTS if name == "random_forest" else 0.0)
    most = max(len(fold.train) for fold in problem.folds)
    channels = sum(word.size for word in encoding.words)
    of_words = _OF_WORDS * most * channels if name in _ONE_HOT else 0  # one fold after the other
    grown = _of_trees(problem, name, params, epochs) + _of_networks(problem, name, params, encoding.n_amounts)
    return int(4 * rows * width * copies) + scores + of_words + grown


def _of_trees(problem: RowProblem, name: str, params: Params, epochs: int) -> int:
    """Of all folds' trees."""
    model = params["model"]
    most = max(len(fold.train) for fold in problem.folds)
    sums = problem.n_scores if problem.n_scores > 2 else 1
    if name == "random_forest":
        leaves: int = min(2 ** int(model["depth"]), most // int(model["min_leaf"]))
        trees = TREES
    elif name in ("lightgbm", "xgboost"):
        leaves = int(model["leaves"]) if name == "lightgbm" else 2 ** int(model["depth"])
        trees = ROUNDS * sums
    else:
        return 0
    return len(problem.folds) * epochs * trees * 2 * max(1, leaves) * _NODE


def _of_networks(problem: RowProblem, name: str, params: Params, n_amounts: int) -> int:
    """Of a batch on its way through one fold's network, and of all folds' weights: themselves, those of the best epoch,
    a gradient and two moments."""
    if name not in ("mlp", "tabm"):
        return 0
    module, model = importlib.import_module(f"models.tabular.{name}"), params["model"]
    config = module.Config(**model)
    members, told = getattr(config, "members", 1), n_amounts * config.channels
    batch = max(EVAL_BATCH, config.batch_size)
    passing = 3 * n_amounts * config.bins + 2 * members * (told + config.hidden)
    weights = told * (config.bins + config.hidden) + config.layers * config.hidden**2
    return int(4 * (batch * passing + 5 * weights * len(problem.folds)))
