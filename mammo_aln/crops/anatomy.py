"""Breast, nipple, pectoral muscle and axilla, estimated on a 1 mm grid, each with its confidence.

Everything here works in millimetres of breast, chest wall on the left and cranial up; `Anatomy` hands positions back in
pixels of the stored matrix. A low confidence is reported, never hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.pectoral import PectoralLine, find_pectoral
from mammo_aln.crops.window import Window, resample
from mammo_aln.dicom.orientation import Box, Orientation
from mammo_aln.dicom.spacing import Spacing

ASSUMED_LONG_SIDE_MM = 240.0  # of a detector or film of 18 x 24 or 24 x 30 cm, where the file has no spacing
AXILLA_SIDE_MM = 50.0
LOW_CONFIDENCE = 0.5

_BORDER_MM = 12  # film borders and digitiser edges are no wider
_OPENING_MM = 4  # radius; letters, paddle edges and hairs are thinner
_CHEST_WALL_GAP_MM = 15  # the breast begins at most this far from the image's chest-wall side
_LEAST_BREAST_MM2 = 1500.0
_LEAST_CHEST_WALL_MM = 30
_TIP_DEPTH_MM = 2.0
_TIP_WIDTH_MM = 30.0
_MLO_TIP_DIRECTION = (0.94, 0.34)  # 20 degrees downwards, where no pectoral muscle tells


@dataclass(frozen=True)
class Anatomy:
    """Estimated landmarks of one image, in pixels of the stored matrix; confidences in [0, 1].

    Attributes:
        breast_box: bounding box of the breast, `None` where nothing was found.
        nipple: (x, y) of the breast's tip.
        pectoral: the muscle's front edge from the upper border to the chest wall (x, y, x, y); MLO only.
        axilla_box: 50 mm square in the upper posterior corner; MLO only.
        reasons: codes that say what lowered a confidence.
        mask: the breast on a grid over the stored matrix, about 1 mm a cell; not part of the record.
    """

    breast_box: Box | None = None
    breast_confidence: float = 0.0
    nipple: tuple[float, float] | None = None
    nipple_confidence: float = 0.0
    pectoral: Box | None = None
    pectoral_confidence: float = 0.0
    axilla_box: Box | None = None
    axilla_confidence: float = 0.0
    reasons: tuple[str, ...] = ()
    mask: NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)

    def breast_share(self, box: Box, shape: tuple[int, int]) -> float:
        """Share of a box, in stored pixels of an image of this (rows, columns), that the breast fills."""
        if self.mask is None:
            return 0.0
        across, down = self.mask.shape[1] / shape[1], self.mask.shape[0] / shape[0]
        grid_window = Window(box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        return float(resample(self.mask.astype(np.float32), grid_window, 1, 1)[0, 0])

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, without the mask."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "mask"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, entry: Any) -> Anatomy:
        """The inverse of `to_json`."""
        values: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
        return cls(**values)


@dataclass(frozen=True)
class BreastMask:
    """The breast on the 1 mm grid (True inside), how sure that is, and why not surer."""

    mask: NDArray[np.bool_]
    confidence: float
    reasons: tuple[str, ...]


def _disk(radius_mm: int) -> NDArray[np.uint8]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_mm + 1, 2 * radius_mm + 1)).astype(np.uint8)


def _without_borders(grid: NDArray[np.float32]) -> NDArray[np.bool_]:
    """False on strips along the image's sides, bright over their whole length: film and collimator borders."""
    inside = np.ones(grid.shape, bool)
    bright = 0.8 * float(grid.max())
    for axis in (0, 1):
        lines = np.percentile(grid, 5, axis=1 - axis) > bright
        depth = min(_BORDER_MM, lines.size // 8)
        head = np.flatnonzero(lines[:depth])
        tail = np.flatnonzero(lines[lines.size - depth :])
        begin = int(head[-1]) + 1 if head.size else 0
        end = lines.size - depth + int(tail[0]) if tail.size else lines.size
        kept = np.zeros(lines.size, bool)
        kept[begin:end] = True
        inside &= kept[:, None] if axis == 0 else kept[None, :]
    return inside


def _air_threshold(smooth: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Level between air and breast: the air's peak in the histogram, plus its spread or a quarter of the way to Otsu's.

    Otsu's level (Otsu 1979) alone lies inside fatty breasts.
    """
    values = smooth[inside]
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return high
    levels = ((values - low) * (255.0 / (high - low))).astype(np.uint8)
    otsu = int(cv2.threshold(levels.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0])
    counts = np.bincount(levels, minlength=256).astype(float)
    counts = np.convolve(counts, np.ones(5) / 5, mode="same")
    air = int(np.argmax(counts[: otsu + 1]))
    dark = levels[levels <= otsu].astype(float)
    spread = 1.4826 * float(np.median(np.abs(dark - air)))
    level = air + min(max(3.0, 3.0 * spread, 0.25 * (otsu - air)), 0.6 * (otsu - air))
    return low + level * (high - low) / 255.0


def breast_mask(grid: NDArray[np.float32]) -> BreastMask:
    """Find the breast in a 1 mm grid with the chest wall on the left.

    The largest region brighter than air that reaches the chest wall, without what is thinner than 8 mm or not connected
    to it (letters, markers, paddle edges) and without bright film borders.
    """
    inside = _without_borders(grid)
    smooth = cv2.GaussianBlur(grid, (0, 0), 1.5).astype(np.float32, copy=False)
    bright = ((smooth > _air_threshold(smooth, inside)) & inside).astype(np.uint8)
    # Outside counts as air, so that the opening also removes thin strips along the image's own border.
    margin = _OPENING_MM + 1
    padded = cv2.copyMakeBorder(bright, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, _disk(_OPENING_MM))[margin:-margin, margin:-margin]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return BreastMask(np.zeros(grid.shape, bool), 0.0, ("no_breast",))
    first_column = int(np.flatnonzero(inside.any(axis=0))[0])
    areas = stats[1:, cv2.CC_STAT_AREA]
    reaches = stats[1:, cv2.CC_STAT_LEFT] <= first_column + _CHEST_WALL_GAP_MM
    best = 1 + int(np.argmax(np.where(reaches, areas, 0) if reaches.any() else areas))
    kept = (labels == best).astype(np.uint8)
    kept = np.minimum(cv2.dilate(kept, _disk(_OPENING_MM)), bright)
    kept = cv2.morphologyEx(kept, cv2.MORPH_CLOSE, _disk(_OPENING_MM))
    outlines, _ = cv2.findContours(kept, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    mask = cv2.drawContours(np.zeros_like(kept), [outline], -1, 1, cv2.FILLED).astype(bool)
    at_wall = int(mask[:, : first_column + _CHEST_WALL_GAP_MM].any(axis=1).sum())
    hull = cv2.contourArea(cv2.convexHull(outline))
    doubts = {
        "breast_not_at_chest_wall": (at_wall < _LEAST_CHEST_WALL_MM, 0.4),
        "breast_too_small": (mask.sum() < _LEAST_BREAST_MM2, 0.3),
        "no_air_beside_breast": (mask.mean() > 0.9, 0.3),
        "breast_outline_ragged": (hull > 0 and mask.sum() / hull < 0.75, 0.6),
        "breast_in_pieces": (reaches.sum() > 1 and np.sort(areas[reaches])[-2] > 0.35 * areas[best - 1], 0.6),
    }
    confidence = 0.95 * float(np.prod([factor for doubtful, factor in doubts.values() if doubtful]))
    return BreastMask(mask, confidence, tuple(code for code, (doubtful, _) in doubts.items() if doubtful))


def find_tip(
    mask: NDArray[np.bool_], direction: tuple[float, float]
) -> tuple[tuple[float, float], float, tuple[str, ...]]:
    """The breast's point farthest along `direction` (x, y): nipple position in mm, confidence, reasons.

    The flatter the tip, the less it says where the nipple is.
    """
    rows, columns = np.nonzero(mask)
    depth = direction[0] * columns + direction[1] * rows
    tip = depth >= depth.max() - _TIP_DEPTH_MM
    across = direction[0] * rows[tip] - direction[1] * columns[tip]
    width = float(np.ptp(across)) + 1.0
    beyond = (rows[tip] <= 1) | (rows[tip] >= mask.shape[0] - 2) | (columns[tip] >= mask.shape[1] - 2)
    at_edge = bool(beyond.any())
    confidence = 0.85 * min(1.0, _TIP_WIDTH_MM / width) * (0.4 if at_edge else 1.0)
    reasons = [code for code, so in (("flat_tip", width > _TIP_WIDTH_MM), ("tip_cut_off", at_edge)) if so]
    return (float(columns[tip].mean()) + 0.5, float(rows[tip].mean()) + 0.5), confidence, tuple(reasons)


def _axilla(mask: NDArray[np.bool_], pectoral: PectoralLine | None) -> Box:
    """50 mm square at the top of the breast and muscle, over the muscle's middle where it is wide."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask[rows[0] : rows[0] + int(AXILLA_SIDE_MM)].any(axis=0))
    left, top = float(columns[0]), float(rows[0])
    if pectoral is not None:
        left = max(left, left + pectoral.top_mm / 2 - AXILLA_SIDE_MM / 2)
    return (left, top, left + AXILLA_SIDE_MM, top + AXILLA_SIDE_MM)


def find_anatomy(pixels: NDArray[np.float32], spacing: Spacing | None, orientation: Orientation, view: str) -> Anatomy:
    """Estimate the landmarks of one image.

    Args:
        pixels: float32 (rows, columns) display values, air dark, stored orientation.
        spacing: millimetres per pixel; `None` takes the image's longer side as 240 mm (reason `scale_assumed`).
        orientation: what brings the chest wall to the left and cranial up.
        view: `CC` or `MLO`; muscle and axilla are looked for on `MLO` only.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    assumed = ASSUMED_LONG_SIDE_MM / max(shape)
    row_mm, column_mm = (spacing.row_mm, spacing.column_mm) if spacing is not None else (assumed, assumed)
    reasons: tuple[str, ...] = () if spacing is not None else ("scale_assumed",)
    rows, columns = max(8, round(shape[0] * row_mm)), max(8, round(shape[1] * column_mm))
    grid = np.ascontiguousarray(orientation.apply(resample(pixels, Window(0, 0, shape[1], shape[0]), rows, columns)))
    down, across = shape[0] / rows, shape[1] / columns

    def stored(box: Box) -> Box:
        return orientation.box_to_stored((box[0] * across, box[1] * down, box[2] * across, box[3] * down), shape)

    def point(x: float, y: float) -> tuple[float, float]:
        return stored((x, y, x, y))[:2]

    def front_edge(line: PectoralLine) -> Box:
        upper, lower = (line.left_mm + line.top_mm, line.first_row_mm), (line.left_mm, line.first_row_mm + line.side_mm)
        return (*point(*upper), *point(*lower))

    breast = breast_mask(grid)
    reasons += breast.reasons
    if not breast.mask.any():
        return Anatomy(reasons=reasons)
    covered_rows, covered_columns = np.flatnonzero(breast.mask.any(axis=1)), np.flatnonzero(breast.mask.any(axis=0))
    breast_box = (covered_columns[0], covered_rows[0], covered_columns[-1] + 1, covered_rows[-1] + 1)
    is_mlo = view == "MLO"
    pectoral = find_pectoral(grid, breast.mask) if is_mlo else None
    if is_mlo and (pectoral is None or pectoral.confidence < LOW_CONFIDENCE):
        reasons += ("pectoral_unclear",)
    trusted = pectoral if pectoral is not None and pectoral.confidence >= LOW_CONFIDENCE else None
    direction = (trusted.normal if trusted else _MLO_TIP_DIRECTION) if is_mlo else (1.0, 0.0)
    tip, tip_confidence, tip_reasons = find_tip(breast.mask, direction)
    sure = breast.confidence
    return Anatomy(
        breast_box=stored(tuple(float(edge) for edge in breast_box)),  # type: ignore[arg-type]
        breast_confidence=sure,
        nipple=point(*tip),
        nipple_confidence=sure * tip_confidence,
        pectoral=front_edge(pectoral) if pectoral else None,
        pectoral_confidence=sure * pectoral.confidence if pectoral else 0.0,
        axilla_box=stored(_axilla(breast.mask, trusted)) if is_mlo else None,
        axilla_confidence=sure * (0.9 if trusted else 0.6) if is_mlo else 0.0,
        reasons=reasons + tip_reasons,
        mask=np.ascontiguousarray(orientation.apply(breast.mask)),
    )
