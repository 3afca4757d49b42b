"""Images whose intensities are transformed one by one, as pyradiomics and mirp transform them; mean; gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, uniform_filter1d

Floats = NDArray[np.float64]


def square(array: Floats, largest: float) -> Floats:
    """Square, brought back to the image's range."""
    return array**2 / largest


def squareroot(array: Floats, largest: float) -> Floats:
    """Square root of the absolute intensity with its sign, brought back to the image's range."""
    return np.sign(array) * np.sqrt(np.abs(array) * largest)


def logarithm(array: Floats, largest: float) -> Floats:
    """Logarithm of the absolute intensity + 1 with its sign, brought back to the image's range."""
    return np.sign(array) * np.log1p(np.abs(array)) * largest / np.log1p(largest)


def exponential(array: Floats, largest: float) -> Floats:
    """Power that maps the largest intensity to itself."""
    rate = np.log(largest) / largest
    return np.exp(array * (rate if rate else 1.0))


POINTWISE: Mapping[str, Callable[[Floats, float], Floats]] = {
    each.__name__: each for each in (square, squareroot, logarithm, exponential)
}
"""Functions of an image and of the largest absolute intensity of the whole of it (1 where all are 0)."""


def local_mean(array: Floats, size_voxels: int, axes: Sequence[int], boundary: str) -> Floats:
    """Mean over a square or cube of so many voxels a side (IBSI-2)."""
    smooth = np.asarray(array, dtype=float)
    for axis in axes:
        smooth = uniform_filter1d(smooth, size_voxels, axis, mode=boundary)
    return smooth


def gradient_magnitude(array: Floats, spacing_mm: Sequence[float], axes: Sequence[int], boundary: str) -> Floats:
    """Length of the gradient per mm, by central differences."""
    squares = np.zeros(array.shape)
    for axis in axes:
        weights = np.array([-0.5, 0.0, 0.5]) / spacing_mm[axis]
        squares += correlate1d(np.asarray(array, dtype=float), weights, axis, mode=boundary) ** 2
    return np.sqrt(squares)
