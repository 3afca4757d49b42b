"""Patients as batches: crops from the store, clinical features from the table, labels; one item per treated axilla."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mammo_aln.cohort.clinical import ClinicalEncoder
from mammo_aln.cohort.schemas import SPLITS
from mammo_aln.cohort.split import with_fold
from mammo_aln.cohort.tables import Cohort, with_split
from mammo_aln.errors import InputError
from mammo_aln.progress import say
from mammo_aln.settings import INPUTS, CropConfig, DataConfig, ModelConfig, PixelConfig, Settings, Strategy
from mammo_aln.settings.parse import check_sections
from mammo_aln.training.data.augment import Augmentation, CropChanges, numbered, sides_mm
from mammo_aln.training.data.base import CropDataModule, read_for, require_one_strategy
from mammo_aln.training.data.batches import CropLoader
from mammo_aln.training.data.device_batches import DeviceCollate
from mammo_aln.training.data.device_crops import CropTable, block_px, made_on_device, table_within_budget, with_crops
from mammo_aln.training.data.lacking import InputsOfScored, refuse_lacking
from mammo_aln.training.data.presence import InputProfile
from mammo_aln.training.data.seen import counts_of
from mammo_aln.training.data.test_time import TestTimeCopy
from mammo_aln.training.data.unit_arrays import UnitArrays, UnitNumbers, UnitPacker
from mammo_aln.training.data.unit_batches import UnitCollate
from mammo_aln.training.data.units import present_regions, resolve_regions, usable_units

VIEW_INDEX = {"CC": 0, "MLO": 1}
OTHER_VIEW = 2
LEARNT_FROM = ("train", "val")


class MammoDataModule(CropDataModule):
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
        profile: inputs that a trained model's training patients had.
        opened: the caller records the opening of labelled test splits, as `mammo-aln predict` does; without it their
            batches are not given out.

    Example:
        >>> data = MammoDataModule(cohort="COHORT", crop="fixed_5cm")  # doctest: +SKIP
        >>> pl.Trainer(max_epochs=1).fit(AxillaryClassifier.for_data(data), data)  # doctest: +SKIP
    """

    def __init__(
        self,
        cohort: Cohort | str | Path,
        crop: CropConfig | Strategy = "fixed_5cm",
        *,
        inputs: Sequence[str] = INPUTS,
        pixels: PixelConfig = PixelConfig(),
        data: DataConfig = DataConfig(),
        seed: int = 0,
        store: Path | None = None,
        splits: Sequence[str] = ("train", "val"),
        regions: Sequence[str] | None = None,
        encoder: ClinicalEncoder | None = None,
        profile: InputProfile | None = None,
        opened: bool = False,
    ) -> None:
        inputs = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        crop = CropConfig(strategy=crop) if isinstance(crop, str) else crop
        check_sections(
            "MammoDataModule", crop=crop, pixels=pixels, data=data, model=ModelConfig(inputs=cast(Any, inputs))
        )
        require_one_strategy(crop)
        if unknown := [split for split in splits if split not in SPLITS]:
            raise InputError(f"MammoDataModule: splits: expected any of {', '.join(SPLITS)}, got {', '.join(unknown)}")
        self.as_given = with_split(cohort if isinstance(cohort, Cohort) else read_for(inputs, cohort, store))
        whole = self.whole_cohort = with_fold(self.as_given, data.folds, data.fold, data.fold_seed)
        regions = regions or resolve_regions(whole, crop, inputs)
        super().__init__(
            replace(whole, patients=usable_units(whole.patients, splits)),
            inputs,
            regions,
            replace(crop, auxiliary=tuple(present_regions(whole, regions))),
            pixels,
            data,
            seed,
            store,
        )
        self.splits = tuple(splits)
        self.encoder, self.profile, self.opened = encoder, profile, opened
        made_on_device(data, torch.device("cpu"))  # refuses what goes together on no device, before a crop is built
        self._arrays: dict[str, UnitArrays] = {}
        self._table: CropTable | None = None
        self._table_asked = False

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        cohort: Cohort | Path,
        store: Path | None = None,
        *,
        splits: Sequence[str] = (),
        regions: Sequence[str] | None = None,
        encoder: ClinicalEncoder | None = None,
        profile: InputProfile | None = None,
        opened: bool = False,
    ) -> MammoDataModule:
        """The data module that all settings of a run describe; by default of the splits that a training reads.

        Raises:
            InputError: no split is named, and the cohort has none.
        """
        cohort = cohort if isinstance(cohort, Cohort) else read_for(settings.model.inputs, cohort, store)
        if not splits and "split" not in cohort.patients:
            raise InputError(f"{cohort.root.name}/patients.csv has no column split; `mammo-aln split COHORT` makes one")
        data = cls(
            cohort,
            settings.crop,
            inputs=settings.model.inputs,
            pixels=settings.pixels,
            data=settings.data,
            seed=settings.seed,
            store=store,
            splits=splits or ("train", "val"),
            regions=regions,
            encoder=encoder,
            profile=profile,
            opened=opened,
        )
        data.accelerator = settings.trainer.accelerator
        return data

    @property
    def clinical_columns(self) -> tuple[str, ...]:
        """Columns of the encoded clinical vector; empty where the model reads none."""
        return tuple(self.fitted_encoder.columns) if "clinical" in self.inputs else ()

    def setup(self, stage: str | None = None) -> None:
        """Gather what each split's dataset reads."""
        for split in self.splits:
            self.units(split)

    def patients(self, split: str) -> pd.DataFrame:
        """Rows of the patients table behind a split's items, in the order of `index`."""
        rows = self.cohort.patients[self.cohort.patients["split"] == split]
        if "clinical" not in self.inputs and self.reads_images:
            rows = rows[rows["unit_id"].isin(self.readable_crops()["unit_id"])]
        return rows.reset_index(drop=True)

    def units(self, split: str) -> UnitArrays:
        """Arrays behind the items of a split, in the order of `index`."""
        if split not in self._arrays:
            self._arrays[split] = self._gather(self.patients(split))
        return self._arrays[split]

    def train_dataloader(self) -> CropLoader:
        """Shuffled, augmented batches of the training patients."""
        return self.loader("train", training=True)

    def val_dataloader(self) -> CropLoader:
        """The validation patients, in order."""
        return self.loader("val")

    def test_dataloader(self) -> CropLoader:
        """The validation patients, as `Trainer.test` judges them; a test split is opened by `predict`, which counts."""
        if "val" not in self.splits:
            raise InputError(
                f"Trainer.test judges the split val, this data module reads {', '.join(self.splits)}: score a test"
                " split with `mammo-aln predict`, which records that it was opened"
            )
        return self.val_dataloader()

    def predict_dataloader(self) -> list[CropLoader]:
        """One loader per split, in the order of `splits`; what the model will not see of a test split is said.

        Raises:
            InputError: a labelled test split, see `loader`; or a test split whose patients lack an input too often.
        """
        for split in self.splits:
            self._refuse_sealed(split)
        for split in [name for name in self.splits if name not in LEARNT_FROM]:
            inputs = InputsOfScored(self.profile, counts_of(self, self.patients(split)))
            for line in inputs.lines():
                say(line)
            refuse_lacking(inputs, self.cohort.name, way="`mammo-aln predict --allow_missing`")
        return [self.loader(split) for split in self.splits]

    def _refuse_sealed(self, split: str) -> None:
        """`InputError` where a split is a labelled test, and nobody records that it is opened."""
        if self.opened or split in LEARNT_FROM:
            return
        labelled = int(self.patients(split)["aln_status"].notna().sum())
        if labelled:
            raise InputError(
                f"{self.cohort.name}: {labelled} patients of {split} have an outcome: scoring them opens a sealed test,"
                " which is to be counted."
                f" `mammo-aln predict {shlex.quote(str(self.cohort.root))} --run RUN --split {split} --out FILE.csv`"
                f" or `mammo_aln.load(RUN).predict({str(self.cohort.root)!r}, split={split!r})` score and"
                " count them; a model without a run directory is scored on a copy of the cohort whose outcome is empty"
            )

    @property
    def fitted_encoder(self) -> ClinicalEncoder:
        """Clinical encoder, fitted on the training patients unless one was given."""
        if self.encoder is None:
            train = self.whole_cohort.patients
            train = usable_units(train[train["split"] == "train"], ("train",))
            self.encoder = ClinicalEncoder.fit(
                self.whole_cohort.clinical, train, allow_post_nat=self.loading.allow_post_nat
            )
        return self.encoder

    def _gather(self, patients: pd.DataFrame) -> UnitArrays:
        clinical = np.zeros((len(patients), 0), np.float32)
        if "clinical" in self.inputs:
            clinical = self.fitted_encoder.encode(patients)
        if self.reads_images:
            crops = self.readable_crops()
            position = pd.Index(patients["unit_id"]).get_indexer(crops["unit_id"])
            crops, position = crops[position >= 0], position[position >= 0]
            slot = pd.Index(self.regions).get_indexer(crops["region"])
            names = [crops[name].to_numpy(str) for name in ("image_id", "view")]
            order = np.lexsort((crops["ordinal"], *names, slot, position))
            counts = np.bincount(position, minlength=len(patients))
            keys, region = crops["key"].to_numpy(str)[order], slot[order].astype(np.int64)
            view = np.full(len(order), OTHER_VIEW)
            size_mm = sides_mm(self.crop, region, crops["side_mm"].to_numpy(np.float64)[order])
            for name, number in VIEW_INDEX.items():
                view[names[1][order] == name] = number
        else:
            counts, keys = np.zeros(len(patients), int), np.zeros(0, str)
            region = view = np.zeros(0, np.int64)
            size_mm = np.zeros(0)
        label = patients["aln_status"].to_numpy(np.float32)
        return UnitArrays(
            np.concatenate([[0], np.cumsum(counts)]), keys, region, view, size_mm, clinical.astype(np.float32), label
        )

    def loader(self, split: str, *, training: bool = False, alone: bool = False, copy: int = 0) -> CropLoader:
        """Batches of one split, in order unless `training`.

        Args:
            split: name of the split.
            training: shuffled and augmented.
            alone: all batches in this very process, whatever other ranks there are.
            copy: which test-time copy of the crops; 0 is the crops themselves.

        Raises:
            InputError: a labelled test split, unless the module's maker records its opening.
        """
        self._refuse_sealed(split)
        if not alone and not copy and (device := self._crops_device()) is not None:
            return self._device_loader(split, device, training)
        units = self.units(split)
        changes: CropChanges | None = None
        if training and self.loading.augment:
            changes = self._augmentation(units)
        elif copy:
            changes = TestTimeCopy(self.loading, self.crop.size_px, units.size_mm, copy)
        collate = UnitCollate(self._packer(units, training), changes)
        crop_bytes = self.crop.size_px**2 * torch.float32.itemsize
        return self._unit_loader(units, collate, crop_bytes, training=training, alone=alone)

    def _unit_loader(
        self,
        units: UnitArrays,
        collate: UnitCollate | DeviceCollate,
        crop_bytes: int,
        *,
        training: bool,
        alone: bool = False,
        reads: bool = True,
    ) -> CropLoader:
        numbers = UnitNumbers(len(units.label))
        item_bytes = np.diff(units.first) * crop_bytes
        return self.crop_loader(numbers, item_bytes, collate, training=training, alone=alone, reads=reads)

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """The batch with its crops, made on the device where `data.device_gb` says so."""
        return with_crops(batch, self._table, self.crop.size_px)

    def teardown(self, stage: str) -> None:
        """Free the device's memory."""
        self._table, self._table_asked = None, False

    def _crops_device(self) -> torch.device | None:
        """The device that makes the crops of a training; None where loader processes do."""
        if self.trainer is None or self.trainer.state.fn != "fit" or not self.reads_images:
            return None
        device = self.trainer.strategy.root_device
        return device if made_on_device(self.loading, device) else None

    def _device_loader(self, split: str, device: torch.device, training: bool) -> CropLoader:
        units = self.units(split)
        if not self._table_asked:  # one table for all splits
            keys = np.concatenate([self.units(name).keys for name in self.splits])
            self._table = table_within_budget(self.pixel_store, keys, self.crop.size_px, self.loading, device)
            self._table_asked = True
        collate = DeviceCollate(
            self._packer(units, training),
            augmentation=self._augmentation(units) if training and self.loading.augment else None,
            rows=None if self._table is None else self._table.rows(units.keys),
        )
        crop_bytes = block_px(self.crop.size_px) ** 2 * torch.uint16.itemsize
        return self._unit_loader(units, collate, crop_bytes, training=training, reads=self._table is None)

    def _packer(self, units: UnitArrays, training: bool) -> UnitPacker:
        store = self.pixel_store if self.reads_images else None
        return UnitPacker(units, self.crop.size_px, len(self.regions), self.seed, training, store)

    def _augmentation(self, units: UnitArrays) -> Augmentation:
        unit, nth = numbered(np.diff(units.first))
        ramp_epochs = self.loading.augment_ramp_epochs
        return Augmentation(
            self.loading, self.crop.size_px, self.seed, unit, nth, units.size_mm, ramp_epochs=ramp_epochs
        )
