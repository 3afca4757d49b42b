"""The box in one breast that mirrors a lesion's box in the other, same view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.anatomy import LOW_CONFIDENCE
from mammo_aln.crops.store.records import ImageRecord
from mammo_aln.dicom.orientation import Box


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
