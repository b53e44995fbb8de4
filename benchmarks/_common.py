"""What the ways share: the configurations, the table and its folds, the network, the learning rate.

Nothing here imports Ray, so that the plain way's memory is its own.
Shapes: T rows, F columns, B batch, L lookback steps, H steps ahead, K targets (the first K columns).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data.folds import Fold, split
from data.load import read_table
from data.samples import SAMPLES, read_sample
from data.table import check_table
from models import lstm
from models.crossval import Problem, find_seasons
from models.scaling import Statistics
from models.training import Config as FitConfig
from search_spaces import unflatten

FAMILY = "lstm"
EVAL_BATCH = 1024  # windows a step of validation: the same in all ways
REDUCTION = 3  # ASHA keeps one trial in so many: the same for Foldline and the guides
_MIN_PART = 0.01  # where Foldline's cosine ends, in parts of the learning rate


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process is asked to do; travels as a JSON file."""

    folder: str  # for whatever the process writes
    launched: float  # time.time() when the process was started
    data: str | None  # None: the built-in sample
    time: str | None
    target: str | None
    lookback: int
    horizon: int
    folds: int
    epochs: int  # at most, of each fold; also the span of the learning rate's schedule
    scheduler: str  # "asha" or "none"
    seed: int
    limit: float  # seconds
    configurations: list[dict[str, Any]]  # flat: {"model.hidden": 48, ...}
    concurrent: int | None = None  # trials at one time; None: as many as there are cores
    plan: list[list[int]] = field(default_factory=list)  # plain: epochs of each configuration, by fold
    keep_memory: bool = False  # plain: with the allocator settings that Foldline's actors have

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)), encoding="utf8")

    @classmethod
    def read(cls, file: Path) -> Job:
        return cls(**json.loads(file.read_text(encoding="utf8")))

    @property
    def sample(self) -> str:
        return "sea-temperature"

    def groups(self, number: int) -> dict[str, dict[str, Any]]:
        """Configuration `number` by group, with everything that the run decides."""
        fixed = {"window.lookback": self.lookback, "fit.max_epochs": self.epochs}
        return unflatten({**self.configurations[number], **fixed})

    def say(self, line: str) -> None:
        """A line for the person who waits; the benchmark prints it with the time so far."""
        with (Path(self.folder) / "progress.txt").open("a", encoding="utf8") as file:
            file.write(line + "\n")

    def finish(self, result: Mapping[str, Any]) -> None:
        """Hand the result back: {"wall_seconds", "records", "trials", ...}."""
        whole = {"wall_seconds": time.time() - self.launched, **result}
        (Path(self.folder) / "result.json").write_text(json.dumps(whole), encoding="utf8")


def read_problem(job: Job) -> Problem:
    """The table and its folds, as Foldline makes them, without what it checks besides."""
    if job.data is None:
        sample = SAMPLES[job.sample]
        table = check_table(
            read_sample(sample.name), time=sample.time, series=sample.series, targets=list(sample.targets)
        )
    else:
        table = check_table(read_table(job.data), time=job.time, series=None, targets=[str(job.target)])
    steps = np.arange(1, job.horizon + 1)
    parts = split(table, n_folds=job.folds, lookback=job.lookback, steps=steps)
    if not np.isfinite(table.values).all():
        raise SystemExit("the loops that are compared know no missing values; give a table without any")
    seasons = find_seasons(table, parts)
    return Problem(table=table, split=parts, steps=steps, metric="mae", seed=job.seed, seasons=seasons)


def scale(values: NDArray[np.float32], fold: Fold) -> tuple[Tensor, Tensor, Tensor]:
    """The table (T, F) in train standard deviations of one fold, and what undoes it: mean and deviation (F,)."""
    statistics = Statistics.fit(values, fold.rows)
    mean, std = torch.from_numpy(statistics.mean).float(), torch.from_numpy(statistics.std).float()
    return (torch.tensor(values) - mean) / std, mean, std


class Network(nn.Module):
    """Foldline's LSTM on scaled windows (B, L, F), with what is taken off each window and given back: (B, H, K)."""

    def __init__(self, groups: Mapping[str, Mapping[str, Any]], *, channels: int, horizon: int, n_targets: int) -> None:
        super().__init__()
        self.normalisation = groups["input"]["normalisation"]
        self.n_targets = n_targets
        self.lstm = lstm.Model(
            lstm.Config(
                channels=channels,
                lookback=groups["window"]["lookback"],
                n_steps=horizon,
                n_targets=n_targets,
                **groups["model"],
            )
        )

    def forward(self, x_BLF: Tensor) -> Tensor:
        y_BHK: Tensor
        if self.normalisation == "none":
            y_BHK = self.lstm(x_BLF)
            return y_BHK
        if self.normalisation == "last":
            shift_B1F = x_BLF[:, -1:]
            y_BHK = self.lstm(x_BLF - shift_B1F)
            return y_BHK + shift_B1F[..., : self.n_targets]
        shift_B1F = x_BLF.mean(dim=1, keepdim=True)
        scale_B1F = (x_BLF.var(dim=1, keepdim=True, correction=0) + 1e-5).sqrt()
        y_BHK = self.lstm((x_BLF - shift_B1F) / scale_B1F)
        return y_BHK * scale_B1F[..., : self.n_targets] + shift_B1F[..., : self.n_targets]


def learning_rate_part(step: int, steps_an_epoch: int, fit: FitConfig) -> float:
    """The learning rate of step 1, 2, ... in parts of the highest: linear warm-up, then a cosine, as in Foldline."""
    warmup = fit.warmup_epochs * steps_an_epoch
    if step <= warmup:
        return step / warmup
    way = (step - warmup) / max(1.0, fit.max_epochs * steps_an_epoch - warmup)
    return _MIN_PART + (1 - _MIN_PART) * 0.5 * (1 + math.cos(math.pi * min(1.0, way)))
