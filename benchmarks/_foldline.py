"""The first way: Foldline's own sweep, through the functions that its scripts call.

The configurations are the study's first trials, so that nothing is suggested.
Started by sweep.py: `python _foldline.py job.json`.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from _common import FAMILY, Job
from ray.tune import Callback

from ray_jobs import cluster, config, series
from ray_jobs.footprint import trial_memory
from ray_jobs.settings import Config
from ray_jobs.study import StudyBook
from ray_jobs.sweep import sweep

Record = dict[str, Any]


class Watch(Callback):
    """Notes every epoch as it reaches the driver, and every trial's end."""

    def __init__(self, job: Job, book: StudyBook, windows: list[int]) -> None:
        self.job = job
        self.book = book
        self.windows = windows  # training windows of each fold
        self.records: list[Record] = []
        self.trials: list[Record] = []
        self.deadline = time.time() + job.limit

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        trained = [n for n, curve in zip(self.windows, result["curve"], strict=True) if curve is not None]
        self.records.append(
            {
                "trial": self.book.numbers[trial.trial_id],
                "fold": None,  # all that had not finished
                "folds": [curve is not None for curve in result["curve"]],
                "epoch": result["number"],
                "windows": sum(trained),
                "train_seconds": result["train_seconds"],
                "valid_seconds": result["valid_seconds"],
                "valid": result["value"],
                "actor": result["pid"],
                "heard": time.time(),
            }
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result or {}
        number = self.book.numbers[trial.trial_id]
        state = "complete" if result.get("finished") else "cut"
        if time.time() < self.deadline:  # later ones have been ended by the time limit
            self.trials.append({"number": number, "state": state, "value": result.get("value")})
        self.job.say(f"{len(self.trials)} of {len(self.job.configurations)} trials, {len(self.records)} epochs")


def main(job: Job) -> None:
    imported = time.time()
    settings = series.complete(_settings(job))
    problem = series.problem(settings)
    ready = time.time()
    cluster.connect()
    connected = time.time()
    folder = Path(job.folder)
    book = series.open_book(settings, problem, FAMILY, f"sqlite:///{folder / 'study.db'}")
    if job.configurations[0] != book.first[0]:
        raise SystemExit("the first configuration must be the family's default: a study begins with it")
    book.first = job.configurations
    watch = Watch(job, book, [len(fold.train) for fold in problem.split.folds])
    began = time.time()
    memory = trial_memory(
        lambda params: series.needs(settings, problem, FAMILY, params, on_device=False), book, settings.resources
    )
    sweep(settings, problem, book, folder, memory=memory, callbacks=[watch])
    ended = time.time()
    slots = job.concurrent or cluster.cores()
    if not watch.records:
        raise SystemExit(f"no epoch ended within {job.limit:g} seconds; give more by --limit")
    first = min(record["heard"] - record["train_seconds"] - record["valid_seconds"] for record in watch.records)
    job.finish(
        {
            "records": watch.records,
            "trials": sorted(watch.trials, key=lambda t: t["number"]),
            "search_seconds": ended - began,
            "slots": slots,
            "phases": {
                "import": imported - job.launched,
                "read and check the data": ready - imported,
                "start Ray": connected - ready,
                "make the study": began - connected,
                "from there to the first training step": first - began,
                "from the last epoch to the sweep's return": ended - max(record["heard"] for record in watch.records),
            },
            "slot_seconds": breakdown(watch.records, began, ended, slots),
        }
    )


def breakdown(records: list[Record], began: float, ended: float, slots: int) -> dict[str, float]:
    """Where the slots' seconds of the search went; they add up to slots x search seconds.

    An actor's idle time is what lies between two of its results, as the driver hears them, less training and
    validation.
    """
    spent: dict[str, float] = defaultdict(float)
    by_actor: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        by_actor[record["actor"]].append(record)
        spent["training"] += record["train_seconds"]
        spent["validation"] += record["valid_seconds"]
    for mine in by_actor.values():
        before, last_trial = began, None
        for record in mine:
            idle = record["heard"] - before - record["train_seconds"] - record["valid_seconds"]
            kind = "until the first epoch began" if last_trial is None else "between two trials"
            spent["between two epochs" if last_trial == record["trial"] else kind] += idle
            before, last_trial = record["heard"], record["trial"]
        spent["after an actor's last epoch"] += ended - before
    spent["slots that no actor took"] = slots * (ended - began) - sum(spent.values())
    return dict(spent)


def _settings(job: Job) -> Config:
    data = {"sample": job.sample} if job.data is None else {"path": job.data, "time": job.time, "targets": [job.target]}
    return config.check(
        {
            "runs": job.folder,
            "data": data,
            "window": {"lookback": job.lookback, "horizon": job.horizon},
            "validation": {"folds": job.folds},
            "search": {
                "algorithm": "random",
                "scheduler": job.scheduler,
                "trials": len(job.configurations),
                "max_epochs": job.epochs,
                "time_budget": job.limit,
                "seed": job.seed,
            },
            "resources": {"concurrent": job.concurrent or "auto"},
        }
    )


if __name__ == "__main__":
    main(Job.read(Path(sys.argv[1])))
