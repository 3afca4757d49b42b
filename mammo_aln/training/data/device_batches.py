"""Batches whose crops are made on the device: loaders say which crops, and how they change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mammo_aln.crops.store.store import CropStore
from mammo_aln.training.data.augment import Augmentation
from mammo_aln.training.data.batches import StepBatch
from mammo_aln.training.data.crop_memory import CropMemory
from mammo_aln.training.data.device_crops import GREY, MATRICES, ROW, block_px
from mammo_aln.training.data.draws import grey_values, theta
from mammo_aln.training.data.unit_arrays import UnitArrays


class DeviceCollate:
    """Packs items (epoch, unit) into what `device_crops.with_crops` makes the documented batch of.

    Args:
        units: the split's units.
        size_px: side of the crops.
        regions: how many regions there are, the primary one included.
        seed: of the run.
        training: batches hold what modality dropout draws.
        augmentation: how crops change; None leaves them as they are.
        rows: row of each of the split's crops in the device's table; None where there is no room for one.
        store: read where there is no table.
    """

    def __init__(
        self,
        units: UnitArrays,
        size_px: int,
        regions: int,
        seed: int,
        *,
        training: bool,
        augmentation: Augmentation | None,
        rows: NDArray[np.int64] | None,
        store: CropStore,
    ) -> None:
        self.units, self.size_px, self.regions, self.seed = units, size_px, regions, seed
        self.training, self.augmentation, self.rows, self.store = training, augmentation, rows, store

    def __call__(self, memory: CropMemory, items: Sequence[tuple[int, int]]) -> StepBatch:
        """Pack B units with N crops."""
        epoch, index = items[0][0], np.array([unit for _, unit in items])
        crops, arrays = self.units.packed(
            index, regions=self.regions, seed=self.seed, epoch=epoch if self.training else None
        )
        if self.augmentation is not None:
            draws = self.augmentation.draws(epoch).of(crops)
            arrays[MATRICES] = theta(draws, self.size_px)
            arrays[GREY] = grey_values(draws)
        if self.rows is not None:
            return StepBatch.of({ROW: self.rows[crops], **arrays})
        side = block_px(self.size_px)
        piece = memory.empty((len(crops), side, side), torch.uint16)
        for row, key in zip(piece.tensor.numpy(), self.units.keys[crops], strict=True):
            row[:] = self.store.read_surround(str(key))
        return StepBatch.of(arrays, blocks=piece)
