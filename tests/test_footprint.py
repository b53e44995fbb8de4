"""What a trial's memory is taken to be, and what becomes of one that ran out of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from models.crossval import build
from models.in_step import Params
from models.memory import kept_bytes, trial_bytes
from models.scaling import Statistics
from ray_jobs import bookkeeping, cluster, footprint
from ray_jobs.bookkeeping import Endings, Halt
from ray_jobs.footprint import PROCESS_BYTES, trial_memory
from ray_jobs.settings import Resources
from ray_jobs.study import StudyBook
from search_spaces import load
from tests.builders import make_params, make_problem
from tests.conftest import ROOT

MIB = 2**20
MEASURED = """
import threading, time
from models.crossval import CrossValidation
from models.memory import trial_bytes
from ray_jobs.trial import prepare_process
from tests.builders import make_params, make_problem, make_table

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

prepare_process(1)
problem = make_problem(make_table(3000), lookback=200)
params = make_params("lstm", lookback=200, model__hidden=64, model__layers=2, fit__batch_size=256)
estimate, before, most, done = trial_bytes(problem, "lstm", params), resident(), 0, False
def watch():
    global most
    while not done:
        most = max(most, resident())
        time.sleep(0.005)
thread = threading.Thread(target=watch)
thread.start()
cv = CrossValidation(problem, "lstm", params, trial=0)
next(cv.epochs())
done = True
thread.join()
print(estimate, most - before)
"""


def nodes(*sizes: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"Alive": True, "Resources": {"CPU": cpus, "memory": memory}} for cpus, memory in sizes]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc to see what a process holds")
def test_the_estimate_of_a_large_network_holds() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURED], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    estimate, grew = map(int, done.stdout.split())
    assert grew > 300 * MIB, "too small to tell anything"
    assert 0.9 * grew < estimate < 3 * grew


def test_what_is_kept_grows_with_the_batch() -> None:
    problem = make_problem()
    statistics = Statistics.fit(problem.table.values, problem.split.final.rows)
    model = build(problem, "lstm", make_params("lstm", model__hidden=8), statistics)
    lookback = make_params("lstm")["window"]["lookback"]
    few, more, many = (
        kept_bytes(model, {"past": torch.zeros(n, lookback, statistics.mean.size)}) for n in (8, 16, 256)
    )
    assert 0 < few < more
    assert many == pytest.approx(more + (256 - 16) / 8 * (more - few), rel=0.1)


def test_on_an_accelerator_a_batch_takes_no_main_memory() -> None:
    problem, params = make_problem(), make_params("lstm", model__hidden=64, fit__batch_size=256)
    assert trial_bytes(problem, "lstm", params, on_device=True) < trial_bytes(problem, "lstm", params) / 2


def test_the_largest_configuration_decides_but_never_asks_for_more_than_a_node_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem()
    one = StudyBook(
        f"sqlite:///{tmp_path}/study.db", load("lstm"), [4, 30], algorithm="tpe", trials=2, seed=0, minimise=True
    )
    monkeypatch.setattr(ray, "nodes", lambda: nodes((4, 8 << 30), (0, 64 << 30)))
    largest = make_params(
        "lstm", lookback=30, model__hidden=64, model__layers=2, model__pooling="mean", fit__batch_size=256
    )

    def needs(params: Params) -> int:
        return trial_bytes(problem, "lstm", params)

    found = trial_memory(needs, one, Resources())
    assert found >= PROCESS_BYTES + 0.99 * trial_bytes(problem, "lstm", largest)
    monkeypatch.setattr(ray, "nodes", lambda: nodes((4, PROCESS_BYTES)))
    assert trial_memory(needs, one, Resources()) == PROCESS_BYTES
    assert trial_memory(needs, one, Resources(workers_per_trial=2)) == (PROCESS_BYTES - footprint.WAITING_BYTES) // 2


def test_trials_fit_by_cores_and_by_memory_node_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes((3, 5 << 30), (4, 16 << 30)))
    assert cluster.fitting(Resources()) == 7
    assert cluster.fitting(Resources(cpus_per_trial=2)) == 3  # 1 and 2: a core is left over on the first
    assert cluster.fitting(Resources(), memory=2 << 30) == 6  # 2 by memory on the first, 4 by cores on the second
    assert cluster.fitting(Resources(workers_per_trial=2), memory=4 << 30) == 2  # 1 and 4 workers
    assert cluster.fitting(Resources(), memory=64 << 30) == 1


class Trial:
    """As much of Tune's trial as `Endings` asks for."""

    trial_id = "1a"
    error_file = None
    max_failures = 2
    last_result: dict[str, Any] = {}  # noqa: RUF012
    config: dict[str, Any] = {"trial": {"number": 0, "params": {}, "workers": 1, "exploits": False}}  # noqa: RUF012

    class run_metadata:
        num_failures = 1

    def should_recover(self) -> bool:
        return False  # at its second death, the last that it may have

    def update_resources(self, resources: dict[str, float]) -> None:
        self.resources = resources


@pytest.mark.parametrize("killed", [0, 1])
def test_a_trial_that_the_kernel_ended_for_want_of_memory_gets_a_node_to_itself_once(
    killed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = StudyBook(
        f"sqlite:///{tmp_path}/study.db", load("linear"), [4], algorithm="tpe", trials=2, seed=0, minimise=True
    )
    one.suggest()
    kills = iter([3, 3 + killed])
    monkeypatch.setattr(bookkeeping, "kernel_kills", lambda: next(kills))
    endings, trial = Endings(one, tmp_path, {}, Halt(), {"cpu": 4, "gpu": 0, "memory": 8 << 30}), Trial()
    endings.on_trial_recover(0, [], trial)
    if killed:
        assert trial.resources == {"cpu": 4, "memory": 8 << 30}
        assert trial.max_failures == 1  # as many as there were: the next death is the last
        endings.on_trial_error(0, [], trial)
        assert one.all_trials()[0].user_attrs["end"]["reason"].startswith("out of memory, and with a node to itself")
    else:
        assert not hasattr(trial, "resources") and trial.max_failures == 2
