"""Changes of training crops by albumentations' functions; the one file that imports that package."""

from __future__ import annotations

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks the network for its version otherwise

from collections.abc import Sequence

import cv2
import numpy as np
from albucore import clip, multiply_add
from albumentations.augmentations.geometric.functional import warp_affine
from albumentations.augmentations.pixel.functional import gamma_transform
from numpy.typing import NDArray

from mammo_aln.crops.store.store import display_values
from mammo_aln.training.data.draws import Draws, theta

cv2.setNumThreads(0)  # loader processes are the parallelism; OpenCV's own threads would fight them


def warp_blocks(
    blocks: Sequence[NDArray[np.uint16]], draws: Draws, size_px: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Change crops, see `augment.Engine`."""
    crops = np.empty((len(blocks), size_px, size_px), np.float32) if out is None else out
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for nth, matrix in enumerate(theta(draws, size_px)):
        image = display_values(blocks[nth])[..., None]
        image = warp_affine(
            image, np.vstack((matrix, (0.0, 0.0, 1.0))), flags, 0.0, cv2.BORDER_CONSTANT, (size_px, size_px)
        )
        image = clip(multiply_add(image, float(draws.contrast[nth]), float(draws.brightness[nth])), np.float32)
        crops[nth] = gamma_transform(image, float(draws.gamma[nth]))[..., 0]
    return crops
