"""How what is known of the steps ahead reaches a network that has no place of its own for it.

Shapes: B batch, H steps ahead, A channels known of a step ahead, K targets, O numbers of each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HIDDEN = 32


class Correction(nn.Module):
    """(B, H, A) and an answer (B, H, K, O) -> a better one: each step's corrected by what is known of that step.

    One small network for all steps; it corrects nothing until it is trained.
    """

    def __init__(self, channels: int, n_targets: int, n_outputs: int = 1) -> None:
        super().__init__()
        self.read = nn.Linear(channels + n_targets * n_outputs, HIDDEN)
        self.answer = nn.Linear(HIDDEN, n_targets * n_outputs)
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)

    def forward(self, ahead_BHA: Tensor, y_BHKO: Tensor) -> Tensor:
        state_BHD = nn.functional.gelu(self.read(torch.cat([ahead_BHA, y_BHKO.flatten(2)], dim=2)))
        corrected: Tensor = y_BHKO + self.answer(state_BHD).unflatten(2, y_BHKO.shape[2:])
        return corrected
