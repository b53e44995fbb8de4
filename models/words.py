"""Categorical columns between what people send, words, and what a network reads, learnt channels.

A graph has an input of words for each such column: (batch, L) strings, oldest step first. `encode` turns them into the
codes that a model takes behind the numbers of "past", as the graph itself does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data.words import codes_of

# Other inputs, the answer, and what the predictors' own parameters are called.
TAKEN = ("past", "ahead", "time", "time_ahead", "future", "self", "level", "samples", "seed")
Words = Mapping[str, tuple[str, ...]]  # input name -> vocabulary, in the order of the codes' columns
NO_WORDS: Words = MappingProxyType({})


def input_names(columns: Sequence[str], taken: Collection[str] = ()) -> tuple[str, ...]:
    """A name in the graph for each column of words: its own, where that is a name as ONNX wants them, a C identifier,
    and nobody else's; else "words_1", "words_2", ... by its place.

    `taken` are the names of what the model tells besides its answer.
    """
    forbidden = {*TAKEN, *taken}
    names = []
    for place, column in enumerate(columns, start=1):
        fits = re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", column) and column not in forbidden
        name = column if fits else f"words_{place}"
        while not fits and (name in columns or name in forbidden):
            name += "_"
        names.append(name)
    return tuple(names)


def encode(inputs: Mapping[str, NDArray[Any]], words: Words) -> dict[str, NDArray[Any]]:
    """What a graph takes -> what its model takes: "past" (N, L, F) with a column of codes for each input of words."""
    if not words:
        return dict(inputs)
    codes = [codes_of(inputs[name], vocabulary)[..., None] for name, vocabulary in words.items()]
    others = {name: values for name, values in inputs.items() if name not in words}
    return {**others, "past": np.concatenate([inputs["past"], *codes], axis=2)}


class Embedding(nn.Module):
    """Codes (B, L) -> learnt channels (B, L, W). Code 0, and words that no train row holds, are zero at first."""

    def __init__(self, seen: NDArray[np.bool_], width: int) -> None:
        """`seen` (n + 1,): whether the train rows hold the word of each code; 0 is none."""
        super().__init__()
        self.seen: Tensor
        self.register_buffer("seen", torch.from_numpy(seen).to(torch.int64))
        self.table = nn.Embedding(len(seen), width)
        with torch.no_grad():
            self.table.weight[0] = 0.0

    def forward(self, code_BL: Tensor) -> Tensor:
        code_BL = code_BL.to(torch.int64)
        channels: Tensor = self.table(code_BL * self.seen[code_BL])
        return channels
