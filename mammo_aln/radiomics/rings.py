"""Peritumoral rings: what lies within some millimetres outside a region."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from mammo_aln.radiomics.roi import Mask, bounding_box


def ring(mask: Mask, spacing_mm: tuple[float, ...], width_mm: float) -> Mask:
    """Voxels outside the mask whose distance to it is at most `width_mm`.

    Distances are Euclidean, in millimetres, between voxel centres.
    """
    around = np.zeros_like(mask)
    if mask.any():
        near = bounding_box(mask, tuple(int(width_mm / step) + 1 for step in spacing_mm))
        inside = mask[near]
        around[near] = ~inside & (distance_transform_edt(~inside, sampling=spacing_mm) <= width_mm)
    return around
