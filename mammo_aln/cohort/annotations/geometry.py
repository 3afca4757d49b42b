"""Shapes as drawn become upright boxes; boxes of the annotated picture become boxes of the stored matrix.

Coordinates are edges: pixel k covers k to k + 1, x runs right, y down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from mammo_aln.cohort.annotations.documents import number
from mammo_aln.cohort.annotations.record import Annotation, Skipped, bounding_box
from mammo_aln.errors import InputError

NO_AREA = "no area (a point, a line or an empty box)"
Edges = tuple[float, float, float, float]


def box_of_sides(x: float, y: float, width: float, height: float, source: str) -> Edges | None:
    """Edges of a box from its upper left corner and size; None where it has no area.

    Raises:
        InputError: a negative size.
    """
    if width < 0 or height < 0:
        raise InputError(f"{source}: width {width:g}, height {height:g}: expected no negative size")
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None


def box_of_corners(x_0: float, y_0: float, x_1: float, y_1: float) -> Edges | None:
    """Edges of a box from two opposite corners in any order; None where it has no area."""
    box = min(x_0, x_1), min(y_0, y_1), max(x_0, x_1), max(y_0, y_1)
    return box if box[0] < box[2] and box[1] < box[3] else None


def rotated_corners(
    corner: tuple[float, float], size: tuple[float, float], degrees: float, about: tuple[float, float]
) -> list[tuple[float, float]]:
    """Corners of a box that is turned about a point.

    Args:
        corner: upper left corner (x, y) before the turn.
        size: (width, height).
        degrees: the turn; positive is clockwise on the screen, as y runs down.
        about: point (x, y) that stays where it is.
    """
    turn = math.radians(degrees)
    cosine, sine = math.cos(turn), math.sin(turn)
    corners = [(corner[0] + i * size[0], corner[1] + j * size[1]) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))]
    return [
        (
            about[0] + (x - about[0]) * cosine - (y - about[1]) * sine,
            about[1] + (x - about[0]) * sine + (y - about[1]) * cosine,
        )
        for x, y in corners
    ]


def ellipse_box(center: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0) -> Edges:
    """Edges of the upright box around an ellipse turned about its centre: half-width sqrt((a cos)^2 + (b sin)^2)."""
    turn = math.radians(degrees)
    half_width = math.hypot(radii[0] * math.cos(turn), radii[1] * math.sin(turn))
    half_height = math.hypot(radii[0] * math.sin(turn), radii[1] * math.cos(turn))
    return center[0] - half_width, center[1] - half_height, center[0] + half_width, center[1] + half_height


def points_of_pairs(flat: Sequence[object], source: str) -> list[tuple[float, float]]:
    """Points (x, y) of a flat list x, y, x, y, ...

    Raises:
        InputError: an odd count, or what is no number.
    """
    if len(flat) % 2:
        raise InputError(f"{source}: {len(flat)} coordinates: expected pairs x, y")
    values = [number(value, source) for value in flat]
    return list(zip(values[::2], values[1::2], strict=True))


def polygon_annotation(
    points: Iterable[tuple[float, float]], image: str, region: str, rows: int | None, columns: int | None, source: str
) -> Annotation | Skipped:
    """The bounding box of a polygon's points, or why there is none."""
    points = list(points)
    box = box_of_corners(*bounding_box(points)) if points else None
    return Annotation(image, region, *box, rows, columns, source=source) if box else Skipped(NO_AREA, source)


def mask_box(
    lengths: Sequence[float], corner: tuple[float, float], size: tuple[float, float], source: str
) -> Edges | None:
    """Edges of a mask from the run lengths of its rows, background first.

    Args:
        lengths: pixels of background, of region, of background, ... in row-major order.
        corner: (x, y) of the mask's first pixel in the picture.
        size: (width, height) of the mask in pixels.
        source: names the mask in messages.

    Raises:
        InputError: lengths that do not fill the mask.
    """
    width, height = (int(side) for side in size)
    if min(lengths) < 0 or width < 1 or height < 1 or sum(lengths) != width * height:
        raise InputError(f"{source}: run lengths of {sum(lengths):g} pixels: expected {width} x {height}")
    ends = np.cumsum(np.array(lengths, np.int64))
    starts, stops = ends[0:-1:2], ends[1::2]
    drawn = starts < stops
    starts, stops = starts[drawn], stops[drawn] - 1
    if not len(starts):
        return None
    wraps = (starts // width != stops // width).any()
    left, right = (0, width) if wraps else (int((starts % width).min()), int((stops % width).max()) + 1)
    top, bottom = int(starts[0] // width), int(stops[-1] // width) + 1
    return corner[0] + left, corner[1] + top, corner[0] + right, corner[1] + bottom
