"""Batches whose crops are made on the device: loaders say which crops, and how they change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mammo_aln.training.data.augment import Augmentation
from mammo_aln.training.data.batches import StepBatch
from mammo_aln.training.data.crop_memory import CropMemory
from mammo_aln.training.data.device_crops import GREY, MATRICES, ROW, block_px
from mammo_aln.training.data.draws import grey_values, theta
from mammo_aln.training.data.unit_arrays import UnitPacker


@dataclass(frozen=True)
class DeviceCollate:
    """Packs items (epoch, unit) into what `device_crops.with_crops` makes the documented batch of.

    Attributes:
        packer: of the split; its store is read where there is no table.
        augmentation: how crops change; None leaves them as they are.
        rows: row of each of the split's crops in the device's table; None where there is no room for one.
    """

    packer: UnitPacker
    augmentation: Augmentation | None
    rows: NDArray[np.int64] | None

    def __call__(self, memory: CropMemory, items: Sequence[tuple[int, int]]) -> StepBatch:
        """Pack B units with N crops."""
        epoch, crops, arrays = self.packer.pack(items)
        if self.augmentation is not None:
            draws = self.augmentation.draws(epoch).of(crops)
            arrays[MATRICES] = theta(draws, self.packer.size_px)
            arrays[GREY] = grey_values(draws)
        if self.rows is not None:
            return StepBatch.of({ROW: self.rows[crops], **arrays})
        side = block_px(self.packer.size_px)
        piece = memory.empty((len(crops), side, side), torch.uint16)
        for row, key in zip(piece.tensor.numpy(), self.packer.units.keys[crops], strict=True):
            row[:] = self.packer.stored().read_surround(str(key))
        return StepBatch.of(arrays, blocks=piece)
