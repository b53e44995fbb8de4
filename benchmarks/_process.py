"""A process and all that it starts: watched for memory, bounded in time, ended as a whole."""

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

_SAMPLE_SECONDS = 0.2
_TREE_SECONDS = 1.0  # how often new processes are looked for
_SHARE_SECONDS = 2.0  # how often the proportional sizes are summed: they cost more to read
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


@dataclass(kw_only=True)
class Peak:
    """Peaks of a process tree in bytes; None where the system has no /proc."""

    resident: int | None = None  # sum of resident sizes: what processes share counts once for each of them
    share: int | None = None  # sum of proportional sizes: what processes share counts once
    processes: int | None = None


def run(
    command: list[str], *, log: Path, limit: float, environment: dict[str, str], hear: Callable[[], None]
) -> tuple[int, Peak]:
    """Run `command` to its end, its output in `log`; `hear` is called five times a second.

    Returns exit status and peaks. After `limit` seconds, or when this process is interrupted, the whole tree is
    killed.
    """
    root = Path(__file__).resolve().parent.parent
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
    watch = _Watch(process.pid)
    try:
        deadline = time.monotonic() + limit
        while process.poll() is None and time.monotonic() < deadline:
            watch.sample()
            hear()
            time.sleep(_SAMPLE_SECONDS)
    finally:
        watch.find()
        if process.poll() is None:
            process.kill()
        process.wait()
        watch.end()
    hear()
    return process.returncode, watch.peak


class _Watch:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.pids = [pid]
        self.peak = Peak(resident=0, share=0, processes=1) if (_PROC / "self/statm").exists() else Peak()
        self.looked = self.shared = float("-inf")

    def sample(self) -> None:
        if self.peak.resident is None or self.peak.share is None:
            return
        now = time.monotonic()
        if now - self.looked >= _TREE_SECONDS:
            self.looked = now
            self.find()
        self.peak.resident = max(self.peak.resident, sum(map(_resident, self.pids)))
        if now - self.shared >= _SHARE_SECONDS:
            self.shared = now
            self.peak.share = max(self.peak.share, sum(map(_share, self.pids)))

    def find(self) -> None:
        """The process and its descendants, as they are now; those found before that live on under another parent."""
        if self.peak.processes is None:
            return
        children: dict[int, list[int]] = {}
        for entry in _PROC.iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                    if fields[0] != "Z":
                        children.setdefault(int(fields[1]), []).append(int(entry.name))
        alive = {pid for pids in children.values() for pid in pids}
        known = [pid for pid in self.pids if pid in alive]
        for pid in known:  # grows while it is walked
            known.extend(child for child in children.get(pid, []) if child not in known)
        self.pids = known
        self.peak.processes = max(self.peak.processes, len(known))

    def end(self) -> None:
        """Ray's own processes end with the one that started them; those that have not after a while are killed."""
        for patience in (5.0, 0.0):
            until = time.monotonic() + patience
            self.find()
            while self.pids and time.monotonic() < until:
                time.sleep(_SAMPLE_SECONDS)
                self.find()
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _resident(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _share(pid: int) -> int:
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, str(Path(__file__).resolve().parent / script), *arguments]


def environment() -> dict[str, str]:
    """This process's, with the repository importable and a Ray of the child's own."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": paths, "RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0"}
