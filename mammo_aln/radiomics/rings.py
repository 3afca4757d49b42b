"""Peritumoral rings: what lies within some millimetres outside a region."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

Mask = NDArray[np.bool_]


def ring(mask: Mask, spacing_mm: tuple[float, ...], width_mm: float, exclude: Mask | None = None) -> Mask:
    """Voxels outside the mask whose distance to it is at most `width_mm`, without those of `exclude`.

    Distances are Euclidean, in millimetres, between voxel centres.
    """
    if not mask.any():
        return np.zeros_like(mask)
    distance = distance_transform_edt(~mask, sampling=spacing_mm)
    around = ~mask & (distance <= width_mm)
    return around if exclude is None else around & ~exclude
