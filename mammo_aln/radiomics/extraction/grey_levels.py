"""Intensities of a region that count, and the grey levels that textures count them in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mammo_aln.errors import InputError
from mammo_aln.radiomics.extraction.roi import Floats, Ints, Mask, fixed_number, fixed_width
from mammo_aln.settings import RadiomicsConfig
from mammo_aln.settings.signatures import MOST_LEVELS


def of_sequence(settings: RadiomicsConfig, sequence: str) -> RadiomicsConfig:
    """Put the bin width that the settings name for a sequence in the place of all others'."""
    return replace(settings, bin_width=settings.bin_width_of.get(sequence, settings.bin_width))


def resegmented(array: Floats, mask: Mask, settings: RadiomicsConfig) -> Mask:
    """Leave out voxels of a region by their intensity (IBSI-1): outside a range, or far from the region's mean.

    Args:
        array: intensities of the original image (slices, rows, columns).
        mask: the region.
        settings: `resegment_range`, `resegment_sigma`; mean and standard deviation are those of the whole region.

    Raises:
        InputError: no voxel is left.
    """
    inside = mask
    if settings.resegment_range:
        low, high = settings.resegment_range
        inside = inside & (array >= low) & (array <= high)
    if settings.resegment_sigma:
        values = array[mask]
        inside = inside & (np.abs(array - values.mean()) <= settings.resegment_sigma * values.std())
    if mask.any() and not inside.any():
        values = array[mask]
        raise InputError(
            f"no voxel of the region is left by radiomics.resegment_range = {list(settings.resegment_range)} and"
            f" resegment_sigma = {settings.resegment_sigma:g}; its intensities are {values.min():g} to {values.max():g}"
        )
    return inside


def discretise(values: Floats, settings: RadiomicsConfig, *, is_original: bool) -> Ints:
    """Grey levels 1.. of a region's intensities by the settings' bins.

    Args:
        values: intensities (voxels,).
        settings: `bins`, `bin_width`, `bin_origin`, `resegment_range`.
        is_original: intensities have the image's own unit; bins of filtered images begin at their smallest value.

    Raises:
        InputError: too many levels, or intensities below the first one.
    """
    if settings.bin_width <= 0:
        return fixed_number(values, settings.bins)
    low, high = float(values.min()), float(values.max())
    origin = bin_origin(settings) if is_original else None
    if origin is not None and low < origin:
        raise InputError(
            f"radiomics.bin_origin = {origin:g} lies above the region's smallest intensity {low:g}; expected an origin"
            " at or below it, or a radiomics.resegment_range that begins there"
        )
    count = (high - (low if origin is None else origin)) / settings.bin_width + 1
    if not count <= MOST_LEVELS:
        raise InputError(
            f"radiomics.bin_width = {settings.bin_width:g} makes {count:.3g} grey levels of this region's"
            f" intensities, {low:g} to {high:g}; expected at most {MOST_LEVELS}: a wider bin"
        )
    return fixed_width(values, settings.bin_width, origin)


def bin_origin(settings: RadiomicsConfig) -> float | None:
    """Find where bins of a width begin, the same in all regions; None where each begins at its own minimum."""
    if settings.bin_origin is not None:
        return settings.bin_origin
    return settings.resegment_range[0] if settings.resegment_range else None


def noted(array: Floats, mask: Mask, settings: RadiomicsConfig) -> tuple[str, ...]:
    """Name what makes a region's levels doubtful: `whole_image`, `one_grey_level`, `bins_from_own_minimum`."""
    notes = ["whole_image"] if mask.all() else []
    if settings.bin_width > 0 and bin_origin(settings) is None:
        notes.append("bins_from_own_minimum")
    inside = resegmented(array, mask, settings)
    if inside.any() and discretise(array[inside], settings, is_original=True).max() == 1:
        notes.append("one_grey_level")
    return tuple(notes)
