"""A few of the disturbances that `make faults` makes many of: nothing is lost, nothing counts twice."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from tests.faults import every_write, spoil
from tests.faults.arena import ROOT

SHORT = ["trials=4", "epochs=3", "terminate_driver=1", "corrupt_states=1"]  # the second kills the driver first

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.skipif(sys.platform != "linux", reason="the shim knows Linux's file calls")
def test_death_at_a_write_loses_nothing() -> None:
    row = every_write.run(every=40)
    if row is None:
        pytest.skip("needs a C compiler for the shim that ends the process")
    assert row.n >= 8
    counted = {key: value for key, value in asdict(row).items() if key not in ("fault", "n")}
    assert not any(counted.values()), row


def test_a_spoiled_state_is_passed_over_for_the_one_before_it() -> None:
    row = spoil.read_back(40)
    assert row.n == 40
    assert not any(value for key, value in asdict(row).items() if key not in ("fault", "n")), row


def test_disturbed_sweeps_end_as_undisturbed_ones_do() -> None:
    command = [sys.executable, "-m", "tests.faults.arena", "tests.faults.scenarios", *SHORT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [row["n"] for row in rows] == [1, 1]
    for row in rows:
        counted = {key: value for key, value in row.items() if key not in ("fault", "n", "seconds_to_recover")}
        assert counted.pop("epochs_twice") <= 1, row
        assert not any(counted.values()), row
