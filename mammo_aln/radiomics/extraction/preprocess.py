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


def prepare(volume: Volume, sequence: str, settings: RadiomicsConfig) -> Volume:
    """Apply the settings' steps: N4, normalisation, resampling; quantitative sequences are only resampled."""
    array = volume.array
    if sequence not in settings.quantitative:
        if settings.bias_correction:
            array = without_bias(array, volume.spacing_mm)
        array = normalised(array, settings.normalise)
    volume = replace(volume, array=array)
    return resampled(volume, target_mm(settings)) if settings.spacing_mm else volume


def target_mm(settings: RadiomicsConfig) -> tuple[float, float, float]:
    """Spacing to resample to: three numbers, or one for all axes."""
    sides = settings.spacing_mm * 3 if len(settings.spacing_mm) == 1 else settings.spacing_mm
    return sides[0], sides[1], sides[2]


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


def resampled(volume: Volume, spacing_mm: tuple[float, float, float]) -> Volume:
    """Cubic splines for intensities, linear interpolation and a threshold of one half for the mask (IBSI); the two
    grids share their centre."""
    ratio = np.asarray(spacing_mm) / np.asarray(volume.spacing_mm)
    old = np.asarray(volume.array.shape)
    new = np.ceil(old / ratio).astype(int)
    start = (old - 1) / 2.0 - ratio * (new - 1) / 2.0
    shape = tuple(int(side) for side in new)
    array = affine_transform(volume.array, ratio, start, output_shape=shape, order=3, mode="nearest")
    mask = affine_transform(volume.mask.astype(np.float32), ratio, start, output_shape=shape, order=1, mode="nearest")
    return replace(volume, array=array, mask=mask >= 0.5, spacing_mm=spacing_mm)
