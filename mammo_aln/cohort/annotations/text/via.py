"""VGG Image Annotator: projects and exports of versions 1 to 3, JSON and CSV; the files state no picture size."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mammo_aln.cohort.annotations.documents import Json, mapping, number, parse_json, read_json, read_text, sequence
from mammo_aln.cohort.annotations.geometry import (
    NO_AREA,
    Edges,
    box_of_corners,
    box_of_sides,
    ellipse_box,
    points_of_pairs,
)
from mammo_aln.cohort.annotations.record import NO_REGION, Annotation, Element, Listed, Reading, Skipped, bounding_box
from mammo_aln.errors import InputError

LABEL_NAMES = ("label", "labels", "class", "name", "region", "type", "category", "finding", "lesion")
"""Attributes that name a region, the first one that stands; else the only attribute there is."""
NUMBERED_SHAPES = {1: "point", 2: "rect", 3: "circle", 4: "ellipse", 5: "line", 6: "polyline", 7: "polygon"}
"""Version 3 writes a shape as its number and its coordinates in one list."""
EXTREME_SHAPES = {8: "polygon", 9: "extreme circle"}
COMMENTS = "#"
REMARK = "a remark on the whole picture"


def read_via(path: Path) -> Reading:
    """Read a VIA JSON file: a project or an export of annotations, of version 1, 2 or 3.

    Raises:
        InputError: no such JSON, an unknown shape, several attributes of which none names the region, broken numbers.
    """
    document = mapping(read_json(path), f"{path}")
    if {"file", "metadata"} <= set(document):
        return list(_version_3(document, path))
    images = mapping(document.get("_via_img_metadata", document), f"{path}")
    named = ((f"{path.name} {key}", image) for key, image in images.items())
    return [element for source, image in named for element in _version_2(mapping(image, source), source)]


def read_via_csv(path: Path) -> Reading:
    """Read a VIA CSV export of version 2 or 3; refusals as in `read_via`."""
    text = read_text(path)
    lines = text.splitlines(keepends=True)
    header = next((line for line in lines if line.startswith(COMMENTS) and "CSV_HEADER" in line), None)
    options = _options_of_comments(lines, path)
    body = "".join(line for line in lines if not line.startswith(COMMENTS))
    names = [name.strip() for name in header.partition("=")[2].split(",")] if header else None
    try:
        rows = list(csv.DictReader(io.StringIO(body, newline=""), fieldnames=names, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}: {error}: expected VIA's CSV export") from error
    reading: list[Element] = []
    for row_number, row in enumerate(rows, 1):
        source = f"{path.name} row {row_number}"
        cells = {name: cell for name, cell in row.items() if isinstance(name, str) and isinstance(cell, str)}
        reading += _csv_row(cells, options, path, source)
    return reading


def _csv_row(
    cells: Mapping[str, str], options: Mapping[str, Mapping[str, str]], path: Path, source: str
) -> Iterator[Element]:
    if "spatial_coordinates" in cells:
        files = sequence(parse_json(cells.get("file_list", ""), path), f"{source}, file_list")
        if len(files) != 1:
            raise InputError(f"{source}, file_list: {len(files)} files: expected one picture")
        yield Listed(str(files[0]))
        coordinates = parse_json(cells["spatial_coordinates"], path)
        if not coordinates:
            yield Skipped(REMARK, source)
            return
        attributes = _named(mapping(parse_json(cells.get("metadata") or "{}", path), source), options)
        yield _annotation(_numbered_shape(coordinates, source), attributes, str(files[0]), source)
        return
    if not {"filename", "region_shape_attributes"} <= set(cells):
        raise InputError(f"{source}: expected the columns filename and region_shape_attributes")
    shape = mapping(parse_json(cells["region_shape_attributes"], path), source)
    attributes = mapping(parse_json(cells.get("region_attributes") or "{}", path), source)
    yield Listed(cells["filename"])
    if shape:
        yield _annotation(shape, attributes, cells["filename"], source)


def _options_of_comments(lines: Sequence[str], path: Path) -> dict[str, Mapping[str, str]]:
    marked = next((line for line in lines if line.startswith(COMMENTS) and "ATTRIBUTE" in line and "{" in line), None)
    return _attribute_options(parse_json(marked[marked.index("{") :], path), path) if marked else {}


def _version_2(image: Mapping[str, Json], source: str) -> Iterator[Element]:
    name = str(image.get("filename"))
    yield Listed(name)
    regions = image.get("regions")
    drawn = list(regions.values()) if isinstance(regions, dict) else sequence(regions, f"{source}, regions")
    for index, item in enumerate(drawn):
        at = f"{source}, region {index}"
        region = mapping(item, at)
        shape = mapping(region.get("shape_attributes"), f"{at}, shape_attributes")
        yield _annotation(shape, mapping(region.get("region_attributes", {}), at), name, at)


def _version_3(document: Mapping[str, Json], path: Path) -> Iterator[Element]:
    names = {
        str(key): str(mapping(item, f"{path.name} file {key}").get("fname"))
        for key, item in mapping(document["file"], f"{path.name} file").items()
    }
    for name in names.values():
        yield Listed(name)
    options = _attribute_options(document.get("attribute", {}), path)
    for key, item in mapping(document["metadata"], f"{path.name} metadata").items():
        source = f"{path.name} metadata {key}"
        region = mapping(item, source)
        coordinates = region.get("xy")
        if not coordinates:
            yield Skipped(REMARK, source)
            continue
        view = mapping(mapping(document.get("view", {}), source).get(str(region.get("vid")), {}), source)
        files = sequence(view.get("fid_list"), f"{source}, its view")
        if len(files) != 1 or str(files[0]) not in names:
            raise InputError(f"{source}: its view names {len(files)} files: expected one picture of `file`")
        attributes = _named(mapping(region.get("av", {}), source), options)
        yield _annotation(_numbered_shape(coordinates, source), attributes, names[str(files[0])], source)


def _attribute_options(attributes: Json, path: Path) -> dict[str, Mapping[str, str]]:
    """Of each attribute's number: its name under the key "", and the words of its options."""
    options: dict[str, Mapping[str, str]] = {}
    for key, item in mapping(attributes, f"{path.name} attribute").items():
        attribute = mapping(item, f"{path.name} attribute {key}")
        words = attribute.get("options")
        named = {str(k): str(v) for k, v in words.items()} if isinstance(words, dict) else {}
        options[str(key)] = {**named, "": str(attribute.get("aname", key))}
    return options


def _named(values: Mapping[str, Json], options: Mapping[str, Mapping[str, str]]) -> dict[str, Json]:
    named: dict[str, Json] = {}
    for key, value in values.items():
        words = options.get(key, {})
        named[words.get("", key)] = words.get(str(value), value)
    return named


def _numbered_shape(coordinates: Json, source: str) -> dict[str, Json]:
    """The shape of version 3 in the words of version 2."""
    values = sequence(coordinates, source)
    kind = int(number(values[0], source))
    name = {**NUMBERED_SHAPES, **EXTREME_SHAPES}.get(kind, f"number {kind}")
    rest = list(values[1:])
    if name in ("polygon", "polyline"):
        return {"name": name, "all_points_x": rest[::2], "all_points_y": rest[1::2]}
    keys = {"rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r"), "ellipse": ("cx", "cy", "rx", "ry")}
    return {"name": name, **dict(zip(keys.get(name, ()), rest, strict=False))}


def _annotation(
    shape: Mapping[str, Json], attributes: Mapping[str, Json], image: str, source: str
) -> Annotation | Skipped:
    kind = str(shape.get("name", ""))
    if not shape:
        return Skipped("a region without a shape", source)
    if kind in ("point", "line"):
        return Skipped(f"a {kind} has no area", source)
    if kind not in _SHAPES:
        raise InputError(f"{source}, shape {kind!r}: expected {', '.join(_SHAPES)}")
    box = _SHAPES[kind](shape, source)
    return Annotation(image, _region(attributes, source), *box, source=source) if box else Skipped(NO_AREA, source)


def _region(attributes: Mapping[str, Json], source: str) -> str:
    stated = {key: value for key, value in attributes.items() if value not in (None, "", {})}
    lower = {key.lower(): key for key in stated}
    name = next((lower[name] for name in LABEL_NAMES if name in lower), None)
    if name is None and len(stated) > 1:
        raise InputError(f"{source}: attributes {', '.join(stated)}: name the one that is the region `label`")
    value = stated[name] if name else next(iter(stated.values()), NO_REGION)
    if isinstance(value, dict):
        value = ", ".join(key for key, ticked in value.items() if ticked)
    return str(value).strip()


def _values(shape: Mapping[str, Json], source: str, *keys: str) -> list[float]:
    return [number(shape.get(key), f"{source}, {key}") for key in keys]


def _rect(shape: Mapping[str, Json], source: str) -> Edges | None:
    x, y, width, height = _values(shape, source, "x", "y", "width", "height")
    return box_of_sides(x, y, width, height, source)


def _circle(shape: Mapping[str, Json], source: str) -> Edges | None:
    x, y, radius = _values(shape, source, "cx", "cy", "r")
    return box_of_sides(x - radius, y - radius, 2 * radius, 2 * radius, source)


def _ellipse(shape: Mapping[str, Json], source: str) -> Edges | None:
    x, y, radius_x, radius_y = _values(shape, source, "cx", "cy", "rx", "ry")
    theta = number(shape.get("theta", 0), f"{source}, theta")
    return box_of_corners(*ellipse_box((x, y), (radius_x, radius_y), math.degrees(theta)))


def _outline(shape: Mapping[str, Json], source: str) -> Edges | None:
    xs = sequence(shape.get("all_points_x"), f"{source}, all_points_x")
    ys = sequence(shape.get("all_points_y"), f"{source}, all_points_y")
    if len(xs) != len(ys) or not xs:
        raise InputError(f"{source}: {len(xs)} x and {len(ys)} y: expected one of each for every point")
    pairs = [value for pair in zip(xs, ys, strict=True) for value in pair]
    return box_of_corners(*bounding_box(points_of_pairs(pairs, source)))


_SHAPES = {"rect": _rect, "circle": _circle, "ellipse": _ellipse, "polygon": _outline, "polyline": _outline}
