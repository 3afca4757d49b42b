"""A region of interest as grey levels: discretisation, and the flat, padded form that the texture matrices count on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


def fixed_number(values: Floats, bins: int) -> Ints:
    """Levels 1..bins of equal width between the smallest and the largest value (IBSI fixed bin number)."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.ones(values.shape, dtype=np.int64)
    return np.minimum((bins * (values - low) / (high - low)).astype(np.int64) + 1, bins)


def fixed_width(values: Floats, width: float, origin: float | None = None) -> Ints:
    """Levels of `width` intensity units counted from `origin` (by default the smallest value; IBSI fixed bin size)."""
    start = float(values.min()) if origin is None else origin
    return np.floor((values - start) / width).astype(np.int64) + 1


@dataclass(frozen=True)
class Roi:
    """Voxels of a region with their grey levels, in an array that a border of zeros surrounds.

    Args:
        padded: levels (0 outside the region), shape (slices + 2, rows + 2, columns + 2), cut to the region.
        at: flat positions of the region's voxels in `padded`, in reading order.
        levels: their grey levels, 1..count.
        count: number of grey levels.
        slices: index of each voxel's slice.
    """

    padded: Ints
    at: Ints
    levels: Ints
    count: int
    slices: Ints

    @classmethod
    def of(cls, levels: Ints, mask: Mask) -> Roi:
        """From levels of shape (slices, rows, columns), read where `mask` is true."""
        padded = np.pad(np.where(mask, levels, 0), 1)
        at = np.flatnonzero(padded)
        inside = padded.ravel()[at]
        return cls(padded, at, inside, int(inside.max()), at // (padded.shape[1] * padded.shape[2]) - 1)

    def step(self, offset: tuple[int, int, int]) -> int:
        """Distance in flat positions of a neighbour at `offset` (slices, rows, columns)."""
        _, rows, columns = self.padded.shape
        return (offset[0] * rows + offset[1]) * columns + offset[2]


def directions(plane: Literal["2D", "3D"]) -> list[tuple[int, int, int]]:
    """The 4 (within a slice) or 13 directions to neighbours, one of each opposite pair."""
    depth = (0,) if plane == "2D" else (-1, 0, 1)
    every = [(z, y, x) for z in depth for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return [offset for offset in every if offset > (0, 0, 0)]


def bounding_box(mask: Mask, margin: tuple[int, ...] = (0, 0, 0)) -> tuple[slice, ...]:
    """Smallest box that holds the mask, widened by `margin` voxels where the array goes on."""
    box = []
    for axis, more in enumerate(margin):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(max(int(hit[0]) - more, 0), min(int(hit[-1]) + 1 + more, mask.shape[axis])))
    return tuple(box)
