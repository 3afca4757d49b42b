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

from mammo_aln.errors import InputError
from mammo_aln.radiomics.extraction import intensity, matrices, shape, textures
from mammo_aln.radiomics.extraction.roi import Floats, Ints, Mask, Roi, bounding_box, fixed_number, fixed_width
from mammo_aln.radiomics.filtering.images import filter_reach, filtered_images
from mammo_aln.settings import RadiomicsConfig
from mammo_aln.settings.signatures import MOST_LEVELS

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
    flat = array.shape[0] == 1
    aggregation = ("2D_" if flat else "3D_") + settings.aggregation
    small = int(mask.sum()) < LEAST_VOXELS
    wide = _near(array.shape, mask, spacing_mm, settings)
    array, mask = array[wide].astype(np.float64), mask[wide]
    box = bounding_box(mask)
    features: dict[str, float] = {}
    for number, (name, image) in enumerate(filtered_images(array, spacing_mm, settings)):
        if number == 0 and (once := [family for family in settings.families if family in ONCE]):
            features |= {f"shape_{tag}": value for tag, value in _once(array, mask, spacing_mm, once).items()}
        levels = discretise(image[box][mask[box]], settings)
        families = [family for family in settings.families if family not in ONCE]
        values = region_features(image[box], mask[box], levels, families, aggregation=aggregation)
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


def _once(array: Floats, mask: Mask, spacing_mm: tuple[float, ...], families: Collection[str]) -> dict[str, float]:
    box = bounding_box(mask)
    inside, region = array[box], mask[box]
    values = inside[region]
    features: dict[str, float] = {}
    if "morph" in families and array.shape[0] == 1:
        features |= {f"morph_{tag}": v for tag, v in shape.planar_morphology(values, region[0], spacing_mm[1:]).items()}
    elif "morph" in families:
        features |= {f"morph_{tag}": v for tag, v in shape.morphology(values, region, region, spacing_mm).items()}
    if "spatial" in families:
        features |= {f"morph_{tag}": v for tag, v in shape.autocorrelation(inside, region, spacing_mm).items()}
    if "loc" in families:
        features |= {f"loc_{tag}": value for tag, value in intensity.local_peaks(array, mask, spacing_mm).items()}
    return features


def discretise(values: Floats, settings: RadiomicsConfig) -> Ints:
    """Grey levels of a region's intensities by the settings' bins."""
    if settings.bin_width > 0:
        count = (float(values.max()) - float(values.min())) / settings.bin_width + 1
        if not count <= MOST_LEVELS:
            raise InputError(
                f"radiomics.bin_width = {settings.bin_width:g} makes {count:.3g} grey levels of this region's"
                f" intensities, {values.min():g} to {values.max():g}; expected at most {MOST_LEVELS}: a wider bin"
            )
        return fixed_width(values, settings.bin_width)
    return fixed_number(values, settings.bins)


def region_features(
    array: Floats,
    mask: Mask,
    levels: Ints,
    families: Collection[str],
    *,
    aggregation: Aggregation,
    intensity_mask: Mask | None = None,
    definite: bool = False,
) -> dict[str, float]:
    """Intensity and texture features of one image, by IBSI's tag without its aggregation.

    Args:
        array: intensities (slices, rows, columns).
        mask: the region; distances of the distance zone matrix are measured to its edge.
        levels: grey level 1.. of each voxel of the region (of `intensity_mask` where it is given), in reading order.
        families: `stat`, `ih`, `ivh`, `cm`, `rlm`, `szm`, `dzm`, `ngt`, `ngl`.
        aggregation: `2D`, `2_5D` or `3D`, with `_avg` or `_comb`: how directions are averaged or merged.
        intensity_mask: the region without voxels whose intensity was excluded (IBSI's re-segmentation).
        definite: intensities are whole numbers with a meaning (for `ivh`).
    """
    inside = mask if intensity_mask is None else intensity_mask
    values = array[inside]
    features: dict[str, float] = {}
    if "stat" in families:
        features |= {f"stat_{tag}": value for tag, value in intensity.statistics(values).items()}
    if "ih" in families:
        features |= {f"ih_{tag}": value for tag, value in intensity.histogram(levels, int(levels.max())).items()}
    if "ivh" in families:
        features |= {f"ivh_{tag}": v for tag, v in intensity.volume_histogram(values, definite=definite).items()}
    texture_families = [family for family in TEXTURES if family in families]
    if texture_families:
        grid = np.zeros(mask.shape, dtype=np.int64)
        grid[inside] = levels
        for family, of_matrices in _texture_features(Roi.of(grid, inside), mask, texture_families, aggregation):
            features |= {f"{family}_{tag}": _mean(values) for tag, values in of_matrices.items()}
    return features


def _mean(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _texture_features(
    roi: Roi, mask: Mask, families: Collection[str], aggregation: Aggregation
) -> Iterator[tuple[str, dict[str, Floats]]]:
    plane: matrices.Plane = "3D" if aggregation.startswith("3D") else "2D"
    of_slices = np.bincount(roi.slices, minlength=roi.padded.shape[0] - 2).astype(float)
    slices = of_slices.sum(keepdims=True) if plane == "3D" else of_slices
    if "cm" in families:
        merged, _ = _join(matrices.co_occurrence(roi, plane), slices, aggregation)
        yield "cm", textures.co_occurrence_features(merged)
    if "rlm" in families:
        yield "rlm", textures.emphasis_features("rlm", *_join(matrices.run_length(roi, plane), slices, aggregation))
    if "szm" in families or "dzm" in families:
        pair = matrices.size_and_distance_zones(roi, plane, mask)
        for family, counts in zip(("szm", "dzm"), pair, strict=True):
            if family in families:
                yield family, textures.emphasis_features(family, *_over_slices(counts, slices, aggregation))
    if "ngt" in families or "ngl" in families:
        tones, dependence = matrices.neighbourhood(roi, plane)
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
