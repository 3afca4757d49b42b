"""The units of a split as arrays, and the dataset whose items are their crops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from mammo_aln.crops.store.store import CropStore
from mammo_aln.training.data.augment import CropChanges
from mammo_aln.training.data.batches import UnitItem


@dataclass(frozen=True)
class UnitArrays:
    """The units of a split, as arrays that copy cheaply to loader processes.

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


class UnitDataset(Dataset[UnitItem]):
    """Item (epoch, i): the crops of unit i as float32 in [0, 1], changed where `changes` are given."""

    def __init__(
        self, units: UnitArrays, store: CropStore, changes: CropChanges | None, training: bool = False
    ) -> None:
        self.units, self.store, self.changes, self.training = units, store, changes, training

    def __len__(self) -> int:
        return len(self.units.label)

    def __getitem__(self, item: tuple[int, int]) -> UnitItem:
        epoch, unit = item
        first, last = self.units.first[unit], self.units.first[unit + 1]
        keys, region = [str(key) for key in self.units.keys[first:last]], self.units.region[first:last]
        if self.changes is None:
            crops = [self.store.read_values(key) for key in keys]
        else:
            crops = list(self.changes([self.store.read_surround(key) for key in keys], slice(first, last), epoch))
        return UnitItem(
            crops,
            region,
            self.units.view[first:last],
            self.units.clinical[unit],
            self.units.label[unit],
            unit,
            epoch if self.training else None,
        )
