"""The units of a split as arrays, and the dataset whose items are their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from mammo_aln.crops.store.store import CropStore
from mammo_aln.training.data.batches import small_arrays


@dataclass(frozen=True)
class UnitArrays:
    """The units of a split, as arrays that copy cheaply to loader processes.

    Attributes:
        first: (units + 1,) crops of unit i are `first[i]:first[i + 1]` of the four lists below.
        keys: content keys in the crop store.
        region: 0 = primary, then the auxiliary names in order.
        view: 0 = CC, 1 = MLO, 2 = other.
        size_mm: side of each crop.
        clinical: float32 (units, columns), encoded.
        label: float32 (units,), NaN = unknown.
    """

    first: np.ndarray
    keys: np.ndarray
    region: np.ndarray
    view: np.ndarray
    size_mm: np.ndarray
    clinical: np.ndarray
    label: np.ndarray

    def packed(
        self, index: NDArray[np.int64], *, regions: int, seed: int, epoch: int | None
    ) -> tuple[NDArray[np.int64], dict[str, np.ndarray]]:
        """Number the crops (N,) of some units (B,) as in the lists above, and pack all of a batch but its pixels.

        Args:
            index: (B,), the units.
            regions: see `small_arrays`, as `seed` and `epoch`.
            seed: of the run.
            epoch: of the training; None elsewhere.
        """
        counts = self.first[index + 1] - self.first[index]
        crops = np.repeat(self.first[index] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        of_crops, of_units = (self.region[crops], self.view[crops]), (self.clinical[index], self.label[index], index)
        return crops, small_arrays(counts, *of_crops, *of_units, regions=regions, seed=seed, epoch=epoch)


@dataclass(frozen=True)
class UnitPacker:
    """Packs units into a batch, all but its pixels; `UnitCollate` and `DeviceCollate` add these, each in its way.

    Attributes:
        units: the split's units.
        size_px: side of the crops.
        regions: how many regions there are, the primary one included.
        seed: of the run.
        training: batches hold what modality dropout draws.
        store: of the crops; None where no unit has any.
    """

    units: UnitArrays
    size_px: int
    regions: int
    seed: int
    training: bool
    store: CropStore | None

    def pack(self, items: Sequence[tuple[int, int]]) -> tuple[int, NDArray[np.int64], dict[str, np.ndarray]]:
        """Pack items (epoch, unit) of one epoch: the epoch, the numbers of their N crops, the batch's arrays."""
        epoch, index = items[0][0], np.array([unit for _, unit in items])
        drawn = epoch if self.training else None
        return epoch, *self.units.packed(index, regions=self.regions, seed=self.seed, epoch=drawn)

    def stored(self) -> CropStore:
        """The store.

        Raises:
            ValueError: there is none.
        """
        if self.store is None:
            raise ValueError("a unit has crops, but there is no store")
        return self.store


@dataclass(frozen=True)
class UnitNumbers(Dataset[tuple[int, int]]):
    """Item (epoch, i) is itself: units without their pixels, which whatever packs a batch reads together."""

    units: int

    def __len__(self) -> int:
        return self.units

    def __getitem__(self, item: tuple[int, int]) -> tuple[int, int]:
        return item
