"""INbreast XML: OsiriX's property list, one file per image, outlines as text `(x, y)` in pixels of the DICOM matrix."""

from __future__ import annotations

import plistlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mammo_aln.cohort.annotations.documents import number, parse_xml, read_bytes
from mammo_aln.cohort.annotations.geometry import polygon_annotation
from mammo_aln.cohort.annotations.record import NO_REGION, Annotation, Element, Listed, Reading, Skipped
from mammo_aln.errors import InputError

MUSCLE = re.compile(r"pectoral\s*muscle", re.IGNORECASE)
POINT = re.compile(r"\(\s*([^,()]+?)\s*,\s*([^,()]+?)\s*\)")


def read_inbreast(path: Path) -> Reading:
    """Read one image's outlines; the pectoral muscle is skipped. The file's name is the image's number.

    Raises:
        InputError: no such property list, or points that are none.
    """
    content = read_bytes(path)
    parse_xml(content, path)
    try:
        document = plistlib.loads(content, fmt=plistlib.FMT_XML)
    except (ValueError, TypeError, OverflowError, AttributeError, IndexError, plistlib.InvalidFileException) as error:
        raise InputError(f"{path}: {error}: expected OsiriX's property list") from error
    image = re.split(r"[_.]", path.stem)[0] if path.stem[:1].isdigit() else path.stem
    reading: list[Element] = []
    for image_number, drawn in enumerate(_items(document, "Images", path)):
        for index, outline in enumerate(_items(drawn, "ROIs", path)):
            reading.append(_annotation(outline, image, f"{path.name} image {image_number}, ROI {index}"))
    return [*reading, Listed(image)]


def _items(holder: object, key: str, path: Path) -> Iterator[Mapping[str, object]]:
    items = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(items, list):
        raise InputError(f"{path}: no list {key}: expected INbreast's property list (Images, ROIs, Point_px)")
    for item in items:
        if not isinstance(item, dict):
            raise InputError(f"{path}, {key}: expected a dict in each item")
        yield item


def _annotation(outline: Mapping[str, object], image: str, source: str) -> Annotation | Skipped:
    region = str(outline.get("Name") or NO_REGION).strip()
    if MUSCLE.fullmatch(region):
        return Skipped("the pectoral muscle", source)
    rows = outline.get("Point_px")
    if not isinstance(rows, list):
        raise InputError(f"{source}: no list Point_px: expected points in pixels")
    points = []
    for text in rows:
        matched = POINT.fullmatch(str(text).strip())
        if matched is None:
            raise InputError(f"{source}, Point_px = {str(text)[:40]!r}: expected `(x, y)`")
        points.append((number(matched[1], f"{source}, x"), number(matched[2], f"{source}, y")))
    return polygon_annotation(points, image, region, None, None, source)
