"""CVAT for images 1.1 (XML): `image` elements with their shapes, corners and points as edges in pixels."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from mammo_aln.cohort.annotations.documents import number, picture_side, read_xml
from mammo_aln.cohort.annotations.geometry import (
    NO_AREA,
    Edges,
    box_of_corners,
    ellipse_box,
    mask_box,
    rotated_corners,
)
from mammo_aln.cohort.annotations.record import NO_REGION, Annotation, Element, Listed, Reading, Skipped, bounding_box
from mammo_aln.errors import InputError

LONGEST_RUN = 1e9
WITHOUT_EXTENT = {
    "points": "points have no area",
    "skeleton": "a skeleton has no area",
    "tag": "a tag of the whole picture",
    "cuboid": "a cuboid is no region of a picture",
}


def read_cvat(path: Path) -> Reading:
    """Read an export `CVAT for images 1.1`: boxes (turned ones too), polygons, polylines, ellipses and masks.

    Raises:
        InputError: no such XML, the export for videos, pictures that the task flipped, or broken numbers.
    """
    root = read_xml(path)
    if root.find("track") is not None:
        raise InputError(f"{path}: an export for videos (track): export as `CVAT for images 1.1`")
    if any((flag.text or "").strip().lower() == "true" for flag in root.iter("flipped")):
        raise InputError(f"{path}: meta says that the task's pictures are flipped: export from a task that is not")
    reading: list[Element] = []
    for image in root.iter("image"):
        name = image.get("name")
        if not name:
            raise InputError(f"{path}: an image without name: expected `CVAT for images 1.1`")
        rows = picture_side(image.get("height"), f"{path.name} {name}, height")
        columns = picture_side(image.get("width"), f"{path.name} {name}, width")
        for index, shape in enumerate(image, 1):
            source = f"{path.name} {name}, {shape.tag} {index}"
            reading.append(_annotation(shape, name, rows, columns, source))
        reading.append(Listed(name))
    return reading


def _annotation(
    shape: ElementTree.Element, image: str, rows: int | None, columns: int | None, source: str
) -> Annotation | Skipped:
    if shape.tag in WITHOUT_EXTENT:
        return Skipped(WITHOUT_EXTENT[shape.tag], source)
    if shape.tag not in _SHAPES:
        raise InputError(f"{source}: expected {', '.join((*_SHAPES, *WITHOUT_EXTENT))}")
    box = _SHAPES[shape.tag](shape, source)
    if box is None:
        return Skipped(NO_AREA, source)
    return Annotation(image, (shape.get("label") or NO_REGION).strip(), *box, rows, columns, source=source)


def _numbers(shape: ElementTree.Element, source: str, *names: str) -> list[float]:
    return [number(shape.get(name), f"{source}, {name}") for name in names]


def _box(shape: ElementTree.Element, source: str) -> Edges | None:
    x_0, y_0, x_1, y_1 = _numbers(shape, source, "xtl", "ytl", "xbr", "ybr")
    if x_1 < x_0 or y_1 < y_0:
        raise InputError(f"{source}: xbr or ybr before xtl or ytl: expected corners in order")
    degrees = number(shape.get("rotation", "0"), f"{source}, rotation")
    middle = (x_0 + x_1) / 2, (y_0 + y_1) / 2
    return box_of_corners(*bounding_box(rotated_corners((x_0, y_0), (x_1 - x_0, y_1 - y_0), degrees, middle)))


def _outline(shape: ElementTree.Element, source: str) -> Edges | None:
    points = []
    for pair in (shape.get("points") or "").split(";"):
        x, comma, y = pair.partition(",")
        if not comma:
            raise InputError(f"{source}, points: {pair!r}: expected `x,y;x,y;...`")
        points.append((number(x.strip(), f"{source}, x"), number(y.strip(), f"{source}, y")))
    return box_of_corners(*bounding_box(points))


def _ellipse(shape: ElementTree.Element, source: str) -> Edges | None:
    x, y, radius_x, radius_y = _numbers(shape, source, "cx", "cy", "rx", "ry")
    degrees = number(shape.get("rotation", "0"), f"{source}, rotation")
    return box_of_corners(*ellipse_box((x, y), (radius_x, radius_y), degrees))


def _mask(shape: ElementTree.Element, source: str) -> Edges | None:
    left, top, width, height = _numbers(shape, source, "left", "top", "width", "height")
    lengths = [number(count.strip(), f"{source}, rle", LONGEST_RUN) for count in (shape.get("rle") or "").split(",")]
    return mask_box(lengths, (left, top), (width, height), source)


_SHAPES = {"box": _box, "polygon": _outline, "polyline": _outline, "ellipse": _ellipse, "mask": _mask}
