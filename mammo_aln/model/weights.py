"""Weights to start from: timm's own (hub or an offline folder), or a file of safetensors or a checkpoint of ours."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mammo_aln.errors import InputError
from mammo_aln.progress import say

WEIGHTS_FOLDER = "MAMMO_ALN_WEIGHTS"
# Where our checkpoints keep a backbone, in the order looked up: the averaged network goes before the last step's.
OUR_NETWORKS = ("average.network.", "network.", "")
SHOWN_MISMATCHES = 3
PRETRAINED_FILE = "pretrained.safetensors"
PRETRAINED_KEY = "mammo_aln"
"""What `mammo-aln pretrain` leaves in a run, and where its metadata tells what it is."""


def about_pretrained(pretrained: bool | str) -> dict[str, Any] | None:
    """What the file of `model.pretrained` says of itself; None where it is not one that `mammo-aln pretrain` wrote.

    Raises:
        InputError: no such file, or no safetensors in it.
    """
    if not isinstance(pretrained, str):
        return None
    path = Path(pretrained)
    if not path.is_file():
        raise InputError(f"model.pretrained = {pretrained!r}: no such file")
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            told = (file.metadata() or {}).get(PRETRAINED_KEY)
    except (SafetensorError, OSError) as error:
        raise InputError(f"model.pretrained = {pretrained!r} can't be read as weights: {error}") from error
    return json.loads(told) if told else None


def origin_of(pretrained: bool | str) -> dict[str, Any] | None:
    """Whom the weights of `model.pretrained` saw, and in which crop: `seen` and `crop`; None where it is not told.

    Files of `mammo-aln pretrain` tell, and so do checkpoints of its runs and of `mammo-aln train`.

    Raises:
        InputError: no such file, or it can't be read.
    """
    about = about_pretrained(pretrained)
    if about is not None or not isinstance(pretrained, str) or pretrained.endswith(".safetensors"):
        return about
    frozen = _checkpoint(Path(pretrained)).get(PRETRAINED_KEY)
    if not isinstance(frozen, dict):
        return None
    if "trained_on" not in frozen:
        say(f"note: {Path(pretrained).name} does not tell whom it was trained on: see to it that no test patient was")
    seen = [*frozen.get("pretraining", []), *frozen.get("trained_on", [])]
    return {"seen": seen, "crop": frozen.get("recipe", {}).get("crop")}


def load_weights(
    body: nn.Module, timm_name: str, args: dict[str, Any], pretrained: bool | str, region_index: int = 0
) -> bool:
    """Load starting weights into a timm network, in place.

    Args:
        body: the network, built by `timm.create_model(timm_name, in_chans=1, num_classes=0, **args)`.
        timm_name: its name in timm.
        args: its arguments.
        pretrained: `False` loads nothing; `True` takes `<timm name>.safetensors` from the folder that the environment
            variable `MAMMO_ALN_WEIGHTS` names, or timm's download where it names none; else the path of safetensors or
            of a checkpoint (ours, or one in timm's layout).
        region_index: whose backbone to take from a checkpoint of ours that holds several.

    Returns:
        Whether weights were loaded.

    Raises:
        InputError: file missing, unreadable or of another network; download impossible.
    """
    if pretrained is False:
        return False
    if pretrained is True:
        folder = os.environ.get(WEIGHTS_FOLDER)
        if not folder:
            body.load_state_dict(_downloaded(timm_name, args))
            return True
        path = Path(folder) / f"{timm_name}.safetensors"
        if not path.is_file():
            raise InputError(
                f"{path} is not there: bring timm's weights of {timm_name} as that file ({WEIGHTS_FOLDER})"
            )
    else:
        path = Path(pretrained)
        if not path.is_file():
            raise InputError(f"model.pretrained = {pretrained!r}: no such file")
    _refuse_other_backbone(path, timm_name)
    ours = _backbone_of_ours(_read(path), region_index)
    _fit(body, ours if ours is not None else _in_timm_layout(path, timm_name, args, body), path)
    return True


def _refuse_other_backbone(path: Path, timm_name: str) -> None:
    about = about_pretrained(str(path))
    if about and about["timm_name"] != timm_name:
        raise InputError(
            f"model.pretrained = {str(path)!r} holds a pre-trained {about['backbone']} ({about['timm_name']}),"
            f" model.backbone asks for {timm_name}: expected the same backbone"
        )


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (SafetensorError, OSError) as error:
            raise _unreadable(path, error) from error
    outer = _checkpoint(path)
    nested = outer.get("state_dict", outer)
    weights = {str(key): value for key, value in nested.items() if isinstance(value, Tensor)}
    if not weights:
        raise InputError(f"model.pretrained = {str(path)!r} holds no weights")
    return weights


def _checkpoint(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise _unreadable(path, error) from error
    return content if isinstance(content, dict) else {}


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return InputError(f"model.pretrained = {str(path)!r} can't be read as weights: {reason}")


def _backbone_of_ours(weights: dict[str, Tensor], region_index: int) -> dict[str, Tensor] | None:
    """The backbone in a checkpoint of ours, or None where the file is not one."""
    for network in OUR_NETWORKS:
        for encoder in (f"region_{region_index}", "shared", "region_0"):
            prefix = f"{network}encoders.{encoder}.backbone.body."
            found = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            if found:
                return found
    return None


def _in_timm_layout(path: Path, timm_name: str, args: dict[str, Any], body: nn.Module) -> dict[str, Tensor]:
    """The file's weights as timm converts them: renamed, without classifier, colour channels summed."""
    try:
        return _create_loaded(timm_name, args, {"file": str(path)})
    except (RuntimeError, KeyError, ValueError) as error:
        fault = _mismatches(body, _read(path)) or str(error).splitlines()[-1].strip()[:300]
        raise InputError(f"{path} does not fit timm's {timm_name} with {args}: {fault}") from error


def _downloaded(timm_name: str, args: dict[str, Any]) -> dict[str, Tensor]:
    try:
        return _create_loaded(timm_name, args, {})
    except Exception as error:
        # The hub's client raises many unrelated kinds for one thing: the weights did not come, or don't fit.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"model.pretrained = true: timm's weights of {timm_name} did not load ({reason})."
            f" They fit only the full-size network. Without a way to the hub, name a folder in {WEIGHTS_FOLDER}"
            f" that holds {timm_name}.safetensors"
        ) from error


def _create_loaded(timm_name: str, args: dict[str, Any], source: dict[str, str]) -> dict[str, Tensor]:
    return timm.create_model(
        timm_name, pretrained=True, pretrained_cfg_overlay=source, in_chans=1, num_classes=0, **args
    ).state_dict()


def _fit(body: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    fault = _mismatches(body, weights)
    if fault:
        about = about_pretrained(str(path))
        made = f" It was made with backbone_args {about['backbone_args']}, {about['size_px']} px." if about else ""
        raise InputError(f"{path} does not fit the backbone: {fault}.{made}")
    body.load_state_dict(weights)


def _mismatches(body: nn.Module, weights: dict[str, Tensor]) -> str:
    """The first differences between a network's and a file's weights, in words; empty where there is none."""
    wanted = body.state_dict()
    faults = [f"{key} is missing" for key in wanted if key not in weights]
    faults += [
        f"{key} has shape {tuple(weights[key].shape)}, expected {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in weights and weights[key].shape != value.shape
    ]
    faults += [f"{key} is unknown" for key in weights if key not in wanted]
    more = f"; and {len(faults) - SHOWN_MISMATCHES} more" if len(faults) > SHOWN_MISMATCHES else ""
    return "; ".join(faults[:SHOWN_MISMATCHES]) + more
