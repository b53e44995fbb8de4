"""One family's sweep on Ray Tune: the study suggests and records, the scheduler stops, warm actors train."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from models.crossval import Problem
from ray_jobs import schedulers
from ray_jobs.config import Config
from ray_jobs.study import StudyBook
from ray_jobs.trial import WarmTrial

MAX_FAILURES = 2  # of the machine under a trial: a killed worker is started again from the last checkpoint


@dataclass(frozen=True, kw_only=True)
class Swept:
    search_seconds: float
    checkpoints: dict[int, Path]  # trial number -> its last state, all folds


class StudySearch(Searcher):
    """Tune's view of a `StudyBook`: hands out its trials, tells it how they ended."""

    def __init__(self, book: StudyBook, trial_config: dict[str, Any]) -> None:
        super().__init__(metric="value", mode="min" if book.minimise else "max")
        self.book = book
        self.trial_config = trial_config
        self.numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        suggestion = self.book.suggest()
        if suggestion is None:
            return str(Searcher.FINISHED)
        number, params = suggestion
        self.numbers[trial_id] = number
        return {**self.trial_config, "number": number, "params": params}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number, result = self.numbers[trial_id], result or {}
        value = result.get("value")
        if error or (value is not None and not math.isfinite(value)):
            reason = "an exception" if error else f"the metric became {value}"
            self.book.finish(number, "failed", reason=reason, value=None, params={})
            return
        params = {
            key.removeprefix("config/params/"): v for key, v in result.items() if key.startswith("config/params/")
        }
        done = bool(result.get("finished"))
        self.book.finish(
            number,
            "complete" if done else "pruned",
            reason="finished" if done else f"stopped after epoch {result.get('number', 0)}",
            value=value,
            params=params,
        )

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study database is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study database is the state."""


class Recorder(Stopper):
    """Writes every epoch to the study before the scheduler hears of it; ends a sweep whose time is spent."""

    def __init__(self, book: StudyBook, began: float, deadline: float) -> None:
        self.book = book
        self.began = began
        self.deadline = deadline

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        epoch = {key: result[key] for key in _EPOCH_KEYS}
        epoch["ended"] = time.time() - self.began
        epoch["began"] = result["epoch_started"] - self.began
        self.book.record(result["config"]["number"], epoch)
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
    trainable: Callable[..., Any] | type[tune.Trainable] | None = None,
    callbacks: list[Callback],
) -> Swept:
    """Run the trials of `book` to the end of its budget; Tune's files go to `folder`/tune-<family>."""
    search, resources = config.search, config.resources
    began = time.time()
    trial_config = {
        "family": book.family,
        "fixed": {"fit.max_epochs": search.max_epochs},
        "cpus": resources.cpus_per_trial,
        "gpus": resources.gpus_per_trial,
    }
    per_trial = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    tuner = Tuner(
        tune.with_resources(tune.with_parameters(trainable or WarmTrial, problem=problem), per_trial),
        tune_config=TuneConfig(
            search_alg=StudySearch(book, trial_config),
            scheduler=schedulers.make(
                search.scheduler,
                minimise=book.minimise,
                max_epochs=search.max_epochs,
                ranges=book.ranges,
                seed=search.seed,
            ),
            num_samples=search.trials,
            max_concurrent_trials=None if resources.concurrent == "auto" else resources.concurrent,
            reuse_actors=True,
            trial_dirname_creator=_trial_folder,
            trial_name_creator=_trial_folder,
        ),
        run_config=RunConfig(
            name=f"tune-{book.family}",
            storage_path=str(folder),
            verbose=0,
            callbacks=callbacks,
            stop=Recorder(book, began, began + search.time_budget if search.time_budget else math.inf),
            checkpoint_config=CheckpointConfig(checkpoint_at_end=True, num_to_keep=1),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    results = tuner.fit()
    return Swept(
        search_seconds=time.time() - began,
        checkpoints={
            result.config["number"]: Path(result.checkpoint.path)
            for result in results
            if result.checkpoint is not None and result.config
        },
    )


def _trial_folder(trial: Any) -> str:
    return f"trial-{trial.config['number']:05d}"
