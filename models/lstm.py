"""LSTM forecaster: stacked LSTM over the past, last or mean hidden state, one linear map to all steps ahead.

Source: Hochreiter & Schmidhuber 1997, doi.org/10.1162/neco.1997.9.8.1735.
Shapes: B batch, L lookback steps, C channels, D hidden units (twice as many when bidirectional), H steps ahead,
K targets, O numbers for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from models._blocks import Head, check_dropout, check_sizes, last_state, lstm


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    channels: int
    lookback: int  # steps; the LSTM itself takes any
    n_steps: int  # steps ahead that are answered
    n_targets: int = 1
    n_outputs: int = 1  # numbers for each step and target
    hidden: int = 64
    layers: int = 1
    bidirectional: bool = False
    pooling: Literal["last", "mean"] = "last"
    dropout: float = 0.0  # on the inputs of each layer but the first, and on the pooled state

    def __post_init__(self) -> None:
        check_sizes(self, "hidden", "layers")
        check_dropout(self)
        if self.pooling not in ("last", "mean"):
            raise ValueError(f"pooling must be 'last' or 'mean', got pooling={self.pooling!r}")


class Model(nn.Module):
    """(B, L, C) -> (B, H, K, O)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.lstm = lstm(
            config.channels,
            config.hidden,
            config.layers,
            dropout=config.dropout,
            bidirectional=config.bidirectional,
        )
        self.head = Head(config.hidden * (2 if config.bidirectional else 1), config)

    def forward(self, x_BLC: Tensor) -> Tensor:
        h_BLD, _ = self.lstm(x_BLC)
        if self.config.pooling == "mean":
            pooled_BD = h_BLD.mean(dim=1)
        else:
            pooled_BD = last_state(h_BLD, bidirectional=self.config.bidirectional)
        y_BHKO: Tensor = self.head(pooled_BD)
        return y_BHKO
