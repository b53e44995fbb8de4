"""The final training around Ray Train: what it begins with, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.train import TrainingFailedError

from ray_jobs import final
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
