"""Changes of training crops in OpenCV: one warp of the stored block, their only interpolation, then grey values."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.store.store import LEVELS
from mammo_aln.training.data.draws import Draws, grey_values, theta

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
    crops, size = np.empty((len(blocks), size_px, size_px), np.float32), (size_px, size_px)
    levels, flags = np.empty(size, np.uint16), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    rows = zip(blocks, crops, theta(draws, size_px), *(row.tolist() for row in grey_values(draws)), strict=True)
    for block, crop, matrix, contrast, brightness, gamma in rows:
        cv2.warpAffine(block, matrix, size, dst=levels, flags=flags, borderValue=0)
        cv2.addWeighted(levels, contrast / LEVELS, levels, 0.0, brightness, dst=crop, dtype=cv2.CV_32F)
        if brightness or contrast > 1.0:
            np.clip(crop, 0.0, 1.0, out=crop)
        if gamma != 1.0:
            cv2.pow(crop, gamma, dst=crop)
    return crops
