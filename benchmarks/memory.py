"""Does a long sweep's memory grow? Driver and actors of one search, watched from its first trial to its last.

    python benchmarks/memory.py                          # 200 short trials on the built-in sample, a few minutes
    python benchmarks/memory.py --trials 1000 -- --data t.csv --target x      # what follows -- goes to the search

Prints the memory after the first 20 trials and after each further tenth, and writes all samples to
benchmarks/results/memory.json. Memory is the proportional set size: what processes share counts once.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _process import ROOT, Tree, environment, share

_SETTLED = 20  # trials after which every actor has imported, traced and allocated all it needs
_ACTORS = ("ray::WarmTrial", "ray::ResourceTrainable")  # Ray's titles of a trial's process: idle, and at work
_USUAL = ["--sample", "sea-temperature", "--lookback", "12", "--horizon", "3", "--max-epochs", "2", "--folds", "3"]
_RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--trials", type=int, default=200, help="default 200")
    parser.add_argument("--output", type=Path, default=_RESULTS / "memory.json", help="default %(default)s")
    parser.add_argument("search", nargs="*", metavar="FLAG", help="flags of the search, after --")
    given = parser.parse_args()
    if given.trials <= _SETTLED:
        parser.error(f"--trials must be more than {_SETTLED}, got {given.trials}")
    with tempfile.TemporaryDirectory() as folder:
        samples = watch(given.trials, given.search or _USUAL, Path(folder))
    if not samples or samples[-1]["ended"] < given.trials:
        sys.exit("the search did not reach its last trial; its output stands above")
    result = judge(samples, given.trials)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps({**result, "samples": samples}, indent=1), encoding="utf8")
    print(f"driver and actors grew by a factor of {result['growth']:.3f} after trial {_SETTLED}; {given.output}")


def watch(trials: int, flags: list[str], folder: Path) -> list[dict[str, Any]]:
    """Samples while the search runs, two a second: trials ended, bytes of the driver and of each actor."""
    command = [sys.executable, str(ROOT / "ray_jobs" / "tune_lstm.py"), *flags, "--trials", str(trials)]
    command += ["--runs", str(folder), "--name", "memory"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=sys.stderr)
    tree, samples, began = Tree(process.pid), [], time.monotonic()
    try:
        while process.poll() is None:
            ended = count_ended(folder / "memory" / "study.db")
            if samples and samples[-1]["ended"] == trials:
                break  # the search is over; what follows is the winner's training
            tree.find()
            actors = [share(pid) for pid in tree.pids if name(pid).startswith(_ACTORS)]
            samples.append(
                {
                    "seconds": round(time.monotonic() - began, 1),
                    "ended": ended,
                    "driver": share(process.pid),
                    "actors": sorted(actors),
                }
            )
            time.sleep(0.5)
    finally:
        process.terminate()
        process.wait()
        tree.end()
    return samples


def count_ended(database: Path) -> int:
    """Trials that have ended; 0 while the database is being made."""
    if not database.exists():
        return 0
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)
    try:
        found = connection.execute("SELECT count(*) FROM trials WHERE state NOT IN ('RUNNING', 'WAITING')").fetchone()
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
    return int(found[0])


def name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def judge(samples: list[dict[str, Any]], trials: int) -> dict[str, Any]:
    """Memory after trial 20, after each tenth of all, after the last; printed as a table."""
    most = max(len(each["actors"]) for each in samples)
    whole = [each for each in samples if len(each["actors"]) == most]  # not while an actor starts
    rows = []
    for at in [_SETTLED, *(trials * tenth // 10 for tenth in range(1, 11))]:
        sample = next((each for each in whole if each["ended"] >= at), whole[-1])
        if at >= _SETTLED and (not rows or at > rows[-1]["trial"]):
            rows.append({"trial": at, "driver": sample["driver"], "actors": sum(sample["actors"])})
    print(f"{'trials':>8} {'driver MB':>10} {'actors MB':>10}")
    for row in rows:
        print(f"{row['trial']:>8} {row['driver'] / 1e6:>10.0f} {row['actors'] / 1e6:>10.0f}")
    first, last = rows[0], rows[-1]
    growth = (last["driver"] + last["actors"]) / (first["driver"] + first["actors"])
    return {"trials": trials, "growth": growth, "rows": rows}


if __name__ == "__main__":
    main()
