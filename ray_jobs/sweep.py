"""One family's sweep on Ray Tune: the study suggests and records, the scheduler stops, warm actors train."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.integration.ray_train import CHECKPOINT_PATH_KEY
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from models.crossval import Problem
from ray_jobs import schedulers
from ray_jobs.cluster import fitting
from ray_jobs.config import Config
from ray_jobs.distributed_trial import distributed_trial
from ray_jobs.study import StudyBook
from ray_jobs.trial import WarmTrial

MAX_FAILURES = 2  # of the machine under a trial: a killed worker is started again from the last checkpoint


@dataclass(frozen=True, kw_only=True)
class Swept:
    search_seconds: float
    checkpoints: dict[int, Path]  # trial number -> its last state, all folds


class StudySearch(Searcher):
    """Hands out the trials of a `StudyBook`; `Endings` tells it how they ended.

    No more than `ahead` trials are open at one time: those that run and the one that comes next, so that each is
    suggested after as many results as can be had.
    """

    def __init__(self, book: StudyBook, shared: dict[str, Any], ahead: int) -> None:
        super().__init__(metric="value", mode="min" if book.minimise else "max")
        self.book = book
        self.shared = shared
        self.ahead = ahead

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.book.open_trials >= self.ahead:
            return None
        drawn = draw(self.book, self.shared)
        return str(Searcher.FINISHED) if drawn is None else drawn

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: see `Endings`, which PBT has too."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study database is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study database is the state."""


def draw(book: StudyBook, shared: dict[str, Any]) -> dict[str, Any] | None:
    """The config of the study's next trial; what is ours lies under one key, which PBT's mutations can reach."""
    suggestion = book.suggest()
    if suggestion is None:
        return None
    number, params = suggestion
    return {"trial": {**shared, "number": number, "params": params}}


class Endings(Callback):
    """Notes how each trial ended, and where its last state lies."""

    def __init__(self, book: StudyBook) -> None:
        self.book = book
        self.paths: dict[int, Path] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.book.numbers.setdefault(trial.trial_id, trial.config["trial"]["number"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result, params = trial.last_result or {}, trial.config["trial"]["params"]
        number = self.book.numbers[trial.trial_id]
        value, done = result.get("value"), bool(result.get("finished"))
        if value is not None and not math.isfinite(value):
            self.book.finish(number, "failed", reason=f"the metric became {value}", value=None, params=params)
            return
        state = "complete" if done else "pruned"
        reason = "finished" if done else f"stopped after epoch {result.get('number', 0)}"
        self.book.finish(number, state, reason=reason, value=value, params=params)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        file = Path(trial.error_file) if trial.error_file else None
        text = file.read_text().strip() if file and file.exists() else ""
        reason, params = text.splitlines()[-1] if text else "an exception", trial.config["trial"]["params"]
        # A trial may fail before it has started.
        number = self.book.numbers.get(trial.trial_id, trial.config["trial"]["number"])
        self.book.finish(number, "failed", reason=reason, value=None, params=params)

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any) -> None:
        self.paths[self.book.numbers[trial.trial_id]] = Path(checkpoint.path)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if CHECKPOINT_PATH_KEY in result:  # of the workers inside the trial
            self.paths[self.book.numbers[trial.trial_id]] = Path(result[CHECKPOINT_PATH_KEY])


class Recorder(Stopper):
    """Writes every epoch to the study before the scheduler hears of it; ends a sweep whose time is spent."""

    def __init__(self, book: StudyBook, began: float, deadline: float) -> None:
        self.book = book
        self.began = began
        self.deadline = deadline

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        epoch = {key: result[key] for key in _EPOCH_KEYS}
        epoch["ended"] = time.time() - self.began
        epoch["began"] = epoch["ended"] - epoch["train_seconds"] - epoch["valid_seconds"]
        self.book.record(self.book.numbers[trial_id], epoch)
        return time.time() > self.deadline

    def stop_all(self) -> bool:
        return time.time() > self.deadline


_EPOCH_KEYS = ("number", "value", "folds", "best_epochs", "curve", "train_seconds", "valid_seconds")


def sweep(
    config: Config,
    problem: Problem,
    book: StudyBook,
    folder: Path,
    *,
    callbacks: list[Callback],
) -> Swept:
    """Run the trials of `book` to the end of its budget; Tune's files go to `folder`/tune-<family>."""
    search, resources = config.search, config.resources
    began = time.time()
    shared = {
        "family": book.family,
        "fixed": {"fit.max_epochs": search.max_epochs},
        "cpus": resources.cpus_per_trial,
        "gpus": resources.gpus_per_trial,
        "workers": resources.workers_per_trial,
        "storage": str(folder / f"tune-{book.family}"),
    }
    trainable, per_trial, concurrent = _trainable(config)
    slots = fitting(resources)
    # Tune starts one waiting trial after the other, seconds each, unless it may hold as many as there are slots.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
    # HyperBand's paused trials are open, too: it needs all of a bracket before it decides.
    ahead = search.trials if search.scheduler == "hyperband" else slots + 1
    endings = Endings(book)
    tuner = Tuner(
        tune.with_resources(tune.with_parameters(trainable, problem=problem), per_trial),
        **_source(config, book, shared),
        tune_config=TuneConfig(
            search_alg=None if search.scheduler == "pbt" else StudySearch(book, shared, ahead),
            scheduler=schedulers.make(
                search.scheduler,
                minimise=book.minimise,
                max_epochs=search.max_epochs,
                ranges=book.ranges,
                seed=search.seed,
            ),
            num_samples=1 if search.scheduler == "pbt" else search.trials,
            max_concurrent_trials=concurrent,
            reuse_actors=trainable is WarmTrial,
            trial_dirname_creator=_trial_folder,
            trial_name_creator=_trial_folder,
        ),
        run_config=RunConfig(
            name=f"tune-{book.family}",
            storage_path=str(folder),
            verbose=0,
            callbacks=[endings, *callbacks],
            stop=Recorder(book, began, began + search.time_budget if search.time_budget else math.inf),
            checkpoint_config=CheckpointConfig(checkpoint_at_end=trainable is WarmTrial),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    tuner.fit()
    return Swept(search_seconds=time.time() - began, checkpoints=endings.paths)


def _source(config: Config, book: StudyBook, shared: dict[str, Any]) -> dict[str, Any]:
    """PBT takes no searcher: its population is drawn from the study at once, the default among it."""
    if config.search.scheduler != "pbt":
        return {}
    population = [draw(book, shared) for _ in range(config.search.trials)]
    return {"param_space": {"trial": tune.grid_search([each["trial"] for each in population if each])}}


def _trainable(config: Config) -> tuple[Any, dict[str, float], int | None]:
    """What Tune runs, what it reserves for it, and how many at one time (None: as many as fit)."""
    resources = config.resources
    concurrent = None if resources.concurrent == "auto" else resources.concurrent
    if resources.workers_per_trial == 1:
        return WarmTrial, {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}, concurrent
    # Tune cannot see the workers inside a trial: it reserves the waiting process and is told how many trials fit.
    return distributed_trial, {"cpu": 0, "memory": 256 * 2**20}, min(concurrent or sys.maxsize, fitting(resources))


def _trial_folder(trial: Any) -> str:
    return f"trial-{trial.config['trial']['number']:05d}"
