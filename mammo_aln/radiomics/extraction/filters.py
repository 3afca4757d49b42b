"""Filtered images that features are computed on beside the original: Laplacian of Gaussian and one wavelet level."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pywt
from scipy.ndimage import correlate1d, gaussian_filter1d

from mammo_aln.radiomics.extraction.roi import Floats
from mammo_aln.settings import RadiomicsConfig

Spacing = tuple[float, ...]


def filtered_images(array: Floats, spacing_mm: Spacing, settings: RadiomicsConfig) -> Iterator[tuple[str, Floats]]:
    """The images that the settings name, in order: name (`original`, `log_2mm`, `wavelet_LLH`, ...) and pixels.

    Args:
        array: image (slices, rows, columns); filters stay within the slice where there is one slice.
        spacing_mm: distance between voxels along each axis; the scale of LoG is in millimetres.
        settings: `filters`, `log_sigma_mm`, `wavelet`.
    """
    axes = [axis for axis in range(array.ndim) if array.shape[axis] > 1]
    if "original" in settings.filters:
        yield "original", array
    if "log" in settings.filters:
        for sigma_mm in settings.log_sigma_mm:
            yield f"log_{sigma_mm:g}mm", laplacian_of_gaussian(array, spacing_mm, sigma_mm, axes)
    if "wavelet" in settings.filters:
        yield from wavelet_bands(array, settings.wavelet, axes)


def laplacian_of_gaussian(array: Floats, spacing_mm: Spacing, sigma_mm: float, axes: list[int]) -> Floats:
    """Scale-normalised Laplacian (times sigma squared) of the image smoothed by a Gaussian of `sigma_mm`.

    The second derivatives are per millimetre squared, so that voxels longer in one axis count for what they are.
    """
    result = np.zeros(array.shape)
    for axis in axes:
        smooth = np.asarray(array, dtype=float)
        for other in axes:
            smooth = gaussian_filter1d(smooth, sigma_mm / spacing_mm[other], other, order=2 if other == axis else 0)
        result += smooth * (sigma_mm / spacing_mm[axis]) ** 2
    return result


def wavelet_bands(array: Floats, wavelet: str, axes: list[int]) -> Iterator[tuple[str, Floats]]:
    """One undecimated level of a separable wavelet: every mix of low (L) and high (H) pass along `axes`, in order.

    The same size as the image, so that the region keeps its voxels; the border is mirrored.
    """
    filters = pywt.Wavelet(wavelet)
    taps = {"L": np.asarray(filters.dec_lo[::-1]), "H": np.asarray(filters.dec_hi[::-1])}
    bands = {"": np.asarray(array, dtype=float)}
    for axis in axes:
        bands = {
            name + letter: correlate1d(band, taps[letter], axis, mode="reflect")
            for (name, band), letter in product(bands.items(), "LH")
        }
    yield from ((f"wavelet_{name}", band) for name, band in bands.items())
