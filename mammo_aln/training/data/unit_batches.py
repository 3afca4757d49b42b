"""Batches of treated axillae, their crops changed where they are handed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mammo_aln.training.data.augment import CropChanges
from mammo_aln.training.data.batches import StepBatch
from mammo_aln.training.data.crop_memory import CropMemory
from mammo_aln.training.data.unit_arrays import UnitPacker


@dataclass(frozen=True)
class UnitCollate:
    """Packs items (epoch, unit) into the documented batch: crops of all units in one tensor, so that a missing one
    costs nothing.

    Attributes:
        packer: of the split.
        changes: how crops change; None leaves them as they are.
    """

    packer: UnitPacker
    changes: CropChanges | None

    def __call__(self, memory: CropMemory, items: Sequence[tuple[int, int]]) -> StepBatch:
        """Pack B units with N crops, float32 in [0, 1]."""
        epoch, crops, arrays = self.packer.pack(items)
        side = self.packer.size_px
        piece = memory.empty((len(crops), 1, side, side), torch.float32)
        values, keys = piece.tensor.numpy()[:, 0], [str(key) for key in self.packer.units.keys[crops]]
        if self.changes is None:
            for row, key in zip(values, keys, strict=True):
                self.packer.stored().read_values(key, row)
        elif keys:
            self.changes([self.packer.stored().read_surround(key) for key in keys], crops, epoch, values)
        return StepBatch.of(arrays, crops=piece)
