"""Label Studio JSON: tasks with results in percent of the picture; the list of tasks, or the short form JSON-MIN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from mammo_aln.cohort.annotations.documents import Json, mapping, number, picture_side, read_json, sequence
from mammo_aln.cohort.annotations.geometry import NO_AREA, Edges, box_of_corners, ellipse_box, rotated_corners
from mammo_aln.cohort.annotations.record import NO_REGION, Annotation, Element, Listed, Reading, Skipped, bounding_box
from mammo_aln.errors import InputError

Point = tuple[float, float]
WITHOUT_EXTENT = {
    "keypoint": "a key point has no area",
    "brush": "a brush mask: export it as PNG and read the mask",
    "bitmask": "a bit mask: export it as PNG and read the mask",
    "choices": "a choice for the whole picture",
    "taxonomy": "a choice for the whole picture",
    "textarea": "a text for the whole picture",
    "rating": "a rating of the whole picture",
    "number": "a number for the whole picture",
    "relation": "a relation of two regions",
    "vector": "an open line has no area",
}
UPLOADS = "/data/upload/"
"""Below it stand the project's number and the file; the number is no folder of the user's."""
IMAGE_KEYS = ("image", "img", "picture", "dicom", "url")


def read_label_studio(path: Path) -> Reading:
    """Read an export as JSON or JSON-MIN: rectangles (turned ones too), polygons and ellipses that a person drew.

    Raises:
        InputError: no such JSON, a task with several annotators' work, a picture shown turned, or broken numbers.
    """
    reading: list[Element] = []
    for index, item in enumerate(sequence(read_json(path), f"{path}")):
        source = f"{path.name} task [{index}]"
        task = mapping(item, source)
        reading += _full_task(task, source) if "data" in task else _short_task(task, source)
    return reading


def _full_task(task: Mapping[str, Json], source: str) -> Iterator[Element]:
    image = _image(mapping(task["data"], source), source)
    for _ in sequence(task.get("predictions") or [], source):
        yield Skipped("a model's prediction", source)
    work = [mapping(item, source) for item in sequence(task.get("annotations", task.get("completions")), source)]
    drawn = [annotation for annotation in work if not annotation.get("was_cancelled")]
    if sum(bool(annotation.get("result")) for annotation in drawn) > 1:
        raise InputError(f"{source}: {len(drawn)} annotations of one picture: export the one that is to be used")
    if drawn:
        yield Listed(image)
    for annotation in drawn:
        results = [mapping(item, source) for item in sequence(annotation.get("result"), f"{source}, result")]
        labelled = {str(result.get("id")) for result in results if result.get("type") == "labels"}
        for index, result in enumerate(results):
            if str(result.get("type")) in _SHAPES and str(result.get("id")) in labelled:
                continue  # the result that names its label repeats the shape
            yield _annotation(result, mapping(result.get("value", {}), source), image, f"{source}, result {index}")


def _short_task(task: Mapping[str, Json], source: str) -> Iterator[Element]:
    """JSON-MIN: the results stand in lists under the names of the labelling tags, values beside their sizes."""
    image = _image(task, source)
    yield Listed(image)
    for key, items in task.items():
        if isinstance(items, list):
            for index, item in enumerate(items):
                if isinstance(item, dict) and ("x" in item or "points" in item):
                    yield _annotation(item, item, image, f"{source}, {key} {index}")
                elif isinstance(item, dict) and "rle" in item:
                    yield Skipped(WITHOUT_EXTENT["brush"], f"{source}, {key} {index}")


def _image(data: Mapping[str, Json], source: str) -> str:
    """The picture's path or name: after `?d=` for local files, else the address's path."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    key = next((key for key in IMAGE_KEYS if key in texts), None) or next(
        (key for key, text in texts.items() if "/" in text or "." in text), None
    )
    if key is None:
        raise InputError(f"{source}: no picture in data: expected one of {', '.join(IMAGE_KEYS)}")
    address = urlsplit(texts[key])
    local = parse_qs(address.query).get("d")
    path = local[0] if local else unquote(address.path or texts[key])
    return path.rpartition("/")[2] if UPLOADS in path else path


def _annotation(result: Mapping[str, Json], value: Mapping[str, Json], image: str, source: str) -> Annotation | Skipped:
    kind = str(result.get("type") or next((key for key in value if key.endswith("labels")), "rectangle"))
    shape = kind.removesuffix("labels") or "labels"
    if shape in WITHOUT_EXTENT:
        return Skipped(WITHOUT_EXTENT[shape], source)
    if shape == "labels":  # a shape of its own stands beside its label
        shape = "ellipse" if "radiusX" in value else "polygon" if "points" in value else "rectangle"
    if shape not in _SHAPES:
        raise InputError(f"{source}, type = {kind!r}: expected rectanglelabels, polygonlabels or ellipselabels")
    if number(result.get("image_rotation", 0) or 0, f"{source}, image_rotation") % 360:
        raise InputError(f"{source}: the picture was shown turned (image_rotation): export without turning it")
    rows = picture_side(result.get("original_height"), f"{source}, original_height")
    columns = picture_side(result.get("original_width"), f"{source}, original_width")
    turned = number(value.get("rotation", 0) or 0, f"{source}, rotation") % 360
    if turned and not (rows and columns):
        raise InputError(f"{source}: a turned shape needs original_width and original_height")
    unit = (columns / 100, rows / 100) if rows and columns else (0.01, 0.01)
    box = _SHAPES[shape](value, unit, source)
    if box is None:
        return Skipped(NO_AREA, source)
    normalised = not (rows and columns)
    return Annotation(image, _region(value), *box, rows, columns, normalised=normalised, source=source)


def _region(value: Mapping[str, Json]) -> str:
    labels = next((item for key, item in value.items() if key.endswith("labels") and isinstance(item, list)), [])
    return ", ".join(str(label) for label in labels) or NO_REGION


def _percent(value: Mapping[str, Json], unit: Point, source: str, x: str, y: str) -> Point:
    return number(value.get(x), f"{source}, {x}") * unit[0], number(value.get(y), f"{source}, {y}") * unit[1]


def _rectangle(value: Mapping[str, Json], unit: Point, source: str) -> Edges | None:
    """A rectangle turns about its upper left corner, clockwise."""
    corner = _percent(value, unit, source, "x", "y")
    size = _percent(value, unit, source, "width", "height")
    if min(size) < 0:
        raise InputError(f"{source}: width or height below 0: expected no negative size")
    degrees = number(value.get("rotation", 0) or 0, f"{source}, rotation")
    return box_of_corners(*bounding_box(rotated_corners(corner, size, degrees, corner)))


def _ellipse(value: Mapping[str, Json], unit: Point, source: str) -> Edges | None:
    center = _percent(value, unit, source, "x", "y")
    radii = _percent(value, unit, source, "radiusX", "radiusY")
    return box_of_corners(*ellipse_box(center, radii, number(value.get("rotation", 0) or 0, f"{source}, rotation")))


def _polygon(value: Mapping[str, Json], unit: Point, source: str) -> Edges | None:
    points = []
    for item in sequence(value.get("points"), f"{source}, points"):
        pair = [number(coordinate, f"{source}, points") for coordinate in sequence(item, f"{source}, points")]
        if len(pair) != 2:
            raise InputError(f"{source}, points: {len(pair)} coordinates in a point: expected [x, y]")
        points.append((pair[0] * unit[0], pair[1] * unit[1]))
    return box_of_corners(*bounding_box(points)) if points else None


_SHAPES = {"rectangle": _rectangle, "polygon": _polygon, "ellipse": _ellipse}
