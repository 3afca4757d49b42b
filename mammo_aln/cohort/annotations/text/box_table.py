"""Tables of boxes (CSV): corners, corner and size, centre and size, or lists; in pixels or as shares of the picture."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.annotations.documents import number, picture_side
from mammo_aln.cohort.annotations.geometry import NO_AREA, Edges, box_of_sides
from mammo_aln.cohort.annotations.record import NO_REGION, Annotation, Element, Listed, Reading, Skipped
from mammo_aln.cohort.annotations.text.columns import CENTRED, CORNERS, LISTS, SIZED, column_roles
from mammo_aln.cohort.reading import read_text_table
from mammo_aln.errors import BadCell, InputError, raise_bad_cells, shortened
from mammo_aln.spreadsheet.written_numbers import numbers

FOUR_NUMBERS = re.compile(r"[\[(]\s*((?:[-+.\deE]+\s*[,;\s]\s*){3}[-+.\deE]+)\s*,?\s*[\])]")
TEXTS = ("image", "region", *LISTS)
NO_BOX = "no coordinates in the row"


def read_box_table(path: Path, columns: Mapping[str, str] | None = None) -> Reading:
    """Read a table of boxes, one per row (or a list of them in a cell).

    Coordinates that all lie within 0 to 1 are shares of the picture's size: no region is smaller than a pixel.

    Args:
        path: the file.
        columns: columns by role (see `columns.NAMES`) where they do not have one of the usual names.

    Raises:
        InputError: a fault of the table, no column of a box or image, broken numbers, or corners out of order.
    """
    faults: list[BadCell] = []
    table = read_text_table(path, faults)
    raise_bad_cells(faults)
    if table is None:
        raise InputError(f"{path}: holds no table")
    roles = column_roles(list(table.columns), columns or {}, path.name)
    for role, column in roles.items():
        if role not in TEXTS:
            table[column] = _with_decimal_points(table[column])
    reading: list[Element] = []
    for row_number, record in zip(table.index, table.fillna("").to_dict("records"), strict=True):
        cells = {role: str(record[column]).strip() for role, column in roles.items()}
        reading += _row(cells, roles, f"{path.name} row {row_number}")
    return _as_shares(reading)


def _with_decimal_points(cells: pd.Series) -> pd.Series:
    """Numbers of any spelling that has one reading, as text with a decimal point; other cells stay as they are."""
    values = numbers(cells)
    return cells.where(values.isna(), values.map(repr))


def _row(cells: Mapping[str, str], roles: Mapping[str, str], source: str) -> Iterator[Element]:
    if not cells["image"]:
        raise InputError(f"{source}, {roles['image']}: the cell is empty: expected the image's name")
    rows, columns = (
        picture_side(cells.get(role), f"{source}, {roles.get(role)}") for role in ("picture_rows", "picture_columns")
    )
    frame = picture_side(cells.get("frame"), f"{source}, {roles.get('frame')}")
    region = _region(cells.get("region", ""))
    for box in _boxes(cells, roles, source):
        if isinstance(box, str):
            yield from (Skipped(box, source), Listed(cells["image"]))
            continue
        if rows and columns and _is_own_size(box, rows, columns):
            rows = columns = None
        yield Annotation(cells["image"], region, *box, rows, columns, frame=frame, source=source)


def _is_own_size(box: Edges, rows: int, columns: int) -> bool:
    """Test whether `width` and `height` beside four corners are the box's size, not the picture's."""
    x_min, y_min, x_max, y_max = box
    return abs(x_max - x_min - columns) <= 1 and abs(y_max - y_min - rows) <= 1 and (x_min > 1 or y_min > 1)


def _boxes(cells: Mapping[str, str], roles: Mapping[str, str], source: str) -> Iterator[Edges | str]:
    """Boxes of a row, or why there is none; shares of the picture are still as they stand."""
    form = next(form for form in (CORNERS, SIZED, CENTRED, *((name,) for name in LISTS)) if set(form) <= set(roles))
    if not any(cells[role] for role in form):
        yield NO_BOX
        return
    if len(form) == 1:
        yield from _listed_boxes(cells[form[0]], form[0], f"{source}, {roles[form[0]]}")
        return
    values = [number(cells[role], f"{source}, {roles[role]}") for role in form]
    yield _box(form, values, source)


def _box(form: tuple[str, ...], values: list[float], source: str) -> Edges | str:
    first, second, third, fourth = values
    if form == CORNERS:
        if third < first or fourth < second:
            raise InputError(
                f"{source}: corners ({first:g}, {second:g}) and ({third:g}, {fourth:g}): expected x_max and y_max "
                "beyond x_min and y_min; if these two are width and height, state --columns "
                "x=...,y=...,width=...,height=..."
            )
        return (first, second, third, fourth) if first < third and second < fourth else NO_AREA
    if form == CENTRED:
        first, second = first - third / 2, second - fourth / 2
    return box_of_sides(first, second, third, fourth, source) or NO_AREA


def _listed_boxes(cell: str, order: str, source: str) -> Iterator[Edges | str]:
    groups = FOUR_NUMBERS.findall(cell)
    rest = re.sub(r"[\s\[\](),;]", "", FOUR_NUMBERS.sub("", cell))
    if rest or (not groups and re.search(r"\d", cell)):
        raise InputError(f"{source} = {shortened(cell, 60)}: expected lists of four numbers, [{', '.join(order)}]")
    if not groups:
        yield NO_BOX
    for group in groups:
        values = [number(text, source) for text in re.split(r"[,;\s]+", group.strip())]
        if order == "yxyx":
            values = [values[1], values[0], values[3], values[2]]
        yield _box(SIZED if order == "xywh" else CORNERS, values, source)


def _region(text: str) -> str:
    """The label; a list in a cell (`['Mass', 'Asymmetry']`) as its names with commas."""
    if text.startswith("["):
        try:
            names = ast.literal_eval(text)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return text
        if isinstance(names, list):
            return ", ".join(str(name) for name in names) or NO_REGION
    return text or NO_REGION


def _as_shares(reading: list[Element]) -> Reading:
    """Mark all boxes as shares where every one lies within 0 to 1.

    Raises:
        InputError: some boxes do and others do not.
    """
    boxes = [item for item in reading if isinstance(item, Annotation)]
    shares = [box for box in boxes if max(box.x_max, box.y_max) <= 1 and min(box.x_min, box.y_min) >= 0]
    if shares and len(shares) < len(boxes):
        other = next(box for box in boxes if box not in shares)
        raise InputError(
            f"{shares[0].source}: the box lies within 0 to 1, as a share of the picture, while that of {other.source} "
            "does not: expected pixels in all rows or shares in all"
        )
    return [replace(item, normalised=True) if isinstance(item, Annotation) and shares else item for item in reading]
