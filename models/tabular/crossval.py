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
from types import ModuleType
from typing import Any

from data.row_folds import RowFold
from models.in_step import InStep, Seeds
from models.tabular.problem import RowProblem, Scores, score
from models.training import Epoch

Params = Mapping[str, Mapping[str, Any]]  # group ("model", "fit") -> name -> value
PATIENCE = 5  # epochs


def family(name: str) -> ModuleType:
    """The module of a family: `Config` and `Learner`."""
    return importlib.import_module(f"models.tabular.{name}")


class FoldLearner:
    """A learner on one fold, its scores, and how well it did at its best."""

    def __init__(self, problem: RowProblem, name: str, params: Params, fold: RowFold, number: int, trial: int) -> None:
        module = family(name)
        self.problem, self.fold = problem, fold
        self.shape, train = problem.rows(fold)
        self.max_epochs = min(params["fit"]["max_epochs"], getattr(module, "EPOCHS", math.inf))
        self.learner = module.Learner(
            module.Config(**params["model"]), train, self.shape, Seeds(problem.seed, trial, number)
        )
        self.valid = self.shape.encoding.matrix(problem.table, fold.valid)
        self.sign = 1.0 if problem.minimise else -1.0
        self.done, self.best, self.best_number = 0, math.inf, 0

    @property
    def finished(self) -> bool:
        return self.done >= self.max_epochs or self.done - self.best_number >= PATIENCE

    def epochs(self) -> Iterator[Epoch]:
        while not self.finished:
            yield self._epoch()

    def _epoch(self) -> Epoch:
        started = time.perf_counter()
        self.done += 1
        train_loss = self.learner.epoch(self.done)
        trained = time.perf_counter()
        value = self._score(self.learner.predict(self.valid))
        if self.sign * value < self.best:
            self.best, self.best_number = self.sign * value, self.done
            self.learner.mark()
        return Epoch(
            number=self.done,
            train_loss=train_loss,
            valid=value,
            best=self.sign * self.best,
            best_number=self.best_number,
            learning_rate=math.nan,  # no schedule changes it
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


class CrossValidation(InStep[FoldLearner]):
    """A learner for each fold, advanced together."""

    def __init__(self, problem: RowProblem, name: str, params: Params, *, trial: int) -> None:
        self.problem = problem
        folds = [
            FoldLearner(problem, name, params, fold, number, trial)
            for number, fold in enumerate(problem.folds, start=1)
        ]
        super().__init__(folds, minimise=problem.minimise)

    def predict_folds(self) -> list[Scores]:
        """Each fold's scores of its own validation rows, of the learner at its best."""
        return [fold.predict() for fold in self.trainings]
