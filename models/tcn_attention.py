"""TCN with attention: the temporal convolutional network's states of all steps, pooled by multi-head attention.

Sources: Bai, Kolter & Koltun 2018, arxiv.org/abs/1803.01271; Vaswani et al. 2017, arxiv.org/abs/1706.03762.
Shapes: B batch, L lookback steps, C channels, D filters, H steps ahead, K targets, O numbers for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from models import tcn
from models._blocks import Head, Pooling, check_dropout, check_sizes


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    channels: int
    lookback: int  # steps; the network itself takes any
    n_steps: int  # steps ahead that are answered
    n_targets: int = 1
    n_outputs: int = 1  # numbers for each step and target
    filters: int = 64
    layers: int = 4  # blocks
    kernel: int = 3
    norm: Literal["weight", "layer"] = "weight"
    heads: int = 4
    query: Literal["last", "mean"] = "last"  # who attends: the last state, or every step, averaged over time
    dropout: float = 0.1  # after each convolution, and before the last map

    def __post_init__(self) -> None:
        check_sizes(self, "filters", "layers", "heads")
        check_dropout(self)
        tcn.check_convolutions(self)
        if self.query not in ("last", "mean"):
            raise ValueError(f"query must be 'last' or 'mean', got query={self.query!r}")
        if self.filters % self.heads:
            raise ValueError(f"heads share the filters evenly: filters={self.filters} cannot by heads={self.heads}")


class Model(nn.Module):
    """(B, L, C) -> (B, H, K, O)."""

    extras: ClassVar = {"attention": "(B, L): how much each step of the window weighs in the answer; rows sum to 1"}

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.blocks = tcn.blocks(config, dense=True)
        self.pooling = Pooling(config.filters, config.heads, config.query)
        self.head = Head(config.filters, config)

    def forward(self, x_BLC: Tensor) -> Tensor:
        return self.explain(x_BLC)[0]

    def explain(self, x_BLC: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        h_BLD = self.blocks(x_BLC.transpose(1, 2)).transpose(1, 2)
        pooled_BD, weights_BL = self.pooling(h_BLD, h_BLD[:, -1])
        return self.head(pooled_BD), {"attention": weights_BL}
