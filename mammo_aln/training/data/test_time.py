"""Test-time augmentation: the same few small changes of every crop, whose logits are averaged.

Each copy is shifted, scaled and gamma-corrected by fixed amounts, well inside what training varies, so that scoring
draws nothing at random. No copy is flipped: crops lie chest wall on the left, cranial up.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mammo_aln.settings import CropConfig, DataConfig

cv2.setNumThreads(0)  # as in training: processes are the parallelism


@dataclass(frozen=True)
class Variation:
    """One copy's change.

    Args:
        right: shift of the content in shares of half of `data.max_shift_mm`; `down` likewise.
        down: see `right`.
        scale: magnification about the crop's centre.
        gamma: exponent of the grey values.
    """

    right: float = 0.0
    down: float = 0.0
    scale: float = 1.0
    gamma: float = 1.0


VARIATIONS = (
    Variation(),
    Variation(1.0, 1.0, 0.98, 1.1),
    Variation(-1.0, -1.0, 1.02, 0.9),
    Variation(1.0, -1.0, 1.02, 1.1),
    Variation(-1.0, 1.0, 0.98, 0.9),
    Variation(0.5, 0.0, 1.0, 0.95),
    Variation(-0.5, 0.0, 1.0, 1.05),
    Variation(0.0, 0.5, 1.0, 1.05),
    Variation(0.0, -0.5, 1.0, 0.95),
)
"""Copy 0 is the crop itself; the others come in pairs of opposite changes."""


class TestTimeCopy:
    """One of `VARIATIONS`, for crops of these settings; a pure function of the crop."""

    __test__ = False  # no test, whatever its name lets pytest think

    def __init__(self, crop: CropConfig, data: DataConfig, copy: int) -> None:
        self.change = VARIATIONS[copy]
        self.shift_share = 0.5 * data.max_shift_mm / crop.size_mm

    def __call__(self, crop: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
        """Change one crop, float32 (size_px, size_px) in [0, 1]; nothing is drawn from `seed`."""
        change, side = self.change, crop.shape[0]
        centre = (side - 1) / 2
        matrix = np.array(
            [
                [change.scale, 0.0, centre * (1 - change.scale) + change.right * self.shift_share * side],
                [0.0, change.scale, centre * (1 - change.scale) + change.down * self.shift_share * side],
            ]
        )
        moved = cv2.warpAffine(crop, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return np.power(np.clip(moved, 0.0, 1.0), np.float32(change.gamma), dtype=np.float32)
