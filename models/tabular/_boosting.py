"""What LightGBM and XGBoost share: trees that are grown some rounds an epoch, each on the sum of all before it.

Each epoch is a booster of its own, so that its random draws are a function of its number alone, and a search that goes
on draws what an undisturbed one would. The first epoch's trees see the matrix as it is; with `crossed`, from the second
epoch on they also see the pairs (see `crossing`) of so many columns, those that the first trees gained most by.

Shapes: N rows, D columns of the matrix, S sums: one for a value or two classes, else one for each class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from models.scaling import Statistics
from models.tabular.crossing import Crossing, strongest
from models.tabular.learning import Rows, Running, Seeds, Shape
from models.tabular.trees import Tree, to_onnx
from models.tabular.workers import share

ROUNDS = 20  # an epoch


class Boosted(ABC):
    """A model on its way. `shape` says what is learnt; `threads` how many work on it. Where several processes grow it
    together (see `workers`), each is given all train rows and keeps its share; the loss is that of this share.
    """

    strict = False  # whether a number that equals a threshold goes to the false side
    data: Any  # the train rows as the library wants them, made before they are first grown on

    def __init__(self, config: Any, train: Rows, shape: Shape, seeds: Seeds, *, threads: int = 1) -> None:
        self.config, self.train, self.shape, self.seeds, self.threads = config, share(train), shape, seeds, threads
        self.base = shape.base(train)
        n_crossable = shape.encoding.n_amounts if config.crossed > 1 else 0
        # Of all rows, also where this process grows on a share of them.
        self.spread = Statistics.fit(train.matrix[:, :n_crossable], np.arange(len(train.matrix))).std
        self.running = Running(self._says)
        self.marked = 0
        self._begin()

    @abstractmethod
    def _data(self, matrix: NDArray[np.float32]) -> Any:
        """The train rows as the library wants them, of this matrix."""

    @abstractmethod
    def _grown(self, seed: int) -> Any:
        """A booster of `ROUNDS` rounds on `self.data`, on top of `self.sums`."""

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
        """(D,) of a booster, or as many more as it has seen columns."""

    @abstractmethod
    def _trees(self, booster: Any) -> list[Tree]: ...

    def epoch(self, number: int) -> float:
        """One epoch more, the `number`-th; the loss on the train rows after it."""
        self._cross()
        if self.data is None:
            self.data = self._data(self.matrix)
        grown = self._text(self._grown(self.seeds(number) % 2**31))
        self._take(self._of_text(grown))  # its trees without what it grew them with, many times as large
        return self.shape.loss(self.shape.scores(self.sums), self.train)

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, C) probabilities, or (N, 1) values."""
        return self.shape.scores(self._sums(matrix))

    def mark(self) -> None:
        self.marked = len(self.boosters)

    def back(self) -> None:
        if not self.marked:
            self._begin()
        del self.boosters[self.marked :]
        self.sums = self._sums(self.train.matrix)

    def state_dict(self) -> dict[str, Any]:
        return {"boosters": [self._text(booster) for booster in self.boosters], "marked": self.marked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._begin()
        self.marked = state["marked"]
        for text in state["boosters"]:
            self._take(self._of_text(text))

    def importance(self) -> NDArray[np.float64]:
        """(D,) what the splits on each column of the matrix gained; those on a pair count half for each of its two."""
        found = np.zeros(self.train.matrix.shape[1])
        for booster in self.boosters:
            gains = self._gains(booster)
            found += gains[: len(found)]
            if len(gains) > len(found) and self.crossing is not None:
                np.add.at(found, self.crossing.sources, gains[len(found) :, None] / 2)
        return found

    def graph(self) -> ModelProto:
        """The model as `models/tabular/graph.py` joins them."""
        trees = [tree for booster in self.boosters for tree in self._trees(booster)]
        factor, summand = self.shape.units
        base = self.base * factor + summand
        width, link = self.train.matrix.shape[1], self.shape.link
        seen = {"seen": self.crossing.add} if self.crossing is not None and len(self.boosters) > 1 else {}
        return to_onnx(trees, base, width=width, link=link, strict=self.strict, factor=factor, **seen)

    def _begin(self) -> None:
        """Nothing grown yet."""
        self.boosters: list[Any] = []
        self.crossing: Crossing | None = None
        self.matrix = self.train.matrix  # what the next trees see
        self.data = None
        self.wide: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self.sums = self._start(self.train.matrix)

    def _start(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.tile(self.base, (len(matrix), 1))

    def _sums(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._start(matrix) + self.running(self.boosters, matrix)

    def _take(self, booster: Any) -> None:
        self._cross()
        self.boosters.append(booster)
        self.sums += self._raw(booster, self.matrix)

    def _cross(self) -> None:
        """Before the second epoch: what all further ones see, by what the first one has gained."""
        if len(self.boosters) != 1 or self.crossing is not None or not len(self.spread):
            return
        places = strongest(self._gains(self.boosters[0])[: len(self.spread)], self.config.crossed)
        if len(places) > 1:
            self.crossing = Crossing.of(places, self.spread)
            self.matrix, self.data = self.crossing(self.train.matrix), None

    def _says(self, booster: Any, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        if self.crossing is None or booster is self.boosters[0]:
            return self._raw(booster, matrix)
        if matrix is self.train.matrix:
            return self._raw(booster, self.matrix)
        if self.wide is None or self.wide[0] is not matrix:  # a fold asks for the same rows each epoch
            self.wide = matrix, self.crossing(matrix)
        return self._raw(booster, self.wide[1])
