"""A place to disturb sweeps in: where the system allows it, network, processes, /tmp and /dev/shm of its own.

    python -m tests.faults.arena MODULE ARGUMENTS...     runs `python -m MODULE` in such a place

All that was started there ends with it. Where namespaces are not allowed, it runs as it is, and ends what it started
by process group.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
_ENTER = """
ip link set lo up
mount -t tmpfs -o size=4g tmpfs /dev/shm
mount --bind "$1" /tmp
export HOME=/tmp/home
shift
"$@"
exit $?
"""


_UNSHARE = ["unshare", "--net", "--pid", "--mount", "--ipc", "--fork", "--kill-child", "--mount-proc"]


def namespaces_allowed() -> bool:
    try:
        return subprocess.run([*_UNSHARE, "ip", "link", "set", "lo", "up"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def inside(folder: Path, command: list[str]) -> list[str]:
    """`command` as it runs in namespaces of its own, with `folder` for /tmp; unchanged where these are not allowed."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o1777)
    return [*_UNSHARE, "bash", "-c", _ENTER, "arena", str(folder), *command] if namespaces_allowed() else command


DASHBOARD = 28265


class Arena:
    """One Ray for many sweeps over one small table, one trial at a time unless a sweep says otherwise."""

    def __init__(self, folder: Path, *, trials: int = 6, epochs: int = 4) -> None:
        self.folder = folder
        self.trials = trials
        self.runs = folder / "runs"
        self.log = folder / "trained.txt"
        self.common = ["--data", str(folder / "table.csv"), "--target", "load", "--lookback", "24", "--horizon", "4"]
        self.common += ["--trials", str(trials), "--max-epochs", str(epochs), "--resources.concurrent", "1"]
        self.environment = {
            **os.environ,
            "HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "faults" / "inject"), str(ROOT)]),
            "FAULTS_LOG": str(self.log),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        }
        self.ray: subprocess.Popen[bytes] | None = None
        (folder / "home").mkdir(exist_ok=True)
        _table().to_csv(folder / "table.csv", index=False)

    def start_ray(self, *, cpus: int = 2, dashboard: bool = False, **environment: str) -> None:
        """A head that outlives the drivers; without it, each sweep starts a Ray of its own."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--num-cpus={cpus}"]
        command += ["--node-ip-address=127.0.0.1", "--port=26379", f"--include-dashboard={str(dashboard).lower()}"]
        command += [f"--dashboard-port={DASHBOARD}", "--dashboard-host=127.0.0.1"]
        (self.folder / "ray.log").unlink(missing_ok=True)
        command += [f"--temp-dir={self.folder}/ray", f"--object-store-memory={256 << 20}", "--disable-usage-stats"]
        with (self.folder / "ray.log").open("ab") as log:
            self.ray = subprocess.Popen(
                command, env={**self.environment, **environment}, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(lambda: "To terminate" in (self.folder / "ray.log").read_text(), 60, "Ray to start")
        self.environment["RAY_ADDRESS"] = "127.0.0.1:26379"

    def stop_ray(self) -> None:
        if self.ray is not None:
            os.killpg(self.ray.pid, signal.SIGTERM)
            try:
                self.ray.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.ray.pid, signal.SIGKILL)
            self.ray = None
            self.environment.pop("RAY_ADDRESS", None)

    @contextmanager
    def another_ray(self, *, cpus: int = 2, dashboard: bool = False, **environment: str) -> Iterator[None]:
        """A head of another kind in place of the shared one."""
        self.stop_ray()
        self.start_ray(cpus=cpus, dashboard=dashboard, **environment)
        try:
            yield
        finally:
            self.stop_ray()
            self.start_ray()

    @contextmanager
    def no_ray(self) -> Iterator[None]:
        """Sweeps start Rays of their own, whose workers have the sweep's environment."""
        address = self.environment.pop("RAY_ADDRESS", None)
        try:
            yield
        finally:
            if address:
                self.environment["RAY_ADDRESS"] = address

    def add_node(self) -> subprocess.Popen[bytes]:
        """A second node, with two cores, as processes of its own; its raylet is among its children."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--address=127.0.0.1:26379", "--block"]
        command += ["--num-cpus=2", "--node-ip-address=127.0.0.1", f"--object-store-memory={256 << 20}"]
        output = self.folder / f"second-node-{time.monotonic_ns()}.log"
        with output.open("wb") as log:
            node = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        wait_for(lambda: "Ray runtime started" in output.read_text(errors="replace"), 60, "a second node")
        return node

    def begin(
        self, name: str, *flags: str, resume: bool = False, limited: Limited | None = None, **environment: str
    ) -> Sweep:
        command = [sys.executable, "-m", "ray_jobs.search", "lstm", "--runs", str(self.runs), "--name", name]
        command += ["--resume"] if resume else [*self.common, *flags]
        command = limited.command(command) if limited else command
        return Sweep(self, self.runs / name, command, {**self.environment, **environment})

    def submit(self, name: str) -> Sweep:
        """The same sweep as a job of Ray's; its process here is the one that follows the job."""
        flags = ["--runs", str(self.runs), "--name", name, *self.common]
        words = ["submit", "--submission-id", name, "--", sys.executable, "-m", "ray_jobs.search", "lstm", *flags]
        return Sweep(self, self.runs / name, self._job(*words), self.environment)

    def stop_job(self, name: str) -> None:
        subprocess.run(self._job("stop", name), env=self.environment, check=True, capture_output=True, timeout=120)

    def _job(self, verb: str, *words: str) -> list[str]:
        address = f"--address=http://127.0.0.1:{DASHBOARD}"
        return [sys.executable, "-m", "ray.scripts.scripts", "job", verb, address, *words]

    def whole(self, name: str, *flags: str, limited: Limited | None = None, **environment: str) -> Sweep:
        sweep = self.begin(name, *flags, limited=limited, **environment)
        sweep.end(0)
        return sweep

    def trained(self) -> list[tuple[int, int]]:
        """(trial, epoch) of every epoch that was trained since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


class Sweep:
    """A driver at work, and its run folder."""

    def __init__(self, arena: Arena, folder: Path, command: list[str], environment: dict[str, str]) -> None:
        self.folder = folder
        self.output = arena.folder / f"{folder.name}.log"
        self.began = time.monotonic()
        with self.output.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, cwd=ROOT, start_new_session=True
            )

    def end(self, *codes: int, seconds: float = 300) -> int:
        """Wait for its end; it must be one of `codes`."""
        code = self.process.wait(seconds)
        if code not in codes:
            raise AssertionError(f"{self.folder.name} ended with {code}, not {codes}:\n{self.said()[-3000:]}")
        return code

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def under_way(self, epochs: int = 1) -> None:
        """Wait until so many epochs are in the study; for 0, until there is something to resume."""
        begun = self.folder / "config.yaml"
        wait_for(lambda: begun.exists() or self.process.poll() is not None, 120, "a run folder")
        wait_for(lambda: len(self.acknowledged()) >= epochs or self.process.poll() is not None, 120, "an epoch")
        if self.process.poll() not in (None, 0):
            raise AssertionError(f"{self.folder.name} ended by itself:\n{self.said()[-3000:]}")

    def acknowledged(self) -> dict[tuple[int, int], float]:
        """(trial, epoch) -> value of all that the study holds; read as any other tool would."""
        return {
            (number, epoch["number"]): epoch["value"]
            for number, notes in self.notes().items()
            for key, epoch in notes.items()
            if key.startswith("epoch ")
        }

    def ended(self) -> dict[int, dict[str, Any]]:
        return {number: notes["end"] for number, notes in self.notes().items() if "end" in notes}

    def notes(self) -> dict[int, dict[str, Any]]:
        file = self.folder / "study.db"
        if not file.exists():
            return {}
        database = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)
        try:
            trials = database.execute("SELECT trial_id, number FROM trials").fetchall()
            rows = database.execute("SELECT trial_id, key, value_json FROM trial_user_attributes").fetchall()
        except sqlite3.OperationalError:  # its tables are being made
            return {}
        finally:
            database.close()
        found: dict[int, dict[str, Any]] = {number: {} for _, number in trials}
        by_id = dict(trials)
        for trial_id, key, value in rows:
            found[by_id[trial_id]][key] = json.loads(value)
        return found

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return found

    def left_over(self) -> list[str]:
        """What should be gone from the folder of a run that is done."""
        return [
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if path.name == "final" or path.name.startswith((".", "sweep-", "study.db-"))
        ]


class Limited:
    """A cgroup of its own for what is started inside: no more than so many bytes together."""

    def __init__(self, limit: int) -> None:
        """RuntimeError where the system allows none."""
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        of = {kind or "unified": own for _, kind, own in lines}
        if "memory" in of:  # version 1
            self.folder = Path("/sys/fs/cgroup/memory" + of["memory"]) / f"faults-{os.getpid()}"
            limits = {"memory.limit_in_bytes": limit}
        else:
            self.folder = Path("/sys/fs/cgroup" + of["unified"]) / f"faults-{os.getpid()}"
            limits = {"memory.max": limit, "memory.swap.max": 0}
        try:
            self.folder.mkdir()
            for name, value in limits.items():
                (self.folder / name).write_text(str(value))
        except OSError as error:
            raise RuntimeError(f"no cgroup can be made here: {error}") from None

    def command(self, command: list[str]) -> list[str]:
        return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.folder), *command]

    def remove(self) -> None:
        wait_for(lambda: not (self.folder / "cgroup.procs").read_text(), 60, "the cgroup to be empty")
        self.folder.rmdir()


def wait_for(found: Callable[[], Any], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not found():
        if time.monotonic() > until:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


def processes(word: str) -> list[int]:
    """Ids of the processes here whose command line holds `word`; zombies do not count."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if word in line:
                found.append(int(entry.name))
    return found


def _table() -> pd.DataFrame:
    """4,000 hours of a daily wave with noise, and a column that runs ahead of it: an epoch takes half a second."""
    rng = np.random.default_rng(0)
    wave = np.sin(2 * np.pi * np.arange(4000) / 24)
    return pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=4000, freq="h"),
            "load": 50 + 10 * wave + rng.normal(0, 1, 4000),
            "heat": 20 + 5 * np.roll(wave, 3) + rng.normal(0, 1, 4000),
        }
    )


if __name__ == "__main__":
    place = Path(os.environ.get("ARENA", "/tmp")) / f"fl-{os.getpid()}"
    place.mkdir(parents=True)
    try:
        sys.exit(subprocess.run(inside(place, [sys.executable, "-m", *sys.argv[1:]]), cwd=ROOT).returncode)
    finally:
        shutil.rmtree(place, ignore_errors=True)
