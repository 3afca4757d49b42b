"""A cohort's crops behind batches: what the data modules of training and pre-training share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from mammo_aln.cohort.tables import Cohort, image_files, read_cohort
from mammo_aln.crops.build import CropSet, build_crops
from mammo_aln.crops.provenance import fallback_ledger
from mammo_aln.crops.store.staging import stage_folder, staged
from mammo_aln.crops.store.store import CropStore
from mammo_aln.dicom.archive import content_digest
from mammo_aln.dicom.standing import standing_digest
from mammo_aln.errors import InputError
from mammo_aln.machine.cores import loader_processes
from mammo_aln.machine.launch import launched_together, sharing_cores
from mammo_aln.model.ranks import world_size
from mammo_aln.settings import STRATEGIES, CropConfig, DataConfig, PixelConfig, reads_images
from mammo_aln.training.data.batches import CropLoader, StepBatch
from mammo_aln.training.data.crop_memory import CropMemory
from mammo_aln.training.data.samplers import EpochSampler


def read_for(inputs: Iterable[str], folder: str | Path, store: Path | None = None, *, keep: bool = True) -> Cohort:
    """Read the tables that a model with these inputs needs.

    Args:
        inputs: of the model.
        folder: of the cohort.
        store: crop store, by default `.crops` in the cohort folder; where images are read, it keeps the tables.
        keep: False leaves the store as it is.
    """
    if not reads_images(inputs):
        return read_cohort(folder, need=("patients",))
    kept_in = (store or Path(folder) / ".crops") if keep else None
    return read_cohort(folder, need=("patients", "images"), kept_in=kept_in)


def _content(file: str) -> str:
    """SHA-256 of a file; empty where it can no longer be read."""
    try:
        return content_digest(Path(file))
    except (OSError, InputError):
        return ""


def require_one_strategy(crop: CropConfig) -> None:
    """`InputError` where the settings ask for all four crops at once."""
    if crop.strategy == "all":
        raise InputError(f"crop.strategy: a model reads one crop; expected one of {', '.join(STRATEGIES)}")


def refuse_uneven(batch_size: int, items: int, ranks: int, *, training: bool) -> None:
    """`InputError` where a training step cannot be dealt out evenly, or a rank would have nothing at all."""
    if items < ranks:
        raise InputError(
            f"{items} patients or breasts to {'train on' if training else 'validate with'} for {ranks} devices;"
            " expected one each at least: fewer trainer.devices"
        )
    if not training:
        return
    if batch_size % ranks:
        raise InputError(
            f"data.batch_size = {batch_size} is the batch of all {ranks} devices: expected a multiple of {ranks}, such"
            f" as {max(1, round(batch_size / ranks)) * ranks}"
        )
    if items < batch_size and items % ranks:
        raise InputError(
            f"data.batch_size = {batch_size}: there are {items} to train on, which {ranks} devices cannot share evenly;"
            f" expected at most {items // ranks * ranks}, or fewer trainer.devices"
        )


class CropDataModule(pl.LightningDataModule):
    """The crops of a cohort's rows, built where they are missing, and loaders that draw from seed and epoch alone.

    Args:
        cohort: the rows that are read.
        inputs: which of `primary`, `auxiliary`, `clinical` the model reads.
        regions: `primary`, then the auxiliary names in order.
        crop: crop settings, `crop.auxiliary` being the names that this cohort can hold.
        pixels: how DICOM values become display values.
        loading: batch size, loader processes, augmentation.
        seed: draws order and augmentation.
        store: folder of the crop store; by default `.crops` in the cohort folder.
    """

    def __init__(
        self,
        cohort: Cohort,
        inputs: Sequence[str],
        regions: Sequence[str],
        crop: CropConfig,
        pixels: PixelConfig,
        loading: DataConfig,
        seed: int,
        store: Path | None,
    ) -> None:
        super().__init__()
        self.cohort, self.inputs, self.regions, self.crop = cohort, tuple(inputs), tuple(regions), crop
        self.pixels, self.loading, self.seed, self.store = pixels, loading, seed, store
        self.begin: tuple[int, int] | None = None
        """Epoch and step at which training goes on; None begins at the first."""
        self.accelerator = "auto"
        """`trainer.accelerator` of the settings; a Trainer that the module is given to knows better."""
        self.compares = False
        """True where the loss compares the patients of a batch, so that a smaller one would be another loss."""
        self._crop_set: CropSet | None = None
        self._standing = ""
        self._staged: CropStore | None = None

    @property
    def reads_images(self) -> bool:
        """True where any input is an image."""
        return reads_images(self.inputs)

    @property
    def on_gpu(self) -> bool:
        """True where the batches go to a CUDA device."""
        if self.trainer is not None:
            return self.trainer.strategy.root_device.type == "cuda"
        return self.accelerator != "cpu" and torch.cuda.is_available()

    @property
    def store_folder(self) -> Path | None:
        """Folder of the crop store; None where no image is read."""
        return (self.store or self.cohort.root / ".crops") if self.reads_images else None

    @property
    def crop_set(self) -> CropSet:
        """The crops of this module's patients, built where they are missing."""
        if self._crop_set is None:
            self._standing = standing_digest(image_files(self.cohort, self.cohort.images).values())
            # torchrun and srun start all ranks at once
            once = launched_together() > 1
            self._crop_set = build_crops(self.cohort, self.pixels, self.crop, store=self.store, once=once)
        return self._crop_set

    @property
    def pixel_store(self) -> CropStore:
        """Reader of the crops' pixels: of the store, or of the copy that `stage_crops` made."""
        return self._staged if self._staged is not None else self.crop_set.open_store()

    def stage_crops(self) -> None:
        """Copy the crops to the folder that `data.stage` names, if it names one."""
        if self.reads_images and self.loading.stage:
            folder = stage_folder(self.loading.stage)
            self._staged = staged(self.crop_set.open_store(), self.crop_set.table["key"], folder)

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Pixel and crop settings and the steps taken (recipe cards); empty where no image is read."""
        return self.crop_set.recipe if self.reads_images else {}

    @property
    def fallbacks(self) -> dict[str, dict[str, int]]:
        """Every fallback taken, counted per centre; empty where no image is read."""
        return fallback_ledger(self.crop_set) if self.reads_images else {}

    def prepare_data(self) -> None:
        """Build every missing crop, straight from the DICOM files."""
        if self.reads_images:
            _ = self.crop_set

    def refuse_changed_files(self) -> None:
        """Refuse to go on where image files are no longer those that the crops were cut from.

        Raises:
            InputError: names the first of them.
        """
        files = image_files(self.cohort, self.cohort.images) if self.reads_images else {}
        if not files or standing_digest(files.values(), anew=True) == self._standing:
            return
        changed = [
            image for image, content in self.crop_set.contents.items() if _content(files.get(image, "")) != content
        ]
        if changed:
            raise InputError(
                f"{self.cohort.name}: files changed, or went, after their crops were cut: image {changed[0]}"
                + (f" and {len(changed) - 1} more" if changed[1:] else "")
                + "; expected the same files throughout; the same command goes on once they are back, or begins"
                " anew with those that stand now"
            )

    def readable_crops(self) -> pd.DataFrame:
        """Rows of the crop table whose region the model reads."""
        table = self.crop_set.table
        regions = [name for name in self.regions if ("primary" if name == "primary" else "auxiliary") in self.inputs]
        return table[table["region"].isin(regions)]

    @property
    def _epochs(self) -> int:
        """Passes over a loader: the trainer's epochs, one where no trainer fits."""
        trainer = self.trainer
        return int(trainer.max_epochs or 1) if trainer is not None and trainer.state.fn == "fit" else 1

    def crop_loader(
        self,
        dataset: Dataset[Any],
        item_bytes: NDArray[np.int64],
        collate: Callable[[CropMemory, Sequence[Any]], StepBatch],
        *,
        training: bool,
        alone: bool = False,
        reads: bool = True,
    ) -> CropLoader:
        """Batches of a dataset, in order unless `training`.

        Args:
            dataset: its items.
            item_bytes: memory that the crops of each item take in a batch.
            collate: packs items into a batch, its crops in memory that it is given.
            training: shuffled.
            alone: all batches in this very process, whatever other ranks there are.
            reads: False where batches hold no pixels: no process is started for them.

        Raises:
            InputError: the batch, or too few items, do not divide over the ranks.
        """
        ranks, items = 1 if alone else world_size(), len(item_bytes)
        refuse_uneven(self.loading.batch_size, items, ranks, training=training)
        batch = max(1, self.loading.batch_size // ranks)
        if not training and self.loading.micro_batch != "auto" and not self.compares:
            batch = min(batch, self.loading.micro_batch)  # scores, unlike pairs, are the same in any batch
        sampler = EpochSampler(
            items,
            seed=self.seed,
            shuffle=training,
            batch_size=self.loading.batch_size,
            alone=alone,
            begin=self.begin if training else None,
        )
        trainer = None if alone else self.trainer
        workers = loader_processes(
            self.loading.num_workers if reads else 0,
            on_gpu=self.on_gpu,
            batches=len(sampler) // batch,
            ranks=1 if trainer is None else sharing_cores(trainer.num_devices),
        )
        return CropLoader(
            dataset,
            batch_size=batch,
            sampler=sampler,
            collate_fn=partial(collate, CropMemory(workers, int(np.sort(item_bytes)[-batch:].sum()))),
            num_workers=workers,
            persistent_workers=workers > 0,
            # pinning makes a CUDA context, some 500 MB of a card that a CPU's training has no business with
            pin_memory=self.on_gpu,
            # A loader draws one number from this at each start; left to torch's global state, that would
            # shift every later draw.
            generator=torch.Generator(),
            epochs=self._epochs,
        )
