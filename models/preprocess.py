"""From raw columns to a network and back to the target's unit: the part of the graph that trains and ships alike.

Shapes: B batch, L lookback steps, F columns of numbers, P features, C network channels, G columns known ahead, A
channels of a step ahead, H steps ahead, K targets.

    past_BLF --valid?--> scale --> [+ features] --normalise by the window--> [+ missing flags] --> [choose] -->
             --> [+ words, waves] --> network
    ahead_BHG --valid?--> scale --> [+ missing flags, waves] --> network, or what corrects its answer
    network --> undo both --> answer_BHK

A window's level is taken off what changes in it. Constant columns, words and columns that are known ahead are scaled by
the train rows alone: the first would vanish, and the last are compared with their own values ahead.

A value that is missing (NaN or infinite) is a zero to the network: the mean of its column in the train rows, or, where
the window's level is taken off, that level: its last known value, or its mean. Columns that had missing values in the
train rows also get a flag channel (1 = missing), so that the network can learn what an absence means. What the
network sees is held within `LIMIT`, in train standard deviations after the window's normalisation, and raw inputs
within `FARTHEST`: every finite input has a finite answer, and one that float32 can still hold to five digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from models import fourier
from models.ahead import Correction
from models.extras import explain, extras
from models.features import NO_FEATURES, Features, compute
from models.heads import VALUE_ALONE, Heads
from models.layout import PLAIN, Layout
from models.scaling import Statistics
from models.words import Embedding

LIMIT = 30.0
FARTHEST = 1e4
STILL = 1e-5**0.5  # what a window without variance is divided by, in train standard deviations
NORMALISATIONS = ("none", "last", "mean_std", "last_std")
Normalisation = Literal["none", "last", "mean_std", "last_std"]


class Forecaster(nn.Module):
    """A network between raw inputs and answers in the target's unit.

    forward: past (B, L, F) float32, oldest step first, NaN = missing  ->  (B, H, K) float32, in each target's unit.
    Behind its numbers, past has the codes of columns of words, 0 = missing or unknown. Further inputs as `layout` says:
    ahead (B, H, G) float32, the columns known ahead at the steps ahead, NaN = missing; time (B, L) and time_ahead
    (B, H) int64, seconds since 1970 UTC, where there are waves.

    The targets are the first K columns. `normalisation` says what of the window is taken off its channels before the
    network and given back to the answer after it (Kim et al. 2022, reversible instance normalisation): nothing, the
    last known value, mean and standard deviation, or the last known value and the standard deviation. With `features`,
    L is the lookback and the rows that they reach back before it. With `visible`, as `Statistics.visible` gives it, the
    network sees these channels of numbers, features and flags alone; the others are taken and go unread. A network that
    `reads_ahead` takes (x_BLC, ahead_BHA) where anything is known ahead; of any other, the answer is corrected by it.
    """

    def __init__(
        self,
        network: nn.Module,
        statistics: Statistics,
        n_targets: int,
        normalisation: Normalisation,
        features: Features = NO_FEATURES,
        layout: Layout = PLAIN,
        *,
        heads: Heads = VALUE_ALONE,
        visible: Sequence[int] | None = None,
        reads_ahead: bool = False,
    ) -> None:
        super().__init__()
        if normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation must be one of {', '.join(NORMALISATIONS)}, got {normalisation!r}")
        self.network = network
        self.n_targets = n_targets
        self.normalisation = normalisation
        self.features = features
        self.heads = heads
        self.layout = layout
        self.embeddings = nn.ModuleList(map(Embedding, statistics.seen, layout.widths))
        n_ahead = layout.channels_ahead(statistics.flagged)
        corrects = n_ahead > 0 and not reads_ahead
        self.correction = Correction(n_ahead, n_targets, heads.n_outputs) if corrects else None
        self.flagged_ahead = [i for i, place in enumerate(layout.future) if place in statistics.flagged]
        self.mean: Tensor
        self.std: Tensor
        self.flagged: Tensor
        self.feature_mean: Tensor
        self.feature_std: Tensor
        self.visible: Tensor | None
        self.moving: Tensor
        self.register_buffer("mean", torch.from_numpy(statistics.mean).float())
        self.register_buffer("std", torch.from_numpy(statistics.std).float())
        self.register_buffer("flagged", torch.tensor(statistics.flagged, dtype=torch.int64))
        self.register_buffer("feature_mean", torch.from_numpy(statistics.feature_mean).float())
        self.register_buffer("feature_std", torch.from_numpy(statistics.feature_std).float())
        self.register_buffer("visible", None if visible is None else torch.tensor(visible))
        moving = [place not in (*layout.static, *layout.future) for place in range(len(statistics.mean))]
        self.register_buffer("moving", torch.tensor(moving), persistent=False)
        self._register_spreads(statistics, statistics.visible(None) if visible is None else visible)

    def forward(self, past: Tensor, **others: Tensor) -> Tensor:
        return self.answers(past, **others)["future"]

    def answers(self, past: Tensor, **others: Tensor) -> dict[str, Tensor]:
        """ "future", and of what heads there are "quantiles", in each target's unit, and "direction", probabilities."""
        return self._in_units(self.scaled(past, **others))

    def answer_shapes(self, n_steps: int) -> dict[str, tuple[int, ...]]:
        """Of what `answers` gives, by name, without the batch."""
        value = (n_steps, self.n_targets)
        shapes: dict[str, tuple[int, ...]] = {"future": value}
        if self.heads.direction:
            shapes["direction"] = (*value, len(self.heads.classes))
        if self.heads.levels:
            shapes["quantiles"] = (*value, len(self.heads.levels))
        return shapes

    def scaled(self, past: Tensor, **others: Tensor) -> dict[str, Tensor]:
        """What the losses compare: "future" (B, H, K) in train standard deviations from the train mean, and of what
        heads there are "quantiles" (B, H, K, Q) likewise and "direction" (B, H, K, C) as logits."""
        return self._scaled(past, **others)[0]

    @property
    def extras(self) -> dict[str, str]:
        """What is told besides the value, by the other heads and by the network, name -> what it is."""
        return {**self.heads.extras, **extras(self.network)}

    def explain(self, past: Tensor, **others: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The answer, as `forward` gives it, and each of `extras`."""
        scaled, told = self._scaled(past, **others)
        answers = self._in_units(scaled)
        return answers.pop("future"), answers | told

    def last_known(self, past: Tensor) -> Tensor:
        """The targets' last known values (B, K), raw; the train rows' mean where the window knows none."""
        past_BLK = past[:, self.features.reach :, : self.n_targets]
        valid_BLK = (past_BLK - past_BLK) == 0
        return self._last(torch.where(valid_BLK, past_BLK, self.mean[: self.n_targets]), valid_BLK)[:, 0]

    def volatility(self, past: Tensor) -> Tensor:
        """The standard deviation (B, K) of the targets' known one-step changes, in train standard deviations; 1 where
        fewer than two are known."""
        x_BLK, valid_BLK = self._targets(past)
        known = valid_BLK[:, 1:] & valid_BLK[:, :-1]
        change = torch.where(known, x_BLK[:, 1:] - x_BLK[:, :-1], 0.0)
        found_BK = known.sum(dim=1)
        count = found_BK.clamp(min=1)
        mean = change.sum(dim=1) / count
        deviation_BK = (torch.where(known, change - mean[:, None], 0.0).square().sum(dim=1) / count).sqrt()
        return torch.where(found_BK >= 2, deviation_BK, 1.0)

    def _targets(self, past: Tensor) -> tuple[Tensor, Tensor]:
        """The targets' own past of the lookback (B, L, K), scaled, 0 where missing; where it is known."""
        past_BLK = past[:, self.features.reach :, : self.n_targets]
        valid_BLK = (past_BLK - past_BLK) == 0
        return torch.where(valid_BLK, self.scale_targets(past_BLK), 0.0), valid_BLK

    def _scaled(
        self, past: Tensor, ahead: Tensor | None = None, time: Tensor | None = None, time_ahead: Tensor | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What `scaled` gives, and the network's extras."""
        x_BLC, shift_B1F, scale_B1F = self._prepare(past, time)
        ahead_BHA = self._prepare_ahead(ahead, time_ahead)
        if ahead_BHA is None:
            y_BHKO, told = explain(self.network, x_BLC)
        elif self.correction is None:
            y_BHKO, told = explain(self.network, x_BLC, ahead_BHA)
        else:
            y_BHKO, told = explain(self.network, x_BLC)
            y_BHKO = self.correction(ahead_BHA, y_BHKO)
        answers = self._give_back(y_BHKO, shift_B1F, scale_B1F)
        if not self.heads.answers_value:
            last_BK = self.scale_targets(self.last_known(past)).clamp(-FARTHEST, FARTHEST)
            answers["future"] = last_BK[:, None].expand(-1, y_BHKO.shape[1], -1)
        return answers, self._by_name(told)

    def _register_spreads(self, statistics: Statistics, visible: Sequence[int]) -> None:
        """How weights of channels are told: by the place of each in `Layout.names`, so that those of models whose folds
        saw other channels can be averaged."""
        layout, numbers, features = self.layout, len(statistics.mean), len(statistics.feature_mean)
        places = layout.places(visible, statistics.flagged, numbers, features)
        static = layout.constant_channels(visible, numbers)
        moving = [i for i in range(len(places)) if i not in static]
        total, total_ahead = layout.totals(numbers, features)
        self.register_buffer("spread_variable", _spread([places[i] for i in moving], total), persistent=False)
        self.register_buffer("spread_static", _spread([places[i] for i in static], total), persistent=False)
        ahead = layout.places_ahead(statistics.flagged)
        self.register_buffer("spread_ahead", _spread(ahead, total_ahead), persistent=False)

    def _by_name(self, told: dict[str, Tensor]) -> dict[str, Tensor]:
        kinds = {f"{kind}_weights": f"spread_{kind}" for kind in ("variable", "static", "ahead")}
        return {name: each @ getattr(self, kinds[name]) if name in kinds else each for name, each in told.items()}

    def _prepare_ahead(self, ahead_BHG: Tensor | None, time_BH: Tensor | None) -> Tensor | None:
        """What is known of the steps ahead (B, H, A); None where that is nothing."""
        parts = []
        if self.layout.future:
            assert ahead_BHG is not None, "the layout has columns known ahead"
            future = list(self.layout.future)
            valid_BHG = (ahead_BHG - ahead_BHG) == 0
            x_BHG = torch.where(valid_BHG, (ahead_BHG - self.mean[future]) / self.std[future], 0.0)
            parts.append(x_BHG.clamp(-LIMIT, LIMIT))
            if self.flagged_ahead:
                parts.append((~valid_BHG[:, :, self.flagged_ahead]).to(x_BHG.dtype))
        if self.layout.waves:
            assert time_BH is not None, "the layout has waves"
            parts.append(fourier.compute(time_BH, self.layout.waves))
        return torch.cat(parts, dim=2) if parts else None

    def _prepare(self, past_BLF: Tensor, time_BL: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What the network sees (B, L, C), and what was taken off the window and divided out of it."""
        codes_BLW = past_BLF[:, self.features.reach :, len(self.mean) :]
        if self.embeddings:
            past_BLF = past_BLF[:, :, : len(self.mean)]
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
        if self.visible is not None:
            x_BLC = x_BLC.index_select(2, self.visible)
        more = [each(codes_BLW[:, :, i]) for i, each in enumerate(self.embeddings)]
        if self.layout.waves:
            assert time_BL is not None, "the layout has waves"
            more.append(fourier.compute(time_BL[:, self.features.reach :], self.layout.waves))
        x_BLC = torch.cat([x_BLC, *more], dim=2) if more else x_BLC
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

    def _give_back(self, numbers_BHKO: Tensor, shift_B1F: Tensor | None, scale_B1F: Tensor | None) -> dict[str, Tensor]:
        """The network's numbers as answers, with what was taken off the window: see `scaled`."""
        answers = self.heads.split(numbers_BHKO)
        for name in [name for name in ("future", "quantiles") if name in answers]:
            y = answers[name]
            trailing = (...,) + (None,) * (y.ndim - 3)
            if scale_B1F is not None:
                y = y * scale_B1F[:, :, : self.n_targets][trailing]
            if shift_B1F is not None:
                y = y + shift_B1F[:, :, : self.n_targets][trailing]
            answers[name] = y
        return answers

    def _in_units(self, answers: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {"future": self.in_units(answers["future"])}
        if self.heads.direction:
            found["direction"] = answers["direction"].softmax(dim=3)
        if self.heads.levels:
            found["quantiles"] = self.in_units(answers["quantiles"].transpose(2, 3)).transpose(2, 3)
        return found

    def in_units(self, y_BHK: Tensor) -> Tensor:
        return y_BHK * self.target_std + self.mean[: self.n_targets]

    def scale_targets(self, future_BHK: Tensor) -> Tensor:
        """Targets in their unit -> what `scaled` should have answered."""
        return (future_BHK - self.mean[: self.n_targets]) / self.target_std

    @property
    def target_std(self) -> Tensor:
        """(K,)"""
        return self.std[: self.n_targets]

    def _window(self, x_BLF: Tensor, valid_BLF: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What is taken off the window's columns and divided out of them, each (B, 1, F)."""
        shift_B1F, scale_B1F = self._level(x_BLF, valid_BLF)
        if self.layout.static or self.layout.future:
            shift_B1F = None if shift_B1F is None else torch.where(self.moving, shift_B1F, 0.0)
            scale_B1F = None if scale_B1F is None else torch.where(self.moving, scale_B1F, 1.0)
        return shift_B1F, scale_B1F

    def _level(self, x_BLF: Tensor, valid_BLF: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if self.normalisation == "none":
            return None, None
        if self.normalisation == "last":
            return self._last(x_BLF, valid_BLF), None
        count = valid_BLF.sum(dim=1, keepdim=True).clamp(min=1).to(x_BLF.dtype)
        mean_B1F = x_BLF.sum(dim=1, keepdim=True) / count
        variance = torch.where(valid_BLF, x_BLF - mean_B1F, 0.0).square().sum(dim=1, keepdim=True) / count
        shift_B1F = mean_B1F if self.normalisation == "mean_std" else self._last(x_BLF, valid_BLF)
        return shift_B1F, (variance + STILL**2).sqrt()

    @staticmethod
    def _last(x_BLF: Tensor, valid_BLF: Tensor) -> Tensor:
        """(B, 1, F): each column's last known value; 0 where nothing is known, as x is there."""
        steps = torch.arange(x_BLF.shape[1], device=x_BLF.device).view(1, -1, 1)
        return x_BLF.gather(1, (steps * valid_BLF).amax(dim=1, keepdim=True))


def _spread(places: Sequence[int], total: int) -> Tensor:
    """(len(places), total): what a product with it brings to these places, 0 everywhere else."""
    matrix = torch.zeros(len(places), total)
    matrix[torch.arange(len(places)), torch.tensor(places, dtype=torch.int64)] = 1.0
    return matrix
