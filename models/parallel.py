"""What N workers of `torch.distributed` do together; every function is the plain thing when there is one worker.

A batch is dealt to the ranks so that the mean of their gradients, which DistributedDataParallel takes, is the gradient
of the whole batch's mean loss.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world() > 1 else 0


def wrap(module: nn.Module) -> nn.Module:
    return nn.parallel.DistributedDataParallel(module) if world() > 1 else module


def share(batch: Tensor) -> tuple[Tensor, float]:
    """This rank's part of a batch, and the weight that makes the mean over ranks the mean over the batch.

    A rank that a short batch leaves without a part takes one window at weight 0: all ranks must take each step.
    """
    if world() == 1:
        return batch, 1.0
    mine = batch[rank() :: world()]
    return (mine, len(mine) * world() / len(batch)) if len(mine) else (batch[:1], 0.0)


def my_slice(n: int) -> slice:
    size = -(-n // world())
    return slice(rank() * size, min(n, (rank() + 1) * size))


def gather(part: Tensor, n: int) -> Tensor:
    """The parts of `my_slice(n)` put together again, on every rank."""
    if world() == 1:
        return part
    size = -(-n // world())
    padded = part.new_zeros((size, *part.shape[1:]))
    padded[: len(part)] = part
    parts = [torch.empty_like(padded) for _ in range(world())]
    dist.all_gather(parts, padded.contiguous())
    return torch.cat(parts)[:n]


def mean(value: Tensor) -> Tensor:
    if world() > 1:
        value = value.clone()
        dist.all_reduce(value)
        value = value / world()
    return value
