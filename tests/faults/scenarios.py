"""What is done to sweeps, and what is counted afterwards.

    python -m tests.faults.scenarios kill_driver=2 kill_actor=1 ...
    python -m tests.faults.scenarios trials=4 epochs=3 kill_driver=1       of smaller sweeps

Each scenario disturbs so many sweeps at seeded random instants and lets them go on; the yardstick is the same for all.
Its row is printed as one line of JSON.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.faults.arena import Arena, Limited, processes, wait_for
from tests.faults.judge import Judge, actors
from tests.faults.row import Row
from tests.faults.spoil import spoil


def kill_driver(judge: Judge, n: int, rng: random.Random) -> Row:
    return _signal(judge, n, rng, Row("kill -9 driver"), signal.SIGKILL, -signal.SIGKILL)


def terminate_driver(judge: Judge, n: int, rng: random.Random) -> Row:
    return _signal(judge, n, rng, Row("SIGTERM to the driver"), signal.SIGTERM, 4)


def interrupt_driver(judge: Judge, n: int, rng: random.Random) -> Row:
    return _signal(judge, n, rng, Row("SIGINT to the driver"), signal.SIGINT, 4)


def _signal(judge: Judge, n: int, rng: random.Random, row: Row, number: signal.Signals, code: int) -> Row:
    """At an instant drawn over the whole of the search and what follows it."""
    for i in itertools.count():
        if row.n == n:
            break
        name = f"{number.name.lower()}-{i}"
        sweep = judge.arena.begin(name)
        at = rng.randrange(len(judge.values) + 3)  # after so many epochs; the last ones lie in the final training
        sweep.under_way(min(at, len(judge.values)))
        # Before the first epoch lie the start of the search and of its trials, after the last one the winner's making.
        time.sleep(rng.uniform(0, 0.3 if 0 < at < len(judge.values) else 15 if at else 6))
        sweep.send(number)
        if sweep.end(code, 0) == 0:
            judge.count(row, sweep, {})  # it was done before: judged, but no disturbance
            row.n -= 1
            continue
        if code == 4:
            assert "--resume --name" in sweep.said(), sweep.said()
        in_search = len(sweep.ended()) < judge.arena.trials
        judge.go_on(row, name, sweep.acknowledged(), to_the_end=not in_search or i % 4 == 3)
    return row


def kill_actor(judge: Judge, n: int, rng: random.Random) -> Row:
    """The process that trains dies; the sweep goes on by itself."""
    row = Row("kill -9 one trial actor")
    for i in range(n):
        sweep = judge.arena.begin(f"actor-{i}")
        sweep.under_way(1 + rng.randrange(len(judge.values) - 3))
        time.sleep(rng.uniform(0, 0.1))
        before = sweep.acknowledged()
        began = time.monotonic()
        for pid in actors():
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda s=sweep, b=before: len(s.acknowledged()) > len(b), 60, "the next epoch")
        row.seconds_to_recover = max(row.seconds_to_recover, time.monotonic() - began)
        judge.end(row, sweep, before, to_the_end=i % 4 == 0)
    return row


def kill_node(judge: Judge, n: int, rng: random.Random) -> Row:
    """The raylet of the only node that trains dies, with all actors there; another comes, and the sweep goes on."""
    row = Row("kill -9 the raylet of the node that trains")
    arena = judge.arena
    quick = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3"}
    with arena.another_ray(cpus=0, **quick):
        for i in range(n):
            head = processes("raylet/raylet")
            node = arena.add_node()
            sweep = arena.begin(f"node-{i}")
            sweep.under_way(1 + rng.randrange(len(judge.values) - 3))
            before, began = sweep.acknowledged(), time.monotonic()
            for pid in set(processes("raylet/raylet")) - set(head):
                os.kill(pid, signal.SIGKILL)
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()
            node = arena.add_node()
            wait_for(lambda s=sweep, b=before: len(s.acknowledged()) > len(b), 120, "the next epoch")
            row.seconds_to_recover = max(row.seconds_to_recover, time.monotonic() - began)
            judge.end(row, sweep, before, to_the_end=i % 4 == 0)
            os.killpg(node.pid, signal.SIGTERM)
            node.wait(60)
    return row


def stop_job(judge: Judge, n: int, rng: random.Random) -> Row:
    """`ray job stop` of a submitted sweep, which leaves it three seconds."""
    row = Row("ray job stop")
    arena = judge.arena
    with arena.another_ray(dashboard=True):
        for i in range(n):
            name = f"job-{i}"
            sweep = arena.submit(name)
            sweep.under_way(1 + rng.randrange(len(judge.values) - 1))
            arena.stop_job(name)
            sweep.end(0)
            assert "--resume --name" in sweep.said(), sweep.said()[-2000:]
            judge.go_on(row, name, sweep.acknowledged())
    return row


def clock_jumps(judge: Judge, n: int, rng: random.Random) -> Row:
    """The wall clock of driver and workers jumps by an hour, forth or back, in the midst of a sweep."""
    row = Row("wall clock jumps by an hour")
    arena = judge.arena
    with arena.no_ray():  # or the workers' clocks would not jump
        for i in range(n):
            jump = arena.folder / "jump"
            jump.unlink(missing_ok=True)
            sweep = arena.begin(f"clock-{i}", FAULTS_CLOCK=str(jump))
            sweep.under_way(1 + rng.randrange(len(judge.values) - 3))
            jump.write_text(str(3600 * (-1) ** i))
            sweep.end(0)
            judge.count(row, sweep, {})
            seconds = sweep.summary()["search_seconds"]
            assert 0 < seconds < 600, f"a search of {seconds} s"
    return row


def corrupt_states(judge: Judge, n: int, rng: random.Random) -> Row:
    """A driver dies, and the newest state of each trial is truncated, changed by a bit, or another trial's."""
    row = Row("the same in a sweep whose driver was killed")
    for i in range(n):
        name = f"corrupt-{i}"
        sweep = judge.arena.begin(name)
        sweep.under_way(3 + rng.randrange(len(judge.values) - 4))
        sweep.send(signal.SIGKILL)
        sweep.end(-signal.SIGKILL)
        spoiled = spoil(sorted((sweep.folder / "sweep-lstm" / "checkpoints").glob("trial-*")), rng)
        before, to_the_end = sweep.acknowledged(), i % 4 == 3
        twice = row.epochs_twice  # what a spoiled state held is trained again: that is counted in its own way
        judge.go_on(row, name, before, to_the_end=to_the_end)
        row.epochs_twice = twice
        said = sweep.said()  # one file for both
        went_on = {trial for trial, _ in set(sweep.acknowledged()) - set(before)}
        for path in spoiled:  # those that must be read: of trials that go on, and of the winner for its training
            trial = int(path.parent.name.removeprefix("trial-"))
            if trial in went_on or (to_the_end and trial == judge.best):
                row.corrupted_accepted += f"{path.parent.name}/{path.name} cannot be used" not in said
    return row


def one_name(judge: Judge, n: int, rng: random.Random) -> Row:
    """Two sweeps of one name, then two that resume it, at the same moment: one of them works, the other is refused."""
    row = Row("two sweeps with one name, two resumes at once")
    for i in range(n // 2):
        name = f"twice-{i}"
        pair = [judge.arena.begin(name) for _ in range(2)]
        wait_for(lambda p=pair: any(s.process.poll() is not None for s in p), 120, "a refusal")
        refused = next(s for s in pair if s.process.poll() is not None)
        refused.end(2)
        row.n += 1
        worker = next(s for s in pair if s is not refused)
        worker.under_way(2)
        worker.send(signal.SIGKILL)
        worker.end(-signal.SIGKILL)
        before = worker.acknowledged()
        pair = [judge.arena.begin(name, resume=True) for _ in range(2)]
        codes = sorted(s.process.wait(300) for s in pair)
        # The second may come when the first is done: then there is nothing left to refuse.
        assert codes in ([0, 2], [0, 0]), [s.said()[-500:] for s in pair]
        judge.count(row, pair[0], before)
    return row


def bad_trials(judge: Judge, n: int, rng: random.Random) -> Row:
    """One trial of a sweep goes wrong by itself: it is failed with its reason, and the sweep goes on."""
    row = Row("NaN loss, exception, hang, memory limit in one of 8 trials")
    expected = {
        "nan": "the metric became nan in epoch 2",
        "raise": "RuntimeError: a fault on purpose",
        "hang": "hung: an epoch took longer",
        "memory": "out of memory, and with a node to itself",
    }
    arena, trials = judge.arena, 8
    for kind in list(expected)[:n]:
        flags = [
            "--trials",
            str(trials),
            "--search.scheduler",
            "none",
        ]  # or it might be stopped before its second epoch
        flags += ["--search.epoch_timeout", "5"] if kind == "hang" else []
        try:
            limited = Limited(4 << 30) if kind == "memory" else None
        except RuntimeError as error:
            print(f"bad_trials: memory was not tried: {error}", file=sys.stderr)
            continue
        try:
            with arena.no_ray():  # or the plan would not reach the workers
                sweep = arena.whole(f"bad-{kind}", *flags, limited=limited, FAULTS_PLAN=json.dumps({"2": [kind, 2]}))
        finally:
            if limited:
                limited.remove()
        row.n += 1
        row.left_over += len(sweep.left_over())
        ends = sweep.ended()
        row.trials_lost += len(set(range(trials)) - set(ends))
        assert ends[2]["state"] == "failed", ends[2]
        assert ends[2]["reason"].startswith(expected[kind]), ends[2]
        assert all(end["state"] != "failed" for number, end in ends.items() if number != 2), ends
        if kind != "nan":
            assert (sweep.folder / "failures" / "lstm" / "trial-00002.txt").exists()
        arena.trained()
    return row


# What is opened or renamed first at each of these places: from then on there is no room.
FULL_AT = {
    "checkpoint": "/.epoch-00002.part/state.pt",
    "database": "/.epoch-00002.part",  # its renaming: what is written next is the epoch, into the study
    "report": "/.report.html.part",
    "bundle": "/bundles/.lstm.part/validation.json",
}


def full_disk(judge: Judge, n: int, rng: random.Random) -> Row:
    """Runs on a small file system that fills up: one line names the path, and with room again the sweep goes on."""
    row = Row(f"disk full at {', '.join(FULL_AT)}, and at any instant")
    arena = judge.arena
    small = arena.folder / "small"
    for i in range(n):
        small.mkdir(exist_ok=True)
        if os.system(f"mount -t tmpfs -o size=24m tmpfs {small}") != 0:
            print("full_disk: mounting is not allowed here; nothing was tried", file=sys.stderr)
            return row
        runs, arena.runs = arena.runs, small
        try:
            if i < len(FULL_AT):
                words = list(FULL_AT.values())[i]
                with arena.no_ray():  # or the workers would not know
                    sweep = arena.begin(f"full-{i}", FAULTS_FILL=json.dumps([str(small), words]))
                    sweep.end(4)
            else:
                sweep = arena.begin(f"full-{i}")
                sweep.under_way(1 + rng.randrange(len(judge.values)))
                with contextlib.suppress(OSError), (small / "ballast").open("wb", buffering=0) as ballast:
                    while True:  # until it is full
                        ballast.write(bytes(4096))
                sweep.end(4)
            assert (small / "ballast").exists(), "the disk was never full"
            assert "Traceback" not in sweep.said(), sweep.said()[-3000:]
            assert "cannot write" in sweep.said(), sweep.said()[-3000:]
            before = sweep.acknowledged()
            (small / "ballast").unlink()
            judge.go_on(row, f"full-{i}", before)
        finally:
            arena.runs = runs
            os.system(f"umount -l {small}")
    return row


SCENARIOS: dict[str, Callable[[Judge, int, random.Random], Row]] = {
    each.__name__: each
    for each in (
        kill_driver,
        terminate_driver,
        interrupt_driver,
        kill_actor,
        kill_node,
        stop_job,
        clock_jumps,
        corrupt_states,
        one_name,
        bad_trials,
        full_disk,
    )
}


def main(asked: dict[str, int], seed: int = 0) -> None:
    folder = Path(tempfile.mkdtemp(prefix="fl-", dir="/tmp"))
    arena = Arena(folder, **{name: asked.pop(name) for name in ("trials", "epochs") if name in asked})
    arena.start_ray()
    try:
        judge = Judge(arena)
        for name, n in asked.items():
            print(json.dumps(asdict(SCENARIOS[name](judge, n, random.Random(f"{seed} {name}")))), flush=True)
    finally:
        arena.stop_ray()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main({name: int(n) for name, _, n in (word.partition("=") for word in sys.argv[1:])})
