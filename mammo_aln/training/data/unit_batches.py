"""Batches of treated axillae, their crops changed where they are handed over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mammo_aln.crops.store.store import CropStore
from mammo_aln.training.data.augment import CropChanges
from mammo_aln.training.data.batches import StepBatch
from mammo_aln.training.data.crop_memory import CropMemory
from mammo_aln.training.data.unit_arrays import UnitArrays


class UnitCollate:
    """Packs items (epoch, unit) into the documented batch: crops of all units in one tensor, so that a missing one
    costs nothing.

    Args:
        units: the split's units.
        size_px: side of the crops.
        regions: how many regions there are, the primary one included.
        seed: of the run.
        training: batches hold what modality dropout draws.
        changes: how crops change; None leaves them as they are.
        store: of the crops; not looked at where no unit has any.
    """

    def __init__(
        self,
        units: UnitArrays,
        size_px: int,
        regions: int,
        seed: int,
        *,
        training: bool,
        changes: CropChanges | None,
        store: CropStore,
    ) -> None:
        self.units, self.size_px, self.regions, self.seed = units, size_px, regions, seed
        self.training, self.changes, self.store = training, changes, store

    def __call__(self, memory: CropMemory, items: Sequence[tuple[int, int]]) -> StepBatch:
        """Pack B units with N crops, float32 in [0, 1]."""
        epoch, index = items[0][0], np.array([unit for _, unit in items])
        crops, arrays = self.units.packed(
            index, regions=self.regions, seed=self.seed, epoch=epoch if self.training else None
        )
        piece = memory.empty((len(crops), 1, self.size_px, self.size_px), torch.float32)
        values, keys = piece.tensor.numpy()[:, 0], [str(key) for key in self.units.keys[crops]]
        if self.changes is None:
            for row, key in zip(values, keys, strict=True):
                self.store.read_values(key, row)
        elif keys:
            self.changes([self.store.read_surround(key) for key in keys], crops, epoch, values)
        return StepBatch.of(arrays, crops=piece)
