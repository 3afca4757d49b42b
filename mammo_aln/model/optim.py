"""Loss, parameter groups, learning-rate schedule and the moving average of the weights."""

from __future__ import annotations

import copy
import math
from typing import Any, TypeAlias

import timm.optim
import torch
from torch import Tensor, nn

from mammo_aln.model.backbones import Backbone, LearningNetwork
from mammo_aln.settings import OptimConfig

Group: TypeAlias = dict[str, Any]
"""A group of AdamW's: `params`, `weight_decay` and `lr`."""

LAYERS = 12
"""Layers of any backbone as `optim.layer_decay` counts them; SwinV2 tiny's blocks are as many."""


def binary_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    smoothing: float,
    focal_gamma: float = 0.0,
    total: Tensor | None = None,
) -> Tensor:
    """Weighted binary cross-entropy over the patients whose label is known; 0 (with a gradient of 0) where none is.

    With `focal_gamma` above 0 each patient's loss is multiplied by (1 - p_t) ** focal_gamma, p_t being the probability
    of the true class: the focal loss of Lin et al. 2017, "Focal loss for dense object detection", equation 4.

    Args:
        logits: (B,).
        labels: (B,), 1, 0, or NaN for unknown.
        weights: weight of the negative and of the positive class (2,).
        smoothing: moves targets towards 0.5 by this share.
        focal_gamma: focusing exponent; 0 is binary cross-entropy.
        total: what the weighted sum is divided by (); by default the sum of the known patients' weights. A rank hands
            in its share of the whole batch's sum, so that the ranks' mean is the whole batch's loss.
    """
    known = ~torch.isnan(labels)
    target = torch.where(known, labels, 0.0)
    weight = torch.where(target > 0.5, weights[1], weights[0]) * known
    smooth = target * (1.0 - smoothing) + 0.5 * smoothing
    each = nn.functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
    if focal_gamma > 0:
        each = each * torch.sigmoid(torch.where(target > 0.5, -logits, logits)) ** focal_gamma
    return (each * weight).sum() / (weight.sum() if total is None else total).clamp(min=1e-12)


def learning_rate_factor(step: int, *, total_steps: int, warmup_fraction: float, released_at: int = 0) -> float:
    """Share of the peak learning rate at a step (from 0): linear from 0 to 1, then half a cosine down to 0.

    The first step takes 1 / warm-up steps of the peak, so that it is not lost.

    Args:
        step: from 0.
        total_steps: steps until the rate is 0.
        warmup_fraction: share of them in which it rises.
        released_at: first step of weights that were frozen until then; AdamW knows nothing of their gradients yet, so
            that their rate rises anew, over as many steps, to what the schedule says.
    """
    warmup = round(total_steps * warmup_fraction)
    if 0 < released_at <= step < released_at + warmup:
        anew = (step - released_at + 1) / warmup
        return anew * learning_rate_factor(step, total_steps=total_steps, warmup_fraction=warmup_fraction)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total_steps - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def parameter_groups(network: LearningNetwork, optim: OptimConfig) -> list[Group]:
    """AdamW's groups: no decay for biases, normalisation and other 1-d weights; layer-wise rates in loaded backbones.

    A weight at the share s of a loaded backbone's depth (0 the first layer, 1 the last) learns at
    `lr * layer_decay ** (12 * (1 - s))`; what begins at random learns at `lr`.
    """
    groups: list[Group] = []
    loaded: set[int] = set()
    for backbone in network.loaded_backbones:
        for group in _layer_groups(backbone, optim):
            loaded.update(map(id, group["params"]))
            groups.append(group)
    rest = [(name, p) for name, p in network.named_parameters() if p.requires_grad and id(p) not in loaded]
    for decay, decaying in ((optim.weight_decay, True), (0.0, False)):
        params = [p for name, p in rest if decays(name, p) is decaying]
        if params:
            groups.append({"params": params, "weight_decay": decay, "lr": optim.lr})
    return groups


def _layer_groups(backbone: Backbone, optim: OptimConfig) -> list[Group]:
    """A loaded backbone's weights by layer.

    timm counts 13 layers in SwinV2 tiny, 60 in DenseNet-121; by its numbers one decay would be another recipe for each.
    """
    exempt: set[str] = getattr(backbone.body, "no_weight_decay", set)()
    layers = timm.optim.param_groups_layer_decay(backbone.body, optim.weight_decay, exempt, layer_decay=0.5)
    below_last = [-math.log2(layer["lr_scale"]) for layer in layers]
    deepest = max(below_last, default=0.0) or 1.0
    return [
        {
            "params": layer["params"],
            "weight_decay": layer["weight_decay"],
            "lr": optim.lr * optim.layer_decay ** (LAYERS * below / deepest),
        }
        for layer, below in zip(layers, below_last, strict=True)
    ]


def decays(name: str, weight: Tensor) -> bool:
    """True where weight decay acts on a weight: matrices and kernels, not biases, scales, tokens or position biases."""
    exempt = ("missing", "_embedding", "place", "logit_scale", "cpb_mlp", "relative_position_bias", "pos_embed")
    return weight.ndim > 1 and not any(word in name for word in exempt)


class WeightAverage(nn.Module):
    """Exponential moving average of a network's weights and buffers, kept as a second network.

    The decay of update n is `min(decay, (1 + n) / (10 + n))`, so that initial weights fade within tens of steps.

    Args:
        network: the network that learns.
        decay: share kept per step.
    """

    updates: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        # The same count on this side: to read the buffer would wait for the GPU at each step.
        self._updates: int | None = None
        self._tensors: dict[bool, tuple[list[Tensor], list[Tensor]]] | None = None

    def _apply(self, *args: Any, **more: Any) -> Any:
        self._tensors = None  # buffers are other tensors on another device
        return super()._apply(*args, **more)

    def _load_from_state_dict(self, *args: Any, **more: Any) -> None:
        super()._load_from_state_dict(*args, **more)
        self._updates = self._tensors = None

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network's present weights (always of one network); counters are copied."""
        if self._updates is None:
            self._updates = int(self.updates)
        self.updates += 1
        self._updates += 1
        n = self._updates
        share = 1.0 - min(self.decay, (1 + n) / (10 + n))
        if self._tensors is None:  # gathering them takes milliseconds
            mine, theirs = (each.state_dict(keep_vars=True).values() for each in (self.network, network))
            self._tensors = {True: ([], []), False: ([], [])}
            for mean, now in zip(mine, theirs, strict=True):
                for tensors, tensor in zip(self._tensors[mean.is_floating_point()], (mean, now), strict=True):
                    tensors.append(tensor)
        torch._foreach_lerp_(*self._tensors[True], share)
        counters, counted = self._tensors[False]
        if counters:
            torch._foreach_copy_(counters, counted)
