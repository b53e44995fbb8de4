"""Every code block of the README runs, in order, as it stands: a reader may copy any of them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from models.predictor import Predictor
from models.torch_predictor import TorchPredictor
from ray_jobs import config
from ray_jobs.params import check_fixed
from tests.conftest import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.slow]

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf8"), re.DOTALL | re.MULTILINE)
# A later flag wins: the command is the reader's, the budget the test's.
SHORT = ["--trials", "1", "--max-epochs", "1", "--validation.folds", "2", "--export.winner", "average"]
SMALL = ["--data", "sales.csv", "--target", "sales", "--lookback", "24", "--horizon", "12"]  # instead of its 6 years


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's packages in a folder of their own, with the reader's table beside them."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("data", "models", "search_spaces", "ray_jobs", ".rayignore"):
        (folder / name).symlink_to(ROOT / name)
    rng = np.random.default_rng(0)
    t = np.arange(900)
    frame = pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=len(t), freq="h"),
            "sales": 100 + 20 * np.sin(2 * np.pi * t / 24) + rng.normal(0, 3, len(t)),
            "price": 5 + rng.normal(0, 0.1, len(t)),
        }
    )
    frame.to_csv(folder / "sales.csv", index=False)
    return folder


def test_the_readme_has_blocks_of_both_kinds() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "python"}


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block_runs(number: int, checkout: Path, ray_head: str) -> None:
    language, text = BLOCKS[number]
    if language == "python":
        done = run([sys.executable, "-W", "error", "-c", text], checkout)
        assert len(done.stdout.splitlines()) == 12  # steps
        return
    examples: list[str] = []
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        match words:
            case ["make", target]:
                assert run(["make", "-n", target], ROOT).stdout
            case ["python", "-m", "ray_jobs.search", *named, "--config", example]:
                flags = [at for at, word in enumerate(named) if word.startswith("-")]
                start = flags[0] if flags else len(named)
                read = config.parse(["--config", str(ROOT / example), *named[start:]], prog="", description="")
                check_fixed(read, named[:start])  # test_examples.py trains them
                examples.append(str(read.name))
            case ["python", "benchmarks/risk.py", run_folder]:
                assert run_folder == f"runs/{examples[-1]}"
            case ["python", "-m", "ray_jobs.portfolio", pattern, *flags]:
                run([sys.executable, *words[1:3], *shortened(pattern, checkout), *flags], checkout)
            case ["python", "-m", "ray_jobs.compare", *_]:
                run([sys.executable, *words[1:]], checkout)
            case ["python", "ray_jobs/train.py", *_, "--workers", "2", "--name", name]:
                run([sys.executable, *words[1:], "--export.winner", "refit", "--export.members", "2"], checkout)
                check_trained(checkout / "runs" / name)
            case ["python", *_]:
                run([sys.executable, *words[1:], *SHORT], checkout)
            case ["ray", "job", "submit", *rest]:
                command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", ray_head, *rest]
                done = run([*command, *SHORT, *SMALL], checkout)
                assert "succeeded" in done.stdout
            case _:
                pytest.fail(f"no way to run this line of the README: {line!r}")


def check_trained(folder: Path) -> None:
    """What two workers trained twice is shipped as an average, with its figures."""
    card = Predictor(folder / "bundles" / "lstm").card
    assert (folder / "DONE").exists() and card["winner"]["epochs"] == 1
    assert card["metrics"]["holdout"]["mae"] > 0
    first, second = TorchPredictor(folder / "bundles" / "lstm").model.models
    assert not torch.equal(first.network.head.map.weight, second.network.head.map.weight), "both drew the same numbers"


def shortened(pattern: str, folder: Path) -> list[str]:
    """Copies of the use cases with the least of budgets."""
    files = []
    for file in ROOT.glob(pattern):
        case = yaml.safe_load(file.read_text())
        case["search"]["trials"] = 1
        case |= {"families": case["families"][:1], "validation": {"folds": 2}, "export": {"winner": "average"}}
        (folder / file.name).write_text(yaml.safe_dump(case))
        files.append(file.name)
    assert files
    return files


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done
