"""Temporal convolutional network: residual blocks of two causal convolutions, the dilation doubled from block to block.

Source: Bai, Kolter & Koltun 2018, arxiv.org/abs/1803.01271.
Shapes: B batch, L lookback steps, C channels, D filters, H steps ahead, K targets, O numbers for each.

Only the last step's state is read, and it depends on few of the others: block i is needed at every 2^i-th step, counted
back from the last. So the convolutions run on those alone, undilated, with the second one of each block at stride 2:
the same numbers as the dilated network's, at about 3 of its 2 * layers convolutions over all steps.

    block 0   x x x x x x x x      first convolution
               x   x   x   x      second, stride 2: what block 1 reads
    block 1    x   x   x   x
                   x       x
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from models._blocks import CausalConvolution, Head, check_dropout, check_sizes


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    channels: int
    lookback: int  # steps; the network itself takes any, and sees `receptive_field` of them
    n_steps: int  # steps ahead that are answered
    n_targets: int = 1
    n_outputs: int = 1  # numbers for each step and target
    filters: int = 64
    layers: int = 5  # blocks
    kernel: int = 5
    norm: Literal["weight", "layer"] = "weight"
    dropout: float = 0.1  # after each convolution, and before the last map

    def __post_init__(self) -> None:
        check_sizes(self, "filters", "layers")
        check_dropout(self)
        check_convolutions(self)


def check_convolutions(config: Any) -> None:
    if config.kernel < 2:
        raise ValueError(f"kernel must be at least 2, got kernel={config.kernel}")
    if config.norm not in ("weight", "layer"):
        raise ValueError(f"norm must be 'weight' or 'layer', got norm={config.norm!r}")


def receptive_field(config: Any) -> int:
    """How many steps up to the last one the last state depends on: 1 + 2 (kernel - 1) (2^layers - 1)."""
    reach: int = 1 + 2 * (config.kernel - 1) * (2**config.layers - 1)
    return reach


class Model(nn.Module):
    """(B, L, C) -> (B, H, K, O)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.blocks = blocks(config, dense=False)
        self.head = Head(config.filters, config)

    def forward(self, x_BLC: Tensor) -> Tensor:
        state_BDM = self.blocks(x_BLC.transpose(1, 2))
        y_BHKO: Tensor = self.head(state_BDM[:, :, -1])
        return y_BHKO


def blocks(config: Any, *, dense: bool) -> nn.Sequential:
    """(B, C, L) -> (B, D, M). dense: M = L, a state for every step; else the last state and few before it.

    The parameters are the same either way.
    """
    return nn.Sequential(
        *(
            Block(config.filters if i else config.channels, config, dilation=2**i if dense else 1, dense=dense)
            for i in range(config.layers)
        )
    )


class Block(nn.Module):
    def __init__(self, inputs: int, config: Any, *, dilation: int, dense: bool) -> None:
        super().__init__()
        self.stride = 1 if dense else 2
        normed = config.norm == "weight"
        kernel, filters = config.kernel, config.filters
        self.first = CausalConvolution(inputs, filters, kernel, dilation=dilation, weight_normed=normed)
        self.second = CausalConvolution(
            filters, filters, kernel, dilation=dilation, stride=self.stride, weight_normed=normed
        )
        self.norms = nn.ModuleList(nn.Identity() if normed else ChannelNorm(filters) for _ in range(2))
        self.dropout = nn.Dropout(config.dropout)
        self.skip = nn.Conv1d(inputs, filters, 1) if inputs != filters else nn.Identity()

    def forward(self, x_BCL: Tensor) -> Tensor:
        h = self.dropout(self.norms[0](self.first(x_BCL)).relu())
        h = self.dropout(self.norms[1](self.second(h)).relu())
        kept = x_BCL[:, :, (x_BCL.shape[2] - 1) % self.stride :: self.stride]
        y_BDM: Tensor = (h + self.skip(kept)).relu()
        return y_BDM


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each step: (B, D, L) -> (B, D, L)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BDL: Tensor) -> Tensor:
        y_BDL: Tensor = self.norm(x_BDL.transpose(1, 2)).transpose(1, 2)
        return y_BDL
