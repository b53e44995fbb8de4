"""The final training around Ray Train: what it begins with, and how it ends."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train import TrainingFailedError

from ray_jobs import final, series
from ray_jobs.final import Final, train_final
from ray_jobs.settings import Resources
from ray_jobs.sweep import HaltedError
from search_spaces import load
from tests.builders import make_problem


def test_it_goes_on_with_nothing_that_a_death_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Train writes what it would go on from in place, so that it may be empty; and it would stop at that."""
    torn = tmp_path / "final" / "checkpoint_manager_snapshot.json"
    torn.parent.mkdir()
    torn.touch()

    class Trainer:
        def __init__(self, *words: Any, **settings: Any) -> None:
            assert settings["run_config"].storage_path == str(tmp_path)

        def fit(self) -> None:
            raise TrainingFailedError("still there" if torn.exists() else "gone")

    monkeypatch.setattr(final, "TorchTrainer", Trainer)
    monkeypatch.setattr(final.ray, "put", lambda each: each)
    asked = Final(family="lstm", params=load("lstm").default, trial=0, epochs=1, max_epochs=1)
    with pytest.raises(HaltedError, match="the final training of lstm failed: gone"):
        train_final(make_problem(), [asked], resources=Resources(), workers=1, folder=tmp_path)


def test_a_final_training_that_fails_takes_no_other_with_it(monkeypatch, tmp_path):
    """A network too large for its device when it sees all rows: the others are trained without it."""
    asked = []

    def models(settings, problem, finalists, folder):
        asked.append([best.family for best in finalists])
        if "tft" in asked[-1]:
            raise HaltedError("the final training of tft failed: out of memory")
        return [f"model of {best.family}" for best in finalists]

    monkeypatch.setattr(series, "models", models)
    finalists = [SimpleNamespace(family=name) for name in ("lstm", "tft", "linear")]
    trained, without = series._trained(None, None, finalists, SimpleNamespace(path=tmp_path))
    assert [(best.family, model) for best, model in trained] == [
        ("lstm", "model of lstm"),
        ("linear", "model of linear"),
    ]
    assert without == {"tft": "the final training of tft failed: out of memory"}
    assert asked == [["lstm", "tft", "linear"], ["lstm"], ["tft"], ["linear"]]
    with pytest.raises(HaltedError, match="tft failed"):
        series._trained(None, None, finalists[1:2], SimpleNamespace(path=tmp_path))
