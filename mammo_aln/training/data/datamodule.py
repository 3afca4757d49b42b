"""Patients as batches: crops from the store, clinical features from the table, labels; one item per treated axilla."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch.utils.data import Dataset

from mammo_aln.cohort.clinical import ClinicalEncoder
from mammo_aln.cohort.split import with_fold
from mammo_aln.cohort.tables import Cohort, read_cohort, with_split
from mammo_aln.crops.build import CropSet, build_crops
from mammo_aln.crops.cards import grouped_cards
from mammo_aln.crops.derive import PIXEL_PATH_VERSION
from mammo_aln.crops.ledger import fallback_ledger
from mammo_aln.crops.store.store import CropStore
from mammo_aln.errors import InputError
from mammo_aln.settings import STRATEGIES, CropConfig, DataConfig, PixelConfig, Strategy
from mammo_aln.training.data.augment import CropAugmentation, sized_by_region
from mammo_aln.training.data.batches import Collate, CropLoader
from mammo_aln.training.data.samplers import EpochSampler
from mammo_aln.training.data.test_time import TestTimeCopy
from mammo_aln.training.data.units import present_regions, resolve_regions, usable_units

VIEWS = {"CC": 0, "MLO": 1}
OTHER_VIEW = 2
Augmentations: TypeAlias = "tuple[CropAugmentation | TestTimeCopy, CropAugmentation | TestTimeCopy]"


@dataclass(frozen=True)
class UnitArrays:
    """What the dataset needs of its units, as arrays that copy cheaply to loader processes.

    Attributes:
        first: (units + 1,) crops of unit i are `first[i]:first[i + 1]` of the three lists below.
        keys: content keys in the crop store.
        region: 0 = primary, then the auxiliary names in order.
        view: 0 = CC, 1 = MLO, 2 = other.
        clinical: float32 (units, columns), encoded.
        label: float32 (units,), NaN = unknown.
    """

    first: np.ndarray
    keys: np.ndarray
    region: np.ndarray
    view: np.ndarray
    clinical: np.ndarray
    label: np.ndarray


class UnitDataset(Dataset[dict[str, Any]]):
    """Item (epoch, i): the crops of unit i as float32 in [0, 1], changed where `augmentation` is given: what acts on
    primary crops, and what acts on auxiliary ones."""

    def __init__(self, units: UnitArrays, store: CropStore, augmentation: Augmentations | None, seed: int) -> None:
        self.units, self.store, self.augmentation, self.seed = units, store, augmentation, seed

    def __len__(self) -> int:
        return len(self.units.label)

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Any]:
        epoch, unit = item
        first, last = self.units.first[unit], self.units.first[unit + 1]
        crops = [self.store.read_values(str(key)) for key in self.units.keys[first:last]]
        if self.augmentation is not None:
            primary, auxiliary = self.augmentation
            acts = [primary if region == 0 else auxiliary for region in self.units.region[first:last]]
            crops = [
                act(crop, (self.seed, epoch, unit, nth))
                for nth, (act, crop) in enumerate(zip(acts, crops, strict=True))
            ]
        return {
            "crops": crops,
            "region": self.units.region[first:last],
            "view": self.units.view[first:last],
            "clinical": self.units.clinical[unit],
            "label": self.units.label[unit],
            "index": unit,
        }


class MammoDataModule(pl.LightningDataModule):
    """A cohort of DICOM files as batches of treated axillae; missing crops are built in `prepare_data`.

    Args:
        cohort: cohort folder, or a cohort that was read already.
        crop: crop settings, or the name of one of the four strategies.
        inputs: which of `primary`, `auxiliary`, `clinical` the model reads.
        pixels: how DICOM values become display values.
        data: batch size, loader processes, augmentation.
        seed: draws order and augmentation.
        store: folder of the crop store; by default `.crops` in the cohort folder.
        splits: which splits are read; others are never opened.
        regions: order of regions of a trained model; by default `primary` and those that `crop.auxiliary` names.
        encoder: fitted clinical encoder of a trained model; by default fitted on the training patients.

    Example:
        >>> data = MammoDataModule(cohort="COHORT", crop="fixed_5cm")  # doctest: +SKIP
        >>> pl.Trainer(max_epochs=1).fit(AxillaryClassifier.for_data(data), data)  # doctest: +SKIP
    """

    def __init__(
        self,
        cohort: Cohort | str | Path,
        crop: CropConfig | Strategy = "fixed_5cm",
        *,
        inputs: Sequence[str] = ("primary", "auxiliary", "clinical"),
        pixels: PixelConfig = PixelConfig(),
        data: DataConfig = DataConfig(),
        seed: int = 0,
        store: Path | None = None,
        splits: Sequence[str] = ("train", "val"),
        regions: Sequence[str] | None = None,
        encoder: ClinicalEncoder | None = None,
    ) -> None:
        super().__init__()
        self.inputs = tuple(inputs)
        self.pixels, self.data, self.seed, self.store = pixels, data, seed, store
        crop = CropConfig(strategy=crop) if isinstance(crop, str) else crop
        if crop.strategy == "all":
            raise InputError(f"crop.strategy: a model reads one crop; expected one of {', '.join(STRATEGIES)}")
        need = ("patients", "images") if self.reads_images else ("patients",)
        self.as_given = with_split(cohort if isinstance(cohort, Cohort) else read_cohort(cohort, need=need))
        whole = with_fold(self.as_given, data.folds, data.fold, data.fold_seed)
        self.splits = tuple(splits)
        self.regions = tuple(regions) if regions else resolve_regions(whole, crop, self.inputs)
        self.crop = replace(crop, auxiliary=tuple(present_regions(whole, self.regions)))
        self.whole_cohort = whole
        self.cohort = replace(whole, patients=usable_units(whole.patients, self.splits))
        self.encoder = encoder
        self.begin: tuple[int, int] | None = None
        """Epoch and step at which training goes on; None begins at the first."""
        self._crop_set: CropSet | None = None
        self._arrays: dict[str, UnitArrays] = {}

    @property
    def reads_images(self) -> bool:
        """Whether any input is an image."""
        return "primary" in self.inputs or "auxiliary" in self.inputs

    @property
    def clinical_columns(self) -> tuple[str, ...]:
        """Columns of the encoded clinical vector; empty where the model reads none."""
        return tuple(self.fitted_encoder.columns) if "clinical" in self.inputs else ()

    @property
    def crop_set(self) -> CropSet:
        """The crops of this module's patients, built where they are missing."""
        if self._crop_set is None:
            self._crop_set = build_crops(self.cohort, self.pixels, self.crop, store=self.store)
        return self._crop_set

    @property
    def recipe(self) -> dict[str, Any]:
        """Pixel and crop settings and the steps taken (recipe cards); empty where no image is read."""
        if not self.reads_images:
            return {}
        made = self.crop_set.recipe
        return {"pixel_path_version": PIXEL_PATH_VERSION, **made, "cards": grouped_cards(made["cards"])}

    @property
    def fallbacks(self) -> dict[str, Any]:
        """Every fallback taken, counted per centre; empty where no image is read."""
        return fallback_ledger(self.crop_set) if self.reads_images else {}

    def prepare_data(self) -> None:
        """Build every missing crop, straight from the DICOM files."""
        if self.reads_images:
            _ = self.crop_set

    def setup(self, stage: str | None = None) -> None:
        """Gather what each split's dataset reads."""
        for split in self.splits:
            self.units(split)

    def patients(self, split: str) -> pd.DataFrame:
        """Rows of the patients table behind a split's items, in the order of `index`."""
        rows = self.cohort.patients[self.cohort.patients["split"] == split]
        if "clinical" not in self.inputs and self.reads_images:
            rows = rows[rows["unit_id"].isin(self._readable()["unit_id"])]
        return rows.reset_index(drop=True)

    def units(self, split: str) -> UnitArrays:
        """What the items of a split are made of, in the order of `index`."""
        if split not in self._arrays:
            self._arrays[split] = self._gather(self.patients(split))
        return self._arrays[split]

    def train_dataloader(self) -> CropLoader:
        """Shuffled, augmented batches of the training patients."""
        return self.loader("train", training=True)

    def val_dataloader(self) -> CropLoader:
        """The validation patients, in order."""
        return self.loader("val")

    def predict_dataloader(self) -> list[CropLoader]:
        """One loader per split, in the order of `splits`."""
        return [self.loader(split) for split in self.splits]

    def _readable(self) -> pd.DataFrame:
        """Crops whose region the model reads."""
        table = self.crop_set.table
        wanted = [name for name in self.regions if ("primary" if name == "primary" else "auxiliary") in self.inputs]
        return table[table["region"].isin(wanted)]

    @property
    def fitted_encoder(self) -> ClinicalEncoder:
        """Clinical encoder, fitted on the training patients unless one was given."""
        if self.encoder is None:
            train = self.whole_cohort.patients
            train = usable_units(train[train["split"] == "train"], ("train",))
            self.encoder = ClinicalEncoder.fit(
                self.whole_cohort.clinical, train, allow_post_nat=self.data.allow_post_nat
            )
        return self.encoder

    def _gather(self, patients: pd.DataFrame) -> UnitArrays:
        clinical = np.zeros((len(patients), 0), np.float32)
        if "clinical" in self.inputs:
            clinical = self.fitted_encoder.encode(patients)
        ordinal = {unit: position for position, unit in enumerate(patients["unit_id"])}
        if self.reads_images:
            crops = self._readable()
            crops = crops[crops["unit_id"].isin(ordinal)]
            crops = crops.assign(
                position=crops["unit_id"].map(ordinal),
                slot=crops["region"].map({name: number for number, name in enumerate(self.regions)}),
            ).sort_values(["position", "slot", "view", "image_id", "ordinal"], kind="stable")
            counts = np.bincount(crops["position"].to_numpy(int), minlength=len(patients))
            keys, region = crops["key"].to_numpy(str), crops["slot"].to_numpy(np.int64)
            view = crops["view"].map(VIEWS).fillna(OTHER_VIEW).to_numpy(np.int64)
        else:
            counts, keys = np.zeros(len(patients), int), np.zeros(0, str)
            region = view = np.zeros(0, np.int64)
        label = patients["aln_status"].to_numpy(np.float32)
        return UnitArrays(
            np.concatenate([[0], np.cumsum(counts)]), keys, region, view, clinical.astype(np.float32), label
        )

    def loader(self, split: str, *, training: bool = False, alone: bool = False, copy: int = 0) -> CropLoader:
        """Batches of one split, in order unless `training`.

        Args:
            split: name of the split.
            training: shuffled and augmented.
            alone: all batches in this very process, whatever other ranks there are.
            copy: which test-time copy of the crops; 0 is the crops themselves.
        """
        arrays = self.units(split)
        augmentation: Augmentations | None = None
        primary, auxiliary = sized_by_region(self.crop)
        if training and self.data.augment:
            augmentation = CropAugmentation(primary, self.data), CropAugmentation(auxiliary, self.data)
        elif copy:
            augmentation = TestTimeCopy(primary, self.data, copy), TestTimeCopy(auxiliary, self.data, copy)
        store = self.crop_set.open_store() if self.reads_images else None
        dataset = UnitDataset(arrays, cast(CropStore, store), augmentation, self.seed)
        workers = self.data.num_workers
        return CropLoader(
            dataset,
            batch_size=self.data.batch_size,
            sampler=EpochSampler(
                len(arrays.label),
                seed=self.seed,
                shuffle=training,
                batch_size=self.data.batch_size,
                alone=alone,
                begin=self.begin if training else None,
            ),
            collate_fn=Collate(self.crop.size_px),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            # A loader draws one number from this at each start; left to torch's global state, that would
            # shift every later draw.
            generator=torch.Generator(),
        )
