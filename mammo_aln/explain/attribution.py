"""Grad-CAM for convolutional and transformer backbones: where in a crop the score was moved, and in which direction.

Selvaraju et al. 2017, Grad-CAM, equations 1 and 2: alpha_k = mean over the cells of d y / d A_k, map = ReLU(sum over k
of alpha_k A_k), with A the feature maps of one layer and y the output of a class. Here y is the logit of residual
disease. The sum is kept with its sign: its positive part is Grad-CAM for residual disease, and its negative part is
Grad-CAM for ypN0, whose output is -y.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mammo_aln.errors import InputError
from mammo_aln.model.backbones import Backbone
from mammo_aln.model.network import AxillaryNetwork

FEWEST_CELLS = 7
"""Cells along a side of the map, where the backbone has such a layer: as in the paper's networks."""


@dataclass(frozen=True)
class SpatialLayer:
    """A layer whose output is a map.

    Attributes:
        name: module of the backbone's body.
        cells: cells along each side.
        form: order of its output's axes: `NCHW`, `NHWC`, or `NLC` (tokens).
        prefix: tokens before those of the map (class token), for `NLC`.
    """

    name: str
    cells: int
    form: str
    prefix: int = 0

    def as_maps(self, output: Tensor) -> Tensor:
        """The layer's output as (N, channels, cells, cells)."""
        if self.form == "NLC":
            output = output[:, self.prefix :].unflatten(1, (self.cells, self.cells))
        return output if self.form == "NCHW" else output.permute(0, 3, 1, 2)


def spatial_layer(backbone: Backbone, size_px: int) -> SpatialLayer:
    """The deepest layer whose map still has `FEWEST_CELLS` cells a side, or the finest where none has.

    Layers are the stages that timm names, and the last map before the network pools it (behind a last norm or
    convolution), on which the output depends almost linearly. A map that the output does not depend on, as that of the
    last block of a network that reads its class token, is passed over.

    Raises:
        InputError: no layer keeps a square map.
    """
    layers = _layers(backbone, size_px)
    if not layers:
        raise InputError(
            f"a heat map needs a layer whose output is a square map, and {type(backbone.body).__name__} has none; "
            "with --drawn 0 the rest is explained all the same"
        )
    fine = [layer for layer in layers if layer.cells >= FEWEST_CELLS]
    return fine[-1] if fine else max(layers, key=lambda layer: layer.cells)


def _layers(backbone: Backbone, size_px: int) -> list[SpatialLayer]:
    """Layers with a map that the features depend on, from the first to the last."""
    body = backbone.body
    modules = {name: module for name, module in body.named_modules() if name}
    generator = torch.Generator(backbone.mean.device).manual_seed(0)
    crop = backbone.mean.new_zeros(1, 1, size_px, size_px).uniform_(generator=generator)
    with torch.no_grad(), _outputs(modules) as every:
        backbone(crop)
    maps = [layer for name, output in every.items() if (layer := _layer(body, name, output.shape)) is not None]
    stages = {str(stage["module"]) for stage in getattr(body, "feature_info", None) or []}
    candidates = [layer for layer in maps if layer.name in stages or layer is maps[-1]]
    with torch.enable_grad(), _outputs({layer.name: modules[layer.name] for layer in candidates}) as kept:
        features = backbone(crop.requires_grad_(True))
        outputs = [kept[layer.name] for layer in candidates]
        slopes = torch.autograd.grad(features.square().sum(), outputs, allow_unused=True) if outputs else ()
    reaching = zip(candidates, slopes, strict=True)
    return [layer for layer, slope in reaching if slope is not None and bool(layer.as_maps(slope).any())]


@contextmanager
def _outputs(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Outputs of modules in the order of a pass; what comes behind gets a copy, lest it changes them in place."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            if not isinstance(output, Tensor):
                return output
            kept[name] = output
            return output.clone()

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _layer(body: nn.Module, name: str, shape: torch.Size) -> SpatialLayer | None:
    last = str(getattr(body, "output_fmt", "NCHW")).endswith("NHWC")
    if len(shape) == 4:
        side, other = (shape[1], shape[2]) if last else (shape[2], shape[3])
        return SpatialLayer(name, side, "NHWC" if last else "NCHW") if side == other > 1 else None
    prefix = int(getattr(body, "num_prefix_tokens", 0) or 0)
    side = round(max(shape[1] - prefix, 0) ** 0.5) if len(shape) == 3 else 0
    return SpatialLayer(name, side, "NLC", prefix) if side > 1 and side * side == shape[1] - prefix else None


def layers_of(network: AxillaryNetwork, size_px: int) -> dict[str, SpatialLayer]:
    """The layer that each encoder's maps come from."""
    encoders: Any = network.encoders
    for encoder in encoders.values():
        if any(getattr(module, "grad_checkpointing", False) for module in encoder.backbone.body.modules()):
            encoder.backbone.body.set_grad_checkpointing(False)  # a recomputed pass would keep no output of a layer
    return {name: spatial_layer(encoder.backbone, size_px) for name, encoder in encoders.items()}


def grad_cam(
    network: AxillaryNetwork, batch: dict[str, Tensor], layers: Mapping[str, SpatialLayer]
) -> NDArray[np.float64]:
    """Signed Grad-CAM of every crop of a batch.

    Args:
        network: in evaluation mode, so that patients do not influence each other.
        batch: packed batch; N crops.
        layers: what `layers_of` gave.

    Returns:
        (N, cells, cells); above 0 speaks for residual disease, below 0 for ypN0. A crop that no encoder reads is NaN.
    """
    crops = batch["crops"].detach().clone().requires_grad_(True)
    encoders: Any = network.encoders
    modules = {name: encoders[name].backbone.body.get_submodule(layer.name) for name, layer in layers.items()}
    with torch.enable_grad(), _outputs(modules) as kept:
        logits = network({**batch, "crops": crops})
        names = list(kept)
        # Each crop enters one patient's logit alone, so one backward pass of the sum serves all of them.
        slopes = torch.autograd.grad(logits.sum(), [kept[name] for name in names])
    cells = next(iter(layers.values())).cells
    maps = np.full((len(crops), cells, cells), np.nan)
    for name, slope in zip(names, slopes, strict=True):
        layer = layers[name]
        seen = torch.tensor(network.seen[name], device=crops.device)
        order = torch.isin(batch["region"], seen).nonzero().squeeze(1).cpu().numpy()
        activation, slope = layer.as_maps(kept[name].detach()).double(), layer.as_maps(slope).double()
        alpha = slope.mean(dim=(2, 3), keepdim=True)
        maps[order] = (alpha * activation).sum(dim=1).cpu().numpy()
    return maps
