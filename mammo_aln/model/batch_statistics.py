"""Batch statistics over all ranks: what a network standardises by is the global batch's, however it is dealt out."""

from __future__ import annotations

from functools import partial

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mammo_aln.errors import InputError
from mammo_aln.model.parts import at_least_float32
from mammo_aln.model.ranks import gathered, world_size


def moments_over_ranks(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), sum of squared deviations (C,) and count () of values (N, C, ...) over all ranks, with gradients.

    Each rank's own moments are put together by Chan, Golub and LeVeque 1983, "Algorithms for computing the sample
    variance", equation 2.1: features that hardly differ between crops would lose their digits in a mean of squares. A
    rank may have no value at all.
    """
    values = at_least_float32(values.transpose(0, 1).flatten(1))
    count = values.shape[1]
    mean = values.sum(dim=1) / max(1, count)
    squares = (values - mean.unsqueeze(1)).square().sum(dim=1)
    own = torch.stack([mean, squares, torch.full_like(mean, float(count))])
    means, all_squares, counts = gathered(own).unbind(1)  # each (ranks, C)
    total = counts.sum(dim=0).clamp(min=1)
    joint = (counts * means).sum(dim=0) / total
    return joint, (all_squares + counts * (means - joint).square()).sum(dim=0), counts.sum(dim=0)[0]


class FeatureNorm(nn.BatchNorm1d):
    """Standardises each feature over the crops of a step, those of all ranks; few are standardised by the running
    statistics.

    An untrained backbone's pooled features are nearly the same for every crop. What differs between crops is brought to
    scale feature by feature, which layer normalisation can't do: without it SwinV2 hardly learns from a few hundred
    patients.
    """

    min_crops = 4

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, features) to the same shape; in training on several ranks, each must call it."""
        if self.training and world_size() > 1:
            return standardised_over_ranks(self, features, self.min_crops)
        if self.training and len(features) < self.min_crops:
            return nn.functional.batch_norm(
                features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(features)


def standardised_over_ranks(norm: _BatchNorm, values: Tensor, min_count: int = 1) -> Tensor:
    """Batch normalisation of values (N, C, ...) in training mode by the statistics of all ranks.

    Args:
        norm: weights and running statistics, which move on as those of one process would.
        values: this rank's.
        min_count: fewer values per channel, over all ranks, are standardised by the running statistics.
    """
    mean, squares, count = moments_over_ranks(values)
    enough = count >= min_count
    running_mean, running_var = norm.running_mean, norm.running_var
    if running_mean is None or running_var is None:
        raise TypeError("batch normalisation without running statistics")
    var = torch.where(enough, squares / count.clamp(min=1), running_var)
    middle = torch.where(enough, mean, running_mean)
    with torch.no_grad():
        share = enough.to(running_mean.dtype) * (0.1 if norm.momentum is None else norm.momentum)
        running_mean.lerp_(mean.detach().to(running_mean.dtype), share)
        unbiased = squares.detach() / (count - 1).clamp(min=1)
        running_var.lerp_(unbiased.to(running_var.dtype), share)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked += enough
    shape = (1, -1, *[1] * (values.dim() - 2))
    scale = (var + norm.eps).rsqrt() * norm.weight
    return torch.addcmul(norm.bias.view(shape), values - middle.view(shape), scale.view(shape)).to(values.dtype)


def share_batch_statistics(network: nn.Module) -> bool:
    """Have every batch normalisation of a network take its statistics over all ranks; True where there is any.

    torch's `SyncBatchNorm` runs on GPUs alone, and replaces timm's normalisation with activation by one without.

    Raises:
        InputError: a batch normalisation of another kind.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and not isinstance(m, FeatureNorm)]
    for norm in norms:
        if type(norm).forward not in (_BatchNorm.forward, BatchNormAct2d.forward) or not norm.track_running_stats:
            raise InputError(
                f"trainer.sync_batchnorm: it does not know {type(norm).__name__} of this backbone; expected false, so"
                " that each device takes its own statistics"
            )
        norm.forward = partial(_forward_over_ranks, norm)  # type: ignore[method-assign]
    return bool(norms)


def _forward_over_ranks(norm: _BatchNorm, values: Tensor) -> Tensor:
    if not norm.training:
        return type(norm).forward(norm, values)
    values = standardised_over_ranks(norm, values)
    for further in ("drop", "act"):  # of timm's BatchNormAct2d
        if hasattr(norm, further):
            values = getattr(norm, further)(values)
    return values
