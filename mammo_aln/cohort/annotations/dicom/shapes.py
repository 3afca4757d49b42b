"""Boxes of DICOM's graphic types (PS3.3 C.10.5.1.2 and C.18.6.1.2).

Coordinates are (column, row) with 0\\0 at the upper left corner of the first pixel and 1\\1 at its lower right corner,
in SCOORD as in the PIXEL units of a presentation state: edges, as the record has them.
"""

from __future__ import annotations

import math

from mammo_aln.cohort.annotations.geometry import NO_AREA, Edges, box_of_corners, ellipse_box
from mammo_aln.cohort.annotations.record import bounding_box
from mammo_aln.errors import InputError

Point = tuple[float, float]
FEWEST_OF_AN_OUTLINE = 3
SQUARE = 0.05
"""Cosine up to which the two axes of an ellipse count as perpendicular."""
SAME_CENTER = 0.05
"""Distance between the middles of an ellipse's axes, as a share of the longer one, up to which they are one."""
CLOSED_WITHIN = 1e-3
"""Pixels between the first and last point of a closed polyline; single precision rounds at large coordinates."""

POINT = "a point has no area"
LINE = "a line of two points has no area"
OPEN_LINE = "an open line (an arrow or a measurement) is no outline"
CROOKED_ELLIPSE = "an ellipse whose axes do not cross at right angles in their middles"


def shape_box(kind: str, points: list[Point], source: str, *, closed: bool = False) -> Edges | str:
    """Edges of the box around one shape, or why it has none.

    Args:
        kind: GraphicType.
        points: as stored.
        source: element, for messages.
        closed: a polyline must end where it began.

    Raises:
        InputError: an unknown type, or another number of points than the type has.
    """
    if kind == "POINT":
        return POINT
    if kind == "CIRCLE":
        center, rim = _counted(points, 2, kind, source)
        radius = math.dist(center, rim)
        box = box_of_corners(center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius)
        return box or NO_AREA
    if kind == "ELLIPSE":
        return _ellipse(_counted(points, 4, kind, source))
    if kind == "MULTIPOINT":
        return (box_of_corners(*bounding_box(points)) or NO_AREA) if len(points) > 1 else POINT
    if kind in ("POLYLINE", "INTERPOLATED"):
        return _polyline(points, closed, source)
    raise InputError(
        f"{source}, GraphicType = {kind!r}: expected POINT, MULTIPOINT, POLYLINE, INTERPOLATED, CIRCLE or ELLIPSE"
    )


def _counted(points: list[Point], count: int, kind: str, source: str) -> list[Point]:
    if len(points) != count:
        raise InputError(f"{source}: {len(points)} points: expected {count} of a {kind}")
    return points


def _polyline(points: list[Point], closed: bool, source: str) -> Edges | str:
    if not points:
        raise InputError(f"{source}: no points: expected those of an outline")
    ends_meet = math.dist(points[0], points[-1]) <= CLOSED_WITHIN
    if len(points[:-1] if ends_meet else points) < FEWEST_OF_AN_OUTLINE:
        return LINE if len(points) > 1 else POINT
    if closed and not ends_meet:
        return OPEN_LINE
    return box_of_corners(*bounding_box(points)) or NO_AREA


def _ellipse(points: list[Point]) -> Edges | str:
    """The box around an ellipse from the ends of its axes: half-width sqrt((a cos)^2 + (b sin)^2)."""
    (x_0, y_0), (x_1, y_1), (x_2, y_2), (x_3, y_3) = points
    first, second = (x_1 - x_0, y_1 - y_0), (x_3 - x_2, y_3 - y_2)
    lengths = math.hypot(*first), math.hypot(*second)
    if min(lengths) == 0:
        return NO_AREA
    center = (x_0 + x_1) / 2, (y_0 + y_1) / 2
    apart = math.dist(center, ((x_2 + x_3) / 2, (y_2 + y_3) / 2))
    cosine = abs(first[0] * second[0] + first[1] * second[1]) / (lengths[0] * lengths[1])
    if cosine > SQUARE or apart > max(SAME_CENTER * max(lengths), 1.0):
        return CROOKED_ELLIPSE
    return ellipse_box(center, (lengths[0] / 2, lengths[1] / 2), math.degrees(math.atan2(first[1], first[0])))
