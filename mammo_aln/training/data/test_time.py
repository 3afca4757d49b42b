"""Test-time augmentation: the same few small changes of every crop, whose logits are averaged.

Each copy is shifted, scaled and gamma-corrected by fixed amounts, well inside what training varies, so that scoring
draws nothing at random. No copy is flipped: crops lie chest wall on the left, cranial up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammo_aln.settings import DataConfig
from mammo_aln.training.data.augment import CropChanges
from mammo_aln.training.data.draws import Draws, shift_room


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


class TestTimeCopy(CropChanges):
    """One of `VARIATIONS`, of a split's K crops with these sides in millimetres; a pure function of the crop.

    A shift brings in what the store keeps around the crop, and goes no farther.
    """

    __test__ = False  # no test, whatever its name lets pytest think

    def __init__(self, data: DataConfig, size_px: int, size_mm: NDArray[np.float64], copy: int) -> None:
        super().__init__(size_px, "warp")
        change, count = VARIATIONS[copy], len(size_mm)
        neutral, scale = np.zeros(count, np.float32), np.full(count, change.scale, np.float32)
        # In millimetres of the crop as it comes out: the block is shifted before it is magnified.
        share = np.minimum(0.5 * data.max_shift_mm / size_mm / change.scale, shift_room(neutral, scale))
        right, down = (np.asarray(share * times, np.float32) for times in (change.right, change.down))
        gamma = np.full(count, change.gamma, np.float32)
        self.same = Draws(neutral, neutral, neutral, right, down, scale, neutral + 1, neutral, gamma)

    def draws(self, epoch: int) -> Draws:
        """The change of all crops, every epoch alike."""
        return self.same
