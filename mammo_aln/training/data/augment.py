"""Augmentation of training crops: moves and grey values vary, millimetres do not; three engines for the same draws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mammo_aln.settings import CropConfig, DataConfig
from mammo_aln.training.data.draws import Draws, Ranges, draw

ENGINES = {
    # data.augment_engine: the module whose `warp_blocks` computes it
    "warp": "mammo_aln.training.data.warp_engine",
    "albumentations": "mammo_aln.training.data.albumentations_engine",
    "torchvision": "mammo_aln.training.data.torchvision_engine",
}


class Engine(Protocol):
    """Changes of crops as they were drawn, one interpolation each."""

    def __call__(
        self,
        blocks: Sequence[NDArray[np.uint16]],
        draws: Draws,
        size_px: int,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Change N crops.

        Args:
            blocks: the crops with their surround, each uint16 (S', S') with S' = size_px + 2 * surround_px(size_px).
            draws: the N changes.
            size_px: side of a crop.
            out: where they are written; a new array by default.

        Returns:
            float32 (N, size_px, size_px) in [0, 1].
        """
        ...


def engine(name: str) -> Engine:
    """The engine that `data.augment_engine` names."""
    change: Engine = import_module(ENGINES[name]).warp_blocks
    return change


class CropChanges(ABC):
    """Changes of a split's crops, which are numbered through.

    Args:
        size_px: side of the crops.
        augment_engine: which engine computes them.
    """

    def __init__(self, size_px: int, augment_engine: str) -> None:
        self.size_px, self.engine = size_px, augment_engine

    @abstractmethod
    def draws(self, epoch: int) -> Draws:
        """The changes of all crops in an epoch."""

    def __call__(
        self,
        blocks: Sequence[NDArray[np.uint16]],
        crops: slice | NDArray[np.int64],
        epoch: int,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Change some crops, given with their surround: float32 (n, size_px, size_px) in [0, 1], `out` if given."""
        return engine(self.engine)(blocks, self.draws(epoch).of(crops), self.size_px, out)


class Augmentation(CropChanges):
    """Random flips, turn, shift, scale and grey values of a split's K crops.

    Args:
        data: how far they go, and which engine computes them.
        size_px: side of the crops.
        seed: of the run.
        unit: (K,), the treated axilla of each crop.
        nth: (K,), which crop of its unit.
        size_mm: (K,), side of each crop in millimetres, see `sides_mm`.
        ramp_epochs: epochs over which the changes grow from none but flips to how far they go; 0 = full from the first.
    """

    def __init__(
        self,
        data: DataConfig,
        size_px: int,
        seed: int,
        unit: NDArray[np.int64],
        nth: NDArray[np.int64],
        size_mm: NDArray[np.float64],
        *,
        ramp_epochs: int = 0,
    ) -> None:
        super().__init__(size_px, data.augment_engine)
        self.ranges, self.seed, self.ramp_epochs = Ranges.of(data), seed, ramp_epochs
        self.unit, self.nth, self.size_mm = unit, nth, size_mm
        self._latest: tuple[int, Draws] | None = None

    def draws(self, epoch: int) -> Draws:
        """The draws of all K crops in an epoch; the latest are kept."""
        if self._latest is None or self._latest[0] != epoch:
            ranges = self.ranges.grown(epoch / self.ramp_epochs) if epoch < self.ramp_epochs else self.ranges
            self._latest = epoch, draw(ranges, self.seed, epoch, self.unit, self.nth, self.size_mm)
        return self._latest[1]


def sides_mm(crop: CropConfig, region: NDArray[np.int64], cut: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sides of K crops in millimetres: as they were cut, or those of `fixed_5cm` where an image has no pixel spacing.

    Args:
        crop: how crops are cut.
        region: (K,), 0 = primary, then the auxiliary ones.
        cut: (K,), `side_mm` of the crop table, NaN = unknown.
    """
    return np.where(np.isnan(cut), np.where(region == 0, crop.size_mm, crop.auxiliary_size_mm), cut)


def numbered(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number crops by unit: of units with so many crops each, the unit of every crop and which of its unit it is."""
    unit = np.repeat(np.arange(len(counts)), counts)
    return unit, np.arange(len(unit)) - np.repeat(np.cumsum(counts) - counts, counts)
