"""The filtered images that settings name, in order, and how far beyond a region they look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mammo_aln.errors import InputError
from mammo_aln.radiomics.filtering.gaussian import Floats, gaussian_reach, laplacian_of_gaussian
from mammo_aln.radiomics.filtering.wavelets import wavelet_bands, wavelet_reach
from mammo_aln.settings import RadiomicsConfig

UNEQUAL = 1e-3
"""Share by which sides of a voxel may differ and be called equal."""


def filtered_images(
    array: Floats, spacing_mm: Sequence[float], settings: RadiomicsConfig
) -> Iterator[tuple[str, Floats]]:
    """The images that the settings name: name (`original`, `log_2mm`, `wavelet_LLH`, ...) and pixels.

    Args:
        array: image (slices, rows, columns); filters stay within the slice where there is one slice.
        spacing_mm: distance between voxels along each axis; the scale of LoG is in millimetres.
        settings: `filters`, and the settings of each.

    Raises:
        InputError: IBSI's normalisation of LoG is asked for, and voxels have unequal sides.
    """
    axes = [axis for axis in range(array.ndim) if array.shape[axis] > 1]
    boundary = settings.filter_boundary
    if "original" in settings.filters:
        yield "original", array
    if "log" in settings.filters:
        sides_mm = [spacing_mm[axis] for axis in axes]
        if settings.log_normalise == "ibsi" and max(sides_mm) > min(sides_mm) * (1 + UNEQUAL):
            raise InputError(
                "radiomics.log_normalise=ibsi counts per squared voxel: expected voxels with equal sides, got"
                f" {' x '.join(f'{side:g}' for side in sides_mm)} mm; resample with radiomics.spacing_mm"
            )
        for sigma_mm in settings.log_sigma_mm:
            image = laplacian_of_gaussian(array, spacing_mm, sigma_mm, axes, boundary, settings.log_normalise)
            yield f"log_{sigma_mm:g}mm", image
    if "wavelet" in settings.filters:
        rotated = settings.wavelet_rotation == "average"
        yield from wavelet_bands(array, settings.wavelet, settings.wavelet_levels, rotated, axes, boundary)


def filter_reach(settings: RadiomicsConfig, step_mm: float) -> int:
    """Count the voxels of an axis, `step_mm` apart, that the settings' filters look at beyond a voxel."""
    reach = 0
    if "log" in settings.filters:
        reach = max(gaussian_reach(sigma_mm / step_mm) for sigma_mm in settings.log_sigma_mm)
    if "wavelet" in settings.filters:
        reach = max(reach, wavelet_reach(settings.wavelet, settings.wavelet_levels))
    return reach
