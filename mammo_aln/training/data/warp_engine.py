"""Changes of training crops in OpenCV: one warp of the stored block, their only interpolation, then grey values."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.store.store import LEVELS
from mammo_aln.crops.window import surround_px
from mammo_aln.training.data.draws import Draws, grey_values, theta

LEAST = np.float32(1e-37)
DARK = 1e-13
"""Above what `LEAST` comes to at the smallest gamma, 0.4, and below a hundredth of a stored level at the largest."""

cv2.setNumThreads(0)  # loader processes are the parallelism; OpenCV's own threads would fight them


def warp_blocks(
    blocks: Sequence[NDArray[np.uint16]], draws: Draws, size_px: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Change crops.

    Args:
        blocks: N crops with their surround, each uint16 (S', S') with S' = size_px + 2 * surround_px(size_px).
        draws: the N changes.
        size_px: side of a crop.
        out: where they are written; a new array by default.

    Returns:
        float32 (N, size_px, size_px) in [0, 1].
    """
    crops = np.empty((len(blocks), size_px, size_px), np.float32) if out is None else out
    size = (size_px, size_px)
    near = np.empty((size_px + 2 * surround_px(size_px),) * 2, np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    rows = zip(blocks, crops, theta(draws, size_px), *(row.tolist() for row in grey_values(draws)), strict=True)
    for block, crop, matrix, contrast, brightness, gamma in rows:
        if (pixels := whole_pixels(matrix, size_px, len(block))) is not None:
            np.copyto(crop, block[pixels])  # nothing to interpolate
        else:
            np.copyto(near, block)  # read in order it is in the cache: the warp then takes half as long
            cv2.warpAffine(near, matrix, size, dst=crop, flags=flags, borderValue=0)
        cv2.addWeighted(crop, contrast / LEVELS, crop, 0.0, brightness, dst=crop)
        if brightness or contrast > 1.0:
            np.clip(crop, 0.0, 1.0, out=crop)
        if gamma != 1.0:
            raise_to(crop, gamma)
    return crops


def whole_pixels(matrix: NDArray[np.float32], size_px: int, side: int) -> tuple[slice, slice] | None:
    """Rows and columns of a block (side, side) that a crop consists of; None where some pixel is interpolated.

    Args:
        matrix: (2, 3), from the crop's pixels (x, y, 1) to the block's, see `draws.theta`.
        size_px: side of the crop.
        side: of the block.
    """
    (across, shear, left), (turn, up, top) = matrix.tolist()
    if shear or turn or abs(across) != 1 or abs(up) != 1 or left % 1 or top % 1:
        return None
    slices = []
    for first, step in ((int(top), int(up)), (int(left), int(across))):
        last = first + step * (size_px - 1)
        if min(first, last) < 0 or max(first, last) >= side:
            return None
        slices.append(slice(first, last + step if last + step >= 0 else None, step))
    return slices[0], slices[1]


def raise_to(crop: NDArray[np.float32], gamma: float) -> None:
    """Raise values in [0, 1] to a power, in place; half the time of `cv2.pow`, and 0 stays 0."""
    np.maximum(crop, LEAST, out=crop)  # the logarithm of 0 is not defined
    cv2.log(crop, dst=crop)
    np.multiply(crop, np.float32(gamma), out=crop)
    cv2.exp(crop, dst=crop)
    cv2.threshold(crop, DARK, 0.0, cv2.THRESH_TOZERO, dst=crop)
