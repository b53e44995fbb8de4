"""A trial on Ray Tune: one configuration on all folds, an epoch a step, in an actor that stays warm between trials."""

from __future__ import annotations

import ctypes
import math
import sys
from pathlib import Path
from typing import Any

import torch
from ray import tune

from models.crossval import CrossValidation, FoldsEpoch, Problem
from search_spaces import unflatten

STATE_FILE = "state.pt"


class WarmTrial(tune.Trainable):
    """config: {"trial": {"number", "family", "params" (flat), "fixed" (params of all trials), "cpus", "gpus"}}."""

    def setup(self, config: dict[str, Any], problem: Problem) -> None:
        """`problem` is fetched once an actor; its arrays stay mapped from the object store for all its trials."""
        prepare_process(int(config["trial"]["cpus"]))
        self.problem = problem
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        own = new_config["trial"]
        device = "cuda" if own["gpus"] and torch.cuda.is_available() else "cpu"
        params = unflatten({**own["params"], **own["fixed"]})
        self.cv = CrossValidation(self.problem, own["family"], params, trial=own["number"], device=device)
        self.iterator = self.cv.epochs()
        return True

    def step(self) -> dict[str, Any]:
        epoch = next(self.iterator)
        return {**report(epoch), "done": epoch.last or not math.isfinite(epoch.value)}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        torch.save(self.cv.state_dict(), Path(checkpoint_dir) / STATE_FILE)

    def load_checkpoint(self, checkpoint: str) -> None:
        self.cv.load_state_dict(read_state(Path(checkpoint)))

    def cleanup(self) -> None:
        del self.cv, self.iterator


def read_state(checkpoint: Path) -> dict[str, Any]:
    """A saved state: tensors, numbers and text only; anything else in the file is refused by torch."""
    state: dict[str, Any] = torch.load(checkpoint / STATE_FILE, weights_only=True)
    return state


def report(epoch: FoldsEpoch) -> dict[str, Any]:
    """An epoch as Tune's result and as the study's record: JSON values; a fold that had finished has no curve point."""
    return {
        "number": epoch.number,
        "value": epoch.value,
        "folds": list(epoch.folds),
        "best_epochs": list(epoch.best_epochs),
        "curve": [
            None
            if e is None
            else {
                "train_loss": e.train_loss,
                "valid": e.valid,
                "best": e.best,
                "learning_rate": e.learning_rate,
                "seconds": e.train_seconds + e.valid_seconds,
            }
            for e in epoch.epochs
        ],
        "train_seconds": epoch.train_seconds,
        "valid_seconds": epoch.valid_seconds,
        "finished": epoch.last,
    }


def prepare_process(cpus: int) -> None:
    """Settings of a process that trains: its threads, and memory that is kept once it was touched.

    glibc hands every large block back to the kernel when it is freed and takes the page faults again a moment later;
    an LSTM's backward pass spends over a third of its time there (batch 128 of 96 steps, 64 units). Keeping freed
    memory costs no more than the largest batch.
    """
    torch.set_num_threads(cpus)
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt:
            m_trim_threshold, m_mmap_threshold = -1, -3
            mallopt(m_mmap_threshold, 1 << 30)
            mallopt(m_trim_threshold, (1 << 31) - 1)
