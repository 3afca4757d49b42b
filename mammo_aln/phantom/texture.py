"""Random fields on lattices in millimetres, so that an image means the same at any pixel size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Plane:
    """The pixel grid of one view: x from the chest wall, y from the top, both in millimetres at pixel centres.

    Args:
        rows: image height in pixels.
        columns: image width in pixels.
        spacing_mm: pixel side in the plane of the breast.
    """

    rows: int
    columns: int
    spacing_mm: float

    @property
    def width_mm(self) -> float:
        """Extent from the chest wall to the opposite border."""
        return self.columns * self.spacing_mm

    @property
    def height_mm(self) -> float:
        """Extent from the top to the bottom."""
        return self.rows * self.spacing_mm

    def axes(self) -> tuple[Image, Image]:
        """x of shape (1, columns) and y of shape (rows, 1)."""
        x = (np.arange(self.columns, dtype=np.float32) + 0.5) * np.float32(self.spacing_mm)
        y = (np.arange(self.rows, dtype=np.float32) + 0.5) * np.float32(self.spacing_mm)
        return x[None, :], y[:, None]


def lattice_noise(plane: Plane, cell_mm: float, rng: np.random.Generator) -> Image:
    """Smooth noise of unit variance at the lattice points, whose grain is `cell_mm`; shape (rows, columns)."""
    rows = int(np.ceil(plane.height_mm / cell_mm)) + 3
    columns = int(np.ceil(plane.width_mm / cell_mm)) + 3
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    scale = plane.spacing_mm / cell_mm
    shift = rng.random(2) + 0.5
    to_lattice = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
    # A lattice finer than about two pixels is white noise anyway: cubic weights would be spent on nothing.
    order = cv2.INTER_LINEAR if cell_mm < 2.0 * plane.spacing_mm else cv2.INTER_CUBIC
    flags = cv2.WARP_INVERSE_MAP | order
    size = (plane.columns, plane.rows)
    return np.asarray(cv2.warpAffine(coarse, to_lattice, size, flags=flags, borderMode=cv2.BORDER_REFLECT), np.float32)


def fractal_noise(
    plane: Plane, coarsest_mm: float, finest_mm: float, roughness: float, rng: np.random.Generator
) -> Image:
    """Octaves from `coarsest_mm` down to `finest_mm`, each `roughness` times as strong as the last; unit variance.

    A power-law field looks alike at every magnification: its grain does not tell how many millimetres a crop spans.
    """
    cell, weight, power = coarsest_mm, 1.0, 0.0
    total = np.zeros((plane.rows, plane.columns), np.float32)
    while cell >= finest_mm:
        # Fine octaves are looked up in a coarser plane where nothing is lost: the lattice is 4 pixels wide or more.
        total += np.float32(weight) * _octave(plane, cell, rng)
        power += weight**2
        cell, weight = cell / 2.0, weight * roughness
    return total / np.float32(np.sqrt(power) * 0.75)


def _octave(plane: Plane, cell_mm: float, rng: np.random.Generator) -> Image:
    shrink = int(cell_mm // (4.0 * plane.spacing_mm))
    if shrink < 2:
        return lattice_noise(plane, cell_mm, rng)
    small = Plane(-(-plane.rows // shrink) + 1, -(-plane.columns // shrink) + 1, plane.spacing_mm * shrink)
    field = lattice_noise(small, cell_mm, rng)
    large = cv2.resize(field, (small.columns * shrink, small.rows * shrink), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large[: plane.rows, : plane.columns], np.float32)


def blurred(image: Image, sd_mm: float, spacing_mm: float) -> Image:
    """Gaussian blur with its SD in millimetres."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sd_mm / spacing_mm), np.float32)
