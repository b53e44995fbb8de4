"""All disturbances, as many as the table says, and docs/reliability.md written from what was counted.

make faults                            an hour or two, a scenario on each core
make faults ARGS="kill_actor=3 spoil"  some of them, whose rows are printed; the page stays as it is
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from typing import Any

from tests.faults import every_write, spoil
from tests.faults.arena import ROOT, namespaces_allowed
from tests.faults.row import Row

ALL = {
    "bad_trials": 4,
    "full_disk": 8,
    "clock_jumps": 2,
    "stop_job": 3,
    "kill_node": 10,
    "one_name": 20,
    "kill_driver": 50,
    "kill_actor": 20,
    "corrupt_states": 20,
    "terminate_driver": 20,
    "interrupt_driver": 20,
}
PAGE = ROOT / "docs" / "reliability.md"
COLUMNS = {
    "n": "n",
    "trials_lost": "trials lost",
    "epochs_lost": "acknowledged epochs lost",
    "counted_twice": "counted twice",
    "epochs_twice": "epochs of a running trial run twice, at most",
    "corrupted_accepted": "corrupted states accepted",
    "left_over": "left over",
    "other_winner": "other winner or score",
    "seconds_to_recover": "seconds to recover, at most",
    "minutes": "minutes",
}


def main(asked: list[str]) -> int:
    """Exit code 1 where something could not be counted; the other rows stand on the page all the same."""
    words = asked or ["every_write", *(f"{name}={n}" for name, n in ALL.items()), "spoil"]
    # Each lane is a machine of its own, as far as namespaces are one; where none can be had they would meet.
    lanes = (os.cpu_count() or 1) if namespaces_allowed() else 1
    commit, rows = _commit(), dict[str, dict[str, Any]]()

    def count(word: str) -> bool:
        began = time.monotonic()
        try:
            row = asdict(_row(word))
        except Exception as error:
            _say(f"{word} was not counted: {error}")
            return False
        rows[word] = {**row, "minutes": (time.monotonic() - began) / 60}
        _say(json.dumps(rows[word]))
        return True

    with ThreadPoolExecutor(min(lanes, len(words))) as pool:
        counted = list(pool.map(count, words))
    if not asked:
        PAGE.write_text(page([rows[word] for word in words if word in rows], commit), encoding="utf8")
    return 0 if all(counted) else 1


def _row(word: str) -> Row:
    if word == "spoil":
        return spoil.read_back(200)
    if word != "every_write":
        return _scenario(word)
    row = every_write.run(every=1)
    if row is None:
        raise RuntimeError("no C compiler")
    return row


def _scenario(word: str) -> Row:
    command = [sys.executable, "-m", "tests.faults.arena", "tests.faults.scenarios", word]
    row = None
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                row = Row(**json.loads(line))
            else:
                _say(line.rstrip())
    if row is None or process.returncode:
        raise RuntimeError(f"it ended with {process.returncode}")
    return row


def _say(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {line}", flush=True)


def _commit() -> str:
    """Of this code, "-dirty" where files differ from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def page(rows: list[dict[str, Any]], commit: str) -> str:
    head = "| fault | " + " | ".join(COLUMNS.values()) + " |\n|---|" + "---:|" * len(COLUMNS) + "\n"
    cells = [[row["fault"], *(_cell(row[key]) for key in COLUMNS)] for row in rows]
    body = "".join(f"| {' | '.join(each)} |\n" for each in cells)
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "optuna"))
    return f"""# Reliability

Written by `make faults`, which disturbs real sweeps of six trials, one at a time, at seeded random instants, lets them
go on by `--resume`, and holds each against one that nobody disturbed: trials, epochs, scores to the last digit.

{head}{body}
Counted in one run at commit {commit}, on {os.cpu_count()} cores, {platform.system()}, Python
{platform.python_version()}, {versions}.

- *n* counts the disturbances that hit a sweep under way.
- After a signal to the driver or a kill, every fourth run, and each that was hit behind its search, goes on to its
  bundle; the others to the end of their last trial. All trials, epochs, values and parameters are compared either way.
- *Acknowledged* is an epoch that stands in the study database, as another process reads it.
- A state that was spoiled on purpose is passed over for the one before it, so that its epoch is trained again; the
  table does not count that as run twice.
"""


def _cell(value: float | str) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
