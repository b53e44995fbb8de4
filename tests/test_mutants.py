"""A thousand spoiled configuration files: each is read as it stands, or refused in one line before anything starts."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.errors import InputError
from models.crossval import Problem
from ray_jobs import config, prepare

VALID = """\
name: mutant
data:
  path: {path}
  time: time
  targets: [load]
  past: auto
  fill_gaps: 0
window: {{lookback: 12, horizon: 3}}
validation: {{scheme: auto, folds: 3, holdout: 0.2, embargo: 0}}
search:
  algorithm: tpe
  scheduler: asha
  trials: 4
  max_epochs: 2
  time_budget: null
  metric: auto
  seed: 0
resources: {{cpus_per_trial: 1, gpus_per_trial: 0, workers_per_trial: 1, concurrent: auto}}
export: {{winner: auto, tolerance: 1.0e-5}}
"""
WORDS = [
    "-1", "0", "1e-3", "1e400", ".nan", ".inf", "-0", "0x10", "1_000", "null", "~", "yes", "true", "'4'", "\"\"",
    "[]", "{}", "[1,2]", "{a:1}", "*x", "&x", "!!set{a}", "9e99", "2024-01-01", "12:30:45", "../up", "tpe2", "|",
    ">", "%a", "@b", "loads", "[time]", "[load,load]", "1.5", "-.5", "1e", "0o7", "=", "<<", "?",
]  # fmt: skip
WORDS += [
    "!!python/object/apply:os.system [touch marker]",
    "!!binary aGk=",
    "9" * 40,
    "x" * 5000,
    "asha ",
    "load, load",
]
WORDS += ["\u202eload", "🌡", "\x00", "{a: 1}", "? a", "&x 1"]


def mutant(text: str, rng: random.Random) -> str:
    """One to three changes: of a letter, a line, a key or a value."""
    for _ in range(rng.randint(1, 3)):
        lines = text.split("\n")
        row = rng.randrange(len(lines))
        line = lines[row]
        match rng.randrange(9):
            case 0 if line:  # a letter
                at = rng.randrange(len(line))
                lines[row] = line[:at] + chr(rng.randrange(1, 0x250)) + line[at + 1 :]
            case 1:
                lines.pop(row)
            case 2:  # twice
                lines.insert(row, line)
            case 3:  # elsewhere
                lines.insert(rng.randrange(len(lines)), lines.pop(row))
            case 4:  # indented
                lines[row] = rng.choice([" ", "   ", "\t"]) + line
            case 5 if ":" in line:  # another value
                key, _, _ = line.rpartition(":")
                closing = "}" if line.rstrip().endswith("}") else ""
                lines[row] = f"{key}: {rng.choice(WORDS)}{closing}"
            case 6 if ":" in line:  # another key
                key, colon, value = line.partition(":")
                at = rng.randrange(len(key) + 1)
                lines[row] = f"{key[:at]}{rng.choice('abz_-.1')}{key[at:]}{colon}{value}"
            case 7:  # nested deeply
                lines[row] = f"{line.partition(':')[0]}: " + "[" * rng.choice([3, 400])
            case _:  # cut off
                lines = lines[: row + 1]
                lines[row] = line[: rng.randrange(len(line) + 1)]
        text = "\n".join(lines)
    return text


def outcome(file: Path) -> Problem | str:
    """What a run would go by, or the line that refuses it."""
    try:
        settings = config.parse(["--config", str(file)], prog="mutant", description="")
        return prepare.problem(prepare.complete(settings))
    except InputError as error:
        return str(error)


@pytest.mark.slow
def test_each_of_a_thousand_mutants_runs_or_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wave = np.sin(np.arange(120) / 5)
    times = pd.date_range("2024-01-01", periods=120, freq="h")
    pd.DataFrame({"time": times, "load": 10 + wave, "heat": wave**2}).to_csv("table.csv", index=False)
    valid = VALID.format(path=tmp_path / "table.csv")
    file = tmp_path / "mutant.yaml"
    file.write_text(valid, encoding="utf8")
    assert isinstance(outcome(file), Problem)
    refused = 0
    for seed in range(1000):
        file.write_bytes(mutant(valid, random.Random(seed)).encode("utf8", "surrogatepass"))
        found = outcome(file)
        if isinstance(found, str):
            refused += 1
            assert found.isprintable(), (seed, found)
            assert 10 < len(found) < 1000, (seed, found)
    assert 300 < refused < 950, "most mutants should be wrong, and some right"
    assert {path.name for path in tmp_path.iterdir()} == {"table.csv", "mutant.yaml"}, "a mutant left a mark"
