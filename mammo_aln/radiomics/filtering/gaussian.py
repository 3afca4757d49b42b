"""Laplacian of Gaussian that is right at any spacing: kernels of the continuous filter on splines through the voxels.

A Gaussian that is narrower than a voxel cannot be sampled at voxels: such a kernel's weights do not sum to 0, and a
constant image gets an answer. Here the image is taken as the spline of degree 5 through its voxels, which the
continuous filter is applied to in closed form. Of the ways that were measured against a Gaussian blob (sampled and
integrated kernels, the recursive filter of ITK, splines) it errs least (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

Floats = NDArray[np.float64]
SPLINE_DEGREE = 5
ALIASES = 40
"""Copies of the spectrum, to either side, that sampling lays over one another; a spline's fall with their 6th power."""
LEAST_WEIGHT = 1e-5
"""Of the largest: outer weights below it are left out."""


def laplacian_of_gaussian(
    array: Floats, spacing_mm: Sequence[float], sigma_mm: float, axes: Sequence[int], boundary: str, normalise: str
) -> Floats:
    """Filter an image (slices, rows, columns) along `axes`: the Laplacian of the image smoothed by a Gaussian.

    Args:
        array: intensities.
        spacing_mm: distance between voxels along each axis.
        sigma_mm: standard deviation of the Gaussian.
        axes: axes that are filtered.
        boundary: what lies beyond the image, in scipy.ndimage's words.
        normalise: `scale`: second derivatives per mm2, times sigma squared, so that scales can be compared; `ibsi`: per
            squared voxel (IBSI-2, where voxels are as long as wide).
    """
    # An image that is constant is answered by 0, not by rounding; zeros beyond the image stay zeros.
    level = 0.0 if boundary == "constant" else float(array.flat[0])
    result = np.zeros(array.shape)
    for axis in axes:
        smooth = np.asarray(array, dtype=float) - level
        for other in axes:
            weights = gaussian_kernel(sigma_mm / spacing_mm[other], 2 if other == axis else 0)
            smooth = correlate1d(smooth, weights, other, mode=boundary)
        result += smooth * ((sigma_mm / spacing_mm[axis]) ** 2 if normalise == "scale" else 1.0)
    return result


def gaussian_reach(sigma_voxels: float) -> int:
    """Count the voxels to either side that the filter looks at."""
    return max(len(gaussian_kernel(sigma_voxels, derivative)) // 2 for derivative in (0, 2))


@lru_cache(maxsize=256)
def gaussian_kernel(sigma_voxels: float, derivative: int) -> Floats:
    """Weights (2 reach + 1,) of a Gaussian, or of its second derivative per squared voxel, on splines through voxels.

    Frequency response of B-splines and their inverse prefilter: Unser, Splines: a perfect fit for signal and image
    processing, IEEE Signal Processing Magazine 16(6), 1999. Smoothing weights sum to 1, those of the derivative to 0.
    """
    length = 1 << int(np.ceil(np.log2(16.0 * sigma_voxels + 256.0)))
    frequency = 2.0 * np.pi * np.fft.rfftfreq(length)
    spline, filtered = np.zeros(frequency.shape), np.zeros(frequency.shape)
    for copy in range(-ALIASES, ALIASES + 1):
        aliased = frequency + 2.0 * np.pi * copy
        share = np.sinc(aliased / (2.0 * np.pi)) ** (SPLINE_DEGREE + 1)
        spline += share
        filtered += share * np.exp(-((sigma_voxels * aliased) ** 2) / 2.0) * (-(aliased**2)) ** (derivative // 2)
    half = np.fft.irfft(filtered / spline, length)[: length // 2]
    half = half[: np.flatnonzero(np.abs(half) > LEAST_WEIGHT * np.abs(half).max())[-1] + 1]
    weights = np.concatenate([half[:0:-1], half])
    if derivative == 0:
        weights /= weights.sum()
    else:
        weights -= weights.sum() / weights.size
    weights.flags.writeable = False
    return weights
