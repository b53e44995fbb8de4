"""How what is known of the steps ahead reaches a network that has no place of its own for it.

Shapes: B batch, H steps ahead, A channels known of a step ahead, N numbers answered for a step, over all targets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HIDDEN = 32


class Correction(nn.Module):
    """(B, H, A) and an answer (B, H, N) -> a better answer: each step's corrected by what is known of that step.

    One small network for all steps; it corrects nothing until it is trained.
    """

    def __init__(self, channels: int, numbers: int) -> None:
        super().__init__()
        self.read = nn.Linear(channels + numbers, HIDDEN)
        self.answer = nn.Linear(HIDDEN, numbers)
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)

    def forward(self, ahead_BHA: Tensor, y_BHN: Tensor) -> Tensor:
        state_BHD = nn.functional.gelu(self.read(torch.cat([ahead_BHA, y_BHN], dim=2)))
        corrected: Tensor = y_BHN + self.answer(state_BHD)
        return corrected
