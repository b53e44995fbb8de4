"""LSTM forecaster: stacked LSTM over the past, last or mean hidden state, one linear map to all steps ahead.

Source: Hochreiter & Schmidhuber 1997, doi.org/10.1162/neco.1997.9.8.1735; the forget gate's bias starts at 1
(Jozefowicz et al. 2015).
Shapes: B batch, L lookback steps, C channels, D hidden units (twice as many when bidirectional), H steps ahead,
K targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    channels: int
    lookback: int  # steps; the LSTM itself takes any
    n_steps: int  # steps ahead that are answered
    n_targets: int = 1
    hidden: int = 64
    layers: int = 1
    bidirectional: bool = False
    pooling: Literal["last", "mean"] = "last"
    dropout: float = 0.0  # on the inputs of each layer but the first, and on the pooled state

    def __post_init__(self) -> None:
        for name in ("channels", "lookback", "n_steps", "n_targets", "hidden", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {name}={getattr(self, name)}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), got dropout={self.dropout}")
        if self.pooling not in ("last", "mean"):
            raise ValueError(f"pooling must be 'last' or 'mean', got pooling={self.pooling!r}")


class Model(nn.Module):
    """(B, L, C) -> (B, H, K)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.lstm = nn.LSTM(
            config.channels,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
            bidirectional=config.bidirectional,
        )
        self.dropout = nn.Dropout(config.dropout)
        width = config.hidden * (2 if config.bidirectional else 1)
        self.head = nn.Linear(width, config.n_steps * config.n_targets)
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("bias_ih"):  # gates in order: input, forget, cell, output
                nn.init.zeros_(parameter)
                nn.init.ones_(parameter[config.hidden : 2 * config.hidden])
            elif name.startswith("bias_hh"):
                nn.init.zeros_(parameter)

    def forward(self, x_BLC: Tensor) -> Tensor:
        h_BLD, _ = self.lstm(x_BLC)
        y_BO: Tensor = self.head(self.dropout(self._pool(h_BLD)))
        y_BHK: Tensor = y_BO.unflatten(1, (self.config.n_steps, self.config.n_targets))
        return y_BHK

    def _pool(self, h_BLD: Tensor) -> Tensor:
        if self.config.pooling == "mean":
            return h_BLD.mean(dim=1)
        if not self.config.bidirectional:
            return h_BLD[:, -1]
        # The backward direction has read the whole window at its first step.
        forward, backward = h_BLD.split(self.config.hidden, dim=2)
        return torch.cat([forward[:, -1], backward[:, 0]], dim=1)
