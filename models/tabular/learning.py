"""What learners of rows share: the rows they see, what they learn of them, and where their random draws come from.

A learner, in a family's file, is grown epoch by epoch (`epoch`, which answers the loss on the train rows), predicts
(`predict`), remembers how it is (`mark`) and goes back to that (`back`), can be put away and taken up again
(`state_dict`, `load_state_dict`: numbers, tensors and text), and becomes a graph (`graph`).

Shapes: N rows, D columns of the matrix, C classes, S sums that a model adds up before its link.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.tabular.encoding import Encoding

Seeds = Callable[[int], int]  # epoch -> seed
Part = TypeVar("Part")
_RAREST = 1e-6  # share of a class that no row has


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    matrix: NDArray[np.float32]  # (N, D), as `encoding` makes it
    target: NDArray[np.float32]  # (N,) the value, or the class
    weight: NDArray[np.float32] | None = None  # (N,)


class Running(Generic[Part]):
    """The sum of what each part of a model says of a matrix. Of the matrix that was asked for last only the newest
    parts are worked out, since a fold asks for the same rows each epoch."""

    def __init__(self, says: Callable[[Part, NDArray[np.float32]], NDArray[np.float64]]) -> None:
        self.says = says
        self.matrix: NDArray[np.float32] | None = None
        self.counted: list[Part] = []
        self.total: NDArray[np.float64] | float = 0.0

    def __call__(self, parts: Sequence[Part], matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, S), or (S,) zeros where there are no parts."""
        known = len(self.counted)
        if self.matrix is not matrix or self.counted != list(parts[:known]):
            self.matrix, self.counted, self.total, known = matrix, [], 0.0, 0
        for part in parts[known:]:
            self.total = self.total + self.says(part, matrix)
        self.counted = list(parts)
        return np.asarray(self.total, np.float64)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What is learnt: the value (n_classes = 0), or one of the classes; `mean` and `std` of the train rows' values."""

    encoding: Encoding
    n_classes: int = 0
    mean: float = 0.0
    std: float = 1.0

    @property
    def link(self) -> str:
        """Between the sums and the scores."""
        return {0: "none", 2: "logistic"}.get(self.n_classes, "softmax")

    @property
    def units(self) -> tuple[float, float]:
        """Factor and summand that make a value of a sum."""
        return (1.0, 0.0) if self.n_classes else (self.std, self.mean)

    def scaled(self, rows: Rows) -> NDArray[np.float64]:
        """(N,) the target as it is learnt: values in standard deviations from their mean, or classes."""
        target = rows.target.astype(np.float64)
        return target if self.n_classes else (target - self.mean) / self.std

    def base(self, rows: Rows) -> NDArray[np.float64]:
        """(S,) the sums of the best constant answer."""
        if not self.n_classes:
            return np.zeros(1)
        weight = np.ones(len(rows.target)) if rows.weight is None else rows.weight.astype(np.float64)
        shares = np.bincount(rows.target.astype(np.int64), weights=weight, minlength=self.n_classes) / weight.sum()
        log = np.log(np.clip(shares, _RAREST, 1 - _RAREST))
        return np.array([log[1] - np.log1p(-np.exp(log[1]))]) if self.n_classes == 2 else log

    def loss(self, scores: NDArray[np.float64], rows: Rows) -> float:
        """Log loss of probabilities (N, C), or squared error of values (N, 1) in variances, for these rows."""
        if not self.n_classes:
            each = np.square((scores[:, 0] - self.mean) / self.std - self.scaled(rows))
        else:
            each = -np.log(np.clip(scores[np.arange(len(scores)), rows.target.astype(np.int64)], _RAREST, None))
        if rows.weight is not None and not rows.weight.any():  # a worker's share of the rows
            return 0.0
        return float(np.average(each, weights=rows.weight))

    def scores(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, S) sums -> (N, C) probabilities, or (N, 1) values."""
        if self.link == "none":
            return sums * self.std + self.mean
        if self.link == "logistic":
            up = 1 / (1 + np.exp(-sums))
            return np.concatenate([1 - up, up], axis=1)
        powers = np.exp(sums - sums.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
