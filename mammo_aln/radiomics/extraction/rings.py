"""Peritumoral rings: what lies within some millimetres outside a region."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from mammo_aln.radiomics.extraction.roi import Mask, bounding_box


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
