"""TabM (Gorishniy et al. 2024, arxiv.org/abs/2410.24210): one perceptron with M cheap members, trained side by side.

All members share each layer's weights and have scales of their own before and after it (BatchEnsemble, Wen et al. 2020,
arxiv.org/abs/2002.06715). The first scales are drawn as +1 or -1, all others begin at 1; each member has a head of its
own. A member's loss is its own, the answer the mean of their scores.

Shapes: B batch, D columns of the matrix, M members, I inputs, H hidden units, S sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.tabular._networks import Trained
from models.tabular.learning import Rows, Shape
from models.tabular.mlp import Embedded


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    members: int = 32
    layers: int = 2
    hidden: int = 256
    bins: int = 32
    channels: int = 8  # of an amount's embedding
    dropout: float = 0.1
    lr: float = 2e-3
    weight_decay: float = 3e-4
    batch_size: int = 256


class SharedLinear(nn.Module):
    """(B, M, I) -> (B, M, H): one weight for all members, scaled by each member's own before and after."""

    def __init__(self, members: int, into: int, out: int, *, first: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(into, out, bias=False)
        signs = torch.randint(0, 2, (members, into)) * 2.0 - 1.0
        self.before = nn.Parameter(signs if first else torch.ones(members, into))
        self.after = nn.Parameter(torch.ones(members, out))
        bound = 1 / math.sqrt(into)
        self.bias = nn.Parameter(torch.empty(members, out).uniform_(-bound, bound))

    def forward(self, x_BMI: Tensor) -> Tensor:
        y_BMH: Tensor = self.linear(x_BMI * self.before) * self.after + self.bias
        return y_BMH


class Network(nn.Module):
    """matrix (B, D) -> sums (B, M, S)."""

    def __init__(self, config: Config, train: Rows, shape: Shape) -> None:
        super().__init__()
        self.members = config.members
        self.embedded = Embedded(train, shape, config.bins, config.channels)
        sizes = [self.embedded.width, *[config.hidden] * config.layers]
        self.body = nn.Sequential(
            *(
                nn.Sequential(
                    SharedLinear(config.members, into, out, first=place == 0), nn.ReLU(), nn.Dropout(config.dropout)
                )
                for place, (into, out) in enumerate(pairwise(sizes))
            )
        )
        n_sums = shape.n_classes if shape.link == "softmax" else 1
        bound = 1 / math.sqrt(config.hidden)
        self.head = nn.Parameter(torch.empty(config.members, config.hidden, n_sums).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(config.members, n_sums))

    def forward(self, matrix_BD: Tensor) -> Tensor:
        x_BI = self.embedded(matrix_BD)
        x_BMH = self.body(x_BI[:, None].expand(-1, self.members, -1))
        sums_BMS: Tensor = torch.bmm(x_BMH.transpose(0, 1), self.head).transpose(0, 1) + self.bias
        return sums_BMS


class Learner(Trained):
    def _network(self) -> nn.Module:
        return Network(self.config, self.train, self.shape)
