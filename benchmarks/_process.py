"""A process and all that it starts: watched for memory and processor time, bounded in time, ended as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_SAMPLE_SECONDS = 0.2
_TREE_SECONDS = 1.0  # how often new processes are looked for
_SHARE_SECONDS = 2.0  # how often the proportional sizes are summed: they cost more to read
_PROC = Path("/proc")
_HAS_PROC = (_PROC / "self/statm").exists()


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Of a process tree; None where the system has no /proc."""

    peak_resident_bytes: int | None = None  # sum over processes: what they share counts once for each of them
    peak_share_bytes: int | None = None  # sum of proportional sizes: what they share counts once
    peak_processes: int | None = None
    processor_seconds: float | None = None
    others_cores: float | None = None  # cores that everything else on the machine kept busy meanwhile, on average


def run(
    command: list[str], *, log: Path, limit: float, environment: dict[str, str], hear: Callable[[], None]
) -> tuple[int, Usage]:
    """Run `command` to its end, its output in `log`; `hear` is called five times a second.

    Returns exit status and usage. After `limit` seconds, or when this process is interrupted, all is killed.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
    tree = Tree(process.pid)
    try:
        deadline = time.monotonic() + limit
        while process.poll() is None and time.monotonic() < deadline:
            tree.sample()
            hear()
            time.sleep(_SAMPLE_SECONDS)
        usage = tree.usage()
    finally:
        tree.find()
        if process.poll() is None:
            process.kill()
        process.wait()
        tree.end()
    hear()
    return process.returncode, usage


class Tree:
    def __init__(self, pid: int) -> None:
        self.pids = [pid]
        self.resident = self.share = 0
        self.processes = 1
        self.busy: dict[int, float] = {}  # processor seconds of each process when it was last seen
        self.began, self.machine = time.monotonic(), _machine_seconds()
        self.looked = self.shared = float("-inf")

    def sample(self) -> None:
        now = time.monotonic()
        if now - self.looked >= _TREE_SECONDS:
            self.looked = now
            self.find()
        self.resident = max(self.resident, sum(map(_resident, self.pids)))
        if now - self.shared >= _SHARE_SECONDS:
            self.shared = now
            self.share = max(self.share, sum(map(share, self.pids)))

    def find(self) -> None:
        """The process and its descendants, as they are now; those found before that live on under another parent."""
        if not _HAS_PROC:
            return
        children: dict[int, list[int]] = {}
        seconds: dict[int, float] = {}
        for entry in _PROC.iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                    if fields[0] != "Z":
                        children.setdefault(int(fields[1]), []).append(int(entry.name))
                        ticks = int(fields[11]) + int(fields[12])
                        seconds[int(entry.name)] = ticks / os.sysconf("SC_CLK_TCK")
        self.pids = [pid for pid in self.pids if pid in seconds]
        for pid in self.pids:  # grows while it is walked
            self.pids.extend(child for child in children.get(pid, []) if child not in self.pids)
        self.busy.update((pid, seconds[pid]) for pid in self.pids)
        self.processes = max(self.processes, len(self.pids))

    def usage(self) -> Usage:
        if not _HAS_PROC:
            return Usage()
        own = sum(self.busy.values())
        others = max(0.0, _machine_seconds() - self.machine - own)
        return Usage(
            peak_resident_bytes=self.resident,
            peak_share_bytes=self.share or None,
            peak_processes=self.processes,
            processor_seconds=own,
            others_cores=others / (time.monotonic() - self.began),
        )

    def end(self) -> None:
        """Ray's own processes end with the one that started them; those that have not after a while are killed."""
        until = time.monotonic() + 10.0
        self.find()
        while _HAS_PROC and self.pids and time.monotonic() < until:
            time.sleep(_SAMPLE_SECONDS)
            self.find()
        for pid in self.pids if _HAS_PROC else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _machine_seconds() -> float:
    """Processor seconds that all cores together have been busy since the machine started."""
    if not _HAS_PROC:
        return 0.0
    user, nice, system, _idle, _wait, irq, soft = map(int, (_PROC / "stat").read_text().split()[1:8])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def share(pid: int) -> int:
    """Proportional set size in bytes; 0 of a process that has gone."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, str(Path(__file__).resolve().parent / script), *arguments]


def environment() -> dict[str, str]:
    """This process's, with the repository importable and a Ray of the child's own."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": paths, "RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0"}
