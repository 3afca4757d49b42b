"""Breast, nipple, pectoral muscle and axilla, estimated on a 1 mm grid, each with its confidence.

Everything here works in millimetres of breast, chest wall on the left and cranial up; `Anatomy` hands positions back in
pixels of the stored matrix. A low confidence is reported, never hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.breast import find_breast, packed, unpacked
from mammo_aln.crops.pectoral import PectoralLine, find_pectoral
from mammo_aln.crops.window import Window, resample
from mammo_aln.dicom.orientation import Box, Orientation
from mammo_aln.dicom.spacing import Spacing

ASSUMED_LONG_SIDE_MM = 240.0  # of a detector or film of 18 x 24 or 24 x 30 cm, where the file has no spacing
AXILLA_SIDE_MM = 50.0
LOW_CONFIDENCE = 0.5

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
        kept: what crops may show of the image: the mask with some air around the skin, on the same grid.
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
    kept: NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)

    @property
    def is_sure(self) -> bool:
        """True where the breast's outline may be relied on; else an image is kept whole."""
        return self.kept is not None and self.breast_confidence >= LOW_CONFIDENCE

    def breast_share(self, box: Box, shape: tuple[int, int]) -> float:
        """Share of a box, in stored pixels of an image of this (rows, columns), that the breast fills."""
        if self.mask is None:
            return 0.0
        cells = Window(*box).on_grid(self.mask.shape, shape)
        return float(resample(self.mask.astype(np.float32), cells, 1, 1)[0, 0])

    def to_json(self) -> dict[str, object]:
        """Plain lists and numbers, `kept` packed, without the mask."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("mask", "kept")}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {**listed, "kept": None if self.kept is None else packed(self.kept)}

    @classmethod
    def from_json(cls, entry: Any) -> Anatomy:
        """The inverse of `to_json`."""
        values: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
        return cls(**{**values, "kept": None if entry["kept"] is None else unpacked(entry["kept"])})


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

    breast = find_breast(grid)
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
        kept=np.ascontiguousarray(orientation.apply(breast.kept)),
    )
