"""Radiomic features of a region: the one door to feature computation, a function of (array, mask, spacing_mm).

The matrices and formulas behind it are this package's own numpy. The libraries that install with plain pip were
measured first (`docs/explanation/features.md`): none reproduces all of IBSI's values, and all take longer. The tests
hold this door to IBSI's own table and to a second implementation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammo_aln.radiomics.extraction import intensity, matrices, shape, textures
from mammo_aln.radiomics.extraction.grey_levels import discretise, resegmented
from mammo_aln.radiomics.extraction.roi import Floats, Ints, Mask, Roi, bounding_box
from mammo_aln.radiomics.filtering.images import filter_reach, filtered_images, largest_intensity
from mammo_aln.settings import RadiomicsConfig

Aggregation = str
TEXTURES = ("cm", "rlm", "szm", "dzm", "ngt", "ngl")
ONCE = ("morph", "loc", "spatial")
"""Families of the original image alone."""
LEAST_VOXELS = 8
"""A smaller region has no texture or form to speak of; its features but for `SIZES` are left empty."""
SIZES = tuple(f"shape_morph_{name}" for name in ("volume", "vol_approx", "2d_area", "2d_area_approx"))
"""Known of one voxel too: a small remnant must not pass for a lesion of ordinary size."""


def radiomic_features(
    array: NDArray[Any], mask: Mask, spacing_mm: tuple[float, ...], settings: RadiomicsConfig
) -> dict[str, float]:
    """All features that the settings ask for, by `FILTER_FAMILY_NAME`.

    Args:
        array: intensities (slices, rows, columns), or (rows, columns) for a 2D image.
        mask: the region, same shape.
        spacing_mm: distance between voxels along each axis of `array`.
        settings: families, filters, discretisation and aggregation.

    Returns:
        Feature name (filter, IBSI's tag) and value; NaN where a feature is not defined, and in a region of fewer than 8
        voxels for all but its volume or area.
    """
    if array.ndim == 2:
        array, mask, spacing_mm = array[None], mask[None], (1.0, *spacing_mm)
    small = int(mask.sum()) < LEAST_VOXELS
    wide, largest = _near(array.shape, mask, spacing_mm, settings), largest_intensity(array)
    array, mask = array[wide].astype(np.float64), mask[wide]
    inside = resegmented(array, mask, settings)
    box = bounding_box(mask)
    features: dict[str, float] = {}
    if once := [family for family in settings.families if family in ONCE]:
        features |= {f"shape_{tag}": value for tag, value in _once(array, mask, inside, spacing_mm, once).items()}
    families = [family for family in settings.families if family not in ONCE]
    for name, image in filtered_images(array, spacing_mm, settings, largest):
        levels = discretise(image[box][inside[box]], settings, is_original=name == "original")
        values = region_features(image[box], mask[box], inside[box], levels, families, settings, name == "original")
        features |= {f"{name}_{tag}": value for tag, value in values.items()}
    return {name: value if name in SIZES else float("nan") for name, value in features.items()} if small else features


def _near(
    sides: tuple[int, ...], mask: Mask, spacing_mm: tuple[float, ...], settings: RadiomicsConfig
) -> tuple[slice, ...]:
    """Box of the region and of all that its features look at: filters' support, the spheres of the local peaks."""
    peak_mm = intensity.PEAK_RADIUS_MM if "loc" in settings.families else 0.0
    return bounding_box(
        mask,
        tuple(
            max(int(np.ceil(peak_mm / step)) + 1, filter_reach(settings, step)) if side > 1 else 0
            for side, step in zip(sides, spacing_mm, strict=True)
        ),
    )


def _once(
    array: Floats, mask: Mask, intensity_mask: Mask, spacing_mm: tuple[float, ...], families: Collection[str]
) -> dict[str, float]:
    box = bounding_box(mask)
    image, region, inside = array[box], mask[box], intensity_mask[box]
    features: dict[str, float] = {}
    if "morph" in families and array.shape[0] == 1:
        of_plane = shape.planar_morphology(image[inside], region[0], inside[0], spacing_mm[1:])
        features |= {f"morph_{tag}": value for tag, value in of_plane.items()}
    elif "morph" in families:
        in_space = shape.morphology(image[inside], region, inside, spacing_mm)
        features |= {f"morph_{tag}": value for tag, value in in_space.items()}
    if "spatial" in families:
        features |= {f"morph_{tag}": v for tag, v in shape.autocorrelation(image, inside, spacing_mm).items()}
    if "loc" in families:
        peaks = intensity.local_peaks(array, intensity_mask, spacing_mm)
        features |= {f"loc_{tag}": value for tag, value in peaks.items()}
    return features


def region_features(
    array: Floats,
    mask: Mask,
    intensity_mask: Mask,
    levels: Ints,
    families: Collection[str],
    settings: RadiomicsConfig,
    is_original: bool = True,
) -> dict[str, float]:
    """Intensity and texture features of one image, by IBSI's tag without its aggregation.

    Args:
        array: intensities (slices, rows, columns).
        mask: the region; distances of the distance zone matrix are measured to its edge.
        intensity_mask: the region without voxels whose intensity was excluded (IBSI's re-segmentation).
        levels: grey level 1.. of each voxel of `intensity_mask`, in reading order.
        families: `stat`, `ih`, `ivh`, `cm`, `rlm`, `szm`, `dzm`, `ngt`, `ngl`.
        settings: aggregation, levels of the intensity-volume histogram, distances.
        is_original: intensities have the image's own unit; else the intensity-volume histogram has 1,000 levels.
    """
    values = array[intensity_mask]
    features: dict[str, float] = {}
    if "stat" in families:
        features |= {f"stat_{tag}": value for tag, value in intensity.statistics(values).items()}
    if "ih" in families:
        features |= {f"ih_{tag}": value for tag, value in intensity.histogram(levels, int(levels.max())).items()}
    if "ivh" in families and is_original:
        bins, width, limits = settings.ivh_bins, settings.ivh_bin_width, settings.resegment_range
        of_volume = intensity.volume_histogram(values, bins=bins, width=width, limits=limits)
        features |= {f"ivh_{tag}": value for tag, value in of_volume.items()}
    elif "ivh" in families:
        features |= {f"ivh_{tag}": value for tag, value in intensity.volume_histogram(values).items()}
    texture_families = [family for family in TEXTURES if family in families]
    if texture_families:
        grid = np.zeros(mask.shape, dtype=np.int64)
        grid[intensity_mask] = levels
        for family, of_matrices in _texture_features(Roi.of(grid, intensity_mask), mask, texture_families, settings):
            features |= {f"{family}_{tag}": _mean(values) for tag, values in of_matrices.items()}
    return features


def _mean(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _texture_features(
    roi: Roi, mask: Mask, families: Collection[str], settings: RadiomicsConfig
) -> Iterator[tuple[str, dict[str, Floats]]]:
    aggregation: str = settings.aggregation
    if aggregation in ("avg", "comb"):
        aggregation = ("2D_" if mask.shape[0] == 1 else "3D_") + aggregation
    plane: matrices.Plane = "3D" if aggregation.startswith("3D") else "2D"
    of_slices = np.bincount(roi.slices, minlength=roi.padded.shape[0] - 2).astype(float)
    slices = of_slices.sum(keepdims=True) if plane == "3D" else of_slices
    if "cm" in families:
        merged, _ = _join(matrices.co_occurrence(roi, plane, settings.glcm_distance), slices, aggregation)
        yield "cm", textures.co_occurrence_features(merged)
    if "rlm" in families:
        yield "rlm", textures.emphasis_features("rlm", *_join(matrices.run_length(roi, plane), slices, aggregation))
    if "szm" in families or "dzm" in families:
        pair = matrices.size_and_distance_zones(roi, plane, mask)
        for family, counts in zip(("szm", "dzm"), pair, strict=True):
            if family in families:
                yield family, textures.emphasis_features(family, *_over_slices(counts, slices, aggregation))
    if "ngt" in families or "ngl" in families:
        tones, dependence = matrices.neighbourhood(roi, plane, settings.ngldm_alpha)
        if "ngt" in families:
            yield "ngt", textures.grey_tone_features(_over_slices(tones, slices, aggregation)[0])
        if "ngl" in families:
            yield "ngl", textures.emphasis_features("ngl", *_over_slices(dependence, slices, aggregation))


def _join(counts: Floats, voxels: Floats, aggregation: Aggregation) -> tuple[Floats, Floats]:
    """Merge matrices (slices, directions, ...) over slices (2.5D) and directions (comb); then one stack of them."""
    if aggregation.startswith("2_5D"):
        counts, voxels = counts.sum(axis=0, keepdims=True), voxels.sum(keepdims=True)
    directions = counts.shape[1]
    if aggregation.endswith("comb"):
        return counts.sum(axis=1), voxels * directions
    return counts.reshape(-1, *counts.shape[2:]), np.repeat(voxels, directions)


def _over_slices(counts: Floats, voxels: Floats, aggregation: Aggregation) -> tuple[Floats, Floats]:
    """Matrices without direction (slices, ...): merged over slices unless features are averaged over them (2D)."""
    if aggregation.startswith("2D"):
        return counts, voxels
    return counts.sum(axis=0, keepdims=True), voxels.sum(keepdims=True)
