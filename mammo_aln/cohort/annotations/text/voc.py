"""Pascal VOC XML: one file per picture, corners counted from 1 and included, as the challenge's devkit defines them.

Many tools write corners from 0 under the same name. A file with a corner at 0 cannot count from 1: its corners are
taken as edges from 0.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from mammo_aln.cohort.annotations.documents import number, picture_side, read_xml
from mammo_aln.cohort.annotations.geometry import NO_AREA, box_of_corners
from mammo_aln.cohort.annotations.record import NO_REGION, Annotation, Element, Listed, Reading, Skipped
from mammo_aln.errors import InputError

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(path: Path) -> Reading:
    """Read a Pascal VOC file: pixels `xmin` to `xmax` from 1, both included, become edges `xmin - 1` and `xmax`.

    Raises:
        InputError: no such XML, an object without its box, or broken numbers.
    """
    root = read_xml(path)
    image = _image(root, path)
    rows = picture_side(root.findtext("size/height"), f"{path.name} size/height")
    columns = picture_side(root.findtext("size/width"), f"{path.name} size/width")
    corners = [_corners(drawn, f"{path.name} object[{index}]") for index, drawn in enumerate(root.iter("object"), 1)]
    first = 0.0 if any(min(box) <= 0 for _, box, _ in corners) else 1.0
    reading: list[Element] = []
    for region, (x_min, y_min, x_max, y_max), source in corners:
        if x_max < x_min or y_max < y_min:
            raise InputError(f"{source}: xmax or ymax before xmin or ymin: expected corners in order")
        box = box_of_corners(x_min - first, y_min - first, x_max, y_max)
        reading.append(
            Annotation(image, region, *box, rows, columns, source=source) if box else Skipped(NO_AREA, source)
        )
    return [*reading, Listed(image)]


def _image(root: ElementTree.Element, path: Path) -> str:
    """The picture by folder and name: `path` where it is the same picture's, and the folder of the file itself."""
    name, whole = ((root.findtext(tag) or "").strip().replace("\\", "/") for tag in ("filename", "path"))
    if not name or whole.endswith(f"/{name}"):
        name = whole or name
    return str(path.parent / (name or path.stem).lstrip("/"))


def _corners(drawn: ElementTree.Element, source: str) -> tuple[str, tuple[float, ...], str]:
    box = drawn.find("bndbox")
    if box is None:
        raise InputError(f"{source}: no bndbox: expected one with {', '.join(CORNERS)}")
    values = tuple(number((box.findtext(corner) or "").strip(), f"{source}, {corner}") for corner in CORNERS)
    return (drawn.findtext("name") or NO_REGION).strip(), values, source
