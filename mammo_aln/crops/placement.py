"""A crop's box and window on its image: the box as drawn, estimated, or mirrored from the other breast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.anatomy import LOW_CONFIDENCE
from mammo_aln.crops.outside import covers
from mammo_aln.crops.requests import CropRequest
from mammo_aln.crops.store.records import CropRecord, ImageRecord
from mammo_aln.crops.window import CropRefused, Window, crop_window
from mammo_aln.dicom.orientation import Box
from mammo_aln.settings import CropConfig

PADDING_FLAG = 0.10
OFF_BREAST_SHARE = 0.5
SMALLEST_BOX_PX, SMALLEST_WINDOW_PX, LARGEST_PX = 0.01, 1.0, 1_000_000.0


def place_crop(
    key: str, request: CropRequest, own: ImageRecord, lesion_image: ImageRecord | None, crop: CropConfig
) -> CropRecord:
    """Find a crop's box and window, and judge them.

    Raises:
        CropRefused: the box cannot be estimated, lies outside the image or has an odd size, or an image without spacing
            is asked for millimetres.
    """
    box, confidence = _find_box(request, own, lesion_image)
    rows, columns = own.shape
    if box is not None and (box[0] >= columns or box[1] >= rows or box[2] <= 0 or box[3] <= 0):
        edges = ", ".join(f"{edge:.1f}" for edge in box)
        raise CropRefused(f"the box {edges} lies outside the image of {columns} x {rows} pixels")
    if box is not None:
        _refuse_odd_size("the box", box[2] - box[0], box[3] - box[1], SMALLEST_BOX_PX)
    sized = CropConfig(size_mm=request.size_mm, margin=crop.margin)
    anatomy, turned = own.anatomy, own.orientation
    wall = None if turned.source == "unknown" else "right" if turned.flip_horizontal else "left"
    unsure = anatomy.breast_box is not None and not anatomy.is_sure
    breast_box = (0.0, 0.0, float(columns), float(rows)) if unsure else anatomy.breast_box
    window = crop_window(
        request.strategy, box, own.spacing, breast_box, sized, scale=request.scale, chest_wall=None if unsure else wall
    )
    _refuse_odd_size("the crop's window", window.width, window.height, SMALLEST_WINDOW_PX)
    outside = _outside(request, box, own, crop)
    padding, flags = window.padding_share(own.shape), _flags(request, box, window, confidence, own, outside)
    return CropRecord(key, own.key, request.strategy, window, box, confidence, padding, flags, crop.size_px, outside)


def _refuse_odd_size(name: str, width: float, height: float, smallest_px: float) -> None:
    """Refuse what is no part of an image; resampling it would take any amount of memory, or divide by nothing."""
    if not (smallest_px <= width <= LARGEST_PX and smallest_px <= height <= LARGEST_PX):
        raise CropRefused(
            f"{name} is {width:g} x {height:g} pixels: expected {smallest_px:g} to {LARGEST_PX:g} on each side"
        )


def _outside(request: CropRequest, box: Box | None, own: ImageRecord, crop: CropConfig) -> str:
    """Say what becomes of the image outside the breast; a box that a human drew is never cut."""
    if crop.outside_breast == "keep":
        return "kept"
    if not own.anatomy.is_sure:
        return "kept_unsure"
    drawn = box is not None and not request.estimated
    cut = drawn and box is not None and not covers(own.anatomy.kept, box, own.shape)
    return "background_beside_box" if cut else "background"


def _find_box(request: CropRequest, own: ImageRecord, lesion_image: ImageRecord | None) -> tuple[Box | None, float]:
    """The box to cut around and its confidence: drawn by a human (1), or estimated; none for the whole breast."""
    if not request.needs_box:
        return None, own.anatomy.breast_confidence
    if request.estimate == "axilla":
        if own.anatomy.axilla_box is None:
            raise CropRefused("the axilla could not be estimated: no breast was found on an MLO view")
        return own.anatomy.axilla_box, own.anatomy.axilla_confidence
    if request.mirror_of is not None and lesion_image is not None:
        box, confidence = mirror_box(request.mirror_of[1], lesion_image, own)
        if not confidence:
            raise CropRefused("the mirror place could not be estimated: no breast was found in one of the two images")
        return box, confidence
    return request.box, 1.0


def _flags(
    request: CropRequest, box: Box | None, window: Window, confidence: float, own: ImageRecord, outside: str
) -> tuple[str, ...]:
    """Codes that put a crop among the worst cases, in a fixed order."""
    rows, columns = own.shape
    padded = window.padding_share(own.shape) > PADDING_FLAG
    inside = box is None or (box[0] >= -1 and box[1] >= -1 and box[2] <= columns + 1 and box[3] <= rows + 1)
    drawn = box is not None and not request.estimated
    off_breast = drawn and box is not None and own.anatomy.breast_share(box, own.shape) < OFF_BREAST_SHARE
    codes = {
        # A whole breast is padded to its square by rule.
        "padding_over_10_percent": padded and request.strategy != "whole_breast",
        "box_partly_outside_image": drawn and not inside,
        "box_off_breast": off_breast,
        "box_beyond_breast": outside == "background_beside_box",
        "low_confidence": confidence < LOW_CONFIDENCE,
        "breast_outline_unsure": outside == "kept_unsure",
    }
    return tuple(code for code, holds in codes.items() if holds)


def _pixel_mm(image: ImageRecord) -> NDArray[np.float64]:
    """(column_mm, row_mm); pixels count as 1 mm where the spacing is unknown."""
    return np.array((1.0, 1.0) if image.spacing is None else (image.spacing.column_mm, image.spacing.row_mm))


def _turned_mm(image: ImageRecord, box: Box) -> NDArray[np.float64]:
    """Corners [[x, y], [x, y]] of a box of the stored matrix, in millimetres, chest wall left."""
    return np.array(image.orientation.box_to_oriented(box, image.shape)).reshape(2, 2) * _pixel_mm(image)


def _stored(image: ImageRecord, corners_mm: NDArray[np.float64]) -> Box:
    """Inverse of `_turned_mm`."""
    x_min, y_min, x_max, y_max = (float(edge) for edge in (corners_mm / _pixel_mm(image)).ravel())
    return image.orientation.box_to_stored((x_min, y_min, x_max, y_max), image.shape)


def mirror_box(box: Box, source: ImageRecord, target: ImageRecord) -> tuple[Box, float]:
    """Mirror `box`, which lies in `source`, into `target`: equal in size, with a confidence.

    With both nipples known, the box lies as far from the nipple, towards the chest wall and along it; else it is at the
    same relative position in the breasts' bounding boxes. Its centre is kept within the other breast's bounding box.

    Returns:
        the box in stored pixels of `target`, and a confidence in [0, 1]; 0 where a breast was not found.
    """
    turned = _turned_mm(source, box)
    centre, half = turned.mean(axis=0), (turned[1] - turned[0]) / 2
    here, there = source.anatomy, target.anatomy
    if here.breast_box is None or there.breast_box is None:
        return _stored(target, np.array([centre - half, centre + half])), 0.0
    from_breast, to_breast = _turned_mm(source, here.breast_box), _turned_mm(target, there.breast_box)
    confidence = min(here.nipple_confidence, there.nipple_confidence)
    if confidence >= LOW_CONFIDENCE and here.nipple is not None and there.nipple is not None:
        from_tip = _turned_mm(source, (*here.nipple, *here.nipple))[0]
        to_tip = _turned_mm(target, (*there.nipple, *there.nipple))[0]
        mirrored = to_tip + (centre - from_tip)
    else:
        share = (centre - from_breast[0]) / (from_breast[1] - from_breast[0])
        mirrored = to_breast[0] + share * (to_breast[1] - to_breast[0])
        confidence = 0.5 * min(here.breast_confidence, there.breast_confidence)
    mirrored = np.clip(mirrored, to_breast[0], to_breast[1])
    return _stored(target, np.array([mirrored - half, mirrored + half])), confidence
