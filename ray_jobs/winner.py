"""The best trial of each sweep, made whole: out-of-fold predictions, the final models, the bundles."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from models.crossval import CrossValidation, Problem
from models.export import Average
from models.in_step import InStep
from ray_jobs import ship
from ray_jobs.checkpoints import Checkpoints
from ray_jobs.final import Final, train_final
from ray_jobs.kind import NoWinnerError
from ray_jobs.run_folder import RunFolder, predictions
from ray_jobs.settings import Config
from ray_jobs.ship import Candidate, Proven
from ray_jobs.study import StudyBook, ending, epochs, spread
from ray_jobs.sweep import Swept
from ray_jobs.trial import prepare_process
from search_spaces import at_edge, unflatten


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """The best trial of a family's sweep."""

    family: str
    trial: int
    value: float
    std: float
    folds: list[float]
    epochs: int
    params: dict[str, Any]  # flat
    out_of_fold: pd.DataFrame
    average: nn.Module | None  # of its folds' models; None where a model is trained on all of their rows
    on_bounds: list[str]

    @property
    def kind(self) -> str:
        return "refit" if self.average is None else "average"

    def as_dict(self) -> dict[str, Any]:
        names = ("family", "trial", "value", "std", "folds", "epochs", "params", "kind")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class Winner:
    """A finalist whose model has been proven, and has left as a bundle."""

    finalist: Finalist
    shipped: Proven


def finalist(config: Config, problem: Problem, book: StudyBook, swept: Swept) -> Finalist:
    """The best trial of a study, its fold models brought back and their predictions made; NoWinnerError."""
    best = book.best()
    if best is None:
        raise NoWinnerError(why_none(config, book))
    params: dict[str, Any] = ending(best)["params"]
    whole = unflatten({**params, "fit.max_epochs": config.search.max_epochs})
    cv = CrossValidation(problem, book.family, whole, trial=best.number)
    restore(cv, swept.states(best.number), epochs(best), config.resources.cpus_per_trial)
    last = epochs(best)[-1]
    folds = [float(value) for value in last["folds"]]
    out_of_fold = []
    for fold, predicted in zip(problem.split.folds, cv.predict_folds(), strict=True):
        frame = predictions(problem, fold.valid, predicted)
        frame.insert(0, "fold", int(fold.name))
        out_of_fold.append(frame)
    return Finalist(
        family=book.family,
        trial=best.number,
        value=float(ending(best)["value"]),
        std=spread(folds),
        folds=folds,
        epochs=max(1, round(float(np.median(last["best_epochs"])))),
        params=params,
        out_of_fold=pd.concat(out_of_fold, ignore_index=True),
        average=Average(t.model for t in cv.trainings) if config.averages else None,
        on_bounds=at_edge(params, book.ranges),
    )


def models(config: Config, problem: Problem, finalists: Sequence[Finalist], folder: Path) -> list[nn.Module]:
    """What each finalist ships: the average of its folds' models, or one that is trained on all of their rows."""
    finals = [
        Final(
            family=f.family,
            params=f.params,
            trial=f.trial,
            epochs=f.epochs,
            max_epochs=config.search.max_epochs,
            members=config.export.members,
        )
        for f in finalists
        if f.average is None
    ]
    resources = config.resources
    trained = iter(
        train_final(problem, finals, resources=resources, workers=resources.workers_per_trial, folder=folder)
        if finals
        else []
    )
    return [next(trained) if f.average is None else f.average for f in finalists]


def candidate(best: Finalist, model: nn.Module) -> Candidate:
    """The finalist's model, and what its bundle says of it."""
    return Candidate(
        model=model,
        family=best.family,
        lookback=best.params["window.lookback"],
        cv={"mean": best.value, "std": best.std, "folds": best.folds},
        trial={"trial": best.trial, "params": best.params, "epochs": best.epochs, "kind": best.kind},
    )


def crown(config: Config, problem: Problem, best: Finalist, told: Candidate, proven: Proven, run: RunFolder) -> Winner:
    """The finalist with its bundle written."""
    return Winner(finalist=best, shipped=ship.leave(told, proven, problem, config, run.bundle(best.family)))


def restore(cv: InStep[Any], states: Checkpoints, epochs: list[dict[str, Any]], cpus: int) -> None:
    """Bring `cv` to where its trial ended: its newest state, and the epochs that it may lack trained again.

    `epochs` are those that the study holds. What could not be reached again to the digit, such as the score of another
    kind of device, is said.
    """
    last = epochs[-1]
    found = states.newest(at_most=last["number"])
    lacking = states.passed_over or ([] if found else ["the best trial has left no state"])
    for sentence in lacking:
        print(f"note: {sentence}; what is lacking is trained again", file=sys.stderr)
    if found is not None:
        cv.load_state_dict(found.state)
    iterator = cv.epochs()
    while max(training.done for training in cv.trainings) < last["number"]:
        prepare_process(cpus)
        if next(iterator, None) is None:  # on another kind of device patience may end sooner
            break
    folds = [cv.sign * training.best for training in cv.trainings]
    if not np.allclose(folds, last["folds"], rtol=1e-4):
        shown = [" ".join(f"{value:.5g}" for value in values) for values in (last["folds"], folds)]
        print(f"note: the folds scored {shown[0]} in the search, and {shown[1]} trained again", file=sys.stderr)


def why_none(config: Config, book: StudyBook) -> str:
    """Why a study has no best trial."""
    failed = [t for t in book.finished() if ending(t)["state"] == "failed"]
    if failed:
        reason = ending(failed[0])["reason"]
        return f"all {len(failed)} trials of {book.family} failed, the first with: {reason}"
    budget = config.search.time_budget
    return f"search.time_budget={budget} ended before the first epoch of {book.family}; give more seconds"
