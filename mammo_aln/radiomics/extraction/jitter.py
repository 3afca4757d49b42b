"""Regions drawn again: shifted, and grown or shrunk, by chance, as a second reader's might be."""

from __future__ import annotations

import hashlib

import numpy as np
from scipy.ndimage import distance_transform_edt, shift

from mammo_aln.radiomics.extraction.roi import Mask, bounding_box


def seed_for(seed: int, *names: str) -> int:
    """A region's own seed, the same on every machine and in any order of the work."""
    return int(hashlib.sha256("\n".join([str(seed), *names]).encode()).hexdigest()[:12], 16)


def jittered(mask: Mask, spacing_mm: tuple[float, ...], jitter_mm: float, seed: int) -> Mask:
    """The region shifted along each axis, then grown or shrunk at its edge, each by at most `jitter_mm`.

    A region that this would empty keeps its form and place.

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
    found = np.zeros_like(mask)
    found[near] = (moved + grown_mm > 0.0)[tuple(slice(1, -1) for _ in spacing_mm)]
    return found if found.any() else mask
