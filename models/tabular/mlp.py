"""Multilayer perceptron on piecewise linear embeddings of amounts (Gorishniy et al. 2022, arxiv.org/abs/2203.05556).

Shapes: B batch, D columns of the matrix, A amounts, T bins, E channels of an amount, H hidden units, S sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.tabular._inputs import Amounts, Bins, Words
from models.tabular._networks import Trained
from models.tabular.learning import Rows, Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    layers: int = 2
    hidden: int = 192
    bins: int = 32
    channels: int = 8  # of an amount's embedding
    dropout: float = 0.1
    lr: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 256


class Embedded(nn.Module):
    """(B, D) -> (B, width): each amount's channels, what is told of all amounts, and the words' channels."""

    def __init__(self, train: Rows, shape: Shape, bins: int, channels: int) -> None:
        super().__init__()
        self.amounts, self.words = Amounts(shape.encoding, train.matrix), Words(shape.encoding)
        self.bins = Bins(shape.encoding, train.matrix, bins)
        n_amounts = shape.encoding.n_amounts
        self.weight = nn.Parameter(torch.randn(n_amounts, bins, channels) / bins**0.5)
        self.bias = nn.Parameter(torch.zeros(n_amounts, channels))
        self.width = n_amounts * channels + self.amounts.width + self.words.width

    def forward(self, matrix_BD: Tensor) -> Tensor:
        share_ABT = self.bins(matrix_BD).transpose(0, 1)
        told_BAE = (torch.bmm(share_ABT, self.weight).transpose(0, 1) + self.bias).relu()
        return torch.cat([told_BAE.flatten(1), self.amounts(matrix_BD), self.words(matrix_BD)], dim=1)


class Network(nn.Module):
    """matrix (B, D) -> sums (B, 1, S)."""

    def __init__(self, config: Config, train: Rows, shape: Shape) -> None:
        super().__init__()
        self.embedded = Embedded(train, shape, config.bins, config.channels)
        sizes = [self.embedded.width, *[config.hidden] * config.layers]
        self.body = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(into, out), nn.ReLU(), nn.Dropout(config.dropout))
                for into, out in pairwise(sizes)
            )
        )
        self.head = nn.Linear(config.hidden, shape.n_classes if shape.link == "softmax" else 1)

    def forward(self, matrix_BD: Tensor) -> Tensor:
        sums: Tensor = self.head(self.body(self.embedded(matrix_BD)))[:, None]
        return sums


class Learner(Trained):
    def _network(self) -> nn.Module:
        return Network(self.config, self.train, self.shape)
