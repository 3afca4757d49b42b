"""Changes of training crops in OpenCV: one warp of the stored block, their only interpolation, then grey values."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.store.store import LEVELS
from mammo_aln.training.data.draws import Draws, theta

cv2.setNumThreads(0)  # loader processes are the parallelism; OpenCV's own threads would fight them


def warp_blocks(blocks: Sequence[NDArray[np.uint16]], draws: Draws, size_px: int) -> NDArray[np.float32]:
    """Change crops.

    Args:
        blocks: N crops with their surround, each uint16 (S', S') with S' = size_px + 2 * surround_px(size_px).
        draws: the N changes.
        size_px: side of a crop.

    Returns:
        float32 (N, size_px, size_px) in [0, 1].
    """
    crops = np.empty((len(blocks), size_px, size_px), np.float32)
    level = 1.0 / LEVELS
    for nth, matrix in enumerate(theta(draws, size_px)):
        crop, contrast, brightness = crops[nth], float(draws.contrast[nth]), float(draws.brightness[nth])
        levels = cv2.warpAffine(
            blocks[nth], matrix, (size_px, size_px), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=0
        )
        np.multiply(levels, np.float32(contrast * level), out=crop)
        if brightness:
            crop += np.float32(brightness)
        if brightness or contrast > 1.0:
            np.clip(crop, 0.0, 1.0, out=crop)
        if draws.gamma[nth] != 1.0:
            cv2.pow(crop, float(draws.gamma[nth]), dst=crop)
    return crops
