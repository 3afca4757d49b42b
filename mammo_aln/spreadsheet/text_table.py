"""A table as text: every cell a string, every row with its number in a spreadsheet, every fault collected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import takewhile
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.errors import BadCell, InputError
from mammo_aln.files import irregular, regular_bytes
from mammo_aln.spreadsheet.characters import BREAK, ERRORS, NOT_AVAILABLE, folded_name, hidden_character, tidy
from mammo_aln.spreadsheet.delimited import Records, UnreadableText, records_of, text_of
from mammo_aln.spreadsheet.workbook import WORKBOOKS, workbook_records
from mammo_aln.spreadsheet.written_numbers import point_doubts

LARGEST_BYTES, MOST_CELLS = 1 << 30, 200_000_000
"""A larger text is no table that fits into memory as cells."""


def read_text_table(
    path: Path, faults: list[BadCell], known: Collection[str] = (), *, may_be_empty: bool = False
) -> pd.DataFrame | None:
    """Read a table as people save it: CSV with any usual separator and encoding, or a workbook.

    Separators are commas, semicolons, tabs or bars; the encoding UTF-8, UTF-16 or Western European. Names and cells are
    brought to Unicode's composed form (paths of files are not) without blanks around them. Rows and columns that are
    wholly empty are left out. What has two readings is a fault.

    Args:
        path: the file; it exists.
        faults: gets one entry per fault.
        known: names that the caller looks for; a column whose name differs from one in case or blanks alone gets it.
        may_be_empty: a header without rows is a table.

    Returns:
        Object columns, indexed by the row number that a spreadsheet shows (header = 1), an empty cell NaN; None where
        nothing could be read.
    """

    def fault(row: int | None, column: str, value: object, expected: str) -> None:
        faults.append(BadCell(path.name, row, column, value, expected))

    try:
        if kind := irregular(path.stat()):
            fault(None, "file", kind, "a file")
            return None
        if path.suffix.lower() in WORKBOOKS:
            records, cell_faults = workbook_records(path)
        else:
            records, cell_faults = records_of(text_of(regular_bytes(path, LARGEST_BYTES), path.name)), []
    except UnreadableText as error:
        fault(error.row, error.column, error.value, error.expected)
        return None
    except InputError as error:
        fault(None, "file", str(error), "a readable file")
        return None
    except OSError as error:  # a link to nowhere
        fault(None, "file", error.strerror, "a readable file")
        return None
    for unreadable in cell_faults:
        fault(unreadable.row, unreadable.column, unreadable.value, unreadable.expected)
    table = _table(records, path.name, may_be_empty, faults)
    return None if table is None else _with_known_names(table, known, path.name, faults)


def _table(records: Records, name: str, may_be_empty: bool, faults: list[BadCell]) -> pd.DataFrame | None:
    filled = {number: row for number, row in records.rows.items() if any(cell.strip() for cell in row)}
    if not filled:
        faults.append(
            BadCell(name, None, "header", "", "a first row with column names; the table is empty"),
        )
        return None
    first, *numbers = filled
    header = [tidy(cell) for cell in filled.pop(first)]
    header_faults = [
        BadCell(name, first, "header", cell, f"a name without the invisible character {hidden}; type it anew")
        for cell in header
        if (hidden := hidden_character(cell))
    ]
    unnamed = [index for index, cell in enumerate(header) if not cell]
    expected = f"{len(header) - len(unnamed)} cells, as in the header"
    hint = expected + "; quote a cell that holds a comma, as in a decimal comma" * (records.mark == ",")
    rows = [_fitted(filled[number], len(header), number, (expected, hint), name, faults) for number in numbers]
    filled_ones = {index for row in rows for index in takewhile(len(row).__gt__, unnamed) if row[index]}
    kept = [index for index, cell in enumerate(header) if cell or index in filled_ones]
    if len(kept) * len(rows) > MOST_CELLS:
        faults.append(BadCell(name, None, "table", len(kept) * len(rows), f"at most {MOST_CELLS} cells"))
        return None
    header = [header[index] for index in kept]
    repeated = sorted(column for column, count in Counter(header).items() if count > 1 or not column)
    header_faults += [
        BadCell(name, first, "header", column, "each column name once and not empty") for column in repeated
    ]
    if header_faults:
        faults += header_faults
        return None
    if not rows and not may_be_empty:
        faults.append(BadCell(name, None, "rows", 0, "at least one row below the header; the table is empty"))
        return None
    columns = [
        _tidy_cells(column, [row[index] if index < len(row) else "" for row in rows], numbers, name, faults)
        for column, index in zip(header, kept, strict=True)
    ]
    labels = pd.Index(header, dtype=object)
    table = pd.DataFrame(dict(enumerate(columns)), index=numbers, dtype=object).set_axis(labels, axis=1)
    # most tables have no comma in any cell, and nothing to doubt
    if records.mark != "," or any("," in cell for column in columns for cell in column if isinstance(cell, str)):
        for column, doubtful in point_doubts(table, records.mark == ",").items():
            expected = "a number with one reading: in this table the point may mark thousands"
            faults += [
                BadCell(name, int(row), column, table.at[row, column], expected) for row in table.index[doubtful]
            ]
    return table


def _fitted(
    row: list[str], most: int, number: int, expected: tuple[str, str], name: str, faults: list[BadCell]
) -> list[str]:
    """A row with at most as many cells as the header has; empty ones beyond it are dropped.

    `expected` are the words where it has fewer, and where it has more.
    """
    row = row[: max(_filled(row), most)]
    if len(row) != most:
        faults.append(BadCell(name, number, "columns", len(row), expected[len(row) > most]))
    return row[:most]


def _filled(row: list[str]) -> int:
    """Number of cells up to the last one that is not empty."""
    return next((index for index in range(len(row), 0, -1) if row[index - 1].strip()), 0)


def _tidy_cells(
    column: str, cells: list[str], numbers: list[int], name: str, faults: list[BadCell]
) -> list[str | float]:
    """Cells in one form, empty ones NaN; a character that nobody sees is a fault, and so is a spreadsheet's error."""
    is_path = column == "path" or column.endswith("_path")
    texts: list[str | float] = []
    for number, cell in zip(numbers, cells, strict=True):
        text = cell.strip()
        if not (text.isascii() and text.isprintable()):
            text = text if is_path else tidy(text)
            hidden = hidden_character(text)
            if hidden:
                expected = f"text without the invisible character {hidden}; type it anew"
                faults.append(BadCell(name, number, column, text, expected))
        elif text in ERRORS and text != NOT_AVAILABLE:
            faults.append(BadCell(name, number, column, text, "a value; a spreadsheet could not compute this one"))
        texts.append(text if text and text != NOT_AVAILABLE else np.nan)
    return texts


def lost_in_a_table(path: str) -> str:
    """Say why a path, written into a table, would not be read as it stands; empty where it would."""
    if hidden := hidden_character(path):
        return f"holds the character {hidden}"
    if BREAK.search(path):
        return "holds a line break or a tab"
    if path != path.strip():
        return "begins or ends with a blank"
    return f"is {path}, which a spreadsheet writes for an error" if path in ERRORS else ""


def _with_known_names(table: pd.DataFrame, known: Collection[str], name: str, faults: list[BadCell]) -> pd.DataFrame:
    """Give columns the names that the caller knows, where one column alone can be meant."""
    alike: dict[str, list[str]] = {}
    for column in table.columns:
        alike.setdefault(folded_name(column), []).append(column)
    renamed: dict[str, str] = {}
    for known_name in known:
        columns = alike.get(folded_name(known_name), [])
        if len(columns) > 1:
            words = " and ".join(map(repr, columns))
            faults.append(BadCell(name, 1, "header", columns[1], f"one column {known_name}; {words} have two readings"))
        elif columns and known_name not in columns:
            renamed[columns[0]] = known_name
    return table.rename(columns=renamed)
