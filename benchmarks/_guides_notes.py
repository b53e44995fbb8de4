"""What is measured of the guides' pattern: nothing here belongs to it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from _common import Job
from ray import tune

Record = dict[str, Any]


class Notes:
    """The benchmark's own measurements, one JSON line each, in a file of the trial's own."""

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def __call__(self, **note: Any) -> None:
        with self.file.open("a", encoding="utf8") as file:
            file.write(json.dumps({**note, "time": time.time()}) + "\n")


class Watch(tune.Callback):
    """When each trial began and ended, and how."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.deadline = time.time() + job.limit
        self.began: dict[int, float] = {}
        self.ended: dict[int, Record] = {}
        self.closed: dict[int, float] = {}
        self.reports = 0

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.began[trial.config["train_loop_config"]["number"]] = time.time()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.reports += 1

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number, result = trial.config["train_loop_config"]["number"], trial.last_result or {}
        self.closed[number] = time.time()
        if time.time() < self.deadline:  # later ones have been ended by the time limit
            state = "complete" if result.get("finished") else "cut"
            self.ended[number] = {
                "number": number,
                "state": state,
                "value": result.get("mae"),
                "reports": result.get("training_iteration"),
                "seconds": time.time() - self.began[number],
            }
        self.job.say(f"{len(self.ended)} of {len(self.job.configurations)} trials, {self.reports} reports")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["train_loop_config"]["number"]
        self.ended[number] = {"number": number, "state": "failed", "value": None}


def breakdown(watch: Watch, notes: dict[int, list[Record]], slot_seconds: float) -> dict[str, float]:
    """Where the slots' seconds of the search went; they add up to slots x search seconds."""
    start, end = "from a trial's start to its train loop", "from a trial's last epoch to its end"
    spent = dict.fromkeys((start, "training", "validation", "in ray.train.report", end), 0.0)
    for number, mine in notes.items():
        for note in mine:
            match note["event"]:
                case "loop":
                    spent[start] += note["time"] - watch.began[number]
                case "epoch":
                    spent["training"] += note["train_seconds"]
                    spent["validation"] += note["valid_seconds"]
                case "reported":
                    spent["in ray.train.report"] += note["seconds"]
        if mine and number in watch.closed:
            spent[end] += max(0.0, watch.closed[number] - mine[-1]["time"])
    return {**spent, "slots without a trial, and the rest": slot_seconds - sum(spent.values())}


def read_notes(file: Path) -> list[Record]:
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf8").split("\n")[:-1]  # a killed worker may leave half a line
    return [json.loads(line) for line in lines]
