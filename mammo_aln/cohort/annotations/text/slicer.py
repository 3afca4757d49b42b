"""3D Slicer's markups JSON: boxes (ROI) and closed curves in millimetres; the file is named as its image.

A mammogram has no position in space. Slicer then puts the centre of its first pixel at 0 and steps by its spacing, x
and y as in LPS; in RAS both change their sign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np

from mammo_aln.cohort.annotations.documents import Json, mapping, number, read_json, sequence
from mammo_aln.cohort.annotations.geometry import NO_AREA, box_of_corners
from mammo_aln.cohort.annotations.record import NO_REGION, Annotation, Element, Listed, Reading, Skipped, bounding_box
from mammo_aln.errors import InputError

SIGNS = {"LPS": 1.0, "0": 1.0, "RAS": -1.0, "1": -1.0}
WITHOUT_EXTENT = {
    "Fiducial": "a point list has no area",
    "Line": "a line has no area",
    "Angle": "an angle has no area",
    "Curve": "an open curve has no area",
    "Plane": "a plane is no region of a picture",
}


def read_slicer(path: Path) -> Reading:
    """Read a markups file: the box of each ROI and closed curve, in millimetres.

    Raises:
        InputError: no such JSON, another unit or coordinate system, or a turned ROI out of the image's plane.
    """
    document = mapping(read_json(path), f"{path}")
    image = re.sub(r"(\.mrk)?\.json$", "", path.name, flags=re.IGNORECASE)
    reading: list[Element] = []
    for index, item in enumerate(sequence(document.get("markups"), f"{path.name} markups")):
        source = f"{path.name} markups[{index}]"
        reading.append(_annotation(mapping(item, source), image, source))
    return [*reading, Listed(image)]


def _annotation(markup: Mapping[str, Json], image: str, source: str) -> Annotation | Skipped:
    kind = str(markup.get("type"))
    if kind in WITHOUT_EXTENT:
        return Skipped(WITHOUT_EXTENT[kind], source)
    system = str(markup.get("coordinateSystem", "LPS"))
    if system not in SIGNS:
        raise InputError(f"{source}, coordinateSystem = {system!r}: expected LPS or RAS")
    units = markup.get("coordinateUnits", "mm")
    if units not in ("mm", ["mm", "UCUM", "millimeter"]):
        raise InputError(f"{source}, coordinateUnits = {units!r}: expected mm")
    if kind == "ROI":
        points = _roi_corners(markup, source)
    elif kind == "ClosedCurve":
        controls = sequence(markup.get("controlPoints"), f"{source}, controlPoints")
        positions = [mapping(control, source).get("position") for control in controls]
        points = [_point(position, f"{source}, position") for position in positions if position is not None]
    else:
        raise InputError(f"{source}, type = {kind!r}: expected ROI or ClosedCurve")
    if not points:
        return Skipped("no control point", source)
    sign = SIGNS[system]
    box = box_of_corners(*bounding_box([(sign * point[0], sign * point[1]) for point in points]))
    if box is None:
        return Skipped(NO_AREA, source)
    return Annotation(image, _label(markup), *box, source=source, millimetres=True)


def _label(markup: Mapping[str, Json]) -> str:
    """The markup's own name, or that of its first control point without its number (`mass-1` is `mass`)."""
    controls = markup.get("controlPoints")
    first = controls[0] if isinstance(controls, list) and controls else None
    label = markup.get("name") or (first.get("label") if isinstance(first, dict) else None)
    return re.sub(r"[-_ ]\d+$", "", str(label or NO_REGION)).strip()


def _roi_corners(markup: Mapping[str, Json], source: str) -> list[tuple[float, float, float]]:
    """Corners of a box; columns of `orientation` are its axes in the markup's coordinate system."""
    center = np.array(_point(markup.get("center"), f"{source}, center"))
    size = np.array(_point(markup.get("size"), f"{source}, size"))
    if (size < 0).any():
        raise InputError(f"{source}, size = {size.tolist()}: expected no negative size")
    flat = markup.get("orientation", [1, 0, 0, 0, 1, 0, 0, 0, 1])
    values = [number(value, f"{source}, orientation") for value in sequence(flat, f"{source}, orientation")]
    axes = np.array(values).reshape(3, 3) if len(values) == 9 else np.zeros((3, 3))
    if not np.allclose(axes @ axes.T, np.eye(3), atol=1e-3):
        raise InputError(f"{source}, orientation: expected nine numbers of three perpendicular axes of length 1")
    if not np.isclose(np.abs(axes[2]).max(), 1.0, atol=1e-3):
        raise InputError(f"{source}, orientation: the box is turned out of the image's plane")
    corners = [center + axes @ (np.array(signs) * size / 2) for signs in product((-1, 1), repeat=3)]
    return [(float(x), float(y), float(z)) for x, y, z in corners]


def _point(value: Json, source: str) -> tuple[float, float, float]:
    coordinates = [number(item, source) for item in sequence(value, source)]
    if len(coordinates) != 3:
        raise InputError(f"{source}: {len(coordinates)} coordinates: expected three")
    return coordinates[0], coordinates[1], coordinates[2]
