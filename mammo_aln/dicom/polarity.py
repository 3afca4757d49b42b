"""Tell a negative by its air: dark and even in a mammogram, bright and even where pixels and tags disagree."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

POLARITY_UNLIKELY = "polarity_unlikely"
LONG_SIDE_PX = 256
MARGIN_SHARE = 0.04
LEVELS = 50
LEAST_AIR_SHARE = 0.10
EVEN_WITHIN = 3
"""Neighbouring levels, of `LEVELS`, that even air keeps to."""

AIR_EVEN_SHARE, TISSUE_EVEN_SHARE = 0.7, 0.5
LEAST_EDGE_SHARE = 0.25


def is_negative(pixels: NDArray[np.float32]) -> bool:
    """Test that an image shows air bright and tissue dark.

    Otsu's threshold parts the image; it is a negative if the bright part is air (at least a tenth of the image, 70 % of
    it within 6 % of the brightness range, a quarter of the image's edge) and the dark part is none (less than half of
    it as even). Both must hold: a wide white frame beside even dark air, a breast that fills the image and a
    saturated breast are no negatives.

    Args:
        pixels: (rows, columns) display values in [0, 1].
    """
    if min(pixels.shape) < 16:
        return False
    step = max(1, max(pixels.shape) // (4 * LONG_SIDE_PX))
    thin = np.ascontiguousarray(pixels[::step, ::step], np.float32)
    scale = min(1.0, LONG_SIDE_PX / max(thin.shape))
    size = (max(8, round(thin.shape[1] * scale)), max(8, round(thin.shape[0] * scale)))
    coarse = np.clip(np.asarray(cv2.resize(thin, size, interpolation=cv2.INTER_AREA)), 0.0, 1.0)
    rows, columns = (max(1, round(MARGIN_SHARE * side)) for side in coarse.shape)
    inner = coarse[rows:-rows, columns:-columns]
    low, high = float(inner.min()), float(inner.max())
    if high <= low:
        return False
    stretched = ((inner - low) / (high - low) * 255).astype(np.uint8)
    threshold, _ = cv2.threshold(stretched, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    bright = stretched > threshold
    edge = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    if bright.mean() < LEAST_AIR_SHARE or edge.mean() < LEAST_EDGE_SHARE or bright.all():
        return False
    return _even_share(stretched[bright]) >= AIR_EVEN_SHARE and _even_share(stretched[~bright]) < TISSUE_EVEN_SHARE


def _even_share(values: NDArray[np.uint8]) -> float:
    """Largest share of values within `EVEN_WITHIN` neighbouring levels."""
    counts = np.bincount(values.astype(int) * LEVELS // 256, minlength=LEVELS)
    return float(np.convolve(counts, np.ones(EVEN_WITHIN)).max() / len(values))
