"""The pectoral muscle's front edge on the MLO view, as one straight line.

The muscle is the bright triangle in the upper posterior corner. All lines from the upper border to the chest wall are
tried; the one along which the image darkens most steadily from muscle to breast is taken (the idea of Karssemeijer,
Phys Med Biol 1998;43:365, who used a Hough transform).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_SAMPLES = 48
_BAND_MM = 3.0  # muscle and breast are compared this far to each side of the line
_TOP_MM = (15.0, 130.0)
_SIDE_MM = (40.0, 220.0)
_CLIP_SD = 1.0
_ANGLE_DEG = (35.0, 80.0)  # of the line against the horizontal


@dataclass(frozen=True)
class PectoralLine:
    """From (left + top, first_row) on the upper border to (left, first_row + side) on the chest wall, in mm."""

    left_mm: float
    first_row_mm: float
    top_mm: float
    side_mm: float
    confidence: float

    @property
    def normal(self) -> tuple[float, float]:
        """Unit vector (x, y) away from the muscle, into the breast."""
        length = math.hypot(self.side_mm, self.top_mm)
        return (self.side_mm / length, self.top_mm / length)


def find_pectoral(grid: NDArray[np.float32], mask: NDArray[np.bool_]) -> PectoralLine | None:
    """Find the muscle's edge in a 1 mm grid (chest wall left, cranial up); `None` where no line fits the geometry.

    Args:
        grid: float32 (rows, columns) display values, 1 mm cells.
        mask: the breast and muscle on the same grid.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top_row, left = int(rows[0]), int(columns[0])
    # The muscle must be seen on the upper border: its width there limits where the line may begin.
    upper = np.flatnonzero(mask[top_row : top_row + 10].any(axis=0))
    widest = min(_TOP_MM[1], float(upper[-1] - left) + 10.0)
    deepest = min(_SIDE_MM[1], float(rows[-1] - top_row))
    tops, sides = np.meshgrid(np.arange(_TOP_MM[0], widest, 3.0), np.arange(_SIDE_MM[0], deepest, 4.0), indexing="ij")
    angle = np.degrees(np.arctan2(sides, tops))
    fits = (angle >= _ANGLE_DEG[0]) & (angle <= _ANGLE_DEG[1])
    tops, sides = tops[fits].astype(np.float32), sides[fits].astype(np.float32)
    if not tops.size:
        return None
    smooth = cv2.GaussianBlur(grid, (0, 0), 2.0)
    along = np.linspace(0.08, 0.92, _SAMPLES, dtype=np.float32)
    x = left + tops[:, None] * (1 - along)
    y = top_row + sides[:, None] * along
    length = np.hypot(tops, sides)[:, None]
    step_x, step_y = _BAND_MM * sides[:, None] / length, _BAND_MM * tops[:, None] / length
    muscle = cv2.remap(smooth, x - step_x, y - step_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    breast = cv2.remap(smooth, x + step_x, y + step_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    drop = muscle - breast
    # Clipped, so that a steady edge beats one that is strong in places.
    enough = _CLIP_SD * float(smooth[mask].std())
    steady = np.clip(drop, -enough, enough).mean(axis=1)
    # Of equally steady edges the longer is the better evidence; the square root keeps a faint long line from winning.
    score = steady * np.sqrt(length[:, 0])
    best = int(np.argmax(score))
    contrast = float(np.median(drop[best])) / max(float(smooth[mask].std()), 1e-6)
    agreeing = float((drop[best] > 0).mean())
    confidence = float(np.clip((agreeing - 0.6) / 0.35, 0, 1) * np.clip(contrast / 0.4, 0, 1))
    return PectoralLine(float(left), float(top_row), float(tops[best]), float(sides[best]), 0.95 * confidence)
