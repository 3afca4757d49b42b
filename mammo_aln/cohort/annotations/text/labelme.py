"""LabelMe JSON: one file per picture, `shapes` of points [x, y] on the canvas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from mammo_aln.cohort.annotations.documents import Json, mapping, number, picture_side, read_json, sequence
from mammo_aln.cohort.annotations.geometry import polygon_annotation
from mammo_aln.cohort.annotations.record import NO_REGION, Annotation, Element, Listed, Reading, Skipped
from mammo_aln.errors import InputError

OUTLINES = {"polygon": 3, "rectangle": 2, "linestrip": 2, "oriented_rectangle": 3}
"""Shapes whose points span the region, and how many there are at least."""
PAIRS = {"circle": "its centre and a point of its rim", "mask": "its first and last pixel, both included"}
WITHOUT_EXTENT = ("point", "points", "line")


def read_labelme(path: Path) -> Reading:
    """Read a LabelMe file: rectangles, polygons, line strips, circles (centre and a point of the rim) and masks.

    Raises:
        InputError: no such JSON, an unknown shape, or broken numbers.
    """
    document = mapping(read_json(path), f"{path}")
    image = str(path.parent / str(document.get("imagePath") or path.stem).replace("\\", "/"))
    rows = picture_side(document.get("imageHeight"), f"{path.name} imageHeight")
    columns = picture_side(document.get("imageWidth"), f"{path.name} imageWidth")
    reading: list[Element] = []
    for index, item in enumerate(sequence(document.get("shapes"), f"{path.name} shapes")):
        source = f"{path.name} shapes[{index}]"
        shape = mapping(item, source)
        reading.append(_annotation(shape, image, rows, columns, source))
    return [*reading, Listed(image)]


def _annotation(
    shape: Mapping[str, Json], image: str, rows: int | None, columns: int | None, source: str
) -> Annotation | Skipped:
    region = str(shape.get("label") or NO_REGION)
    kind = str(shape.get("shape_type") or "polygon")
    points = []
    for item in sequence(shape.get("points"), f"{source}, points"):
        pair = sequence(item, f"{source}, points")
        if len(pair) != 2:
            raise InputError(f"{source}, points: {len(pair)} coordinates in a point: expected [x, y]")
        points.append((number(pair[0], f"{source}, x"), number(pair[1], f"{source}, y")))
    if kind in WITHOUT_EXTENT:
        return Skipped(f"a {kind} has no area", source)
    if kind in PAIRS:
        if len(points) != 2:
            raise InputError(f"{source}: {len(points)} points of a {kind}: expected {PAIRS[kind]}")
        (x, y), (right, low) = points
        reach = math.dist(*points)
        points = [(x, y), (right + 1, low + 1)] if kind == "mask" else [(x - reach, y - reach), (x + reach, y + reach)]
    elif kind not in OUTLINES:
        raise InputError(f"{source}, shape_type = {kind!r}: expected {', '.join((*OUTLINES, *PAIRS))}")
    elif len(points) < OUTLINES[kind]:
        raise InputError(f"{source}: {len(points)} points: expected at least {OUTLINES[kind]} of a {kind}")
    return polygon_annotation(points, image, region, rows, columns, source)
