"""All disturbances, as many as the table says, and docs/reliability.md written from what was counted.

make faults            two to three hours on two cores; make faults ARGS="kill_actor=20" for some of them
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from tests.faults import every_write, spoil
from tests.faults.arena import ROOT

ALL = {
    "kill_driver": 50,
    "kill_actor": 20,
    "kill_node": 10,
    "terminate_driver": 20,
    "interrupt_driver": 20,
    "stop_job": 3,
    "corrupt_states": 20,
    "one_name": 10,
    "bad_trials": 4,
    "clock_jumps": 2,
    "full_disk": 8,
}
RESULTS = ROOT / "tests" / "faults" / "results.json"
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
    "commit": "counted at",
}


def main(asked: list[str]) -> None:
    words = asked or ["every_write", "spoil", *(f"{name}={n}" for name, n in ALL.items())]
    if "every_write" in words:
        words.remove("every_write")
        row = every_write.run(every=1)
        if row is None:
            print("every_write: no C compiler, so nothing was tried", file=sys.stderr)
        else:
            _note(asdict(row))
    if "spoil" in words:
        words.remove("spoil")
        _note(asdict(spoil.read_back(200)))
    if not words:
        return
    command = [sys.executable, "-m", "tests.faults.arena", "tests.faults.scenarios", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                _note(json.loads(line))
            else:
                print(line, end="", flush=True)
    sys.exit(process.returncode)


def _note(row: dict[str, Any]) -> None:
    """Print the row, and put it into the page; rows of earlier runs stay until they are counted again."""
    print(json.dumps(row), flush=True)
    known = {one["fault"]: one for one in (json.loads(RESULTS.read_text()) if RESULTS.exists() else [])}
    known[row["fault"]] = {**row, "commit": _commit()}
    RESULTS.write_text(json.dumps(list(known.values()), indent=1) + "\n")
    (ROOT / "docs" / "reliability.md").write_text(page(list(known.values())))


def _commit() -> str:
    """Of this code; "unknown" outside a checkout."""
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def page(rows: list[dict[str, Any]]) -> str:
    head = "| fault | " + " | ".join(COLUMNS.values()) + " |\n|---|" + "---:|" * len(COLUMNS) + "\n"
    cells = [[row["fault"], *(_cell(row.get(key, "earlier")) for key in COLUMNS)] for row in rows]
    body = "".join(f"| {' | '.join(each)} |\n" for each in cells)
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "optuna"))
    return f"""# Reliability

Written by `make faults`, which disturbs real sweeps of six trials, one at a time, at seeded random instants, lets them
go on by `--resume`, and holds each against one that nobody disturbed: trials, epochs, scores to the last digit.

{head}{body}
Measured on {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {versions}.

- *n* counts the disturbances that hit a sweep under way; *counted at* names the commit, "earlier" one that was not
  noted. Rows come from several runs, not from one: what was changed after a row's commit it has not seen.
- After a signal to the driver every fourth run, and each that was hit behind its search, goes on to its bundle; the
  others to the end of their last trial. All trials, epochs, values and parameters are compared either way.
- *Acknowledged* is an epoch that stands in the study database, as another process reads it.
- A state that was spoiled on purpose is passed over for the one before it, so that its epoch is trained again; the
  table does not count that as run twice.
"""


def _cell(value: float | str) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(sys.argv[1:])
