"""Segment LSTM: an LSTM steps over segments of one channel, then answers all future segments at once.

Source: Lin et al. 2023 (SegRNN), arxiv.org/abs/2308.11200, with an LSTM for its GRU. Each target is answered from its
own past, by weights that all targets share; its normalisation ("last") is `models.preprocess`'s.
Shapes: B batch, L lookback steps, C channels, S steps of a segment, N = ceil(L / S) past and M = ceil(H / S) future
segments, D hidden units, H steps ahead, K targets (the first K channels).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models._blocks import check_dropout, check_sizes, check_targets_are_channels, lstm

READS_TARGETS_ALONE = True  # other columns and features go unread, which a sweep says


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    channels: int
    lookback: int  # steps; a first segment that is not full is filled up with the window's first value
    n_steps: int  # steps ahead that are answered
    n_targets: int = 1
    segment: int = 24  # steps
    hidden: int = 128
    dropout: float = 0.1  # before the last map

    def __post_init__(self) -> None:
        check_sizes(self, "segment", "hidden")
        check_dropout(self)
        check_targets_are_channels(self)
        if self.hidden % 2:
            raise ValueError(f"half of the units are for position, half for channel: hidden={self.hidden} is odd")


class Model(nn.Module):
    """(B, L, C) -> (B, H, K), each target from its own past alone."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        half, self.ahead = config.hidden // 2, -(-config.n_steps // config.segment)
        self.embed = nn.Linear(config.segment, config.hidden)
        self.lstm = lstm(config.hidden, config.hidden)
        self.position_MD = nn.Parameter(0.02 * torch.randn(self.ahead, half))
        self.channel_KD = nn.Parameter(0.02 * torch.randn(config.n_targets, half))
        self.dropout = nn.Dropout(config.dropout)
        self.answer = nn.Linear(config.hidden, config.segment)

    def forward(self, x_BLC: Tensor) -> Tensor:
        segment, targets = self.config.segment, self.config.n_targets
        x_BKL = x_BLC[:, :, :targets].transpose(1, 2)
        x_BKL = functional.pad(x_BKL, (-x_BLC.shape[1] % segment, 0), mode="replicate")
        x_RNS = x_BKL.flatten(0, 1).unflatten(1, (-1, segment))  # R = B * K series
        _, (h_1RD, c_1RD) = self.lstm(self.embed(x_RNS).relu())
        y_BKMD = self._ahead(h_1RD[0].unflatten(0, (-1, targets)), c_1RD[0].unflatten(0, (-1, targets)))
        y_BKH: Tensor = self.answer(self.dropout(y_BKMD)).flatten(2)
        return y_BKH[:, :, : self.config.n_steps].transpose(1, 2)

    def _ahead(self, h_BKD: Tensor, c_BKD: Tensor) -> Tensor:
        """(B, K, M, D): each future segment is one step of the same LSTM from the same state.

        Written out, since what a step makes of the state is the same for all segments, and what it makes of a segment's
        query the same for all rows.
        """
        queries_KMD = torch.cat(
            [
                self.position_MD.expand(self.config.n_targets, -1, -1),
                self.channel_KD[:, None].expand(-1, self.ahead, -1),
            ],
            dim=2,
        )
        weight, recurrent, bias, recurrent_bias = self.lstm.all_weights[0]
        of_query_KMG = functional.linear(queries_KMD, weight, bias)  # G = 4 D gates
        of_state_BKG = functional.linear(h_BKD, recurrent, recurrent_bias)
        into, keep, new, out = (of_query_KMG + of_state_BKG[:, :, None]).chunk(4, dim=3)
        c_BKMD = keep.sigmoid() * c_BKD[:, :, None] + into.sigmoid() * new.tanh()
        y_BKMD: Tensor = out.sigmoid() * c_BKMD.tanh()
        return y_BKMD
