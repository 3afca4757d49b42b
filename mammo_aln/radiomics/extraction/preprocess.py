"""From a volume as read to the one that features see: bias field, intensity normalisation, resampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from mammo_aln.errors import InputError
from mammo_aln.radiomics.extraction.volumes import Volume
from mammo_aln.settings import RadiomicsConfig

N4_SHRINK = 4
AIR_SHARE = 0.05
"""Of the 99th percentile: darker voxels are air, which has no bias to correct."""
PERCENTILES = (1.0, 99.0)
SPLINE_ORDER = {"nearest": 0, "linear": 1, "cubic": 3}
ROUNDING = 1e-5
"""Of a voxel: what single precision may lose."""


def prepare(volume: Volume, sequence: str, settings: RadiomicsConfig) -> Volume:
    """Apply the settings' steps: N4, normalisation, resampling; quantitative sequences are only resampled."""
    array = volume.array
    if sequence not in settings.quantitative:
        if settings.bias_correction:
            array = without_bias(array, volume.spacing_mm)
        array = normalised(array, settings.normalise)
    volume = replace(volume, array=array)
    if settings.spacing_mm:
        orders = SPLINE_ORDER[settings.interpolation], SPLINE_ORDER[settings.mask_interpolation]
        volume = resampled(volume, target_mm(settings, volume.spacing_mm), *orders)
    return replace(volume, array=np.rint(volume.array)) if settings.round_intensities else volume


def target_mm(settings: RadiomicsConfig, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Spacing to resample to: three numbers, or one for all axes; an axis of 0 keeps its own."""
    sides = settings.spacing_mm * 3 if len(settings.spacing_mm) == 1 else settings.spacing_mm
    slices, rows, columns = (side or own for side, own in zip(sides, spacing_mm, strict=True))
    return slices, rows, columns


def without_bias(array: NDArray[np.float32], spacing_mm: tuple[float, ...]) -> NDArray[np.float32]:
    """N4 (Tustison 2010): the field is fitted on a grid 4 times coarser and divided out at full resolution."""
    positive = array - min(float(array.min()), 0.0) + 1.0
    tissue = positive > AIR_SHARE * float(np.percentile(positive, PERCENTILES[1]))
    image, foreground = sitk.GetImageFromArray(positive), sitk.GetImageFromArray(tissue.astype(np.uint8))
    for grid in (image, foreground):
        grid.SetSpacing(tuple(spacing_mm)[::-1])
    shrink = [min(N4_SHRINK, max(side // 8, 1)) for side in image.GetSize()]
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    try:
        corrector.Execute(sitk.Shrink(image, shrink), sitk.Shrink(foreground, shrink))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"N4 fails on this image (radiomics.bias_correction=false leaves it out): {reason}") from error
    field = sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image))
    return np.asarray(array / np.exp(field), dtype=np.float32)


def normalised(array: NDArray[np.float32], how: str) -> NDArray[np.float32]:
    """Intensities made comparable between scanners, over the whole volume; `zscore`, `percentile` or `none`."""
    if how == "none":
        return array
    if how == "zscore":
        centre, scale = float(array.mean()), float(array.std())
    else:
        centre, top = (float(q) for q in np.percentile(array, PERCENTILES))
        scale = top - centre
    return np.asarray((array - centre) / (scale or 1.0), dtype=np.float32)


def resampled(volume: Volume, spacing_mm: tuple[float, float, float], order: int = 3, mask_order: int = 1) -> Volume:
    """Resample intensities by splines of `order`, and the mask, of which at least one half is the region (IBSI-1).

    The new grid shares its centre with the old one and covers it; a side that it covers but for rounding has no voxel
    more (33 of 1.1 mm are 11 of 3.3 mm).
    """
    ratio = np.asarray(spacing_mm) / np.asarray(volume.spacing_mm)
    old = np.asarray(volume.array.shape)
    new = np.ceil(old / ratio - ROUNDING).astype(int)
    start = (old - 1) / 2.0 - ratio * (new - 1) / 2.0
    shape = tuple(int(side) for side in new)
    array = affine_transform(volume.array, ratio, start, output_shape=shape, order=order, mode="nearest")
    mask = affine_transform(
        volume.mask.astype(np.float32), ratio, start, output_shape=shape, order=mask_order, mode="nearest"
    )
    return replace(volume, array=array, mask=mask >= 0.5 - ROUNDING, spacing_mm=spacing_mm)
