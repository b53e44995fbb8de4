"""Death at the n-th write, rename or fsync of a trial's states and of the study, for one n after another.

    python -m tests.faults.every_write [EVERY]      every n, or one in EVERY; prints the row as a line of JSON

A forked child suggests trials, saves states and records epochs as a sweep does, tells its parent through a pipe what is
acknowledged, and dies at its n-th call (see shim.c). The next process must find all of that, and goes on to the end.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ray_jobs.checkpoints import Checkpoints
from ray_jobs.study import StudyBook, ending, epochs
from ray_jobs.trial import trial_states
from search_spaces import load
from tests.faults.row import Row

HERE = Path(__file__).resolve().parent
TRIALS, EPOCHS = 3, 3
OWNER = {"family": "linear", "seed": 3, "data": "none"}


def states(folder: Path, number: int) -> Checkpoints:
    return trial_states(folder, OWNER, number)


def work(folder: Path, acknowledge: Callable[[Any], None]) -> None:
    """What a sweep writes, from wherever the study stands: trial by trial, a state before its epoch is recorded."""
    book = StudyBook(
        f"sqlite:///{folder}/study.db", load("linear"), [24], algorithm="random", trials=TRIALS, seed=3, minimise=True
    )
    begun = [(trial.number, {**trial.params, **book.fixed}) for trial in book.unfinished]
    while begun or (drawn := book.suggest()) is not None:
        number, params = begun.pop(0) if begun else drawn
        mine = states(folder, number)
        found = mine.newest()
        done = found.report["number"] if found else 0
        if done:  # it may not have been heard of
            book.record(number, _epoch(number, done))
            acknowledge(["epoch", number, done])
        for at in range(done + 1, EPOCHS + 1):
            mine.save({"weights": torch.full((1000,), float(at))}, {"number": at})
            book.record(number, _epoch(number, at))
            acknowledge(["epoch", number, at])
        book.finish(number, "complete", reason="finished", value=_value(number, EPOCHS), params=params)
        acknowledge(["end", number])
    book.close()


def _epoch(number: int, at: int) -> dict[str, Any]:
    return {"number": at, "value": _value(number, at), "ended": float(at), "finished": at == EPOCHS}


def _value(number: int, at: int) -> float:
    return 1.0 / (1 + number + at)


def killed_at(n: int, torn: bool, folder: Path, shim: ctypes.CDLL) -> list[Any] | None:
    """What the child had acknowledged when it died at its n-th call; None where it ended before."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        shim.faults_arm(ctypes.c_long(n), int(torn))
        work(folder, lambda what: os.write(writing, (json.dumps(what) + "\n").encode()) and None)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as heard:
        acknowledged = [json.loads(line) for line in heard]
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return acknowledged
    assert status == 0, f"the child failed at {n}"
    return None


def judge(row: Row, folder: Path, acknowledged: list[Any], calm: list[Any]) -> None:
    """Count what the next process lacks; let it go on, and compare its study with that of an undisturbed one."""
    row.n += 1
    book = StudyBook(
        f"sqlite:///{folder}/study.db", load("linear"), [24], algorithm="random", trials=TRIALS, seed=3, minimise=True
    )
    held = {(trial.number, epoch["number"]): epoch["value"] for trial in book.all_trials() for epoch in epochs(trial)}
    ended = {trial.number for trial in book.finished()}
    book.close()
    for what, number, *rest in acknowledged:
        if what == "end":
            row.trials_lost += number not in ended
        else:
            row.epochs_lost += held.get((number, rest[0])) != _value(number, rest[0])
            found = states(folder, number).newest()
            if found is None or found.report["number"] < rest[0]:
                row.epochs_lost += 1
            elif not bool((found.state["weights"] == found.report["number"]).all()):
                row.corrupted_accepted += 1
    work(folder, lambda what: None)
    row.other_winner += contents(folder) != calm
    row.left_over += len([path for path in folder.rglob("*") if path.name.startswith("study.db-")])


def contents(folder: Path) -> list[Any]:
    """A finished study as values that can be compared."""
    book = StudyBook(
        f"sqlite:///{folder}/study.db", load("linear"), [24], algorithm="random", trials=TRIALS, seed=3, minimise=True
    )
    found = [[t.number, t.params, ending(t), epochs(t)] for t in book.all_trials()]
    book.close()
    return found


def main(every: int) -> Row:
    row = Row("death at the n-th write, rename or fsync")
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    place = Path(tempfile.mkdtemp(prefix="fl-writes-"))
    try:
        (place / "calm").mkdir()
        shim.faults_arm(ctypes.c_long(0), 0)
        work(place / "calm", lambda what: None)
        shim.faults_count.restype = ctypes.c_long
        calls = shim.faults_count()
        shim.faults_arm(ctypes.c_long(-1), 0)
        calm = contents(place / "calm")
        for n in range(1, calls + 1, every):
            folder = place / f"at-{n}"
            folder.mkdir()
            acknowledged = killed_at(n, n % 2 == 0, folder, shim)
            if acknowledged is not None:
                judge(row, folder, acknowledged, calm)
            shutil.rmtree(folder)
    finally:
        shutil.rmtree(place)
    return row


def build(folder: Path) -> Path | None:
    """The shim compiled into `folder`; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    target = folder / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(HERE / "shim.c"), "-ldl"]
    subprocess.run(command, check=True)
    return target


def run(every: int) -> Row | None:
    """The row, from a process with the shim; None where it cannot be built."""
    with tempfile.TemporaryDirectory() as folder:
        shim = build(Path(folder))
        if shim is None:
            return None
        command = [sys.executable, "-m", "tests.faults.every_write", str(every)]
        done = subprocess.run(
            command, cwd=HERE.parents[1], env={**os.environ, "LD_PRELOAD": str(shim)}, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise AssertionError(done.stdout[-2000:] + done.stderr[-4000:])
        return Row(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    print(json.dumps(asdict(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))))
