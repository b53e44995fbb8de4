"""The folds of one configuration, advanced together: one epoch of each at a time, and one score for all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from models.training import Epoch, draw_seed

Params = Mapping[str, Mapping[str, Any]]  # group ("window", "input", "model", "fit") -> name -> value


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldsEpoch:
    """One epoch of a configuration. `epochs` holds a fold's epoch, or None where that fold had finished before."""

    number: int  # from 1
    value: float  # mean over folds of each fold's best score so far; NaN once a loss or a score is not finite
    folds: tuple[float, ...]
    best_epochs: tuple[int, ...]  # the epoch of each fold's best score
    epochs: tuple[Epoch | None, ...]
    train_seconds: float
    valid_seconds: float
    last: bool


class FoldTraining(Protocol):
    """What trains on one fold; `best` is its best score so far, its sign turned where more is better."""

    done: int
    best: float
    best_number: int

    @property
    def finished(self) -> bool: ...
    def epochs(self) -> Iterator[Epoch]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


Training = TypeVar("Training", bound=FoldTraining)


class AnyProblem(Protocol):
    """What every configuration is judged on, be it of series or of rows."""

    @property
    def metric(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def minimise(self) -> bool: ...
    @property
    def unit(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    def cross_validation(self, family: str, params: Params, *, trial: int, device: Any = "cpu") -> InStep[Any]: ...


class InStep(Generic[Training]):
    """The score of a fold is the best its model has reached so far, since that is what would be kept; the score of a
    configuration is the mean over its folds."""

    def __init__(self, trainings: Sequence[Training], *, minimise: bool) -> None:
        self.trainings = list(trainings)
        self.sign = 1.0 if minimise else -1.0

    def epochs(self) -> Iterator[FoldsEpoch]:
        """One epoch of every unfinished fold at a time, until all have finished."""
        while not all(t.finished for t in self.trainings):
            yield self._epoch()

    def state_dict(self) -> dict[str, Any]:
        return {"folds": [t.state_dict() for t in self.trainings]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for each, one in zip(self.trainings, state["folds"], strict=True):
            each.load_state_dict(one)

    def _epoch(self) -> FoldsEpoch:
        number = max(t.done for t in self.trainings) + 1
        epochs = tuple(None if t.finished else next(t.epochs()) for t in self.trainings)
        folds = tuple(self.sign * t.best for t in self.trainings)
        # Weights that have become NaN stay NaN, and the best score of an earlier epoch must not hide it.
        sound = all(math.isfinite(e.train_loss) and math.isfinite(e.valid) for e in epochs if e)
        return FoldsEpoch(
            number=number,
            value=float(np.mean(folds)) if sound else math.nan,
            folds=folds,
            best_epochs=tuple(t.best_number for t in self.trainings),
            epochs=epochs,
            train_seconds=sum(e.train_seconds for e in epochs if e),
            valid_seconds=sum(e.valid_seconds for e in epochs if e),
            last=all(t.finished for t in self.trainings),
        )


@dataclass(frozen=True, slots=True)
class Seeds:
    """Epoch -> seed of one fold of one trial."""

    seed: int
    trial: int
    fold: int

    def __call__(self, epoch: int) -> int:
        return draw_seed(self.seed, self.trial, self.fold, epoch)
