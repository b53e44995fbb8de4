"""States spoiled on purpose: truncated, a bit flipped, or another trial's in their place."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import torch

from ray_jobs.trial import trial_states
from tests.faults.row import Row

OWNER = {"family": "linear", "seed": 3, "data": "none"}


def spoil(trials: list[Path], rng: random.Random) -> list[Path]:
    """Change the newest state of each trial that has any; those changed."""
    spoiled = []
    for trial in trials:
        newest = max(trial.glob("epoch-*"), default=None)
        if newest is None:
            continue
        others = [state for other in trials if other != trial for state in other.glob("epoch-*")]
        others = [state for state in others if state not in spoiled]  # it may be this trial's own by now
        kind = rng.choice(["cut", "bit", "swap"] if others else ["cut", "bit"])
        file = newest / rng.choice(["state.pt", "report.json", "manifest.json"])
        content = bytearray(file.read_bytes())
        if kind == "swap":
            shutil.rmtree(newest)
            shutil.copytree(rng.choice(others), newest)
        elif kind == "cut":
            file.write_bytes(content[: rng.randrange(len(content))])
        else:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            file.write_bytes(content)
        spoiled.append(newest)
    return spoiled


def read_back(n: int, seed: int = 0) -> Row:
    """`n` states of two trials spoiled, one pair after another, and read as a trial that goes on reads them."""
    row = Row("a state truncated, a bit flipped, another trial's")
    rng = random.Random(seed)
    while row.n < n:
        with tempfile.TemporaryDirectory() as folder:
            trials = [trial_states(folder, OWNER, number) for number in (0, 1)]
            for number, states in enumerate(trials):
                for epoch in (1, 2):
                    states.save({"weights": torch.full((1000,), 10.0 * number + epoch)}, {"number": epoch})
            spoil([states.folder for states in trials], rng)
            for number, states in enumerate(trials):
                found = states.newest()
                row.n += 1
                right = found is not None and bool((found.state["weights"] == 10.0 * number + 1).all())
                row.corrupted_accepted += found is not None and not right
                row.epochs_lost += found is None  # the one before was whole
                row.left_over += found is None or len(states.passed_over) != 1  # said so
    return row
