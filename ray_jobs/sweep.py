"""One family's sweep on Ray Tune: the study suggests and records, the scheduler stops, warm actors train."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from models.in_step import AnyProblem
from ray_jobs import schedulers
from ray_jobs.bookkeeping import Endings, Halt, Recorder
from ray_jobs.checkpoints import Checkpoints
from ray_jobs.cluster import fitting
from ray_jobs.database import DATABASE_ERRORS, why
from ray_jobs.distributed_trial import distributed_trial
from ray_jobs.footprint import WAITING_BYTES, largest_node
from ray_jobs.schedulers import Replayable
from ray_jobs.settings import Config
from ray_jobs.study import StudyBook, epochs
from ray_jobs.trial import WarmTrial, trial_states

MAX_FAILURES = 2  # deaths of a trial's process that are borne; each time it goes on from its last state


class HaltedError(Exception):
    """The sweep cannot go on: one line says why; what was recorded is whole."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A sweep that has ended."""

    search_seconds: float
    folder: Path  # of states and failures
    owner: dict[str, Any]  # of the states

    def states(self, number: int) -> Checkpoints:
        return trial_states(self.folder, self.owner, number)


class StudySearch(Searcher):
    """Hands out the trials of a `StudyBook`, those first that an earlier process began; `Endings` tells how they ended.

    No more than `ahead` trials are open at one time: those that run and the one that comes next, so that each is
    suggested after as many results as can be had.
    """

    def __init__(self, book: StudyBook, shared: dict[str, Any], ahead: int, halt: Halt) -> None:
        super().__init__(metric="value", mode="min" if book.minimise else "max")
        self.book = book
        self.shared = shared
        self.ahead = ahead
        self.halt = halt

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self.book.unfinished and self.book.open_trials >= self.ahead:
            return None
        try:
            drawn = draw(self.book, self.shared)
        except DATABASE_ERRORS as error:
            self.halt(f"cannot write {self.book.shown_url}: {why(error)}")
            drawn = None
        if drawn is None and (self.halt.reason or not self.book.open_trials):
            return str(Searcher.FINISHED)  # not before: one that is open may have to be handed out again
        return drawn

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: see `Endings`, which PBT has too."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study database is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study database is the state."""


def draw(book: StudyBook, shared: dict[str, Any]) -> dict[str, Any] | None:
    """The config of the next trial; what is ours lies under one key, which PBT's mutations can reach."""
    if book.unfinished:
        trial = book.unfinished.pop(0)
        number, params, heard = trial.number, {**trial.params, **book.fixed}, len(epochs(trial))
    else:
        suggestion = book.suggest()
        if suggestion is None:
            return None
        (number, params), heard = suggestion, 0
    return {"trial": {**shared, "number": number, "params": params, "heard": heard}}


def sweep(
    config: Config,
    problem: AnyProblem,
    book: StudyBook,
    folder: Path,
    *,
    memory: int,
    grace: int,
    callbacks: list[Callback],
) -> Swept:
    """Run the trials of `book` to the end of its budget, from where they stand; `memory` bytes a worker of a trial, and
    at least `grace` epochs for each.

    States and failures lie in `folder`/sweep-<family> until the run is done, Tune's files in a folder in it. Raises
    HaltedError where a disk or a database cannot be written.
    """
    search, resources = config.search, config.resources
    before = book.seconds()
    own = folder / f"sweep-{book.family}"
    own.mkdir(exist_ok=True, mode=0o700)
    shutil.rmtree(own / "tune", ignore_errors=True)  # of an earlier process: a cache that nobody reads
    owner = {"family": book.family, "seed": search.seed, "data": problem.fingerprint}
    halt = Halt()
    recorder = Recorder(book, halt, before, search.time_budget)
    swept = Swept(search_seconds=0.0, folder=own, owner=owner)
    scheduler = schedulers.make(
        search.scheduler,
        minimise=book.minimise,
        max_epochs=search.max_epochs,
        ranges=book.ranges,
        seed=search.seed,
        grace=grace,
    )
    _replay(book, scheduler)
    _tidy(book, swept)
    budget = [search.trials, search.time_budget]
    over = book.searched(budget)  # by a process that ended later on
    if over is None and (book.unfinished or book.started < book.trials):
        shared = {
            "family": book.family,
            "fixed": {"fit.max_epochs": search.max_epochs},
            "cpus": resources.cpus_per_trial,
            "gpus": resources.gpus_per_trial,
            "workers": resources.workers_per_trial,
            "memory": memory,
            "storage": str(own / "tune"),
            "folder": str(own),
            "owner": owner,
            "epoch_timeout": search.epoch_timeout,
            "exploits": search.scheduler == "pbt",
        }
        endings = Endings(book, own, owner, halt, largest_node(resources))
        _tune(config, problem, book, shared, scheduler, recorder, [endings, *callbacks], halt)
    if halt.reason:
        raise HaltedError(halt.reason)
    for trial in book.all_trials():  # the time was up while they ran
        if "end" not in trial.user_attrs:
            _prune(book, trial, "the time was up")
    _tidy(book, swept)
    seconds = recorder.seconds() if over is None else over
    book.end_search(seconds, budget)
    return Swept(search_seconds=seconds, folder=own, owner=owner)


def _replay(book: StudyBook, scheduler: TrialScheduler) -> None:
    """Show a new scheduler what the study holds; a trial that it stops there had its process die before its ending."""
    if not isinstance(scheduler, Replayable) or not book.recorded:
        return
    came = [(epoch["place"], trial.number, epoch) for trial in book.all_trials() for epoch in epochs(trial)]
    stopped = scheduler.replay((number, epoch) for _, number, epoch in sorted(came, key=lambda each: each[0]))
    for trial in [t for t in book.unfinished if t.number in stopped]:
        book.unfinished.remove(trial)
        _prune(book, trial, f"stopped after epoch {len(epochs(trial))}")


def _prune(book: StudyBook, trial: Any, reason: str) -> None:
    curve = epochs(trial)
    value = curve[-1]["value"] if curve else None
    book.finish(trial.number, "pruned", reason=reason, value=value, params={**trial.params, **book.fixed})


def _tidy(book: StudyBook, swept: Swept) -> None:
    """Of the trials that have ended, only the best one's states are needed."""
    best = book.best()
    for trial in book.finished():
        if best is None or trial.number != best.number:
            swept.states(trial.number).remove()


def _tune(
    config: Config,
    problem: AnyProblem,
    book: StudyBook,
    shared: dict[str, Any],
    scheduler: TrialScheduler,
    recorder: Recorder,
    callbacks: list[Callback],
    halt: Halt,
) -> None:
    search = config.search
    trainable, per_trial, concurrent = _trainable(config, shared["memory"])
    # As many as fit now, or as were asked for: a cluster may grow.
    slots = fitting(config.resources, shared["memory"]) if concurrent is None else concurrent
    # Tune starts one waiting trial after the other, seconds each, unless it may hold as many as there are slots.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
    # HyperBand's paused trials are open, too: it needs all of a bracket before it decides.
    ahead = search.trials if search.scheduler == "hyperband" else slots + 1
    Tuner(
        tune.with_resources(tune.with_parameters(trainable, problem=problem), per_trial),
        **_source(config, book, shared),
        tune_config=TuneConfig(
            search_alg=None if search.scheduler == "pbt" else StudySearch(book, shared, ahead, halt),
            scheduler=scheduler,
            num_samples=1 if search.scheduler == "pbt" else -1,  # until the study has no more
            max_concurrent_trials=concurrent,
            reuse_actors=trainable is WarmTrial,
            trial_dirname_creator=_trial_folder,
            trial_name_creator=_trial_folder,
        ),
        run_config=RunConfig(
            name="tune",
            storage_path=shared["folder"],
            verbose=0,
            callbacks=callbacks,
            stop=recorder,
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            # Ours are on disk. One at a trial's end, too, takes a moment, and if its process dies in it, Tune forgets
            # that the trial was stopped.
            checkpoint_config=CheckpointConfig(
                checkpoint_at_end=None if search.scheduler in schedulers.NEEDS_CHECKPOINTS else False
            ),
        ),
    ).fit()


def _source(config: Config, book: StudyBook, shared: dict[str, Any]) -> dict[str, Any]:
    """PBT takes no searcher: its population is drawn from the study at once, the default among it."""
    if config.search.scheduler != "pbt":
        return {}
    population = []
    while drawn := draw(book, shared):
        population.append(drawn["trial"])
    return {"param_space": {"trial": tune.grid_search(population)}}


def _trainable(config: Config, memory: int) -> tuple[Any, dict[str, float], int | None]:
    """What Tune runs, what it reserves for it, and how many at one time (None: as many as fit)."""
    resources = config.resources
    concurrent = None if resources.concurrent == "auto" else resources.concurrent
    if resources.workers_per_trial == 1:
        per_trial = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial, "memory": memory}
        return WarmTrial, per_trial, concurrent
    # Tune cannot see the workers inside a trial: it reserves the waiting process and is told how many trials fit.
    fit = min(concurrent or sys.maxsize, fitting(resources, memory))
    return distributed_trial, {"cpu": 0, "memory": WAITING_BYTES}, fit


def _trial_folder(trial: Any) -> str:
    return f"trial-{trial.config['trial']['number']:05d}"
