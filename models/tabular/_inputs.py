"""The matrix of rows as networks and linear models want it: amounts on one scale, missing ones told, words as channels.

Shapes: B batch, D columns of the matrix, A amounts, T bins, W columns of words, E channels of an embedding.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.tabular.encoding import Encoding

LIMIT = 10.0  # standard deviations


class Amounts(nn.Module):
    """(B, D) -> (B, A + F + 2P): amounts in train standard deviations, 0 where missing; a flag for each of the F that
    train rows miss; sine and cosine of the P phases."""

    def __init__(self, encoding: Encoding, matrix: NDArray[np.float32]) -> None:
        """`matrix` (N, D): the train rows."""
        super().__init__()
        amounts = matrix[:, : encoding.n_amounts].astype(np.float64)
        known = np.isfinite(amounts)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, amounts, 0.0).sum(axis=0) / count
        spread = np.sqrt(np.square(np.where(known, amounts - mean, 0.0)).sum(axis=0) / count)
        self.n_amounts = encoding.n_amounts
        self.mean: Tensor
        self.std: Tensor
        self.flagged: Tensor
        self.phases: Tensor
        self.register_buffer("mean", torch.from_numpy(mean).float())
        self.register_buffer("std", torch.from_numpy(np.where(spread > 0, spread, 1.0)).float())
        self.register_buffer("flagged", torch.from_numpy(np.flatnonzero(~known.all(axis=0))))
        self.register_buffer("phases", torch.tensor(encoding.phases, dtype=torch.int64))

    @property
    def width(self) -> int:
        return self.n_amounts + len(self.flagged) + 2 * len(self.phases)

    def forward(self, matrix_BD: Tensor) -> Tensor:
        x_BA = matrix_BD[:, : self.n_amounts]
        missing_BA = x_BA != x_BA
        parts = [torch.where(missing_BA, 0.0, (x_BA - self.mean) / self.std).clamp(-LIMIT, LIMIT)]
        parts.append(missing_BA.index_select(1, self.flagged).to(x_BA.dtype))
        angle_BP = 2 * torch.pi * x_BA.index_select(1, self.phases)
        known_BP = ~missing_BA.index_select(1, self.phases)
        parts += [torch.where(known_BP, wave(angle_BP), 0.0) for wave in (torch.sin, torch.cos)]
        return torch.cat(parts, dim=1)


class Bins(nn.Module):
    """(B, A) -> (B, A, T): how far into each bin a number lies, between 0 and 1, all 0 where it is missing.

    Piecewise linear encoding (Gorishniy et al. 2022, arxiv.org/abs/2203.05556), the bins' edges quantiles of the train
    rows: a number's rank counts as well as its size, and none can lie far out.
    """

    def __init__(self, encoding: Encoding, matrix: NDArray[np.float32], bins: int) -> None:
        super().__init__()
        edges = np.full((encoding.n_amounts, bins + 1), np.nan)
        for place in range(encoding.n_amounts):
            column = matrix[:, place]
            column = column[np.isfinite(column)]
            if len(column):
                own = np.unique(np.quantile(column.astype(np.float64), np.linspace(0, 1, bins + 1)))
                edges[place, : len(own)] = own
        edges = np.where(np.isnan(edges), np.fmax.reduce(np.nan_to_num(edges, nan=-np.inf), axis=1)[:, None], edges)
        edges = np.where(np.isfinite(edges), edges, 0.0)
        low, width = edges[:, :-1], np.diff(edges, axis=1)
        self.n_amounts = encoding.n_amounts
        self.low: Tensor
        self.factor: Tensor
        self.register_buffer("low", torch.from_numpy(low).float())
        # Where there are fewer different numbers than bins the last ones are empty, and always 0.
        factor = np.where(width > 0, 1 / np.where(width > 0, width, 1.0), 0.0)
        self.register_buffer("factor", torch.from_numpy(factor).float())

    def forward(self, matrix_BD: Tensor) -> Tensor:
        x_BA1 = matrix_BD[:, : self.n_amounts, None]
        known_BA1 = x_BA1 == x_BA1
        share_BAT = ((torch.where(known_BA1, x_BA1, 0.0) - self.low) * self.factor).clamp(0.0, 1.0)
        return torch.where(known_BA1, share_BAT, 0.0)


class Words(nn.Module):
    """(B, D) -> (B, sum of E): learnt channels of each column of words."""

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        self.start = encoding.n_amounts
        tables = [nn.Embedding(word.size, channels(word.size)) for word in encoding.words]
        for table in tables:
            nn.init.normal_(table.weight, std=0.1)
        self.tables = nn.ModuleList(tables)
        self.width = sum(table.embedding_dim for table in tables)

    def forward(self, matrix_BD: Tensor) -> Tensor:
        codes_BW = matrix_BD[:, self.start :].to(torch.int64)
        told = [table(codes_BW[:, place]) for place, table in enumerate(self.tables)]
        return torch.cat(told, dim=1) if told else matrix_BD[:, :0]


class OneHot(nn.Module):
    """(B, D) -> (B, sum of sizes): a channel for each code of each column of words."""

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        self.start, self.sizes = encoding.n_amounts, [word.size for word in encoding.words]

    @property
    def width(self) -> int:
        return sum(self.sizes)

    def forward(self, matrix_BD: Tensor) -> Tensor:
        codes_BW = matrix_BD[:, self.start :]
        told = [
            (codes_BW[:, place, None] == torch.arange(size, dtype=codes_BW.dtype, device=codes_BW.device)).float()
            for place, size in enumerate(self.sizes)
        ]
        return torch.cat(told, dim=1) if told else matrix_BD[:, :0]


def channels(size: int) -> int:
    """How many a column of so many words gets: few for few."""
    return max(1, min(16, (size + 1) // 2))
