"""One configuration of a family of rows on all folds, in step: every epoch grows each fold's learner once.

    cv = CrossValidation(problem, "lightgbm", params, trial=3)
    for epoch in cv.epochs():
        print(epoch.number, epoch.value, epoch.folds)

As for series, the score of a fold is the best that its learner has reached, and a learner that has not become better
for `patience` epochs has finished.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from data.row_folds import RowFold
from models.crossval import FoldsEpoch
from models.tabular.problem import METRICS, RowProblem, Scores, score
from models.training import Epoch, draw_seed

Params = Mapping[str, Mapping[str, Any]]  # group ("model", "fit") -> name -> value
PATIENCE = 5  # epochs


def family(name: str) -> ModuleType:
    """The module of a family: `Config` and `Learner`."""
    return importlib.import_module(f"models.tabular.{name}")


@dataclass(frozen=True, slots=True)
class _Seeds:
    seed: int
    trial: int
    fold: int

    def __call__(self, epoch: int) -> int:
        return draw_seed(self.seed, self.trial, self.fold, epoch)


class FoldLearner:
    """A learner on one fold, its scores, and how well it did at its best."""

    def __init__(self, problem: RowProblem, name: str, params: Params, fold: RowFold, number: int, trial: int) -> None:
        module = family(name)
        self.problem, self.fold = problem, fold
        self.shape, train = problem.rows(fold)
        self.max_epochs = min(params["fit"]["max_epochs"], getattr(module, "EPOCHS", math.inf))
        self.learner = module.Learner(
            module.Config(**params["model"]), train, self.shape, _Seeds(problem.seed, trial, number)
        )
        self.valid = self.shape.encoding.matrix(problem.table, fold.valid)
        self.sign = 1.0 if problem.minimise else -1.0
        self.done, self.best, self.best_number = 0, math.inf, 0

    @property
    def finished(self) -> bool:
        return self.done >= self.max_epochs or self.done - self.best_number >= PATIENCE

    def epoch(self) -> Epoch:
        started = time.perf_counter()
        self.done += 1
        self.learner.epoch(self.done)
        trained = time.perf_counter()
        value = self._score(self.learner.predict(self.valid))
        if self.sign * value < self.best:
            self.best, self.best_number = self.sign * value, self.done
            self.learner.mark()
        return Epoch(
            number=self.done,
            train_loss=0.0,
            valid=value,
            best=self.sign * self.best,
            best_number=self.best_number,
            learning_rate=0.0,
            train_seconds=trained - started,
            valid_seconds=time.perf_counter() - trained,
            last=self.finished,
        )

    def predict(self) -> Scores:
        """The validation rows' scores, of the learner at its best."""
        self.learner.back()
        found: Scores = self.learner.predict(self.valid)
        return found

    def state_dict(self) -> dict[str, Any]:
        return {
            "learner": self.learner.state_dict(),
            "done": self.done,
            "best": self.best,
            "best_number": self.best_number,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.done, self.best, self.best_number = state["done"], state["best"], state["best_number"]

    def _score(self, scores: Scores) -> float:
        name = self.problem.metric
        return score(self.problem, self.fold.valid, scores, [name])[name]


class CrossValidation:
    """A learner for each fold, advanced together."""

    def __init__(self, problem: RowProblem, name: str, params: Params, *, trial: int) -> None:
        self.problem = problem
        self.folds = [
            FoldLearner(problem, name, params, fold, number, trial)
            for number, fold in enumerate(problem.folds, start=1)
        ]

    def epochs(self) -> Iterator[FoldsEpoch]:
        """One epoch of every unfinished fold at a time, until all have finished."""
        while not all(fold.finished for fold in self.folds):
            yield self._epoch()

    def predict_folds(self) -> list[Scores]:
        """Each fold's scores of its own validation rows, of the learner at its best."""
        return [fold.predict() for fold in self.folds]

    def state_dict(self) -> dict[str, Any]:
        return {"folds": [fold.state_dict() for fold in self.folds]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for fold, one in zip(self.folds, state["folds"], strict=True):
            fold.load_state_dict(one)

    def _epoch(self) -> FoldsEpoch:
        number = max(fold.done for fold in self.folds) + 1
        epochs = tuple(None if fold.finished else fold.epoch() for fold in self.folds)
        sign = 1.0 if METRICS[self.problem.metric].direction == "min" else -1.0
        folds = tuple(sign * fold.best for fold in self.folds)
        sound = all(math.isfinite(epoch.valid) for epoch in epochs if epoch)
        return FoldsEpoch(
            number=number,
            value=float(np.mean(folds)) if sound else math.nan,
            folds=folds,
            best_epochs=tuple(fold.best_number for fold in self.folds),
            epochs=epochs,
            train_seconds=sum(epoch.train_seconds for epoch in epochs if epoch),
            valid_seconds=sum(epoch.valid_seconds for epoch in epochs if epoch),
            last=all(fold.finished for fold in self.folds),
        )
