"""Ranks of a training on several devices: sums over all of them, with gradients and without."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from torch import Tensor


def world_size() -> int:
    """Number of ranks that train together; 1 where no group of processes stands."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if together else 1


def global_rank() -> int:
    """Number of this rank, from 0."""
    return torch.distributed.get_rank() if world_size() > 1 else 0


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum of a tensor over all ranks, without a gradient; every rank must call it."""
    if world_size() == 1:
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total


class _Sum(torch.autograd.Function):
    """The sum over ranks; its gradient is the sum over ranks of the gradients, as each rank's loss reads the sum."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return sum_over_ranks(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return sum_over_ranks(gradient.contiguous())


def gathered(value: Tensor) -> Tensor:
    """Stack a tensor of one shape from every rank, (ranks, ...), with gradients; every rank must call it.

    A rank's gradient is that of the sum of all ranks' losses, so that the mean over ranks that data-parallel training
    takes of the weights' gradients is the gradient of the mean loss.
    """
    if world_size() == 1:
        return value.unsqueeze(0)
    own = torch.arange(world_size(), device=value.device) == global_rank()
    rows = own.view(-1, *[1] * value.dim()) * value.unsqueeze(0)
    stacked: Tensor = _Sum.apply(rows)
    return stacked
