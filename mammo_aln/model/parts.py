"""A step's crops in parts: the backbone's activations of one part at a time, the rest of the network on the whole.

Gradient accumulation adds up the gradients of small batches. Here the whole batch keeps one loss: of every part but the
last only the features are kept, and the backward pass computes its activations anew (Chen et al. 2016, "Training deep
nets with sublinear memory cost", arXiv:1604.06174). So whatever looks at several crops or patients at once behind the
backbone (`FeatureNorm`, class weights, contrastive pairs) sees the whole batch, and only batch normalisation inside a
backbone sees a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def features_in_parts(backbone: nn.Module, crops: Tensor, parts: int, *, empty_parts: bool = False) -> Tensor:
    """Compute features (N, features) of crops (N, 1, S, S) in so many nearly equal parts.

    Args:
        backbone: maps crops to features.
        crops: of all patients of the step.
        parts: 1 computes all at once.
        empty_parts: compute parts without a crop too, where ranks wait for each other inside the backbone.
    """
    chunks = [chunk for chunk in crops.tensor_split(parts) if empty_parts or len(chunk)] or [crops]
    if len(chunks) == 1:
        return backbone(crops)
    if not torch.is_grad_enabled():
        return torch.cat([backbone(chunk) for chunk in chunks])

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_at_rest(backbone)

    recomputed = [checkpoint(backbone, chunk, use_reentrant=False, context_fn=contexts) for chunk in chunks[:-1]]
    return torch.cat([*recomputed, backbone(chunks[-1])])


def at_least_float32(values: Tensor) -> Tensor:
    """Values of half precision as float32; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


@contextmanager
def _statistics_at_rest(network: nn.Module) -> Iterator[None]:
    """Leave running statistics alone in this block: the crops that are computed anew were counted already."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
