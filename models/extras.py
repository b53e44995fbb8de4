"""What a model tells besides its answer, such as how much it attended to each step.

A module that tells something has `extras`, output name -> what it is, and `explain`, which takes what `forward` takes,
and gives its answer and a tensor for each name.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn


def extras(model: nn.Module) -> dict[str, str]:
    """Output name -> what it is; empty for a module that only answers."""
    return dict(getattr(model, "extras", {}))


def explain(model: nn.Module, *given: Tensor, **inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The answer, and a tensor for each of `extras`."""
    if not extras(model):
        return model(*given, **inputs), {}
    told: tuple[Tensor, dict[str, Tensor]] = cast("Any", model).explain(*given, **inputs)
    return told
