"""The surroundings of the breast in a crop: background, as beyond the image's edge."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.anatomy import Anatomy
from mammo_aln.crops.window import Window, resample
from mammo_aln.dicom.orientation import Box
from mammo_aln.dicom.provenance import PixelRecipe

_INSIDE = 0.49  # of a crop's pixel; just under a half, where a cell at the image's own edge ends


def covers(kept: NDArray[np.bool_] | None, box: Box, shape: tuple[int, int]) -> bool:
    """True where every cell that a box touches within the image is kept.

    Args:
        kept: cells over the stored matrix that crops may show.
        box: in stored pixels; what lies beyond the image does not count.
        shape: (rows, columns) of the stored matrix.
    """
    if kept is None:
        return False
    window = Window(*box).on_grid(kept.shape, shape)
    rows = slice(max(0, math.floor(window.y_min)), max(0, math.ceil(window.y_max)))
    columns = slice(max(0, math.floor(window.x_min)), max(0, math.ceil(window.x_max)))
    return bool(kept[rows, columns].all())


def shown(
    kept: NDArray[np.bool_],
    window: Window,
    size_px: int,
    shape: tuple[int, int],
    box: Box | None = None,
    beyond: int = 0,
) -> NDArray[np.bool_]:
    """Pixels of a crop that show the breast: bool, side size_px + 2 * beyond, stored orientation.

    Args:
        kept: cells over the stored matrix that crops may show.
        window: what the crop covers, in stored pixels.
        size_px: side of the crop.
        shape: (rows, columns) of the stored matrix.
        box: of the stored matrix; shown whole.
        beyond: more pixels on each side of the crop.
    """
    cells = window.on_grid(kept.shape, shape)
    inside = resample(kept.astype(np.float32), cells, size_px, size_px, beyond) > _INSIDE
    if box is not None:
        across, down = size_px / window.width, size_px / window.height
        columns = (box[0] - window.x_min) * across, (box[2] - window.x_min) * across
        rows = (box[1] - window.y_min) * down, (box[3] - window.y_min) * down
        inside[_touched(rows, size_px, beyond), _touched(columns, size_px, beyond)] = True
    return inside


def _touched(edges: tuple[float, float], size_px: int, beyond: int) -> slice:
    low, high = math.floor(edges[0]) + beyond, math.ceil(edges[1]) + beyond
    last = size_px + 2 * beyond
    return slice(min(max(0, low), last), min(max(0, high), last))


def with_outside(recipe: PixelRecipe, anatomy: Anatomy, rule: str) -> PixelRecipe:
    """An image's recipe with the last step, `crop.outside_breast`, and what it came to."""
    applied = "kept" if rule == "keep" else "background" if anatomy.is_sure else "kept_unsure"
    return recipe.then("outside_breast", rule=rule, applied=applied)
