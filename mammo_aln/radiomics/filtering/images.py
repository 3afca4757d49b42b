"""The filtered images that settings name, in order, and how far beyond a region they look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mammo_aln.errors import InputError
from mammo_aln.radiomics.filtering.fourier import riesz_response, simoncelli_response
from mammo_aln.radiomics.filtering.gabor import gabor_reach, gabor_response
from mammo_aln.radiomics.filtering.gaussian import Floats, gaussian_reach, laplacian_of_gaussian
from mammo_aln.radiomics.filtering.laws import laws_reach, laws_response
from mammo_aln.radiomics.filtering.pointwise import POINTWISE, gradient_magnitude, local_mean
from mammo_aln.radiomics.filtering.wavelets import wavelet_bands, wavelet_reach
from mammo_aln.settings import RadiomicsConfig

UNEQUAL = 1e-3
"""Share by which sides of a voxel may differ and be called equal."""
WHOLE_IMAGE = 1 << 30
"""Voxels that a filter looks at which looks at all."""


def filtered_images(
    array: Floats, spacing_mm: Sequence[float], settings: RadiomicsConfig, largest: float
) -> Iterator[tuple[str, Floats]]:
    """The images that the settings name: name (`original`, `log_2mm`, `wavelet_LLH`, ...) and pixels.

    Args:
        array: image (slices, rows, columns); filters stay within the slice where there is one slice.
        spacing_mm: distance between voxels along each axis; lengths in the settings are in millimetres.
        settings: `filters`, and the settings of each.
        largest: largest absolute intensity of the image that `array` is a part of.

    Raises:
        InputError: voxels have unequal sides, and IBSI's normalisation of LoG, Simoncelli or Riesz is asked for;
            kernels of Laws or orders of Riesz do not fit.
    """
    axes = [axis for axis in range(array.ndim) if array.shape[axis] > 1]
    boundary = settings.filter_boundary
    if "original" in settings.filters:
        yield "original", array
    if "mean" in settings.filters:
        yield f"mean_{settings.mean_voxels}", local_mean(array, settings.mean_voxels, axes, boundary)
    if "gradient" in settings.filters:
        yield "gradient", gradient_magnitude(array, spacing_mm, axes, boundary)
    for name, transform in POINTWISE.items():
        if name in settings.filters:
            yield name, transform(array, largest or 1.0)
    if "log" in settings.filters:
        yield from _laplacians(array, spacing_mm, settings, axes)
    if "wavelet" in settings.filters:
        rotated = settings.wavelet_rotation == "average"
        yield from wavelet_bands(array, settings.wavelet, settings.wavelet_levels, rotated, axes, boundary)
    if "laws" in settings.filters:
        for kernels in settings.laws:
            rotation, energy = settings.laws_rotation, settings.laws_energy_voxels
            yield f"laws_{kernels}", laws_response(array, kernels, rotation, energy, axes, boundary)
    if "gabor" in settings.filters:
        planes = [(1, 2)] if settings.gabor_planes == "slices" or len(axes) < 3 else [(1, 2), (0, 2), (0, 1)]
        sizes = settings.gabor_sigma_mm, settings.gabor_wavelength_mm, settings.gabor_aspect
        image = gabor_response(array, spacing_mm, *sizes, settings.gabor_step_deg, planes, boundary)
        yield f"gabor_{settings.gabor_sigma_mm:g}mm", image
    if "simoncelli" in settings.filters:
        yield from _bands(array, spacing_mm, settings, axes)
    if "riesz" in settings.filters:
        sources = {
            "original": lambda: [("", array)],
            "log": lambda: _laplacians(array, spacing_mm, settings, axes),
            "simoncelli": lambda: _bands(array, spacing_mm, settings, axes),
        }
        _refuse_unequal_sides([spacing_mm[axis] for axis in axes], "filter riesz is the same in all directions")
        for source in settings.riesz_of:
            for name, image in sources[source]():
                for order in settings.riesz:
                    yield f"riesz_{order}" + f"_of_{name}" * bool(name), riesz_response(image, order, axes, boundary)


def _laplacians(
    array: Floats, spacing_mm: Sequence[float], settings: RadiomicsConfig, axes: Sequence[int]
) -> Iterator[tuple[str, Floats]]:
    if settings.log_normalise == "ibsi":
        sides = [spacing_mm[axis] for axis in axes]
        _refuse_unequal_sides(sides, "radiomics.log_normalise=ibsi counts per squared voxel")
    for sigma_mm in settings.log_sigma_mm:
        how = settings.filter_boundary, settings.log_normalise
        yield f"log_{sigma_mm:g}mm", laplacian_of_gaussian(array, spacing_mm, sigma_mm, axes, *how)


def _bands(
    array: Floats, spacing_mm: Sequence[float], settings: RadiomicsConfig, axes: Sequence[int]
) -> Iterator[tuple[str, Floats]]:
    sides = [spacing_mm[axis] for axis in axes]
    _refuse_unequal_sides(sides, "filter simoncelli is the same in all directions")
    for level in range(1, settings.simoncelli_levels + 1):
        yield f"simoncelli_{level}", simoncelli_response(array, level, axes, settings.filter_boundary)


def _refuse_unequal_sides(sides_mm: Sequence[float], because: str) -> None:
    if max(sides_mm) > min(sides_mm) * (1 + UNEQUAL):
        raise InputError(
            f"{because}: expected voxels with equal sides, got"
            f" {' x '.join(f'{side:g}' for side in sides_mm)} mm; resample with radiomics.spacing_mm"
        )


def filter_reach(settings: RadiomicsConfig, step_mm: float) -> int:
    """Count the voxels of an axis, `step_mm` apart, that the settings' filters look at beyond a voxel."""
    reaches = [WHOLE_IMAGE if {"simoncelli", "riesz"} & set(settings.filters) else 0]
    if "mean" in settings.filters:
        reaches.append(settings.mean_voxels // 2)
    if "gradient" in settings.filters:
        reaches.append(1)
    if "log" in settings.filters:
        reaches += [gaussian_reach(sigma_mm / step_mm) for sigma_mm in settings.log_sigma_mm]
    if "wavelet" in settings.filters:
        reaches.append(wavelet_reach(settings.wavelet, settings.wavelet_levels))
    if "laws" in settings.filters:
        reaches += [laws_reach(kernels, settings.laws_energy_voxels) for kernels in settings.laws]
    if "gabor" in settings.filters:
        reaches.append(gabor_reach(settings.gabor_sigma_mm, settings.gabor_aspect, step_mm))
    return max(reaches)


def largest_intensity(array: Floats) -> float:
    """Largest absolute intensity of a whole image, by which pointwise filters keep its range."""
    return float(np.abs(array).max())
