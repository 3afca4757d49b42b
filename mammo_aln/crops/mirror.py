"""The place in one breast that mirrors a lesion's place in the other, same view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.anatomy import LOW_CONFIDENCE, Anatomy
from mammo_aln.crops.window import PixelSize
from mammo_aln.dicom.orientation import Box, Orientation


@dataclass(frozen=True)
class BreastPlace:
    """One image's landmarks and what brings them to millimetres, chest wall left; without spacing pixels count as 1."""

    anatomy: Anatomy
    orientation: Orientation
    shape: tuple[int, int]
    spacing: PixelSize | None

    @property
    def pixel_mm(self) -> NDArray[np.float64]:
        """(column_mm, row_mm)."""
        return np.array((1.0, 1.0) if self.spacing is None else (self.spacing.column_mm, self.spacing.row_mm))

    def turned_mm(self, box: Box) -> NDArray[np.float64]:
        """Corners [[x, y], [x, y]] of a box of the stored matrix, in millimetres, chest wall left."""
        return np.array(self.orientation.box_to_oriented(box, self.shape)).reshape(2, 2) * self.pixel_mm

    def stored(self, corners_mm: NDArray[np.float64]) -> Box:
        """Inverse of `turned_mm`."""
        x_min, y_min, x_max, y_max = (float(edge) for edge in (corners_mm / self.pixel_mm).ravel())
        return self.orientation.box_to_stored((x_min, y_min, x_max, y_max), self.shape)


def mirror_box(box: Box, source: BreastPlace, target: BreastPlace) -> tuple[Box, float]:
    """The mirror place of `box`, which lies in `source`, in `target`: equal in size, and how sure that is.

    With both nipples known, the place lies as far from the nipple, towards the chest wall and along it; else it is the
    same relative place in the breasts' bounding boxes. Its centre is kept within the other breast's bounding box.

    Returns:
        the box in stored pixels of `target`, and a confidence in [0, 1]; 0 where a breast was not found.
    """
    turned = source.turned_mm(box)
    centre, half = turned.mean(axis=0), (turned[1] - turned[0]) / 2
    if source.anatomy.breast_box is None or target.anatomy.breast_box is None:
        return target.stored(np.array([centre - half, centre + half])), 0.0
    from_breast, to_breast = source.turned_mm(source.anatomy.breast_box), target.turned_mm(target.anatomy.breast_box)
    nipples = min(source.anatomy.nipple_confidence, target.anatomy.nipple_confidence)
    if nipples >= LOW_CONFIDENCE and source.anatomy.nipple is not None and target.anatomy.nipple is not None:
        from_tip = source.turned_mm((*source.anatomy.nipple, *source.anatomy.nipple))[0]
        to_tip = target.turned_mm((*target.anatomy.nipple, *target.anatomy.nipple))[0]
        place, confidence = to_tip + (centre - from_tip), nipples
    else:
        share = (centre - from_breast[0]) / (from_breast[1] - from_breast[0])
        place = to_breast[0] + share * (to_breast[1] - to_breast[0])
        confidence = 0.5 * min(source.anatomy.breast_confidence, target.anatomy.breast_confidence)
    place = np.clip(place, to_breast[0], to_breast[1])
    return target.stored(np.array([place - half, place + half])), confidence
