"""A training step dealt out: its patients over ranks, and a rank's over the parts that are computed one at a time."""

from __future__ import annotations

from dataclasses import dataclass

from mammo_aln.errors import InputError
from mammo_aln.settings.learning import ModelConfig, PretrainSettings, Settings, reads_images

WITHOUT_BATCH_STATISTICS = ("swinv2", "convnextv2")
"""Backbones that standardise each crop by itself. What is behind a backbone sees the whole step, on every rank."""
WITHOUT_DROPPED_BRANCHES = ("convnextv2", "resnet50", "efficientnetv2", "densenet121")
"""Backbones that drop nothing unless the settings ask for it; timm's SwinV2 drops 0.1 of its branches."""


@dataclass(frozen=True)
class StepShape:
    """A step's patients.

    Attributes:
        ranks: processes that train together.
        per_rank: patients of a rank.
        at_once: patients of a rank that are computed at once, unless memory asks for fewer.
        may_halve: fewer at once give the same result, and the settings leave the number open.
    """

    ranks: int
    per_rank: int
    at_once: int
    may_halve: bool

    @property
    def parts(self) -> int:
        """Number of parts that a rank's patients are computed in."""
        return -(-self.per_rank // self.at_once)


def step_shape(settings: Settings) -> StepShape:
    """Deal a step out as the settings say.

    Raises:
        InputError: the batch does not divide.
    """
    trainer, batch, accumulate = settings.trainer, settings.data.batch_size, settings.optim.accumulate
    ranks = trainer.ranks
    if batch % (ranks * accumulate):
        factors = {"trainer.devices": trainer.devices, "trainer.num_nodes": trainer.num_nodes}
        factors = {name: value for name, value in {**factors, "optim.accumulate": accumulate}.items() if value > 1}
        step = ranks * accumulate
        near = " or ".join(str(size) for size in (batch // step * step, (batch // step + 1) * step) if size)
        raise InputError(
            f"data.batch_size = {batch} is the batch of all devices: expected a multiple of {step}"
            f" ({' x '.join(f'{name} = {value}' for name, value in factors.items())}), such as {near}"
        )
    whole = batch // ranks // accumulate
    micro = settings.data.micro_batch
    at_once = whole if micro == "auto" else min(whole, micro)
    return StepShape(ranks, batch // ranks, at_once, micro == "auto" and not has_batch_statistics(settings))


def has_batch_statistics(settings: Settings) -> bool:
    """True where the backbone may standardise by several crops (batch normalisation), so that they must be the same."""
    return reads_images(settings.model.inputs) and settings.model.backbone not in WITHOUT_BATCH_STATISTICS


def drops_in_backbone(model: ModelConfig) -> bool:
    """True where a backbone may drop branches or features, for each part of a step by itself."""
    own = model.backbone not in WITHOUT_DROPPED_BRANCHES and "drop_path_rate" not in model.backbone_args
    asked = any(rate for name, rate in model.backbone_args.items() if "drop" in name)
    return reads_images(model.inputs) and (own or asked or model.drop_path_rate > 0)


def draws_per_rank(settings: Settings) -> bool:
    """True where ranks cannot drop what one process would: inside a backbone, in attention weights, and of crops.

    All other dropout acts on patients, who are the same ones in the same order on any number of ranks.
    """
    model = settings.model
    on_crops = isinstance(settings, PretrainSettings) or model.fusion == "attention"
    return drops_in_backbone(model) or (on_crops and model.drop_rate > 0)


def shaping_step(settings: Settings) -> dict[str, int | dict[str, int]]:
    """Tell what of a step's dealing shapes the result, as the run's identity holds it; empty where nothing does.

    - `batch_statistics`: how the batch is dealt out, where a backbone's batch normalisation does not see it whole.
    - `ranks`: where each of several ranks draws by itself (`draws_per_rank`).
    - `parts`: where a backbone draws for each part by itself what it drops.
    """
    trainer, ranks = settings.trainer, settings.trainer.ranks
    per_rank = -(-settings.data.batch_size // ranks)
    at_once = -(-per_rank // settings.optim.accumulate)
    if settings.data.micro_batch != "auto":
        at_once = min(at_once, settings.data.micro_batch)
    shaping: dict[str, int | dict[str, int]] = {}
    if has_batch_statistics(settings):
        parts = -(-per_rank // at_once)
        if parts > 1 or (ranks > 1 and not trainer.sync_batchnorm):
            shared = {"shared": trainer.sync_batchnorm} if ranks > 1 else {}
            shaping["batch_statistics"] = {"ranks": ranks, "parts": parts, **shared}
    if ranks > 1 and draws_per_rank(settings):
        shaping["ranks"] = ranks
    if at_once < per_rank and drops_in_backbone(settings.model):
        shaping["parts"] = -(-per_rank // at_once)
    return shaping
