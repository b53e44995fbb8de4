"""The best trial of a sweep, made whole: out-of-fold predictions, the final model, the bundle."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from models.crossval import CrossValidation, Problem
from models.export import Average
from ray_jobs import ship
from ray_jobs.checkpoints import Checkpoints
from ray_jobs.final import train_final
from ray_jobs.run_folder import RunFolder, predictions
from ray_jobs.settings import Config
from ray_jobs.ship import Shipped
from ray_jobs.study import StudyBook, ending, epochs, spread
from ray_jobs.sweep import Swept
from ray_jobs.trial import prepare_process
from search_spaces import at_edge, unflatten


@dataclass(frozen=True, kw_only=True)
class Winner:
    """A family's best configuration and what became of it."""

    family: str
    trial: int
    value: float
    std: float
    folds: list[float]
    epochs: int
    params: dict[str, Any]
    kind: str  # "refit" or "average"
    out_of_fold: pd.DataFrame
    shipped: Shipped
    on_bounds: list[str]

    def as_dict(self) -> dict[str, Any]:
        names = ("family", "trial", "value", "std", "folds", "epochs", "params", "kind")
        return {name: getattr(self, name) for name in names}


def crown(config: Config, problem: Problem, book: StudyBook, swept: Swept, run: RunFolder) -> Winner:
    """Take the best trial of a study: out-of-fold predictions, final model, bundle. ProofError as `ship` raises it."""
    best = book.best()
    if best is None:
        raise NoWinnerError(_why_none(config, book))
    params: dict[str, Any] = ending(best)["params"]
    whole = unflatten({**params, "fit.max_epochs": config.search.max_epochs})
    cv = CrossValidation(problem, book.family, whole, trial=best.number)
    _restore(cv, swept.states(best.number), epochs(best), config.resources.cpus_per_trial)
    folds = [float(value) for value in epochs(best)[-1]["folds"]]
    n_epochs = max(1, round(float(np.median(epochs(best)[-1]["best_epochs"]))))
    out_of_fold = []
    for fold, predicted in zip(problem.split.folds, cv.predict_folds(), strict=True):
        frame = predictions(problem, fold.valid, predicted)
        frame.insert(0, "fold", int(fold.name))
        out_of_fold.append(frame)
    kind = _kind(config, problem)
    model = (
        _refit(config, problem, book.family, params, trial=best.number, epochs=n_epochs, run=run)
        if kind == "refit"
        else Average(t.model for t in cv.trainings)
    )
    value, std = float(ending(best)["value"]), spread(folds)
    shipped = ship.ship(
        model,
        problem,
        config,
        family=book.family,
        lookback=params["window.lookback"],
        folder=run.bundle(book.family),
        cv={"mean": value, "std": std, "folds": folds},
        trial={"trial": best.number, "params": params, "epochs": n_epochs, "kind": kind},
    )
    return Winner(
        family=book.family,
        trial=best.number,
        value=value,
        std=std,
        folds=folds,
        epochs=n_epochs,
        params=params,
        kind=kind,
        out_of_fold=pd.concat(out_of_fold, ignore_index=True),
        shipped=shipped,
        on_bounds=at_edge(params, book.ranges),
    )


def _restore(cv: CrossValidation, states: Checkpoints, epochs: list[dict[str, Any]], cpus: int) -> None:
    """Bring `cv` to where its trial ended: its newest state, and the epochs that it may lack trained again.

    `epochs` are those that the study holds. What could not be reached again to the digit, such as the score of another
    kind of device, is said.
    """
    last = epochs[-1]
    found = states.newest(at_most=last["number"])
    for sentence in found.passed_over if found else ["the best trial has left no state"]:
        print(f"note: {sentence}; what is lacking is trained again", file=sys.stderr)
    if found is not None:
        cv.load_state_dict(found.state)
    iterator = cv.epochs()
    while max(training.done for training in cv.trainings) < last["number"]:
        prepare_process(cpus)
        if next(iterator, None) is None:  # on another kind of device patience may end sooner
            break
    sign = 1.0 if cv.problem.minimise else -1.0
    folds = [sign * training.best for training in cv.trainings]
    if not np.allclose(folds, last["folds"], rtol=1e-4):
        shown = [" ".join(f"{value:.5g}" for value in values) for values in (last["folds"], folds)]
        print(f"note: the folds scored {shown[0]} in the search, and {shown[1]} trained again", file=sys.stderr)


class NoWinnerError(Exception):
    """No trial of a family has a score: one line says why."""


def _why_none(config: Config, book: StudyBook) -> str:
    failed = [t for t in book.finished() if ending(t)["state"] == "failed"]
    if failed:
        reason = ending(failed[0])["reason"]
        return f"all {len(failed)} trials of {book.family} failed, the first with: {reason}"
    budget = config.search.time_budget
    return f"search.time_budget={budget} ended before the first epoch of {book.family}; give more seconds"


def _kind(config: Config, problem: Problem) -> str:
    if config.export.winner != "auto":
        return config.export.winner
    return "refit" if problem.split.scheme in ("walk_forward", "sliding") else "average"


def _refit(
    config: Config, problem: Problem, family: str, params: Mapping[str, Any], *, trial: int, epochs: int, run: RunFolder
) -> nn.Module:
    return train_final(
        problem,
        family,
        params,
        trial=trial,
        max_epochs=config.search.max_epochs,
        epochs=epochs,
        resources=config.resources,
        workers=config.resources.workers_per_trial,
        folder=run.path,
    )
