"""Cells of an Excel workbook as text: the value that Excel shows, where it has one; anything else is refused."""

from __future__ import annotations

import datetime as dt
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mammo_aln.errors import shortened
from mammo_aln.progress import say
from mammo_aln.spreadsheet.characters import ERRORS, NOT_AVAILABLE, folded_name
from mammo_aln.spreadsheet.delimited import Records, UnreadableText

if TYPE_CHECKING:
    from openpyxl.cell.cell import Cell
    from openpyxl.workbook.workbook import Workbook
    from openpyxl.worksheet.worksheet import Worksheet

WORKBOOKS = (".xlsx", ".xlsm")
LARGEST_UNPACKED = 1 << 29
MOST_CELLS = 5_000_000
MOST_DIGITS = 15
"""Excel keeps so many digits of a number; the others become 0."""


def workbook_records(path: Path) -> tuple[Records, list[UnreadableText]]:
    """Read the one sheet of a workbook that holds a table: the only filled one, or the one named as the file.

    Returns:
        The cells as text, and the faults of single cells.

    Raises:
        UnreadableText: no workbook, several filled sheets, or merged cells in the table.
    """
    shown = _sheet(_opened(path, data_only=True), path)
    stored = _opened(path, data_only=False)[shown.title]
    if shown.merged_cells.ranges:
        area = min(str(merged) for merged in shown.merged_cells.ranges)
        raise UnreadableText(None, f"cells {area}", "merged", "one value in each cell; unmerge them")
    faults: list[UnreadableText] = []
    rows: dict[int, list[str]] = {}
    for cells, sources in zip(shown.iter_rows(), stored.iter_rows(), strict=True):
        texts = []
        for cell, source in zip(cells, sources, strict=True):
            try:
                texts.append(_text(cell, source))
            except UnreadableText as fault:
                faults.append(fault)
                texts.append("")
        rows[cells[0].row] = texts
    hidden = sum(1 for row, settings in shown.row_dimensions.items() if settings.hidden and any(rows.get(row, [])))
    if hidden:
        rows_hidden = "1 hidden row" if hidden == 1 else f"{hidden} hidden rows"
        say(f"{path.name}: {rows_hidden} of the sheet (a filter?) read as the others are")
    return Records(rows), [*faults, *_turned_into_dates(shown)]


def write_workbook_column(path: Path, name: str, values: dict[int, str], unfinished: Path) -> None:
    """Write one column of text into a copy of a workbook's table: the column of that name, else a new one.

    Args:
        path: the workbook.
        name: the column.
        values: text by the sheet's row; rows that are not named become empty.
        unfinished: file that is written.

    Raises:
        UnreadableText: the sheet holds formulas, whose values would be lost.
    """
    sheet = _sheet(_opened(path, data_only=True), path)
    book = _opened(path, data_only=False)
    sheet = book[sheet.title]
    if any(cell.data_type == "f" for cells in sheet.iter_rows() for cell in cells):
        raise UnreadableText(None, "cells", "formulas", "values alone, to write a column; save the table as CSV")
    first = next(cells for cells in sheet.iter_rows() if any(cell.value not in (None, "") for cell in cells))
    same = [cell.column for cell in first if folded_name(str(cell.value)) == folded_name(name)]
    column = same[0] if same else max(cell.column for cell in first if cell.value not in (None, "")) + 1
    sheet.cell(first[0].row, column, name)
    for row in range(first[0].row + 1, sheet.max_row + 1):
        sheet.cell(row, column).value = values.get(row)
    book.save(unfinished)


def _opened(path: Path, *, data_only: bool) -> Workbook:
    import openpyxl

    with refusing_workbook(path):
        book = openpyxl.load_workbook(path, data_only=data_only)
    for sheet in book.worksheets:
        if (cells := sheet.max_row * sheet.max_column) > MOST_CELLS:
            state = f"{sheet.max_row} rows of {sheet.max_column} columns in sheet {sheet.title}: {cells} cells"
            fix = "delete what stands far from the table, or save it as CSV"
            raise UnreadableText(None, "sheet", state, f"at most {MOST_CELLS}; {fix}")
    return book


@contextmanager
def refusing_workbook(path: Path) -> Iterator[None]:
    """Turn whatever the library of workbooks raises on bad bytes in this block into one `UnreadableText`.

    A workbook that unpacks to more than any table needs is refused before it is read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > LARGEST_UNPACKED:
            raise UnreadableText(None, "format", f"{unpacked} bytes unpacked", f"at most {LARGEST_UNPACKED}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # extensions of Excel that hold no cell
            yield
    except (UnreadableText, MemoryError, ImportError):
        raise
    except Exception as error:  # openpyxl reads attributes of any kind, and raises what Python does
        old = path.is_file() and path.open("rb").read(4) == b"\xd0\xcf\x11\xe0"
        state = "an old .xls, or locked with a password" if old else shortened(error, plain=True)
        raise UnreadableText(None, "format", state, "an .xlsx workbook, unlocked") from error


def _sheet(book: Workbook, path: Path) -> Worksheet:
    filled = [sheet for sheet in book.worksheets if any(_values(sheet))]
    named = [sheet for sheet in filled if sheet.title.strip().lower() == path.stem.lower()]
    if len(filled) == 1 or len(named) == 1:
        return (named or filled)[0]
    if not filled:
        raise UnreadableText(None, "sheets", 0, "a sheet with a table")
    names = ", ".join(sheet.title for sheet in filled)
    raise UnreadableText(None, "sheets", names, f"one filled sheet, or one named {path.stem}")


def _values(sheet: Worksheet) -> Iterator[bool]:
    return (value not in (None, "") for row in sheet.iter_rows(values_only=True) for value in row)


def _text(cell: Cell, source: Cell) -> str:
    """Give a cell's text as Excel shows it."""
    value, shown_as = cell.value, str(cell.number_format or "General")
    if value is None:
        if source.data_type == "f" and cell.data_type != "str":  # a stored text may be empty
            raise _fault(cell, source.value, "a formula's value; open the workbook in Excel and save it")
        return ""
    if cell.data_type == "e" or (isinstance(value, str) and value in ERRORS):
        if value == NOT_AVAILABLE:
            return ""
        raise _fault(cell, value, "a value; Excel could not compute this one")
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, dt.datetime):
        return value.date().isoformat() if value.time() == dt.time() else value.isoformat(" ")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        raise _fault(cell, str(value), "a number or text; the cell is formatted as a duration")
    if isinstance(value, int | float):
        return _number_text(cell, value, shown_as)
    return str(value)


def _number_text(cell: Cell, value: float, shown_as: str) -> str:
    if "%" in shown_as:
        raise _fault(cell, f"{value * 100:g} %", f"a number without a percent format: it is stored as {value:g}")
    whole = float(value).is_integer()
    if whole and abs(value) >= 10**MOST_DIGITS:
        raise _fault(cell, f"{value:.0f}", f"text: of a number, Excel keeps {MOST_DIGITS} digits alone")
    if whole and re.fullmatch("0+", shown_as):
        return f"{int(value):0{len(shown_as)}d}"  # a format that shows leading zeros
    if whole:
        return str(int(value))
    text = repr(float(value))
    # text of this form could be thousands; a number of the workbook is none
    return f"{text}0" if re.fullmatch(r"-?[1-9]\d{0,2}\.\d{3}", text) else text


def _turned_into_dates(sheet: Worksheet) -> Iterator[UnreadableText]:
    """Dates in a column of numbers or words: Excel makes 1.5 or 1-2 the first of May or February."""
    for cells in list(sheet.iter_cols())[: sheet.max_column]:
        filled = [cell for cell in cells if cell.value not in (None, "")][1:]
        dates = [cell for cell in filled if isinstance(cell.value, dt.date)]
        if dates and any(isinstance(cell.value, int | float) for cell in filled):
            for cell in dates:
                yield _fault(cell, str(cell.value), "a number like others of its column; Excel may have made it a date")


def _fault(cell: Cell, value: object, expected: str) -> UnreadableText:
    return UnreadableText(cell.row, f"cell {cell.coordinate}", value, expected)
