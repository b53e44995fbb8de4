"""Heads: what one network answers for each step ahead and each target.

| head      | numbers   | answer                                                                            |
|-----------|-----------|-----------------------------------------------------------------------------------|
| value     | 1         | the target, in its unit                                                           |
| direction | 2 or 3    | probabilities of its change from the last known value: down, (flat,) up           |
| quantiles | Q levels  | its quantiles, in its unit; the lowest, then what each lies above the one before  |

Flat is a change of at most `band`; without a band there are two classes, and no change is neither. Quantiles cannot
cross: the steps between them are softplus(x) >= 0 (Gasthaus et al. 2019, proceedings.mlr.press/v89/gasthaus19a.html).

Shapes: B batch, H steps ahead, K targets, O numbers of the network, C classes, Q quantiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

MEDIAN = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Heads:
    """Which heads there are, at least one. Without a value head, the value that is answered is the median quantile;
    where there is none either, the last known value stands in its place."""

    value: bool = True
    direction: bool = False
    band: float = 0.0  # in the target's unit; above 0 there is a third class, flat
    levels: tuple[float, ...] = ()  # of the quantiles, ascending

    def __post_init__(self) -> None:
        if not (self.value or self.direction or self.levels):
            raise ValueError("there must be a head: value, direction or quantiles")
        if list(self.levels) != sorted(set(self.levels)) or not all(0 < level < 1 for level in self.levels):
            raise ValueError(f"levels must ascend between 0 and 1, got {list(self.levels)}")
        if not 0 <= self.band < float("inf"):
            raise ValueError(f"band must be at least 0 and finite, got {self.band}")

    @property
    def answers_value(self) -> bool:
        return self.value or MEDIAN in self.levels

    @property
    def main(self) -> str:
        """The output by whose error a graph is judged: the value, or where that is a stand-in, the first head's."""
        return "future" if self.answers_value else next(iter(self.extras))

    @property
    def classes(self) -> tuple[str, ...]:
        if not self.direction:
            return ()
        return ("down", "flat", "up") if self.band > 0 else ("down", "up")

    @property
    def n_outputs(self) -> int:
        return int(self.value) + len(self.classes) + len(self.levels)

    @property
    def extras(self) -> dict[str, str]:
        """Output name -> what it is, for what is answered besides the value."""
        told = {}
        if self.direction:
            told["direction"] = f"(steps, targets, {len(self.classes)}): probabilities of {', '.join(self.classes)}"
        if self.levels:
            named = ", ".join(f"{level:g}" for level in self.levels)
            told["quantiles"] = f"(steps, targets, {len(self.levels)}): quantiles {named}, in the target's unit"
        return told

    def split(self, numbers_BHKO: Tensor) -> dict[str, Tensor]:
        """The network's numbers as "future" (B, H, K), "direction" (B, H, K, C) logits, "quantiles" (B, H, K, Q): of
        what heads there are."""
        value, logits, quantiles = numbers_BHKO.float().split(
            [int(self.value), len(self.classes), len(self.levels)], dim=3
        )
        found = {}
        if self.levels:
            found["quantiles"] = torch.cat([quantiles[..., :1], functional.softplus(quantiles[..., 1:])], dim=3).cumsum(
                3
            )
        if self.direction:
            found["direction"] = logits
        if self.answers_value:
            found["future"] = value[..., 0] if self.value else found["quantiles"][..., self.levels.index(MEDIAN)]
        return found

    def came(self, change: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The class of each change, in the target's unit, and whether it has one."""
        if self.band > 0:
            return (change > self.band).astype(np.int64) - (change < -self.band) + 1, np.ones(change.shape, dtype=bool)
        return (change > 0).astype(np.int64), change != 0

    def classify(self, change: Tensor) -> tuple[Tensor, Tensor]:
        """The same of tensors."""
        if self.band > 0:
            classes = (change > self.band).long() - (change < -self.band).long() + 1
            return classes, torch.ones_like(change, dtype=torch.bool)
        return (change > 0).long(), change != 0


VALUE_ALONE = Heads()
