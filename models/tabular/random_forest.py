"""Random forest (Breiman 2001, doi.org/10.1023/A:1010933404324): trees on resampled rows, averaged; scikit-learn's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from sklearn import config_context
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.tree import BaseDecisionTree

from models.tabular.learning import Rows, Running, Seeds, Shape
from models.tabular.trees import Tree, to_onnx

TREES = 20  # an epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    depth: int = 16
    min_leaf: int = 3  # rows
    columns: float = 0.4  # share that a split chooses from
    rows: float = 0.8  # share that a tree is grown on, drawn with replacement


class Learner:
    """A forest on its way. `shape` says what is learnt; `threads` how many work on it."""

    def __init__(self, config: Config, train: Rows, shape: Shape, seeds: Seeds, *, threads: int = 1) -> None:
        self.config, self.train, self.shape, self.seeds, self.threads = config, train, shape, seeds, threads
        self.forests: list[RandomForestClassifier | RandomForestRegressor] = []
        self.marked = 0
        self.running = Running(self._says)

    def epoch(self, number: int) -> float:
        """`TREES` trees more, the `number`-th time; their draws are a function of that number alone. Answers their own
        loss on the train rows, which they have seen: far lower than any other."""
        config = self.config
        settings: dict[str, Any] = {
            "n_estimators": TREES,
            "max_depth": config.depth,
            "min_samples_leaf": config.min_leaf,
            "max_features": config.columns,
            "max_samples": config.rows,
            "random_state": self.seeds(number) % 2**31,
            "n_jobs": self.threads,
        }
        kind = RandomForestClassifier if self.shape.n_classes else RandomForestRegressor
        forest = kind(**settings)
        forest.fit(self.train.matrix, self.shape.scaled(self.train), sample_weight=self.train.weight)
        self.forests.append(forest)
        factor, summand = self.shape.units
        return self.shape.loss(self._says(forest, self.train.matrix) * factor + summand, self.train)

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, C) probabilities, or (N, 1) values."""
        factor, summand = self.shape.units
        return self.running(self.forests, matrix) / len(self.forests) * factor + summand

    def _says(self, forest: Any, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        # Its own check for infinities sums a column, which overflows, with a warning, on the largest numbers.
        with config_context(assume_finite=True):
            if not self.shape.n_classes:
                return np.asarray(forest.predict(matrix), np.float64)[:, None]
            found = np.zeros((len(matrix), self.shape.n_classes))
            found[:, forest.classes_.astype(np.int64)] = forest.predict_proba(matrix)
            return found

    def importance(self) -> NDArray[np.float64]:
        """(D,) how much splits on each column of the matrix purified."""
        return np.asarray(np.sum([forest.feature_importances_ for forest in self.forests], axis=0), np.float64)

    def mark(self) -> None:
        self.marked = len(self.forests)

    def back(self) -> None:
        del self.forests[self.marked :]

    def state_dict(self) -> dict[str, Any]:
        """How many epochs there were: trees come again as they were, and sooner than from a file without pickle."""
        return {"epochs": len(self.forests), "marked": self.marked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.forests, self.marked = [], state["marked"]
        for number in range(1, state["epochs"] + 1):
            self.epoch(number)

    def graph(self) -> ModelProto:
        """The model as `models/tabular/graph.py` joins them."""
        factor, summand = self.shape.units
        n = max(1, self.shape.n_classes)
        trees = [
            _tree(tree, forest.classes_.astype(np.int64) if self.shape.n_classes else np.zeros(1, np.int64))
            for forest in self.forests
            for tree in forest.estimators_
        ]
        width = self.train.matrix.shape[1]
        return to_onnx(trees, np.full(n, summand), width=width, link="none", factor=factor / len(trees))


def _tree(grown: BaseDecisionTree, scores: NDArray[np.int64]) -> Tree:
    tree = grown.tree_
    inner = tree.children_left >= 0
    value = tree.value[:, 0, :]  # (n, 1) values, or (n, C) shares
    return Tree(
        feature=np.where(inner, tree.feature, -1).astype(np.int64),
        threshold=np.asarray(tree.threshold, np.float64),
        true=np.asarray(tree.children_left, np.int64),
        false=np.asarray(tree.children_right, np.int64),
        missing_true=np.asarray(tree.missing_go_to_left, bool),
        value=np.asarray(value, np.float64),
        scores=scores,
    )
