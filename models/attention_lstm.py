"""Attention LSTM: an LSTM encoder, whose steps are pooled by multi-head attention, then one linear map.

Sources: Hochreiter & Schmidhuber 1997, doi.org/10.1162/neco.1997.9.8.1735; Vaswani et al. 2017,
arxiv.org/abs/1706.03762.
Shapes: B batch, L lookback steps, C channels, D features of the last layer, H steps ahead,
K targets, O numbers for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from models._blocks import Head, Pooling, check_dropout, check_sizes, last_state, lstm


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    channels: int
    lookback: int  # steps; the network itself takes any
    n_steps: int  # steps ahead that are answered
    n_targets: int = 1
    n_outputs: int = 1  # numbers for each step and target
    hidden: int = 128  # units of the first layer; each further one has half as many: 128-64
    layers: int = 2
    heads: int = 4
    bidirectional: bool = False
    query: Literal["last", "mean"] = "last"  # who attends: the last state, or every step, averaged over time
    dropout: float = 0.1  # between layers, and before the last map

    def __post_init__(self) -> None:
        check_sizes(self, "hidden", "layers", "heads")
        check_dropout(self)
        if self.query not in ("last", "mean"):
            raise ValueError(f"query must be 'last' or 'mean', got query={self.query!r}")
        if self.hidden % 2 ** (self.layers - 1) or self.width % self.heads:
            raise ValueError(
                f"hidden is halved from layer to layer and then shared by the heads: hidden={self.hidden} with "
                f"layers={self.layers} and heads={self.heads} leaves a remainder"
            )

    @property
    def width(self) -> int:
        """Features of the last layer."""
        return (self.hidden >> (self.layers - 1)) * (2 if self.bidirectional else 1)


class Model(nn.Module):
    """(B, L, C) -> (B, H, K, O)."""

    extras: ClassVar = {"attention": "(B, L): how much each step of the window weighs in the answer; rows sum to 1"}

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        directions = 2 if config.bidirectional else 1
        units = [config.hidden // 2**i for i in range(config.layers)]
        inputs = [config.channels, *(directions * each for each in units)]
        self.encoder = nn.ModuleList(
            lstm(into, each, bidirectional=config.bidirectional) for into, each in zip(inputs, units, strict=False)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.pooling = Pooling(config.width, config.heads, config.query)
        self.head = Head(config.width, config)

    def forward(self, x_BLC: Tensor) -> Tensor:
        return self.explain(x_BLC)[0]

    def explain(self, x_BLC: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        h_BLD = x_BLC
        for i, layer in enumerate(self.encoder):
            h_BLD, _ = layer(self.dropout(h_BLD) if i else h_BLD)
        pooled_BD, weights_BL = self.pooling(h_BLD, last_state(h_BLD, bidirectional=self.config.bidirectional))
        return self.head(pooled_BD), {"attention": weights_BL}
