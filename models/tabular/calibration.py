"""Probabilities that mean what they say: a map of scores to scores, learnt of out-of-fold predictions.

    none          as they are
    temperature   softmax(log p / T) (Guo et al. 2017, arxiv.org/abs/1706.04599)
    isotonic      of each class the best rising function of its probability (Zadrozny & Elkan 2002,
                  doi.org/10.1145/775047.775151), straight between its steps' middles, then divided by the sum

Shapes: N rows, C classes, K knots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression

from models.tabular.graph import Builder
from models.tabular.metrics import Scores

LEAST = 1e-6  # a probability that no calibrated one falls below: one surprise must not cost everything
STEEPEST = 2.0  # rise of a calibrated probability by the score: a network's graph differs by 4e-7, and may by 1e-6

Knots = tuple[NDArray[np.float64], NDArray[np.float64]]  # (K,) each: where, and the value there


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    kind: Literal["none", "temperature", "isotonic"]
    temperature: float = 1.0
    knots: tuple[Knots, ...] = ()  # of each class; of two classes of the last one alone

    def __call__(self, scores: Scores) -> Scores:
        """(N, C) -> (N, C), each row's sum 1."""
        if self.kind == "temperature":
            powers = np.log(np.clip(scores, LEAST, None)) / self.temperature
            powers = np.exp(powers - powers.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        if self.kind == "isotonic":
            if len(self.knots) == 1:
                up = np.interp(scores[:, 1], *self.knots[0])
                return np.stack([1 - up, up], axis=1)
            each = np.stack([np.interp(scores[:, c], *knots) for c, knots in enumerate(self.knots)], axis=1)
            return np.asarray(each / each.sum(axis=1, keepdims=True))
        return scores

    def add(self, to: Builder, scores: str) -> str:
        """The same in a graph, of scores (batch, C) float32; the name of what comes out."""
        if self.kind == "none":
            return scores
        exact = to.add("Cast", scores, to=TensorProto.DOUBLE)
        if self.kind == "temperature":
            logs = to.add("Log", to.add("Max", exact, to.constant(np.array(LEAST))))
            found = to.add("Softmax", to.add("Div", logs, to.constant(np.array(self.temperature))), axis=1)
        elif len(self.knots) == 1:
            up = self._interpolated(to, exact, 1, self.knots[0])
            found = to.add("Concat", to.add("Sub", to.constant(np.array(1.0)), up), up, axis=1)
        else:
            each = [self._interpolated(to, exact, c, knots) for c, knots in enumerate(self.knots)]
            joined = to.add("Concat", *each, axis=1)
            total = to.add("ReduceSum", joined, to.constant(np.array([1], np.int64)), keepdims=1)
            found = to.add("Div", joined, total)
        return to.add("Cast", found, to=TensorProto.FLOAT)

    @staticmethod
    def _interpolated(to: Builder, scores: str, column: int, knots: Knots) -> str:
        """(batch, 1): the first knot's value, and of each stretch between two as much of its rise as lies below."""
        where, value = knots
        one = to.add("Gather", scores, to.constant(np.array([column], np.int64)), axis=1)
        share = to.add("Div", to.add("Sub", one, to.constant(where[:-1])), to.constant(np.diff(where)))
        share = to.add("Clip", share, to.constant(np.array(0.0)), to.constant(np.array(1.0)))
        rise = to.add("MatMul", share, to.constant(np.diff(value)[:, None]))
        return to.add("Add", rise, to.constant(np.array(value[0])))


NONE = Calibration(kind="none")


def calibrate(
    truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None, sizes: Sequence[int]
) -> Calibration:
    """The kind whose log loss is lowest on the folds that it was not learnt of, learnt of all rows.

    Rows lie one fold after the other, so many in each: rows that belong together are not parted.
    """
    losses = {kind: _log_loss(truth, crossed(kind, truth, scores, weight, sizes), weight) for kind in _KINDS}
    best = min(losses, key=lambda kind: losses[kind])
    return _KINDS[best](truth, scores, weight)


def crossed(
    kind: str,
    truth: NDArray[np.float32],
    scores: Scores,
    weight: NDArray[np.float32] | None,
    sizes: Sequence[int],
) -> Scores:
    """(N, C) each fold's scores under a calibration of this kind that was learnt of the other folds; rows lie one fold
    after the other, so many in each."""
    found, fold = np.empty_like(scores), np.repeat(np.arange(len(sizes)), sizes)
    for number in range(len(sizes)):
        others, own = fold != number, fold == number
        learnt = _KINDS[kind](truth[others], scores[others], None if weight is None else weight[others])
        found[own] = learnt(scores[own])
    return found


def _temperature(truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None) -> Calibration:
    def loss(log: float) -> float:
        made = Calibration(kind="temperature", temperature=float(np.exp(log)))
        return _log_loss(truth, made(scores), weight)

    found = minimize_scalar(loss, bounds=(-np.log(STEEPEST), 3.0), method="bounded")
    return Calibration(kind="temperature", temperature=float(np.exp(found.x)))


def _isotonic(truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None) -> Calibration:
    which = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    return Calibration(kind="isotonic", knots=tuple(_knots(truth == c, scores[:, c], weight) for c in which))


def _knots(came: NDArray[np.bool_], score: NDArray[np.float64], weight: NDArray[np.float32] | None) -> Knots:
    """The middle of each step of the rising function, with its value."""
    order = np.argsort(score, kind="stable")
    # Of rows that are all of one class, it is not known that the next is (Laplace).
    least = max(LEAST, 1 / (len(score) + 2))
    steps = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
    steps.fit(score[order], came[order], None if weight is None else weight[order])
    level = steps.predict(score[order])
    bounds = np.flatnonzero(np.diff(level)) + 1
    groups = np.split(np.arange(len(level)), bounds)
    where = np.array([score[order][group].mean() for group in groups])
    value = np.array([level[group[0]] for group in groups])
    where, value = _gentle(where, value, np.array([len(group) for group in groups], np.float64))
    if len(where) == 1:  # one step: the same everywhere
        return np.array([0.0, 1.0]), np.repeat(value, 2)
    return where, value


def _gentle(
    where: NDArray[np.float64], value: NDArray[np.float64], rows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The knots, neighbours joined in their mean until none is steeper than `STEEPEST`; each stands for `rows`."""
    while len(where) > 1:
        rise, run = np.diff(value), np.diff(where)
        steep = rise - STEEPEST * run
        at = int(steep.argmax())
        if steep[at] <= 0 and run.min() > 0:
            break
        at = at if steep[at] > 0 else int(run.argmin())
        weight, pair = rows[at : at + 2], slice(at, at + 2)
        joined = [float(np.average(each[pair], weights=weight)) for each in (where, value)]
        where, value, rows = (
            np.concatenate([each[:at], [new], each[at + 2 :]])
            for each, new in ((where, joined[0]), (value, joined[1]), (rows, float(weight.sum())))
        )
    return where, value


def _log_loss(truth: NDArray[np.float32], scores: Scores, weight: NDArray[np.float32] | None) -> float:
    given = np.clip(scores[np.arange(len(truth)), truth.astype(np.int64)], LEAST, None)
    return float(np.average(-np.log(given), weights=weight))


_KINDS = {"none": lambda *_: NONE, "temperature": _temperature, "isotonic": _isotonic}
