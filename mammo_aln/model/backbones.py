"""The five backbones by name, any other timm model as `timm:NAME`, and what each asks of its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mammo_aln.errors import InputError, did_you_mean
from mammo_aln.model.own_backbone import OWN_BACKBONE
from mammo_aln.model.parts import at_least_float32
from mammo_aln.model.swin_attention import fuse_attention, start_from_scratch
from mammo_aln.model.timm_network import TimmNetwork, as_arguments
from mammo_aln.model.weights import load_weights, read_weights, source_of
from mammo_aln.model.windows import WINDOW_ARGS, WINDOWS, LearntWindows, fitting_window, learnt_windows
from mammo_aln.progress import say_once

OFFERED_SIZES_PX = range(64, 1025, 4)


@dataclass(frozen=True)
class BackboneRule:
    """A named backbone: its network in timm, and what that asks of its input.

    Args:
        timm_name: model of timm.
        multiple_px: a crop's side must be a multiple of this.
        takes_size: the side is an argument of the network (`img_size`).
        windows: the feature map of every stage must split into windows (SwinV2).
    """

    timm_name: str
    multiple_px: int = 1
    takes_size: bool = False
    windows: bool = False


RULES = {
    "swinv2": BackboneRule("swinv2_tiny_window8_256", multiple_px=4, takes_size=True, windows=True),
    "convnextv2": BackboneRule("convnextv2_tiny", multiple_px=32),
    "efficientnetv2": BackboneRule("tf_efficientnetv2_s"),
    "resnet50": BackboneRule("resnet50"),
    "densenet121": BackboneRule("densenet121"),
}
MIN_SIZE_PX = 64
TRANSLATIONS = 128


class Backbone(nn.Module):
    """A timm network from one-channel crops to one feature vector each; its input normalisation is inside.

    Args:
        name: name in `RULES` or `timm:NAME`.
        args: arguments handed to timm as they are.
        size_px: side of the crops in pixels.
        pretrained: `false`, `true` or a path (see `weights.load_weights`).
        region_index: which region's backbone is taken from a checkpoint that holds several.
        drop_path_rate: stochastic depth, handed to timm; 0 leaves timm's default.
        grad_checkpointing: recompute activations in the backward pass instead of keeping them.

    Attributes:
        args: `args`, and the windows where loaded weights decided them: what builds this network without their file.

    Raises:
        InputError: unknown name, argument or size; missing or unfitting weights.
    """

    body: Any
    mean: Tensor
    std: Tensor
    translated: bool = False

    def __init__(
        self,
        name: str,
        args: Mapping[str, Any],
        size_px: int,
        *,
        pretrained: bool | str = False,
        region_index: int = 0,
        drop_path_rate: float = 0.0,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        rule = rule_of(name)
        network = _with_drop_path(TimmNetwork(rule.timm_name, as_arguments(args)), drop_path_rate)
        learnt = _learnt_windows(name, rule, network, pretrained)
        network = _sized(name, rule, network, size_px, learnt)
        self.body = _create(name, network)
        if name not in RULES:
            _require_forward(name, self.body, size_px)
        decided = {} if learnt is None else {key: network.args[key] for key in WINDOW_ARGS}
        self.args = {**args, **{key: list(v) if isinstance(v, tuple) else v for key, v in decided.items()}}
        self.loaded = load_weights(self.body, network, pretrained, region_index)
        if not self.loaded:
            start_from_scratch(self.body)
        fuse_attention(self.body)
        # Convolutions and batch normalisation run up to twice as fast so, on CPU as on GPU.
        self.body.to(memory_format=torch.channels_last)
        if grad_checkpointing:
            self.body.set_grad_checkpointing()
        mean, std = (torch.tensor(self.body.pretrained_cfg[key]).mean() for key in ("mean", "std"))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.features = int(getattr(self.body, "head_hidden_size", self.body.num_features))

    def forward(self, crops: Tensor) -> Tensor:
        """Map crops (N, 1, S, S) in [0, 1] to pooled features (N, `features`), float32."""
        normalised = (crops - self.mean) / self.std
        if self.translated:
            # Steps differ in their number of crops: one translation for all, and none for the first step's alone.
            torch._dynamo.maybe_mark_dynamic(normalised, 0)
        return at_least_float32(self.body(normalised))


class LearningNetwork(nn.Module):
    """A network whose backbones may begin from loaded weights.

    Attributes:
        frozen: loaded backbones rest for now.
        parts: how many parts a step's crops are computed in (see `parts.features_in_parts`).
    """

    frozen: bool = False
    parts: int = 1

    def resolved(self, model: Mapping[str, Any]) -> Mapping[str, Any]:
        """Settings of the network, `backbone_args` as they are when the weights that it began from have spoken."""
        args = next((module.args for module in self.modules() if isinstance(module, Backbone)), model["backbone_args"])
        return {**model, "backbone_args": args}

    @property
    def loaded_backbones(self) -> list[Backbone]:
        """Backbones that began from loaded weights."""
        backbones = [module for module in self.modules() if isinstance(module, Backbone)]
        return [backbone for backbone in backbones if backbone.loaded]


def compile_backbones(network: nn.Module) -> None:
    """Translate every backbone within a module by `torch.compile`, at its first pass; the names of weights stay.

    Backbones of one kind share their translations, one for training and one without gradients, for any number of crops.
    """
    # torch keeps the translations of all backbones of a process (a sweep's) under one count; past its limit, 8, it
    # computes without one, and says so in a log only.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, TRANSLATIONS)
    for backbone in [module for module in network.modules() if isinstance(module, Backbone)]:
        backbone.translated = True
        backbone.body.compile()


def rule_of(name: str) -> BackboneRule:
    """The rule of a named backbone; `timm:NAME` gets one that passes the size on where timm's model has a fixed one."""
    if name in RULES:
        return RULES[name]
    timm_name = name.removeprefix("timm:")
    if timm_name == name or not timm.is_model(timm_name):
        raise InputError(
            f"model.backbone = {name!r}: expected one of {', '.join(RULES)}, or timm:NAME with a NAME that timm knows"
            f" (timm {timm.__version__}){_meant(name)}"
        )
    if timm_name.startswith("swinv2_") and "cr" not in timm_name.split("_"):
        return BackboneRule(timm_name, multiple_px=4, takes_size=True, windows=True)
    fixed = bool((timm.get_pretrained_cfg(timm_name) or timm.models.PretrainedCfg()).fixed_input_size)
    return BackboneRule(timm_name, takes_size=fixed)


def _meant(name: str) -> str:
    """Suggest the named backbone, or timm's model, that a misspelt name is most like."""
    if name.startswith("timm:"):
        if not name.removeprefix("timm:"):
            return "; expected a name after the colon, such as timm:resnet18"
        return did_you_mean(name, [f"timm:{model}" for model in timm.list_models()])
    return f"; did you mean timm:{name}?" if timm.is_model(name) else did_you_mean(name, RULES)


def _sized(
    name: str, rule: BackboneRule, network: TimmNetwork, size_px: int, learnt: LearntWindows | None = None
) -> TimmNetwork:
    """Add the arguments that follow from the crop's side and from the windows that loaded weights learnt in.

    Raises:
        InputError: the side does not fit.
    """
    args = network.args
    own_window = args.get("window_size")
    per_stage = rule.windows and own_window is not None and not isinstance(own_window, int)

    def windows(size: int) -> list[int]:
        if isinstance(own_window, int):
            return [own_window]
        return list(WINDOWS) if learnt is None else learnt.preferred(size)

    def fits(size: int) -> bool:
        whole = size >= MIN_SIZE_PX and size % rule.multiple_px == 0
        return whole and (not rule.windows or per_stage or fitting_window(size, windows(size), args) is not None)

    if not fits(size_px):
        near = sorted(filter(fits, OFFERED_SIZES_PX), key=lambda size: (abs(size - size_px), size))[:6]
        stages = len(args.get("depths", (2, 2, 6, 2)))
        tokens = " or ".join(map(str, windows(size_px)))
        why = f" with windows of {tokens} tokens and {stages} stages" if rule.windows else ""
        raise InputError(
            f"crop.size_px = {size_px} does not fit model.backbone = {name!r}{why}:"
            f" expected a size such as {', '.join(map(str, sorted(near)))}"
        )
    if rule.takes_size:
        args = {**args, "img_size": size_px}
    if rule.windows and not per_stage:
        args = {**args, "window_size": fitting_window(size_px, windows(size_px), args)}
    if learnt is not None:
        args = {"pretrained_window_sizes": learnt.per_stage, **args}
    return replace(network, args=args)


def _learnt_windows(
    name: str, rule: BackboneRule, network: TimmNetwork, pretrained: bool | str
) -> LearntWindows | None:
    """Windows that the weights of `pretrained` learnt in; None where there are no such weights or no windows."""
    if not pretrained or not rule.windows:
        return None
    source = source_of(pretrained)
    weights = read_weights(Path(pretrained)) if source is None and isinstance(pretrained, str) else {}
    if source is None and any(".backbone.body." in key for key in weights):
        say_once(f"note: {pretrained} does not tell its crops' size: position biases are read as of this one")
        return None
    if source is None:  # a release of timm's: its own size and windows
        kept = {key: value for key, value in network.args.items() if key not in (*WINDOW_ARGS, "img_size")}
        released = replace(network, args=kept)
    elif source.backbone == OWN_BACKBONE or rule_of(source.backbone) != rule:
        return None  # refused when it is loaded
    else:
        released = _sized(name, rule, TimmNetwork(rule.timm_name, as_arguments(source.args)), source.size_px)
    with torch.device("meta"):
        body = _create(name, released)
    return learnt_windows(body, weights)


def _with_drop_path(network: TimmNetwork, rate: float) -> TimmNetwork:
    if rate == 0:
        return network
    if "drop_path_rate" in network.args:
        raise InputError(
            f"model.drop_path_rate = {rate} and model.backbone_args drop_path_rate ="
            f" {network.args['drop_path_rate']}: give one"
        )
    return replace(network, args={**network.args, "drop_path_rate": rate})


def _require_forward(name: str, body: nn.Module, size_px: int) -> None:
    """Refuse a network of timm's that cannot compute crops of this side: its own parts alone know what they need.

    Raises:
        InputError: names the backbone, the size and the network's own words.
    """
    training = body.training
    body.eval()
    try:
        with torch.no_grad():
            body(torch.zeros(2, 1, size_px, size_px))
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError, ZeroDivisionError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise InputError(
            f"model.backbone = {name} can't compute crops of crop.size_px = {size_px} ({words}); expected a side that"
            " it can, such as 224, 256 or 299, or other model.backbone_args"
        ) from error
    finally:
        body.train(training)


def _create(name: str, network: TimmNetwork) -> nn.Module:
    try:
        return network.create()
    except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError, IndexError, KeyError) as error:
        if "unexpected keyword argument 'drop_path_rate'" in str(error):
            raise InputError(
                f"drop_path_rate: {name} (timm {network.name}) has no such branches to drop; use 0"
            ) from error
        raise InputError(
            f"model.backbone_args = {network.args} do not fit model.backbone = {name!r} (timm {network.name}): {error}"
        ) from error
