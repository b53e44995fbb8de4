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
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch

from data.errors import InputError
from data.row_folds import RowFold
from data.rows import RowTable
from models.in_step import InStep, Params, Seeds
from models.tabular import clustering
from models.tabular.encoding import Encoding
from models.tabular.learning import Rows, Shape
from models.tabular.metrics import METRICS, Scores, score
from models.training import Epoch

PATIENCE = 5  # epochs


@dataclass(frozen=True, kw_only=True, eq=False)
class RowProblem:
    """What every configuration is judged on: the table, its folds and the metric."""

    table: RowTable
    folds: tuple[RowFold, ...]
    final: RowFold  # trains on everything but the holdout, validates on the holdout
    scheme: str
    metric: str  # a name of METRICS
    seed: int
    balanced: bool = False  # in training, every class counts as much as every other

    @property
    def minimise(self) -> bool:
        if self.table.target is None:
            return clustering.METRICS[self.metric].minimise
        return METRICS[self.metric].direction == "min"

    @property
    def unit(self) -> str:
        """The metric's unit in words."""
        if self.table.target is None:
            return "1"
        kind, target = METRICS[self.metric].unit, self.table.target_name
        return {"target": f"unit of {target}", "target^2": f"(unit of {target})^2"}.get(kind, kind)

    @property
    def fingerprint(self) -> str:
        return self.table.fingerprint

    def cross_validation(self, family: str, params: Params, *, trial: int, device: Any = "cpu") -> CrossValidation:
        """On the processor, whatever the `device`: it takes the threads that torch was given."""
        return CrossValidation(self, family, params, trial=trial)

    @property
    def n_scores(self) -> int:
        return max(1, len(self.table.classes))

    def rows(self, fold: RowFold) -> tuple[Shape, Rows]:
        """What a fold trains on, and how it is encoded."""
        table = self.table
        encoding = Encoding.fit(table, fold.train)
        target = np.zeros(len(fold.train), np.float32) if table.target is None else table.target[fold.train]
        exact = target.astype(np.float64)  # float32 has no squares of amounts such as 1e20
        spread = {} if table.classes else {"mean": float(exact.mean()), "std": float(exact.std()) or 1.0}
        shape = Shape(encoding=encoding, n_classes=len(table.classes), **spread)
        weight = None if table.weight is None else table.weight[fold.train]
        if self.balanced:
            own = np.ones(len(target), np.float32) if weight is None else weight
            shares = np.bincount(target.astype(np.int64), weights=own, minlength=len(table.classes))
            weight = (own / np.maximum(shares, np.finfo(np.float32).tiny)[target.astype(np.int64)]).astype(np.float32)
        if weight is not None:  # penalties and least leaves count rows, whatever the unit of the weights
            weight = weight / weight.mean()
        return shape, Rows(matrix=encoding.matrix(table, fold.train), target=target, weight=weight)


def family(name: str) -> ModuleType:
    """The module of a family: `Config` and `Learner`."""
    return importlib.import_module(f"models.tabular.{name}")


def check(problem: RowProblem) -> None:
    """InputError where a fold's rows weigh nothing, or the metric has no value there, whatever is answered."""
    table = problem.table
    if table.target is None:
        return
    for fold in (*problem.folds, problem.final):
        name = "the holdout" if fold.name == "holdout" else f"fold {fold.name}"
        for kind, rows in (("training", fold.train), ("validation", fold.valid)):
            if table.weight is not None and not table.weight[rows].any():
                raise InputError(
                    f"data.weight: every {kind} row of {name} weighs 0; give some a weight, or use fewer folds"
                )
        shape, train = problem.rows(fold)
        constant = np.tile(shape.scores(shape.base(train)[None]), (len(fold.valid), 1))
        if not math.isfinite(score(table, fold.valid, constant, [problem.metric])[problem.metric]):
            raise InputError(
                f"search.metric={problem.metric!r} has no value on {name}, whose validation rows are all of one class "
                f"or value; choose another metric, larger parts (fewer folds, more holdout) or more rows"
            )


class FoldLearner:
    """A learner on one fold, its scores, and how well it did at its best."""

    def __init__(self, problem: RowProblem, name: str, params: Params, fold: RowFold, number: int, trial: int) -> None:
        module = family(name)
        self.problem, self.fold = problem, fold
        self.shape, train = problem.rows(fold)
        self.max_epochs = min(params["fit"]["max_epochs"], getattr(module, "EPOCHS", math.inf))
        self.learner = module.Learner(
            module.Config(**params["model"]),
            train,
            self.shape,
            Seeds(problem.seed, trial, number),
            threads=torch.get_num_threads(),  # as many as the process was given
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
        if self.problem.table.target is None:
            codes = scores[:, 0].astype(np.int64)
            return clustering.score(self.learner.told(self.valid), codes, [name])[name]
        return score(self.problem.table, self.fold.valid, scores, [name])[name]


def refit(problem: RowProblem, name: str, params: Params, *, trial: int, epochs: int) -> FoldLearner:
    """A learner of all rows before the holdout, grown for so many epochs, whatever its score there."""
    learner = FoldLearner(problem, name, params, problem.final, len(problem.folds) + 1, trial)
    for number in range(1, min(epochs, learner.max_epochs) + 1):
        learner.learner.epoch(number)
    learner.learner.mark()
    return learner


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
