"""What several families share, and nothing that only one needs.

Shapes: B batch, L steps, C channels, D features, H steps ahead, K targets, O numbers for each.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm


def check_sizes(config: Any, *names: str) -> None:
    """ValueError for the first of these settings that is below 1; the five sizes that the data sets are among them."""
    for name in ("channels", "lookback", "n_steps", "n_targets", "n_outputs", *names):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {name}={getattr(config, name)}")


def check_dropout(config: Any) -> None:
    if not 0.0 <= config.dropout < 1.0:
        raise ValueError(f"dropout must be in [0, 1), got dropout={config.dropout}")


def check_targets_are_channels(config: Any) -> None:
    if config.n_targets > config.channels:
        raise ValueError(
            f"each target is a channel: n_targets={config.n_targets} needs channels >= {config.n_targets}, "
            f"got channels={config.channels}"
        )


def lstm(inputs: int, hidden: int, layers: int = 1, *, dropout: float = 0.0, bidirectional: bool = False) -> nn.LSTM:
    """(B, L, inputs) -> (B, L, D). The forget gate's bias starts at 1 (Jozefowicz et al. 2015), other biases at 0."""
    made = nn.LSTM(
        inputs,
        hidden,
        layers,
        batch_first=True,
        dropout=dropout if layers > 1 else 0.0,
        bidirectional=bidirectional,
    )
    for name, parameter in made.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
        if name.startswith("bias_ih"):  # gates in order: input, forget, cell, output
            nn.init.ones_(parameter[hidden : 2 * hidden])
    return made


def last_state(h_BLD: Tensor, *, bidirectional: bool) -> Tensor:
    """(B, D): what an LSTM knows after the whole window; the backward direction has read it at its first step."""
    if not bidirectional:
        return h_BLD[:, -1]
    forward, backward = h_BLD.chunk(2, dim=2)
    return torch.cat([forward[:, -1], backward[:, 0]], dim=1)


class Head(nn.Module):
    """(B, D) -> (B, H, K, O): dropout, then one linear map to all steps ahead."""

    def __init__(self, width: int, config: Any) -> None:
        super().__init__()
        self.shape = (config.n_steps, config.n_targets, config.n_outputs)
        self.dropout = nn.Dropout(config.dropout)
        self.map = nn.Linear(width, math.prod(self.shape))

    def forward(self, h_BD: Tensor) -> Tensor:
        y_BHKO: Tensor = self.map(self.dropout(h_BD)).unflatten(1, self.shape)
        return y_BHKO


class Pooling(nn.Module):
    """Multi-head attention over the steps of a window, down to one state: (B, L, D) -> (B, D) and weights (B, L).

    query "last": the last step asks, all steps answer. "mean": every step asks, and the answers are averaged; the
    weights then are the average over the askers. Rows of the weights sum to 1; heads are averaged in them.
    Source: Vaswani et al. 2017, arxiv.org/abs/1706.03762; residual and layer norm as there.
    """

    def __init__(self, width: int, heads: int, query: str) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{width} features cannot be shared by {heads} heads evenly")
        self.heads, self.query = heads, query
        self.ask = nn.Linear(width, width)
        self.offer = nn.Linear(width, 2 * width, bias=False)  # a key's would change no weight
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, h_BLD: Tensor, last_BD: Tensor) -> tuple[Tensor, Tensor]:
        asking = last_BD[:, None] if self.query == "last" else h_BLD
        q = self._split(self.ask(asking))
        k, v = (self._split(part) for part in self.offer(h_BLD).chunk(2, dim=2))
        weights = torch.softmax(q @ k.transpose(2, 3) * q.shape[3] ** -0.5, dim=3)  # (B, heads, askers, L)
        context = (weights @ v).mean(dim=2).flatten(1)
        pooled: Tensor = self.norm(asking.mean(dim=1) + self.out(context))
        return pooled, weights.mean(dim=(1, 2))

    def _split(self, x: Tensor) -> Tensor:
        parts: Tensor = x.unflatten(2, (self.heads, -1))
        return parts.transpose(1, 2)


class CausalConvolution(nn.Module):
    """(B, C, L) -> (B, D, M): step t sees t, t - dilation, ... and nothing after t; zeros stand before the first step.

    With stride 2 every second step is answered, counted back from the last one, M = ceil(L / 2).
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, dilation: int = 1, stride: int = 1, weight_normed: bool = False
    ) -> None:
        super().__init__()
        self.reach, self.stride = (kernel - 1) * dilation, stride
        convolution = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, stride=stride)
        self.convolution = weight_norm(convolution) if weight_normed else convolution

    def forward(self, x_BCL: Tensor) -> Tensor:
        surplus = (x_BCL.shape[2] - 1) % self.stride  # the first answer lies so many steps after the first step
        y_BDM: Tensor = self.convolution(functional.pad(x_BCL, (self.reach - surplus, 0)))
        return y_BDM
