"""Monte Carlo dropout: how much a network's answers scatter when its dropout stays on.

Source: Gal & Ghahramani 2016, arxiv.org/abs/1506.02142. The scatter tells what the network does not know, and nothing
of the noise in the data, so its intervals are known to be far too narrow: their coverage on the holdout, which a
report shows, says how far. For intervals to rely on, train a quantiles head.

Shapes: S samples, N windows, H steps ahead, K targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from models.export import Average

LEVEL = 0.9
_BATCH = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """What intervals from dropout are worth on windows whose truth is known."""

    level: float  # what they should cover
    covered: float  # share of the truths that they do
    width: float  # mean, in standard deviations of each target's train rows
    samples: int
    windows: int


def has_dropout(model: nn.Module) -> bool:
    """Whether anything in the model is dropped at random while it trains."""
    return any(_drops(module) for module in model.modules())


def sample(model: nn.Module, inputs: Mapping[str, Tensor], samples: int, *, seed: int = 0) -> NDArray[np.float32]:
    """(S, N, H, K): answers of `model` with its dropout on, in the targets' units; the same for the same seed.

    Of an average each sample is drawn from one of its models, in turn: their mean would scatter less than each of them.
    The model is left as it was, and so is torch's generator.
    """
    n = len(inputs["past"])
    members = list(model.models) if isinstance(model, Average) else [model]
    with torch.random.fork_rng(devices=[]), _dropping(model), torch.inference_mode():
        torch.manual_seed(seed)
        drawn = [
            torch.cat([members[s % len(members)](**_part(inputs, i)) for i in range(0, n, _BATCH)]).float().cpu()
            for s in range(samples)
        ]
    answers: NDArray[np.float32] = torch.stack(drawn).numpy()
    return answers


def interval(drawn: NDArray[np.float32], level: float = LEVEL) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The bounds (N, H, K) between which the middle share `level` of the samples (S, N, H, K) lies."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0).astype(np.float32)
    return low, high


def coverage(
    drawn: NDArray[np.float32], truth: NDArray[np.float32], std: NDArray[np.float64], level: float = LEVEL
) -> Coverage:
    """Of samples (S, N, H, K), against truth (N, H, K); std (K,) of each target's train rows."""
    low, high = interval(drawn, level)
    return Coverage(
        level=level,
        covered=float(((low <= truth) & (truth <= high)).mean()),
        width=float(((high - low) / std).mean()),
        samples=len(drawn),
        windows=len(truth),
    )


def _drops(module: nn.Module) -> bool:
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0
    return isinstance(module, _DropoutNd) and module.p > 0


def _part(inputs: Mapping[str, Tensor], start: int) -> dict[str, Tensor]:
    return {name: each[start : start + _BATCH] for name, each in inputs.items()}


@contextmanager
def _dropping(model: nn.Module) -> Iterator[None]:
    """Evaluation for all but what drops: recurrent layers and dropout."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    for module in model.modules():
        if _drops(module):
            module.train()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
