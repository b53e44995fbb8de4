"""What LightGBM and XGBoost share: trees that are grown some rounds an epoch, each on the sum of all before it.

Each epoch is a booster of its own, so that its random draws are a function of its number alone, and a search that goes
on draws what an undisturbed one would.

Shapes: N rows, D columns of the matrix, S sums: one for a value or two classes, else one for each class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from models.tabular.learning import Rows, Running, Seeds, Shape
from models.tabular.trees import Tree, to_onnx
from models.tabular.workers import share

ROUNDS = 20  # an epoch


class Boosted(ABC):
    """A model on its way. `shape` says what is learnt; `threads` how many work on it. Where several processes grow it
    together (see `workers`), each is given all train rows and keeps its share; the loss is that of this share.
    """

    strict = False  # whether a number that equals a threshold goes to the false side

    def __init__(self, config: Any, train: Rows, shape: Shape, seeds: Seeds, *, threads: int = 1) -> None:
        self.config, self.train, self.shape, self.seeds, self.threads = config, share(train), shape, seeds, threads
        self.base = shape.base(train)
        self.boosters: list[Any] = []
        self.marked = 0
        self.sums = self._start(self.train.matrix)
        self.running = Running(self._raw)

    @abstractmethod
    def _grown(self, seed: int) -> Any:
        """A booster of `ROUNDS` rounds on top of `self.sums`."""

    @abstractmethod
    def _of_text(self, text: str) -> Any:
        """A booster again."""

    @abstractmethod
    def _text(self, booster: Any) -> str: ...

    @abstractmethod
    def _raw(self, booster: Any, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, S) what a booster adds to the sums."""

    @abstractmethod
    def _gains(self, booster: Any) -> NDArray[np.float64]:
        """(D,) of a booster."""

    @abstractmethod
    def _trees(self, booster: Any) -> list[Tree]: ...

    def epoch(self, number: int) -> float:
        """One epoch more, the `number`-th; the loss on the train rows after it."""
        grown = self._text(self._grown(self.seeds(number) % 2**31))
        self._take(self._of_text(grown))  # its trees without what it grew them with, many times as large
        return self.shape.loss(self.shape.scores(self.sums), self.train)

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, C) probabilities, or (N, 1) values."""
        return self.shape.scores(self._sums(matrix))

    def mark(self) -> None:
        self.marked = len(self.boosters)

    def back(self) -> None:
        del self.boosters[self.marked :]
        self.sums = self._sums(self.train.matrix)

    def state_dict(self) -> dict[str, Any]:
        return {"boosters": [self._text(booster) for booster in self.boosters], "marked": self.marked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.boosters, self.sums, self.marked = [], self._start(self.train.matrix), state["marked"]
        for text in state["boosters"]:
            self._take(self._of_text(text))

    def importance(self) -> NDArray[np.float64]:
        """(D,) what the splits on each column of the matrix gained."""
        found: NDArray[np.float64] = np.sum([self._gains(booster) for booster in self.boosters], axis=0)
        return found

    def graph(self) -> ModelProto:
        """The model as `models/tabular/graph.py` joins them."""
        trees = [tree for booster in self.boosters for tree in self._trees(booster)]
        factor, summand = self.shape.units
        base = self.base * factor + summand
        width, link = self.train.matrix.shape[1], self.shape.link
        return to_onnx(trees, base, width=width, link=link, strict=self.strict, factor=factor)

    def _start(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.tile(self.base, (len(matrix), 1))

    def _sums(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._start(matrix) + self.running(self.boosters, matrix)

    def _take(self, booster: Any) -> None:
        self.boosters.append(booster)
        self.sums += self._raw(booster, self.train.matrix)
