"""CNN-LSTM: causal convolutions find patterns of a few steps and thin them out, an LSTM reads what they found.

Source: the convolutional front of Shi et al. 2015 (arxiv.org/abs/1506.04214) in one dimension, as Sainath et al. 2015
(doi.org/10.1109/ICASSP.2015.7178838) stack it: convolutions, then LSTM, then a linear map.
Shapes: B batch, L lookback steps, C channels, D features, M = L / 2^convolutions steps, H steps ahead,
K targets, O numbers for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from models._blocks import CausalConvolution, Head, check_dropout, check_sizes, lstm


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    channels: int
    lookback: int  # steps; the network itself takes any
    n_steps: int  # steps ahead that are answered
    n_targets: int = 1
    n_outputs: int = 1  # numbers for each step and target
    filters: int = 32
    kernel: int = 5  # steps that a convolution sees
    convolutions: int = 1  # each halves the number of steps
    hidden: int = 64
    layers: int = 1
    dropout: float = 0.1  # between layers of the LSTM, and before the last map

    def __post_init__(self) -> None:
        check_sizes(self, "filters", "convolutions", "hidden", "layers")
        check_dropout(self)
        if self.kernel < 2:
            raise ValueError(f"kernel must be at least 2, got kernel={self.kernel}")


class Model(nn.Module):
    """(B, L, C) -> (B, H, K, O)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels, *[config.filters] * config.convolutions]
        self.front = nn.Sequential(
            *(
                layer
                for into, out in pairwise(widths)
                for layer in (CausalConvolution(into, out, config.kernel, stride=2), nn.GELU())
            )
        )
        self.lstm = lstm(config.filters, config.hidden, config.layers, dropout=config.dropout)
        self.head = Head(config.hidden, config)

    def forward(self, x_BLC: Tensor) -> Tensor:
        found_BDM = self.front(x_BLC.transpose(1, 2))
        h_BMD, _ = self.lstm(found_BDM.transpose(1, 2))
        y_BHKO: Tensor = self.head(h_BMD[:, -1])
        return y_BHKO
