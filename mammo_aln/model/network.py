"""The whole network: packed crops and clinical vectors in, one logit per patient out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from mammo_aln.errors import InputError
from mammo_aln.model.backbones import Backbone, LearningNetwork
from mammo_aln.model.batch_statistics import FeatureNorm
from mammo_aln.model.clinical import ClinicalBranch
from mammo_aln.model.fusion import FUSIONS, GroupPool, draw_hidden
from mammo_aln.model.own_backbone import Factory, OwnBackbone
from mammo_aln.model.parts import at_least_float32, features_in_parts
from mammo_aln.model.ranks import world_size
from mammo_aln.settings import ModelConfig

BATCH = ("crops", "unit", "region", "view", "clinical")
"""Tensors that a prediction needs."""
HIDING_DRAWS = "hiding_draws"
"""Name of a batch's draws for modality dropout (B, 2 + regions): whether, then each region, then clinical."""
VIEW_KINDS = 3
"""CC, MLO and any other view."""


class CropEncoder(nn.Module):
    """Backbone, then standardised features, then a token of `width`.

    Args:
        backbone: maps (N, 1, S, S) to (N, features).
        width: width of the token.
    """

    ranks_in_backbone = False
    """The backbone's own batch normalisation waits for the other ranks."""

    def __init__(self, backbone: Backbone | OwnBackbone, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.norm = FeatureNorm(backbone.features)
        self.project = nn.Linear(backbone.features, width)

    def forward(self, crops: Tensor, frozen: bool, parts: int = 1) -> Tensor:
        """Map crops (N, 1, S, S) to tokens (N, width).

        Args:
            crops: those that this encoder sees. On several ranks it is called with none too: its statistics are theirs.
            frozen: keeps gradients from a loaded backbone.
            parts: how many parts the backbone computes them in.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (frozen and self.backbone.loaded)):
            if len(crops) or self.ranks_in_backbone:
                features = features_in_parts(self.backbone, crops, parts, empty_parts=self.ranks_in_backbone)
            else:
                # Every rank must have a gradient for every weight, or the gradients' average waits for ever.
                zero = sum(0.0 * weight.sum() for weight in self.backbone.parameters())
                features = self.norm.weight.new_zeros(0, self.backbone.features) + zero
        return self.project(self.norm(features))


class AxillaryNetwork(LearningNetwork):
    """Fuses primary and auxiliary crops with clinical features; any of them may lack.

    Args:
        model: settings of the network.
        regions: names of the regions, the primary one first, as counted by `batch["region"]`.
        clinical_columns: width of the encoded clinical vector.
        size_px: side of the crops in pixels.
        own_backbone: backbone of the user's own, in place of the one that `model` names.

    Raises:
        InputError: settings that don't go together.
    """

    def __init__(
        self,
        model: ModelConfig,
        regions: Sequence[str],
        clinical_columns: int,
        size_px: int,
        own_backbone: nn.Module | Factory | None = None,
    ) -> None:
        super().__init__()
        self.regions = _used_regions(model, regions)
        self.region_names = tuple(regions)
        if "clinical" in model.inputs and clinical_columns == 0:
            raise InputError("model.inputs has clinical, but the cohort has no clinical features: leave it out")
        width = model.embed_dim
        # Attention sees every view of a region as a token of its own; the others see one token per region.
        self.slots_per_region = VIEW_KINDS if model.fusion == "attention" else 1
        self.modality_dropout = model.modality_dropout
        self.shared = model.shared_backbone and len(self.regions) > 0
        names = ["shared"] if self.shared else [f"region_{index}" for index in self.regions]
        # Which regions each encoder sees.
        self.seen = dict(zip(names, [self.regions] if self.shared else [[i] for i in self.regions], strict=True))
        self.encoders = nn.ModuleDict(
            {name: crop_encoder(model, size_px, self.seen[name][0], own_backbone) for name in names}
        )
        image_slots = len(self.regions) * self.slots_per_region
        slots = image_slots + ("clinical" in model.inputs)
        if image_slots:
            self.view_embedding = nn.Embedding(VIEW_KINDS, width)
            self.region_embedding = nn.Embedding(len(regions), width)
            nn.init.zeros_(self.view_embedding.weight)
            nn.init.zeros_(self.region_embedding.weight)
            self.pool = GroupPool(width)
        self.clinical_columns = clinical_columns
        self.clinical = ClinicalBranch(clinical_columns, width, model.drop_rate) if "clinical" in model.inputs else None
        self.missing = nn.Parameter(torch.zeros(slots, width))
        self.fusion = FUSIONS[model.fusion](slots, width, model.drop_rate)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Map a packed batch to logits (B,)."""
        tokens, present = self.tokens(batch)
        return self.fuse(tokens, self.visible(present, batch))

    def visible(self, present: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Slots (B, slots) that a step sees: those present, but for what modality dropout hides in training."""
        if self.training and self.modality_dropout > 0:
            return present & ~self._hidden_slots(present, batch.get(HIDING_DRAWS))
        return present

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs: each region, and `clinical`."""
        return list(dict.fromkeys(self.slot_inputs))

    def unimodal_logits(self, tokens: Tensor, present: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield, input by input, the logits (B,) of it alone, the others missing, and which patients have it (B,)."""
        owners = self.slot_inputs
        for name in self.inputs:
            alone = torch.zeros_like(present)
            first = owners.index(name)
            slots = slice(first, first + owners.count(name))
            alone[:, slots] = present[:, slots]
            yield self.fuse(tokens, alone), alone.any(dim=1)

    @property
    def slot_inputs(self) -> list[str]:
        """Names of the slots of `tokens`: a region, or `clinical`."""
        images = [self.region_names[index] for index in self.regions for _ in range(self.slots_per_region)]
        return images + (["clinical"] if self.clinical is not None else [])

    def tokens(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """One token per patient and slot (B, slots, width), and which of them the patient has (B, slots)."""
        columns = None if self.clinical is None else self.clinical_columns
        refuse_batch(batch, images=bool(self.regions), clinical_columns=columns)
        patients = batch["clinical"].shape[0]
        branches = [self._region_tokens(batch)] if self.regions else []
        if self.clinical is not None:
            token = self.clinical(at_least_float32(batch["clinical"]))
            branches.append((token.unsqueeze(1), token.new_ones(patients, 1, dtype=torch.bool)))
        return torch.cat([token for token, _ in branches], dim=1), torch.cat([there for _, there in branches], dim=1)

    def fuse(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Logits (B,) of tokens (B, slots, width); a slot that is not `present` holds its learned missing token."""
        return at_least_float32(self.fusion(torch.where(present.unsqueeze(2), tokens, self.missing)))

    def _region_tokens(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """One token per patient and slot (B, image slots, width), and whether the patient has a crop for it."""
        tokens, order = self._crop_tokens(batch)
        unit, region, view = batch["unit"][order], batch["region"][order], batch["view"][order]
        column = torch.zeros_like(region)
        for position, index in enumerate(self.regions):
            column = torch.where(region == index, position, column)
        tokens = tokens + self.view_embedding(view) + self.region_embedding(region)
        patients, slots = batch["clinical"].shape[0], len(self.regions) * self.slots_per_region
        slot = column * self.slots_per_region + (view if self.slots_per_region > 1 else 0)
        pooled, present = self.pool(tokens, unit * slots + slot, patients * slots)
        return pooled.view(patients, slots, -1), present.view(patients, slots)

    def _crop_tokens(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Tokens of the crops in use, encoder by encoder, and each token's crop; an encoder without crops rests."""
        tokens, orders = [], []
        for name, encoder in self.encoders.items():
            order, crops = self._crops_of(name, batch)
            orders.append(order)
            together = self.training and world_size() > 1
            if len(order) or together:
                tokens.append(encoder(crops, self.frozen, self.parts))
            else:
                tokens.append(self.missing.new_zeros(0, self.missing.shape[1]))
            if together and self.frozen:
                backbones = [each for each in self.loaded_backbones if each is encoder.backbone]
                tokens[-1] = tokens[-1] + sum(0.0 * weight.sum() for each in backbones for weight in each.parameters())
        return torch.cat(tokens), torch.cat(orders)

    def _crops_of(self, name: str, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Numbers of the crops that an encoder sees, and those crops."""
        region, crops = batch["region"], batch["crops"]
        if len(self.seen[name]) == len(self.region_names):
            return torch.arange(len(region), device=region.device), crops  # to count them would wait for the GPU
        if all(crop_order(index) in batch for index in self.seen[name]):
            order = torch.cat([batch[crop_order(index)] for index in self.seen[name]])
            return order, crops[order]
        seen = torch.zeros_like(region, dtype=torch.bool)
        for index in self.seen[name]:
            seen |= region == index
        order = seen.nonzero().squeeze(1)
        return order, crops[order]

    def _hidden_slots(self, present: Tensor, draws: Tensor | None) -> Tensor:
        """Slots hidden by modality dropout; a region's views are hidden together."""
        image_slots = len(self.regions) * self.slots_per_region
        per_region = present[:, :image_slots].view(len(present), len(self.regions), self.slots_per_region)
        branches = torch.cat((per_region.any(dim=2), present[:, image_slots:]), dim=1)
        if draws is not None:
            # Columns one by one: a list of them would be copied to the GPU, and waited for.
            clinical = [draws[:, -1]] if self.clinical is not None else []
            draws = torch.stack([draws[:, 0], *(draws[:, 1 + index] for index in self.regions), *clinical], dim=1)
        hidden = draw_hidden(branches, self.modality_dropout, draws)
        images = hidden[:, : len(self.regions)].repeat_interleave(self.slots_per_region, dim=1)
        return torch.cat((images, hidden[:, len(self.regions) :]), dim=1)


def crop_order(region: int) -> str:
    """Name of a batch's numbers of the crops of one region, int64, so that no network has to count them on a GPU."""
    return f"order_{region}"


def refuse_batch(
    batch: Mapping[str, Tensor],
    *,
    images: bool = True,
    clinical_columns: int | None = None,
    more: Sequence[str] = (),
) -> None:
    """Refuse a batch without the form that `AxillaryClassifier` states; only names and shapes are looked at.

    Args:
        batch: the tensors by name.
        images: the network reads crops; one of clinical features alone needs no tensor of them.
        clinical_columns: width of the clinical features; any where not given.
        more: further tensors that this step needs.

    Raises:
        InputError: no mapping, an absent tensor, or one of another shape.
    """
    if not isinstance(batch, Mapping):
        raise InputError(f"batch: expected a dict of tensors (see AxillaryClassifier), got {type(batch).__name__}")
    needed = (*(BATCH if images else ("clinical",)), *more)
    absent = [name for name in needed if name not in batch]
    if absent:
        raise InputError(
            f"batch: it lacks {', '.join(absent)}; expected {', '.join(needed)}, as AxillaryClassifier states"
            f" them; got {', '.join(map(str, batch)) or 'nothing'}"
        )
    clinical = batch["clinical"]
    if images:
        _refuse_crops(batch)
    if clinical.dim() != 2 or clinical_columns not in (None, clinical.shape[1]):
        raise InputError(
            f"batch: clinical has the shape {tuple(clinical.shape)}; expected (patients, {clinical_columns or 0})"
        )


def _refuse_crops(batch: Mapping[str, Tensor]) -> None:
    crops = batch["crops"]
    if crops.dim() != 4 or crops.shape[1] != 1:
        raise InputError(f"batch: crops have the shape {tuple(crops.shape)}; expected (N, 1, S, S)")
    lengths = {name: tuple(batch[name].shape) for name in ("unit", "region", "view")}
    wrong = [f"{name} {shape}" for name, shape in lengths.items() if shape != (len(crops),)]
    if wrong:
        raise InputError(f"batch: {', '.join(wrong)}; expected ({len(crops)},), a number for each of the crops")


def crop_encoder(
    model: ModelConfig, size_px: int, region_index: int = 0, own_backbone: nn.Module | Factory | None = None
) -> CropEncoder:
    """The encoder that the settings describe, its backbone with the weights that it begins from."""
    if own_backbone is not None:
        return CropEncoder(OwnBackbone(own_backbone, size_px), model.embed_dim)
    backbone = Backbone(
        model.backbone,
        model.backbone_args,
        size_px,
        pretrained=model.pretrained,
        region_index=region_index,
        drop_path_rate=model.drop_path_rate,
        grad_checkpointing=model.grad_checkpointing,
    )
    return CropEncoder(backbone, model.embed_dim)


def _used_regions(model: ModelConfig, regions: Sequence[str]) -> list[int]:
    """Indices of the regions that the settings let in."""
    if not model.inputs:
        raise InputError("model.inputs is empty: expected one or more of primary, auxiliary, clinical")
    if "auxiliary" in model.inputs and len(regions) < 2:
        raise InputError("model.inputs has auxiliary, but crop.auxiliary names no region")
    by_input = {"primary": [0], "auxiliary": list(range(1, len(regions)))}
    return [index for name, indices in by_input.items() if name in model.inputs for index in indices]
