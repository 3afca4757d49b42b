"""Breasts as batches to pre-train on: crops in random styles, in pairs for contrast, each with its labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.tables import Cohort
from mammo_aln.crops.store.store import CropStore
from mammo_aln.errors import InputError
from mammo_aln.progress import say
from mammo_aln.settings import PretrainConfig, PretrainSettings
from mammo_aln.training.attempt import leads
from mammo_aln.training.data.augment import Augmentation, numbered, sides_mm
from mammo_aln.training.data.base import CropDataModule, require_one_strategy
from mammo_aln.training.data.batches import CropLoader, StepBatch
from mammo_aln.training.data.crop_memory import CropMemory
from mammo_aln.training.data.units import present_regions, resolve_regions
from mammo_aln.training.pretraining.breasts import LEARNT_FROM, breasts_of, label_cells
from mammo_aln.training.pretraining.contrastive import require_others
from mammo_aln.training.pretraining.heads import Column, Head, find_columns, fit_head
from mammo_aln.training.pretraining.style import randomise_style

ALONE, FIRST, SECOND = -1, 0, 1
"""Role of a crop in a batch: no partner, first of a pair, second of a pair."""
PAIR = 2
"""Crops that an item may show beside all of its own."""


@dataclass(frozen=True)
class BreastArrays:
    """A split as arrays: item i, one region of one breast, has crops `first[i]:first[i + 1]`.

    Attributes:
        first: (items + 1,).
        keys: content keys in the crop store (crops,).
        view: CC, MLO or other, as numbers (crops,).
        labels: float32 (crops, heads), NaN = missing.
        patient: number of each item's patient (items,).
        region: 0 = primary, then the auxiliary names in order (items,).
        cut_mm: largest side of each item's crops as they were cut (items,), NaN = unknown.
    """

    first: np.ndarray
    keys: np.ndarray
    view: np.ndarray
    labels: np.ndarray
    patient: np.ndarray
    region: np.ndarray
    cut_mm: np.ndarray


@dataclass(frozen=True)
class BreastItem:
    """One region of one breast: crops with role and labels (crops, heads), its patient and its row in the split."""

    crops: list[np.ndarray]
    role: np.ndarray
    labels: np.ndarray
    patient: int
    index: int


def draw_pair(views: np.ndarray, cross_view_share: float, rng: np.random.Generator) -> tuple[int, int]:
    """Numbers of two crops of a breast: of different views in `cross_view_share` of the draws, else one crop twice."""
    first = int(rng.integers(len(views)))
    others = np.flatnonzero(views != views[first])
    crosses = rng.random() < cross_view_share
    return first, int(rng.choice(others)) if crosses and len(others) else first


class BreastDataset(Dataset[BreastItem]):
    """Item (epoch, i) as crops with role and labels; in training each in a random pose and style.

    In contrastive modes an item begins with a pair, in two styles. Training heads learn from the same two crops;
    validation adds all crops of the item as they are, for the heads.
    """

    def __init__(
        self,
        arrays: BreastArrays,
        store: CropStore,
        augmentation: Augmentation | None,
        settings: PretrainConfig,
        seed: int,
        training: bool,
    ) -> None:
        self.arrays, self.store, self.augmentation = arrays, store, augmentation
        self.settings, self.seed, self.training = settings, seed, training

    def __len__(self) -> int:
        return len(self.arrays.patient)

    def __getitem__(self, item: tuple[int, int]) -> BreastItem:
        epoch, number = item
        first, last = self.arrays.first[number], self.arrays.first[number + 1]
        labels = self.arrays.labels[first:last]
        chosen: list[int] = []
        if self.settings.mode != "supervised":
            rng = np.random.default_rng((self.seed, epoch, number))
            chosen += draw_pair(self.arrays.view[first:last], self.settings.cross_view_share, rng)
        paired = len(chosen)
        if self.settings.mode == "supervised" or (self.settings.mode == "both" and not self.training):
            chosen += range(last - first)
        changed = len(chosen) if self.training else paired
        keys = [str(self.arrays.keys[first + crop]) for crop in chosen]
        crops = [*self._changed(keys[:changed], number, epoch), *map(self.store.read_values, keys[changed:])]
        labels = labels[chosen].copy()
        if not self.training:
            labels[:paired] = np.nan  # validation judges the heads on crops as they are
        roles = [FIRST, SECOND][:paired] + [ALONE] * (len(chosen) - paired)
        return BreastItem(crops, np.array(roles, np.int64), labels, self.arrays.patient[number], number)

    def _changed(self, keys: Sequence[str], number: int, epoch: int) -> Iterator[np.ndarray]:
        """Crops of an item in poses, then styles, of their own."""
        if self.augmentation is None:
            posed: Iterable[np.ndarray] = map(self.store.read_values, keys)
        else:
            first = int(self.arrays.first[number]) + PAIR * number
            blocks = [self.store.read_surround(key) for key in keys]
            posed = self.augmentation(blocks, slice(first, first + len(keys)), epoch)
        for nth, crop in enumerate(posed):
            rng = np.random.default_rng((self.seed, epoch, number, nth, 1))
            yield randomise_style(crop, self.settings.style_strength, rng) if self.settings.style_strength else crop


def pack(memory: CropMemory, items: Sequence[BreastItem]) -> StepBatch:
    """B items with N crops: crops (N, 1, S, S), role (N,), labels (N, heads), unit (N,); patient and index (B,).

    The first crops of all pairs stand at the head, then the second ones, then those without a partner: slices, where
    masks would have to be counted on the device.
    """
    crops = [crop for item in items for crop in item.crops]
    role = np.concatenate([item.role for item in items])
    order = np.argsort(np.where(role == ALONE, SECOND + 1, role), kind="stable")
    piece = memory.empty((len(crops), 1, *crops[0].shape), torch.float32)
    for row, number in zip(piece.tensor.numpy(), order, strict=True):
        row[0] = crops[number]
    return StepBatch.of(
        {
            "role": role[order],
            "labels": np.concatenate([item.labels for item in items])[order],
            "unit": np.repeat(np.arange(len(items)), [len(item.crops) for item in items])[order],
            "patient": np.array([item.patient for item in items]),
            "index": np.array([item.index for item in items]),
        },
        crops=piece,
    )


class PretrainData(CropDataModule):
    """A cohort's breasts, from DICOM files to batches; the outcome is not needed, boxes only where the crop is.

    Args:
        cohort: the tables, read with `outcome=False`.
        settings: all settings.
        store: crop store; by default `.crops` in the cohort folder.

    Raises:
        InputError: columns or settings that don't go together.
    """

    def __init__(self, cohort: Cohort, settings: PretrainSettings, store: Path | None = None) -> None:
        crop, pretrain = settings.crop, settings.pretrain
        require_one_strategy(crop)
        self.settings, self.whole_cohort = settings, cohort
        self.columns: tuple[Column, ...] = ()
        if pretrain.mode != "contrastive":
            if not pretrain.labels:
                raise InputError(f"pretrain.mode = {pretrain.mode}: pretrain.labels is empty; name columns to learn")
            self.columns = find_columns(cohort, pretrain.labels)
        elif pretrain.labels:
            raise InputError("pretrain.mode = contrastive reads no labels: leave pretrain.labels out, or take `both`")
        regions = resolve_regions(cohort, crop, settings.model.inputs)
        super().__init__(
            breasts_of(cohort, crop, seed=settings.seed, val_share=pretrain.val_share),
            settings.model.inputs,
            regions,
            replace(crop, auxiliary=tuple(present_regions(cohort, regions))),
            settings.pixels,
            settings.data,
            settings.seed,
            store,
        )
        self.accelerator = settings.trainer.accelerator
        self.compares = pretrain.mode != "supervised"
        self.heads: tuple[Head, ...] = ()
        self.breasts: dict[str, BreastArrays] = {}

    def content(self) -> str:
        """SHA-256 of what the tables say, the label columns among it."""
        tables = {"patients": self.whole_cohort.patients, "images": self.whole_cohort.images}
        key = {"patients": "unit_id", "images": "image_id"}
        labels = [
            [
                label.table,
                label.column,
                sorted(
                    zip(*(tables[label.table][c].astype(str) for c in (key[label.table], label.column)), strict=True)
                ),
            ]
            for label in self.columns
        ]
        text = json.dumps([cohort_content(self.whole_cohort), labels], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def setup(self, stage: str | None = None) -> None:
        """Fit the heads on the training crops and gather what each split's dataset reads."""
        if self.breasts:
            return
        by = ["unit_id", "region", "view", "image_id", "ordinal"]
        crops = self.readable_crops().sort_values(by, kind="stable")
        split = crops["unit_id"].map(self.cohort.patients.set_index("unit_id")["split"])
        cells = {label: label_cells(self.cohort, crops, label.table, label.column) for label in self.columns}
        self.heads = tuple(fit_head(label, cells[label][split == "train"]) for label in self.columns)
        labels = np.full((len(crops), len(self.heads)), np.nan, np.float32)
        for number, (head, values) in enumerate(zip(self.heads, cells.values(), strict=True)):
            labels[:, number] = head.encode(values)
        if self.settings.pretrain.mode == "supervised":
            taught = np.flatnonzero(~np.isnan(labels).all(axis=1))
            crops, split, labels = crops.iloc[taught], split.iloc[taught], labels[taught]
        for name in LEARNT_FROM:
            mine = (split == name).to_numpy()
            if not mine.any():
                raise InputError(
                    f"pre-training has no crop with a label in split {name}: fill in {_columns(self.columns)} for"
                    f" patients of {name}, name other --pretrain.labels, or raise --pretrain.val_share"
                )
            self.breasts[name] = _gather(crops[mine], labels[mine], self.regions)
        if self.compares:
            patients = {name: breasts.patient for name, breasts in self.breasts.items()}
            require_others(self.settings, patients)
        if leads():
            self._say_counts()

    def train_dataloader(self) -> CropLoader:
        """Shuffled batches in random styles."""
        return self._loader("train", training=True)

    def val_dataloader(self) -> CropLoader:
        """The validation breasts, in order, the same at every epoch."""
        return self._loader("val", training=False)

    def learnt_from(self) -> pd.DataFrame:
        """Crops whose pixels or labels shape the weights: `patient_id`, `image_id` and the rest of the crop table."""
        self.setup()
        table = self.crop_set.table
        return table[table["key"].isin(set(self.breasts["train"].keys))]

    def _loader(self, split: str, *, training: bool) -> CropLoader:
        arrays = self.breasts[split]
        if training and self.loading.device_gb not in ("auto", 0) and leads():
            say("pre-training: loader processes change the crops, styles too; data.device_gb has no effect")
        poses = None
        if self.loading.augment:
            unit, nth = numbered(np.diff(arrays.first) + PAIR)
            size_mm = sides_mm(self.crop, arrays.region, arrays.cut_mm)[unit]
            poses = Augmentation(self.loading, self.crop.size_px, self.seed, unit, nth, size_mm)
        dataset = BreastDataset(arrays, self.pixel_store, poses, self.settings.pretrain, self.seed, training)
        item_bytes = (np.diff(arrays.first) + PAIR) * self.crop.size_px**2 * torch.float32.itemsize
        return self.crop_loader(dataset, item_bytes, pack, training=training)

    def _say_counts(self) -> None:
        counts = ", ".join(f"{len(self.breasts[name].patient)} breasts to {name}" for name in LEARNT_FROM)
        heads = "; ".join(
            f"{head.name}: {head.kind}, {int((~np.isnan(self.breasts['train'].labels[:, number])).sum())} labels"
            for number, head in enumerate(self.heads)
        )
        say(f"pre-training, {self.settings.pretrain.mode}: {counts}{'; ' if heads else ''}{heads}")


def _columns(columns: Sequence[Column]) -> str:
    return ", ".join(f"{column.table}.{column.column}" for column in columns) or "images"


def _gather(crops: pd.DataFrame, labels: np.ndarray, regions: Sequence[str]) -> BreastArrays:
    group = crops.groupby(["unit_id", "region"], sort=False)
    number = group.ngroup().to_numpy()
    owners = group["patient_id"].first()
    return BreastArrays(
        first=np.concatenate([[0], np.cumsum(np.bincount(number))]),
        keys=crops["key"].to_numpy(str),
        view=pd.factorize(crops["view"])[0],
        labels=labels,
        patient=pd.factorize(owners)[0].astype(np.int64),
        region=group["region"].first().map(list(regions).index).to_numpy(np.int64),
        cut_mm=group["side_mm"].max().to_numpy(np.float64),
    )
