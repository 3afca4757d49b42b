"""Laws' texture kernels (IBSI-2): separable, normalised, pooled over right-angle rotations, and their energy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, uniform_filter1d

from mammo_aln.errors import InputError
from mammo_aln.radiomics.filtering.rotations import orbit

Floats = NDArray[np.float64]
KERNELS = {
    "L3": (1, 2, 1),
    "E3": (-1, 0, 1),
    "S3": (-1, 2, -1),
    "L5": (1, 4, 6, 4, 1),
    "E5": (-1, -2, 0, 2, 1),
    "S5": (-1, 0, 2, 0, -1),
    "W5": (-1, 2, 0, -2, 1),
    "R5": (1, -4, 6, -4, 1),
}
"""Level, edge, spot, wave and ripple."""


def laws_response(
    array: Floats, kernels: str, rotation: str, energy_voxels: int, axes: Sequence[int], boundary: str
) -> Floats:
    """Convolve an image with a kernel along each axis, and take the energy of the response.

    Args:
        array: intensities (slices, rows, columns).
        kernels: a name for each of `axes`, in their order: `L5E5E5`.
        rotation: `none`, or `average` or `max` over the right-angle rotations of the kernels.
        energy_voxels: the mean absolute response of so many voxels to either side; 0 gives the response itself.
        axes: axes that are filtered.
        boundary: what lies beyond the image, in scipy.ndimage's words.

    Raises:
        InputError: another number of kernels than axes.
    """
    names = kernel_names(kernels)
    if len(names) != len(axes):
        raise InputError(
            f"radiomics.laws: {kernels}: expected a kernel for each of {len(axes)} axes (L5E5E5 of a volume, L5E5 of an"
            " image)"
        )
    pooled: Floats | None = None
    laid_ways = sorted(orbit(names, rotation != "none"))
    for laid in laid_ways:
        response = np.asarray(array, dtype=float)
        for axis, (name, flip) in zip(axes, laid, strict=True):
            weights = kernel(name)  # a convolution is the correlation with the kernel turned round
            response = correlate1d(response, weights if flip else weights[::-1], axis, mode=boundary)
        if pooled is None:
            pooled = response
        else:
            pooled = np.maximum(pooled, response) if rotation == "max" else pooled + response
    assert pooled is not None  # there is always one way
    if rotation == "average":
        pooled = pooled / len(laid_ways)
    if energy_voxels:
        pooled = np.abs(pooled)
        for axis in axes:
            pooled = uniform_filter1d(pooled, 2 * energy_voxels + 1, axis, mode=boundary)
    return pooled


def kernel(name: str) -> Floats:
    """Taps of a kernel, of length 1 as vectors (IBSI-2)."""
    taps = np.asarray(KERNELS[name], dtype=float)
    return taps / np.linalg.norm(taps)


def kernel_names(kernels: str) -> list[str]:
    """Split `L5E5E5` into its kernels' names.

    Raises:
        InputError: no such kernel.
    """
    names = [kernels[at : at + 2] for at in range(0, len(kernels), 2)]
    if not names or any(name not in KERNELS for name in names):
        raise InputError(f"radiomics.laws: {kernels}: expected names of {', '.join(KERNELS)} in a row, e.g. L5E5E5")
    return names


def laws_reach(kernels: str, energy_voxels: int) -> int:
    """Count the voxels to either side that the response, or its energy, looks at."""
    return max(len(KERNELS[name]) // 2 for name in kernel_names(kernels)) + energy_voxels
