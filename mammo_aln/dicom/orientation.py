"""One orientation for all mammograms, chest wall on the left and cranial (CC: lateral) up, with the inverse kept.

Three witnesses speak: PatientOrientation, the laterality (by the hanging convention, left breasts have their chest wall
on the left), and the pixels (the breast lies at the chest wall). Who wins, and when an image is flagged, stands in
`find_orientation`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Box = tuple[float, float, float, float]
COARSE_SIDE_PX = 192
MARGIN_SHARE = 0.04
OPENING_SHARE = 0.03
BAND_SHARE = 0.3
CONFIDENT = 0.25


@dataclass(frozen=True)
class Orientation:
    """Flips that bring the stored matrix to chest wall left, cranial up.

    Args:
        flip_horizontal: mirror left and right.
        flip_vertical: mirror up and down.
        source: the witness that decided left and right: `patient_orientation`, `pixels`, `laterality` or `unknown`.
        confidence: 0 to 1; how much larger the breast's share is at the chest wall than opposite, signed by agreement
            with the pixels.
    """

    flip_horizontal: bool = False
    flip_vertical: bool = False
    source: str = "unknown"
    confidence: float = 0.0

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Turn the stored matrix to the oriented one, or back (a view)."""
        return array[:: -1 if self.flip_vertical else 1, :: -1 if self.flip_horizontal else 1]

    def box_to_oriented(self, box: Box, shape: tuple[int, int]) -> Box:
        """Box (x_min, y_min, x_max, y_max) of the stored matrix, of `shape` (rows, columns), in the oriented one."""
        x_min, y_min, x_max, y_max = box
        if self.flip_horizontal:
            x_min, x_max = shape[1] - x_max, shape[1] - x_min
        if self.flip_vertical:
            y_min, y_max = shape[0] - y_max, shape[0] - y_min
        return x_min, y_min, x_max, y_max

    def box_to_stored(self, box: Box, shape: tuple[int, int]) -> Box:
        """Inverse of `box_to_oriented`."""
        return self.box_to_oriented(box, shape)


def coarse_breast(pixels: np.ndarray) -> np.ndarray:
    """Rough breast mask on a coarse grid: Otsu's threshold without the outer margin, opened, the largest piece.

    The margin and the opening take away film borders, labels and scratches; the largest piece leaves labels and markers
    out.

    Args:
        pixels: (rows, columns) display values in [0, 1], air dark.

    Returns:
        Boolean matrix with about `COARSE_SIDE_PX` pixels on its longer side, margin excluded.
    """
    step = max(1, min(pixels.shape) // (2 * COARSE_SIDE_PX))
    thin = np.ascontiguousarray(pixels[::step, ::step], np.float32)
    scale = COARSE_SIDE_PX / max(thin.shape)
    size = (max(3, round(thin.shape[1] * scale)), max(3, round(thin.shape[0] * scale)))
    coarse = cv2.resize(thin, size, interpolation=cv2.INTER_AREA)
    rows, columns = (round(MARGIN_SHARE * side) for side in coarse.shape)
    inner = np.clip(coarse[rows : coarse.shape[0] - rows, columns : coarse.shape[1] - columns], 0.0, 1.0)
    _, bright = cv2.threshold((inner * 255).astype(np.uint8), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    width = max(3, round(OPENING_SHARE * COARSE_SIDE_PX) | 1)
    bright = cv2.morphologyEx(bright, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bright)
    if count < 2:
        return np.zeros(inner.shape, bool)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def chest_wall_side(pixels: np.ndarray) -> tuple[str | None, float]:
    """Side at which the breast stands, from the pixels alone.

    Args:
        pixels: (rows, columns) display values in [0, 1], air dark, stored orientation.

    Returns:
        `left`, `right` or None, and (area left - area right) / (area left + area right) without its sign, areas counted
        in the outer 30 %.
    """
    if min(pixels.shape) < 3:
        return None, 0.0
    columns = coarse_breast(pixels).mean(axis=0)
    band = max(1, round(BAND_SHARE * len(columns)))
    left, right = float(columns[:band].sum()), float(columns[-band:].sum())
    if left + right == 0 or left == right:
        return None, 0.0
    return ("left" if left > right else "right"), abs(left - right) / (left + right)


def _letters_say(letters: str, yes: str, no: str) -> bool | None:
    return (yes in letters) if (yes in letters) != (no in letters) else None


def _tags_flip_horizontal(orientation: tuple[str, str] | None) -> bool | None:
    return None if orientation is None else _letters_say(orientation[0], "P", "A")


def _tags_flip_vertical(orientation: tuple[str, str] | None, laterality: str | None) -> bool | None:
    """Down must mean caudal; in views from above, where no letter says so, down must mean medial."""
    if orientation is None:
        return None
    upside_down = _letters_say(orientation[1], "H", "F")
    if upside_down is None and laterality in ("L", "R"):
        upside_down = _letters_say(orientation[1], laterality, "L" if laterality == "R" else "R")
    return upside_down


def _tags_contradict(orientation: tuple[str, str], laterality: str) -> bool:
    """Test that PatientOrientation cannot be that of an upright breast of this side.

    Down the image lies medial, away from the breast's own side, mirrored or not; where no letter says so, the hanging
    convention has to do.
    """
    own_side_down = _letters_say(orientation[1], laterality, "L" if laterality == "R" else "R")
    if own_side_down is not None:
        return own_side_down != (_letters_say(orientation[1], "H", "F") is True)
    flip = _tags_flip_horizontal(orientation)
    return flip is not None and flip != (laterality == "R")


def find_orientation(
    patient_orientation: tuple[str, str] | None, laterality: str | None, side: tuple[str | None, float]
) -> tuple[Orientation, tuple[str, ...]]:
    """Decide the flips from the three witnesses.

    Left and right: PatientOrientation's row direction (P: posterior, so the chest wall, is on the right), but pixels
    that clearly show the breast (confidence 0.25 or more) on the other side win, since a crop must show what is there:
    files are mirrored without their tags more often than breasts float at the film's free edge. Without
    PatientOrientation the pixels decide; where they do not show it clearly, laterality does by the hanging convention.
    Pixels that disagree with another witness are flagged `orientation_disagrees`; a PatientOrientation that an upright
    breast of this laterality cannot have is flagged `laterality_unlikely`, while a mirror image that it states is no
    error. Up and down: PatientOrientation's column direction; without it the image is taken to stand upright.

    Args:
        patient_orientation: letters of the row and the column direction.
        laterality: `L`, `R` or None.
        side: the answer of `chest_wall_side`.

    Returns:
        The orientation and fallback codes.
    """
    codes: list[str] = []
    tags = _tags_flip_horizontal(patient_orientation)
    seen = (side[0] == "right") if side[0] is not None and side[1] >= CONFIDENT else None
    hanging = {"L": False, "R": True}.get(laterality or "")
    witnesses: tuple[tuple[str, bool | None, Callable[[], bool]], ...] = (
        ("patient_orientation", tags, lambda: seen in (None, tags)),
        ("pixels", seen, lambda: True),
        ("laterality", hanging, lambda: True),
    )
    source, flip = next(
        ((name, bool(says)) for name, says, holds in witnesses if says is not None and holds()), ("unknown", False)
    )
    second = tags if tags is not None else hanging
    if seen is not None and second is not None and seen != second:
        codes.append("orientation_disagrees")
    if (
        patient_orientation is not None
        and laterality in ("L", "R")
        and _tags_contradict(patient_orientation, laterality)
    ):
        codes.append("laterality_unlikely")
    if patient_orientation is not None and tags is None:
        codes.append("patient_orientation_unusable")
    if source != "patient_orientation":
        codes.append(f"orientation_from_{source}")
    vertical = _tags_flip_vertical(patient_orientation, laterality)
    if vertical is None:
        codes.append("upright_assumed")
    confidence = side[1] if side[0] is None or (side[0] == "right") == flip else -side[1]
    return Orientation(flip, bool(vertical), source, float(confidence)), tuple(codes)
