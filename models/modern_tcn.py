"""ModernTCN: patches of each channel, large depthwise kernels over time, pointwise mixing of features and of channels.

Source: Luo & Wang 2024, openreview.net/forum?id=vpJMJerXHU, with three changes: layer norm over features in place of
batch norm, so that the rows of a batch do not mix; weights that the channels share in all but the mixing of them, which
the features share; and dropout only on what a mixing answers, since drawing it is dear on a CPU.
Shapes: B batch, L lookback steps, C channels, P steps of a patch, N patches, D features, H steps ahead, K targets (the
first K channels).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models._blocks import check_dropout, check_sizes, check_targets_are_channels


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    channels: int
    lookback: int  # steps
    n_steps: int  # steps ahead that are answered
    n_targets: int = 1
    patch: int = 8  # steps; patches overlap by half
    features: int = 32  # of each patch
    kernel: int = 25  # patches that a large kernel sees
    blocks: int = 1
    expansion: int = 2  # of the pointwise layers
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check_sizes(self, "features", "blocks", "expansion")
        check_dropout(self)
        check_targets_are_channels(self)
        if self.patch < 2 or self.patch % 2:
            raise ValueError(f"patches overlap by half: patch must be even and at least 2, got patch={self.patch}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got kernel={self.kernel}")

    @property
    def patches(self) -> int:
        """How many patches the window has; before its first step its first value is repeated."""
        return max(1, -(-self.lookback // (self.patch // 2)) - 1)


class Model(nn.Module):
    """(B, L, C) -> (B, H, K)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.patch, config.features)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.blocks)))
        self.head = nn.Linear(config.patches * config.features, config.n_steps)

    def forward(self, x_BLC: Tensor) -> Tensor:
        state_BCND = self.blocks(self.embed(self._patches(x_BLC)))
        y_BHK: Tensor = self.head(state_BCND[:, : self.config.n_targets].flatten(2)).transpose(1, 2)
        return y_BHK

    def _patches(self, x_BLC: Tensor) -> Tensor:
        """(B, C, N, P)"""
        half = self.config.patch // 2
        x_BCL = x_BLC.transpose(1, 2)
        missing = (self.config.patches + 1) * half - x_BCL.shape[2]
        halves = functional.pad(x_BCL, (missing, 0), mode="replicate").unflatten(2, (-1, half))
        return torch.cat([halves[:, :, :-1], halves[:, :, 1:]], dim=3)


class Block(nn.Module):
    """(B, C, N, D) -> the same: over time by feature, then over features, then over channels; one residual around."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        features, channels = config.features, config.channels
        self.time = nn.Conv1d(features, features, config.kernel, padding=config.kernel // 2, groups=features)
        self.norm = nn.LayerNorm(features)
        self.over_features = _mixing(nn.Linear, features, config)
        self.over_channels = _mixing(OverChannels, channels, config) if channels > 1 else nn.Identity()

    def forward(self, x_BCND: Tensor) -> Tensor:
        h_RND = self.norm(over_time(self.time, x_BCND.flatten(0, 1)))  # R = B * C series
        h_BCND = self.over_features(h_RND).unflatten(0, (-1, x_BCND.shape[1]))
        y_BCND: Tensor = x_BCND + self.over_channels(h_BCND.flatten(2)).unflatten(2, x_BCND.shape[2:])
        return y_BCND


def _mixing(linear: type[nn.Linear], width: int, config: Config) -> nn.Sequential:
    inner = config.expansion * width
    return nn.Sequential(linear(width, inner), nn.GELU(), linear(inner, width), nn.Dropout(config.dropout))


class OverChannels(nn.Linear):
    """(B, C, O) -> (B, E, O)"""

    def forward(self, x_BCO: Tensor) -> Tensor:
        return torch.baddbmm(self.bias[:, None], self.weight.expand(x_BCO.shape[0], -1, -1), x_BCO)


def over_time(convolution: nn.Conv1d, x_RND: Tensor) -> Tensor:
    """(R, N, D) -> (R, N, D): `convolution`, each feature on its own, as a product with a matrix for each feature.

    torch's takes several times as long on a CPU. For N = 4 and the kernel a b c, column by column:

        b a . .
        c b a .
        . c b a
        . . c b
    """
    steps, kernel_D1K = x_RND.shape[1], convolution.weight
    margin = steps - 1 - kernel_D1K.shape[2] // 2  # below 0 where the kernel reaches beyond the patches
    shifted_DNN = functional.pad(kernel_D1K[:, 0], (margin, margin)).unfold(1, steps, 1)
    matrix_DNN = shifted_DNN.flip(1).transpose(1, 2)
    assert convolution.bias is not None
    y_DRN = torch.baddbmm(convolution.bias[:, None, None], x_RND.permute(2, 0, 1), matrix_DNN)
    return y_DRN.permute(1, 2, 0)
