"""Masks become boxes: one box for each connected piece of each label."""

from __future__ import annotations

import cv2
import numpy as np

from mammo_aln.cohort.annotations.record import Annotation, Skipped
from mammo_aln.errors import InputError

SPECK_SHARE = 0.01
"""Pieces below this share of the label's largest piece are slips of a brush."""
MOST_PIECES = 20
"""More pieces of one label in one picture are scattered spots, not so many lesions."""
SPECK = f"a speck below {SPECK_SHARE:.0%} of its label's largest piece"


def mask_annotations(mask: np.ndarray, image: str, region: str, source: str) -> list[Annotation | Skipped]:
    """Boxes around the connected pieces (8 neighbours) of a mask, the largest piece first.

    Args:
        mask: bool (rows, columns).
        image: text that names the image.
        region: label.
        source: file and element, for messages.

    Raises:
        InputError: more than `MOST_PIECES` pieces, or a mask that takes all four corners of the picture: one whose
            background and region are exchanged.
    """
    if not mask.any():
        return []
    rows, columns = mask.shape
    if mask[0, 0] and mask[0, -1] and mask[-1, 0] and mask[-1, -1]:
        share = float(mask.mean())
        raise InputError(
            f"{source}: the region covers {share:.0%} of the picture and its four corners: expected background there; "
            "exchange background and region"
        )
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    pieces = stats[1:][np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")]
    lesions = pieces[pieces[:, cv2.CC_STAT_AREA] >= SPECK_SHARE * pieces[0, cv2.CC_STAT_AREA]]
    if len(lesions) > MOST_PIECES:
        raise InputError(
            f"{source}: the region falls into {len(lesions)} pieces: expected at most {MOST_PIECES} lesions; close the "
            "gaps in the drawing tool, or give boxes"
        )
    boxes: list[Annotation | Skipped] = []
    for x, y, width, height, _ in lesions.tolist():
        boxes.append(Annotation(image, region, x, y, x + width, y + height, rows, columns, source=source))
    return boxes + [Skipped(SPECK, source)] * (len(pieces) - len(lesions))
