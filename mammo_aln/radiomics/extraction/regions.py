"""Regions of interest of a case, read and prepared: as drawn, drawn again with jitter, and the rings around them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, shift

from mammo_aln.errors import InputError
from mammo_aln.radiomics.extraction.cases import MOST_LISTED, Case, CropImage, VolumeImage
from mammo_aln.radiomics.extraction.roi import Mask, bounding_box
from mammo_aln.settings import RadiomicsConfig


@dataclass(frozen=True)
class Region:
    """A region on a case's image, in the form that features are computed on.

    Args:
        name: region, or region and ring (`lesion-ring3mm`).
        array: intensities (slices, rows, columns) or (rows, columns).
        mask: the region, same shape.
        spacing_mm: distance between voxels along each axis.
        notes: what was done or noticed on reading or preparing (`mask_resampled`, `empty_mask`, ...).
    """

    name: str
    array: NDArray[np.float32]
    mask: Mask
    spacing_mm: tuple[float, ...]
    notes: tuple[str, ...] = ()


def load_regions(case: Case, settings: RadiomicsConfig) -> Iterator[Region]:
    """Read and prepare the case's regions, each followed by its rings."""
    if isinstance(case.image, VolumeImage):
        drawn = _volume_regions(case, case.image, settings)
    else:
        drawn = _crop_regions(case, case.image)
    regions = list(drawn)
    if settings.jitter_mm:
        regions = [_drawn_again(case, region, settings) for region in regions]
    for region in regions:
        yield region
        for width_mm in settings.rings_mm:
            around = ring(region.mask, region.spacing_mm, width_mm)
            if region.array.ndim == 2:
                around &= region.array > 0.0  # air is no tissue
            yield Region(f"{region.name}-ring{width_mm:g}mm", region.array, around, region.spacing_mm, region.notes)


def _volume_regions(case: Case, source: VolumeImage, settings: RadiomicsConfig) -> Iterator[Region]:
    from mammo_aln.radiomics.extraction.preprocess import prepare
    from mammo_aln.radiomics.extraction.volumes import read_volume

    before_nat = source.timepoint == "pre"
    for name, mask, label, roi in case.regions:
        volume = read_volume(
            Path(source.image),
            Path(mask),
            label=label,
            roi=roi,
            stated_spacing_mm=source.spacing_mm,
            resample_mask=settings.resample_masks,
        )
        notes = volume.notes
        if not volume.mask.any():
            if before_nat:
                values = f" (mask_label {label}; the mask's values: {_shown(volume.labels)})" if label else ""
                raise InputError(f"{mask}: region {name} is empty before NAT; expected at least one voxel{values}")
            notes = (*notes, "empty_mask")
        ready = prepare(volume, source.sequence, settings)
        if volume.mask.any() and not ready.mask.any():
            if before_nat:
                raise InputError(
                    f"{mask}: region {name} ({int(volume.mask.sum())} voxels) is lost by resampling; set a finer"
                    " radiomics.spacing_mm"
                )
            notes = (*notes, "lost_by_resampling")
        yield Region(name, ready.array, ready.mask, ready.spacing_mm, notes)


def _shown(labels: tuple[float, ...]) -> str:
    more = f", ... ({len(labels)} in all)" if len(labels) > MOST_LISTED else ""
    return ", ".join(f"{label:g}" for label in labels[:MOST_LISTED]) + more


def _crop_regions(case: Case, source: CropImage) -> Iterator[Region]:
    """The annotated box on its crop, in display values; a region's second box is named `region.2`."""
    from mammo_aln.crops.store.store import CropStore
    from mammo_aln.crops.window import source_to_crop

    store = CropStore(source.store)
    for number, (name, key, _, _) in enumerate(case.regions):
        crop = store.crop(key)
        image = store.image(crop.image)
        array = store.read_values(key)
        size_px, window, spacing = crop.size_px, crop.window, image.spacing
        if spacing is None or crop.box is None:
            raise InputError(f"image {source.image}: no pixel spacing or no box; features of shape need both")
        x_min, y_min, x_max, y_max = crop.box
        corners = np.array([[x_min, y_min], [x_max, y_max]], dtype=float)
        on_crop = source_to_crop(corners, window, size_px, image.orientation)
        (left, top), (right, bottom) = on_crop.min(axis=0), on_crop.max(axis=0)
        centre = np.arange(size_px) + 0.5
        mask = ((centre >= top) & (centre < bottom))[:, None] & ((centre >= left) & (centre < right))[None, :]
        mask &= array > 0.0
        row_mm = window.height * spacing.row_mm / size_px
        column_mm = window.width * spacing.column_mm / size_px
        earlier = [region.name for region in case.regions[:number]].count(name)
        yield Region(f"{name}.{earlier + 1}" if earlier else name, array, mask, (row_mm, column_mm))


def ring(mask: Mask, spacing_mm: tuple[float, ...], width_mm: float) -> Mask:
    """Voxels whose centre lies outside the mask, at most `width_mm` from its edge.

    The edge is where the line to the nearest voxel of the mask enters that voxel, so that thick slices do not make a
    ring thinner.
    """
    around = np.zeros_like(mask)
    if not mask.any():
        return around
    near = bounding_box(mask, tuple(int(width_mm / step) + 2 for step in spacing_mm))
    inside = mask[near]
    distance, nearest = distance_transform_edt(~inside, sampling=spacing_mm, return_indices=True)
    steps = np.abs(np.indices(inside.shape) - nearest).max(axis=0)
    to_edge = distance * (1.0 - 0.5 / np.maximum(steps, 1))
    around[near] = ~inside & (to_edge <= width_mm)
    return around


def _drawn_again(case: Case, region: Region, settings: RadiomicsConfig) -> Region:
    image = case.image.image if isinstance(case.image, CropImage) else ""  # a volume's path differs by machine
    seed = seed_for(settings.jitter_seed, case.patient_id, case.side, case.acquisition, region.name, image)
    mask = jittered(region.mask, region.spacing_mm, settings.jitter_mm, seed)
    if region.array.ndim == 2:
        mask &= region.array > 0.0
    return replace(region, mask=mask, notes=(*region.notes, "jittered"))


def seed_for(seed: int, *names: str) -> int:
    """A region's own seed, the same on every machine and in any order of the work."""
    return int(hashlib.sha256("\n".join([str(seed), *names]).encode()).hexdigest()[:12], 16)


def jittered(mask: Mask, spacing_mm: tuple[float, ...], jitter_mm: float, seed: int) -> Mask:
    """Shift the region along each axis, then grow or shrink it at its edge, each by at most `jitter_mm`.

    A region that this would empty keeps its form and position.

    Args:
        mask: the region (slices, rows, columns) or (rows, columns).
        spacing_mm: distance between voxels along each axis.
        jitter_mm: largest shift, and largest growth.
        seed: draws both.
    """
    rng = np.random.default_rng(seed)
    moved_mm, grown_mm = rng.uniform(-jitter_mm, jitter_mm, mask.ndim), float(rng.uniform(-jitter_mm, jitter_mm))
    if not mask.any():
        return mask
    near = bounding_box(mask, tuple(int(np.ceil(2.0 * jitter_mm / step)) + 2 for step in spacing_mm))
    inside = np.pad(mask[near], 1)  # so that there is an outside
    depth = distance_transform_edt(inside, sampling=spacing_mm) - distance_transform_edt(~inside, sampling=spacing_mm)
    moved = shift(depth, moved_mm / np.asarray(spacing_mm), order=1, mode="nearest")
    redrawn = np.zeros_like(mask)
    redrawn[near] = (moved + grown_mm > 0.0)[tuple(slice(1, -1) for _ in spacing_mm)]
    return redrawn if redrawn.any() else mask
