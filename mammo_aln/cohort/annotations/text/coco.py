"""COCO JSON: `images`, `annotations` and `categories`; boxes are [x, y, width, height] from the upper left edge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mammo_aln.cohort.annotations.documents import Json, mapping, number, picture_side, read_json, sequence
from mammo_aln.cohort.annotations.geometry import NO_AREA, box_of_sides, points_of_pairs, polygon_annotation
from mammo_aln.cohort.annotations.record import NO_REGION, Annotation, Element, Listed, Reading, Skipped
from mammo_aln.errors import InputError

NO_OUTLINE = "neither bbox nor polygon (run-length masks are not read)"


def read_coco(path: Path) -> Reading:
    """Read a COCO file of detections.

    The box is the annotation's `bbox`; where it has none, the bounding box of its polygons.

    Raises:
        InputError: no such JSON, a reference to an image that the file does not list, or broken numbers.
    """
    document = mapping(read_json(path), f"{path}")
    images: dict[str, dict[str, Json]] = {}
    for index, item in enumerate(sequence(document.get("images"), f"{path} images")):
        image = mapping(item, f"{path} images[{index}]")
        key = str(image.get("id"))
        if key in images:
            raise InputError(f"{path} images[{index}]: id {key} stands twice: expected each image once")
        images[key] = image
    names = _category_names(document, path)
    reading: list[Element] = []
    for index, item in enumerate(sequence(document.get("annotations"), f"{path} annotations")):
        source = f"{path.name} annotations[{index}]"
        drawn = mapping(item, source)
        image = images.get(str(drawn.get("image_id")), {})
        if "file_name" not in image:
            raise InputError(f"{source}, image_id = {drawn.get('image_id')!r}: expected an id of an image in `images`")
        category = drawn.get("category_id")
        region = NO_REGION if category is None else names.get(str(category), str(category))
        rows = picture_side(image.get("height"), f"{source}, height of its image")
        columns = picture_side(image.get("width"), f"{source}, width of its image")
        reading.append(_annotation(drawn, str(image["file_name"]), region, rows, columns, source))
    return [*reading, *(Listed(str(image["file_name"])) for image in images.values() if "file_name" in image)]


def _category_names(document: Mapping[str, Json], path: Path) -> dict[str, str]:
    names = {}
    for index, item in enumerate(sequence(document.get("categories", []), f"{path} categories")):
        category = mapping(item, f"{path} categories[{index}]")
        names[str(category.get("id"))] = str(category.get("name", NO_REGION))
    return names


def _annotation(
    drawn: Mapping[str, Json], image: str, region: str, rows: int | None, columns: int | None, source: str
) -> Annotation | Skipped:
    box = drawn.get("bbox")
    outline = drawn.get("segmentation")
    if isinstance(box, list) and box and not (isinstance(outline, list) and outline and not any(box)):
        if len(box) != 4:
            raise InputError(f"{source}, bbox = {box!r}: expected [x, y, width, height]")
        x, y, width, height = (number(value, f"{source}, bbox") for value in box)
        sides = box_of_sides(x, y, width, height, f"{source}, bbox")
        return Annotation(image, region, *sides, rows, columns, source=source) if sides else Skipped(NO_AREA, source)
    if isinstance(outline, list) and outline:
        points = [pair for ring in outline for pair in points_of_pairs(sequence(ring, source), source)]
        return polygon_annotation(points, image, region, rows, columns, source)
    return Skipped(NO_OUTLINE, source)
