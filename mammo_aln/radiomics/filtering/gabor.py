"""Gabor filters in planes (IBSI-2): a wave under a Gaussian, its modulus averaged over directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

Floats = NDArray[np.float64]
Padding = Literal["symmetric", "reflect", "edge", "wrap", "constant"]
PADDING: Mapping[str, Padding] = {
    "reflect": "symmetric",
    "mirror": "reflect",
    "nearest": "edge",
    "wrap": "wrap",
    "constant": "constant",
}
"""numpy's names of what scipy.ndimage calls so."""
CUTOFF = 4.5
"""Standard deviations at which the Gaussian, 4e-5 there, is cut off."""


def gabor_response(
    array: Floats,
    spacing_mm: Sequence[float],
    sigma_mm: float,
    wavelength_mm: float,
    aspect: float,
    step_deg: float,
    planes: Sequence[tuple[int, int]],
    boundary: str,
) -> Floats:
    """Average the modulus of the response over directions from 0 to 180 degrees, and over planes.

    Args:
        array: intensities (slices, rows, columns).
        spacing_mm: distance between voxels along each axis.
        sigma_mm: standard deviation of the Gaussian along the wave.
        wavelength_mm: of the wave.
        aspect: standard deviation along the wave over that across it.
        step_deg: from one direction to the next; 180 gives one, along the plane's second axis.
        planes: pairs of axes.
        boundary: what lies beyond the image, in scipy.ndimage's words.
    """
    angles = np.deg2rad(np.arange(0.0, 180.0 - 1e-9, step_deg))
    total = np.zeros(array.shape)
    for plane in planes:
        steps_mm = (spacing_mm[plane[0]], spacing_mm[plane[1]])
        reach = tuple(gabor_reach(sigma_mm, aspect, step) for step in steps_mm)
        width = [(0, 0)] * array.ndim
        for axis, voxels in zip(plane, reach, strict=True):
            width[axis] = (voxels, voxels)
        padded = np.pad(np.asarray(array, dtype=float), width, mode=PADDING[boundary])
        shape = [1] * array.ndim
        for axis, voxels in zip(plane, reach, strict=True):
            shape[axis] = 2 * voxels + 1
        for angle in angles:
            weights = gabor_kernel(steps_mm, reach, sigma_mm, wavelength_mm, aspect, float(angle)).reshape(shape)
            total += np.abs(oaconvolve(padded, weights, mode="valid", axes=plane))
    return total / (len(angles) * len(planes))


def gabor_kernel(
    steps_mm: tuple[float, float],
    reach: tuple[int, ...],
    sigma_mm: float,
    wavelength_mm: float,
    aspect: float,
    angle_rad: float,
) -> NDArray[np.complex128]:
    """Weights (2 reach + 1 of each axis) of a wave along the plane's second axis, turned towards the first one."""
    first, second = (np.arange(-voxels, voxels + 1) * step for voxels, step in zip(reach, steps_mm, strict=True))
    along = np.cos(angle_rad) * second + np.sin(angle_rad) * first[:, None]
    across = np.sin(angle_rad) * second - np.cos(angle_rad) * first[:, None]
    envelope = np.exp(-(along**2 + (aspect * across) ** 2) / (2.0 * sigma_mm**2))
    return envelope * np.exp(2.0j * np.pi * along / wavelength_mm)


def gabor_reach(sigma_mm: float, aspect: float, step_mm: float) -> int:
    """Count the voxels, `step_mm` apart, to either side that the filter looks at."""
    return int(np.ceil(CUTOFF * sigma_mm / min(aspect, 1.0) / step_mm))
