"""Processes that die at the worst moments of a sweep's bookkeeping: it ends as if they had not."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from ray.tune import Callback

from ray_jobs import cluster
from ray_jobs.schedulers import Replayable, make
from ray_jobs.study import StudyBook, ending, epochs
from tests.sweeps import run_sweep, settings

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(autouse=True, scope="module")
def connected(ray_head: str) -> None:
    cluster.connect()


FLAGS = ["--trials", "5", "--max-epochs", "3", "--resources.concurrent", "1"]


class Kill(Callback):
    """Kills the process of a trial: as it reports an epoch, or as the trial ends and the process goes idle."""

    def __init__(self, trial: int, epoch: int | None) -> None:
        self.trial, self.epoch = trial, epoch
        self.killed = 0

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if (trial.config["trial"]["number"], result["number"]) == (self.trial, self.epoch):
            self._kill(result["pid"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if trial.config["trial"]["number"] == self.trial and self.epoch is None:
            self._kill(trial.last_result["pid"])

    def _kill(self, pid: int) -> None:
        if not self.killed:
            os.kill(pid, signal.SIGKILL)
            self.killed += 1


def told(book: StudyBook) -> list[Any]:
    return [
        (t.number, ending(t)["state"], ending(t)["reason"], [e["value"] for e in epochs(t)]) for t in book.all_trials()
    ]


@pytest.fixture(scope="module")
def calm(connected: None, table: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("calm")
    found = told(run_sweep(settings(table, folder, *FLAGS), folder)[1])
    assert any(state == "pruned" for _, state, *_ in found)
    return found


def test_a_process_that_dies_while_idle_costs_no_trial(calm: list[Any], table: Path, tmp_path: Path) -> None:
    kill = Kill(2, None)
    _, book, _ = run_sweep(settings(table, tmp_path, *FLAGS), tmp_path, callbacks=[kill])
    assert kill.killed == 1
    assert told(book) == calm


def test_a_trial_that_was_stopped_stays_stopped_when_its_process_dies(
    calm: list[Any], table: Path, tmp_path: Path
) -> None:
    number, _, _, values = next(each for each in calm if each[1] == "pruned")
    kill = Kill(number, len(values))
    _, book, _ = run_sweep(settings(table, tmp_path, *FLAGS), tmp_path, callbacks=[kill])
    assert kill.killed == 1
    assert told(book) == calm


def test_a_rule_says_stop_again_of_an_epoch_that_is_reported_again() -> None:
    rule = make("asha", minimise=True, max_epochs=9, ranges={}, seed=0)
    assert isinstance(rule, Replayable)

    class Trial:
        def __init__(self, number: int) -> None:
            self.config = {"trial": {"number": number}}

    good, bad = Trial(0), Trial(1)
    for trial in (good, bad):
        rule.on_trial_add(None, trial)
    assert rule.on_trial_result(None, good, {"number": 1, "value": 1.0}) == "CONTINUE"
    assert rule.on_trial_result(None, bad, {"number": 1, "value": 2.0}) == "STOP"
    assert rule.on_trial_result(None, bad, {"number": 1, "value": 2.0}) == "STOP"
    assert rule.on_trial_result(None, good, {"number": 1, "value": 1.0}) == "CONTINUE"
