"""YOLO text: one file per picture, a line per region, shares of the picture's size; names stand in a file beside it."""

from __future__ import annotations

from pathlib import Path

from mammo_aln.cohort.annotations.documents import number, read_text
from mammo_aln.cohort.annotations.geometry import NO_AREA, box_of_sides, points_of_pairs
from mammo_aln.cohort.annotations.record import Annotation, Element, Listed, Reading, Skipped, bounding_box
from mammo_aln.cohort.reading import read_text_yaml
from mammo_aln.errors import BadCell, InputError, raise_bad_cells

NAME_LISTS = ("classes.txt", "obj.names", "labels.txt", "names.txt")
NAME_DOCUMENTS = ("data.yaml", "data.yml", "dataset.yaml")
COMPANIONS = (*NAME_LISTS, *NAME_DOCUMENTS, "train.txt", "val.txt", "test.txt")
FOLDERS_ABOVE = 3
"""Names are sought beside the file and in so many folders above it (`labels/train/x.txt`)."""
ROUNDING = 1e-3
"""A share may lie outside 0 to 1 by a rounding error."""


def read_yolo(path: Path) -> Reading:
    """Read one picture's YOLO file: `class x_center y_center width height` (and a confidence), or polygons.

    The region is the class's name in `classes.txt` or `data.yaml`, or its number where there is neither.

    Raises:
        InputError: a line of another form, a number outside 0 to 1, or a class without a name among names.
    """
    names = class_names(path)
    image = str(path.with_suffix(""))
    reading: list[Element] = []
    for line_number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            source = f"{path.name}:{line_number}"
            reading.append(_annotation(line.split(), image, names, source))
    return [*reading, Listed(image)]


def looks_like_yolo(head: bytes) -> bool:
    """Test a text file's first line; an empty file is a picture without regions."""
    lines = head.decode("utf-8-sig", errors="replace").split("\n")
    first = next((line.split() for line in lines if line.strip()), [])
    try:
        numbers = [float(token) for token in first]
    except ValueError:
        return False
    return not first or (len(numbers) >= 5 and numbers[0].is_integer())


def class_names(path: Path) -> dict[str, str]:
    """Names by class number from the first list found beside a file or above it; empty where there is none.

    Raises:
        InputError: a document without `names`.
    """
    for folder in list(path.absolute().parents)[: FOLDERS_ABOVE + 1]:
        for name in NAME_LISTS:
            if (folder / name).is_file():
                return {str(i): text.strip() for i, text in enumerate(read_text(folder / name).split("\n"))}
        for name in NAME_DOCUMENTS:
            if (folder / name).is_file():
                return _names_of_document(folder / name)
    return {}


def _names_of_document(path: Path) -> dict[str, str]:
    faults: list[BadCell] = []
    names = read_text_yaml(path, faults).get("names")
    raise_bad_cells(faults)
    if isinstance(names, list):
        return {str(index): str(name) for index, name in enumerate(names)}
    if isinstance(names, dict):
        return {str(index): str(name) for index, name in names.items()}
    raise InputError(f"{path}: no `names`: expected the classes' names, as YOLO's trainers read them")


def _annotation(tokens: list[str], image: str, names: dict[str, str], source: str) -> Annotation | Skipped:
    values = [number(token, source) for token in tokens]
    if len(values) < 5 or values[0] != int(values[0]) or values[0] < 0:
        raise InputError(
            f"{source}: expected `class x_center y_center width height`, or a class and a polygon's points"
        )
    outside = [value for value in values[1:] if not -ROUNDING <= value <= 1 + ROUNDING]
    if outside:
        raise InputError(
            f"{source}: {outside[0]:g}: expected shares of the picture's size, 0 to 1; these are pixels: "
            "write them as a CSV with x, y, width and height"
        )
    key = str(int(values[0]))
    region = names.get(key, "") if names else key
    if not region:
        raise InputError(f"{source}: class {key}: expected a class that the file of names lists ({len(names)} names)")
    if len(values) in (5, 6):
        x, y, width, height = values[1:5]
        box = box_of_sides(x - width / 2, y - height / 2, width, height, source)
    else:
        box = bounding_box(points_of_pairs(tokens[1:], source))
        box = box if box[0] < box[2] and box[1] < box[3] else None
    return Annotation(image, region, *box, normalised=True, source=source) if box else Skipped(NO_AREA, source)
