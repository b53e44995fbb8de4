"""One linear map from the past to the steps ahead, the same for every target: the yardstick a network has to beat.

Source: NLinear without its normalisation, which `models.preprocess` supplies ("last"): Zeng et al. 2023,
arxiv.org/abs/2205.13504.
Shapes: B batch, L lookback steps, C channels, H steps ahead, K targets (the first K channels), O numbers for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models._blocks import check_sizes, check_targets_are_channels

READS_TARGETS_ALONE = True  # other columns and features go unread, which a sweep says


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    channels: int
    lookback: int  # steps
    n_steps: int  # steps ahead that are answered
    n_targets: int = 1
    n_outputs: int = 1  # numbers for each step and target
    individual: bool = False  # a map of its own for each target, else one for all

    def __post_init__(self) -> None:
        check_sizes(self)
        check_targets_are_channels(self)


class Model(nn.Module):
    """(B, L, C) -> (B, H, K, O), each target from its own past alone."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        maps = config.n_targets if config.individual else 1
        self.weight = nn.Parameter(torch.zeros(maps, config.lookback, config.n_steps * config.n_outputs))
        self.bias = nn.Parameter(torch.zeros(maps, 1, config.n_steps * config.n_outputs))

    def forward(self, x_BLC: Tensor) -> Tensor:
        x_KBL = x_BLC[:, :, : self.config.n_targets].permute(2, 0, 1)
        y_KBHO = (torch.matmul(x_KBL, self.weight) + self.bias).unflatten(2, (self.config.n_steps, -1))
        y_BHKO: Tensor = y_KBHO.permute(1, 2, 0, 3)
        return y_BHKO
