"""From raw columns to a network and back to the target's unit: the part of the graph that trains and ships alike.

Shapes: B batch, L lookback steps, F input columns, P features, C network channels, H steps ahead, K targets.

    past_BLF --valid?--> scale --> [+ features] --normalise by the window--> [+ missing flags] --> network
    network --> undo both --> answer_BHK

A value that is missing (NaN or infinite) becomes the mean of its column in the train rows. Columns that had missing
values there also get a flag channel (1 = missing), so that the network can learn what an absence means. What the
network sees is held within `LIMIT`, in train standard deviations after the window's normalisation, and raw inputs
within `FARTHEST`: every finite input has a finite answer, and one that float32 can still hold to five digits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.extras import explain, extras
from models.features import Features, compute, over_table

LIMIT = 30.0
FARTHEST = 1e4
NORMALISATIONS = ("none", "last", "mean_std", "last_std")
Normalisation = Literal["none", "last", "mean_std", "last_std"]
NO_FEATURES = Features()


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """What preprocessing has learnt from the train rows of one fold: (F,) each, columns in the table's order."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]  # population; 1 where a column is constant
    flagged: tuple[int, ...]  # columns with missing values in the train rows
    feature_mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # (P,); 0 for levels
    feature_std: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # (P,); 1 for levels

    @classmethod
    def fit(
        cls,
        values: NDArray[np.float32],
        rows: NDArray[np.int64],
        features: Features = NO_FEATURES,
        segments: NDArray[np.int64] | None = None,
    ) -> Statistics:
        """Statistics of `values[rows]`, values (T, F) float32 with NaN for missing, computed in float64.

        A column without any value in these rows counts as constant zero. A feature counts at those rows alone whose
        every needed row is among `rows`, in one of the table's `segments` (one, where None).
        """
        mean, std, known = _moments(values[rows])
        flagged = tuple(int(i) for i in np.flatnonzero(~known.all(axis=0)))
        if not features.each:
            return cls(mean=mean, std=std, flagged=flagged)
        allowed = np.full_like(values, np.nan)
        allowed[rows] = values[rows]
        scaled = np.nan_to_num(((allowed - mean) / std).astype(np.float32), posinf=0.0, neginf=0.0)
        segments = np.array([[0, len(values)]]) if segments is None else segments
        feature_mean, feature_std, _ = _moments(over_table(allowed, scaled, segments, features))
        return cls(
            mean=mean,
            std=std,
            flagged=flagged,
            feature_mean=np.where(features.levels, 0.0, feature_mean),
            feature_std=np.where(features.levels, 1.0, feature_std),
        )


def _moments(seen: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Mean and population standard deviation of each column's known values, 1 where it is constant; what is known."""
    values = seen.astype(np.float64)
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / count
    std = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / count)
    return mean, np.where(std <= 1e-9 * np.abs(mean), 1.0, std), known


class Forecaster(nn.Module):
    """A network between raw inputs and answers in the target's unit.

    forward: past (B, L, F) float32, oldest step first, NaN = missing  ->  (B, H, K) float32, in each target's unit.
    The targets are the first K columns. `normalisation` says what of the window is taken off its channels before the
    network and given back to the answer after it (Kim et al. 2022, reversible instance normalisation): nothing, the
    last known value, mean and standard deviation, or the last known value and the standard deviation. With `features`,
    L is the lookback and the rows that they reach back before it.
    """

    def __init__(
        self,
        network: nn.Module,
        statistics: Statistics,
        n_targets: int,
        normalisation: Normalisation,
        features: Features = NO_FEATURES,
    ) -> None:
        super().__init__()
        if normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation must be one of {', '.join(NORMALISATIONS)}, got {normalisation!r}")
        self.network = network
        self.n_targets = n_targets
        self.normalisation = normalisation
        self.features = features
        self.mean: Tensor
        self.std: Tensor
        self.flagged: Tensor
        self.feature_mean: Tensor
        self.feature_std: Tensor
        self.register_buffer("mean", torch.from_numpy(statistics.mean).float())
        self.register_buffer("std", torch.from_numpy(statistics.std).float())
        self.register_buffer("flagged", torch.tensor(statistics.flagged, dtype=torch.int64))
        self.register_buffer("feature_mean", torch.from_numpy(statistics.feature_mean).float())
        self.register_buffer("feature_std", torch.from_numpy(statistics.feature_std).float())

    @staticmethod
    def channels(statistics: Statistics) -> int:
        """How many channels C the network sees: columns, features, a flag for each column that had missing values."""
        return len(statistics.mean) + len(statistics.feature_mean) + len(statistics.flagged)

    def forward(self, past_BLF: Tensor) -> Tensor:
        return self.in_units(self.scaled(past_BLF))

    def scaled(self, past_BLF: Tensor) -> Tensor:
        """The answer (B, H, K) in train standard deviations from the train mean: what the loss compares."""
        x_BLC, shift_B1F, scale_B1F = self._prepare(past_BLF)
        return self._give_back(self.network(x_BLC), shift_B1F, scale_B1F)

    @property
    def extras(self) -> dict[str, str]:
        """What the network can tell besides its answer, name -> what it is; `explain` tells it."""
        return extras(self.network)

    def explain(self, past_BLF: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The answer, as `forward` gives it, and each of `extras`."""
        x_BLC, shift_B1F, scale_B1F = self._prepare(past_BLF)
        y_BHK, told = explain(self.network, x_BLC)
        return self.in_units(self._give_back(y_BHK, shift_B1F, scale_B1F)), told

    def _prepare(self, past_BLF: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What the network sees (B, L, C), and what was taken off the window and divided out of it."""
        valid_BLF = (past_BLF - past_BLF) == 0  # false for NaN and for both infinities
        x_BLF = torch.where(valid_BLF, (past_BLF - self.mean) / self.std, 0.0).clamp(-FARTHEST, FARTHEST)
        told = None
        if self.features.each:
            told = compute(past_BLF, x_BLF, self.features)
            x_BLF, valid_BLF = x_BLF[:, self.features.reach :], valid_BLF[:, self.features.reach :]
        shift_B1F, scale_B1F = self._window(x_BLF, valid_BLF)
        if shift_B1F is not None:
            x_BLF = torch.where(valid_BLF, x_BLF - shift_B1F, 0.0)
        if scale_B1F is not None:
            x_BLF = x_BLF / scale_B1F
        channels = [x_BLF]
        if told is not None:
            channels.append(self._scaled_features(*told, shift_B1F, scale_B1F))
        x_BLC = torch.cat(channels, dim=2).clamp(-LIMIT, LIMIT)
        if self.flagged.numel():
            flags = (~valid_BLF).index_select(2, self.flagged).to(x_BLC.dtype)
            x_BLC = torch.cat([x_BLC, flags], dim=2)
        return x_BLC, shift_B1F, scale_B1F

    def _scaled_features(
        self, value_BLP: Tensor, known_BLP: Tensor, shift_B1F: Tensor | None, scale_B1F: Tensor | None
    ) -> Tensor:
        """Levels as their columns are, the others by their own train rows; 0 where missing."""
        value_BLP = (value_BLP - self.feature_mean) / self.feature_std
        levels = torch.from_numpy(self.features.levels).to(value_BLP.device)
        columns = list(self.features.columns) * len(self.features.each)
        if shift_B1F is not None:
            value_BLP = value_BLP - shift_B1F[:, :, columns] * levels
        if scale_B1F is not None:
            value_BLP = torch.where(levels, value_BLP / scale_B1F[:, :, columns], value_BLP)
        return torch.where(known_BLP, value_BLP, 0.0)

    def _give_back(self, y_BHK: Tensor, shift_B1F: Tensor | None, scale_B1F: Tensor | None) -> Tensor:
        y_BHK = y_BHK.float()
        if scale_B1F is not None:
            y_BHK = y_BHK * scale_B1F[:, :, : self.n_targets]
        if shift_B1F is not None:
            y_BHK = y_BHK + shift_B1F[:, :, : self.n_targets]
        return y_BHK

    def in_units(self, y_BHK: Tensor) -> Tensor:
        return y_BHK * self.std[: self.n_targets] + self.mean[: self.n_targets]

    def scale_targets(self, future_BHK: Tensor) -> Tensor:
        """Targets in their unit -> what `scaled` should have answered."""
        return (future_BHK - self.mean[: self.n_targets]) / self.std[: self.n_targets]

    def _window(self, x_BLF: Tensor, valid_BLF: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if self.normalisation == "none":
            return None, None
        steps = torch.arange(x_BLF.shape[1], device=x_BLF.device).view(1, -1, 1)
        last_known = (steps * valid_BLF).amax(dim=1, keepdim=True)  # 0 where nothing is known: x is 0 there
        last_B1F = x_BLF.gather(1, last_known)
        if self.normalisation == "last":
            return last_B1F, None
        count = valid_BLF.sum(dim=1, keepdim=True).clamp(min=1).to(x_BLF.dtype)
        mean_B1F = x_BLF.sum(dim=1, keepdim=True) / count
        variance = torch.where(valid_BLF, x_BLF - mean_B1F, 0.0).square().sum(dim=1, keepdim=True) / count
        return mean_B1F if self.normalisation == "mean_std" else last_B1F, (variance + 1e-5).sqrt()
