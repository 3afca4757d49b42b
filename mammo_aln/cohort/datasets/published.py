"""Tables as a data set's owner publishes them: found below one folder, read as text, refused where not the set's."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.errors import EMPTY_CELL, BadCell, InputError, raise_bad_cells
from mammo_aln.progress import say
from mammo_aln.spreadsheet.delimited import UnreadableText
from mammo_aln.spreadsheet.workbook import refusing_workbook

SIDES = {"L": "L", "R": "R", "LEFT": "L", "RIGHT": "R"}
VIEWS = {"CC": "CC", "MLO": "MLO"}
SHOWN_COLUMNS = 40
SHOWN_FAULTS = 50


def published_file(source: Path, name: str, *others: str, optional: bool = False) -> Path | None:
    """Find the one file below a folder that a table is published as, and say which copies of it are not read.

    Args:
        source: the data set's folder.
        name: the file's name.
        others: what the names of further releases and of copies look like, the preferred first; upper and lower case
            alike, here and in `name`.
        optional: None where there is no such file.

    Raises:
        InputError: none, or several of the name that comes first.
    """
    names = [re.compile(pattern.replace(".", r"\.").replace("*", ".*"), re.I) for pattern in (name, *others)]
    ranks = {
        path: min(rank for rank, pattern in enumerate(names) if pattern.fullmatch(path.name))
        for path in sorted(source.rglob("*"))
        if any(pattern.fullmatch(path.name) for pattern in names)
        and not path.name.startswith(("~$", "."))
        and path.is_file()
    }
    if not ranks and optional:
        return None
    paths = [path for path, rank in ranks.items() if rank == min(ranks.values())]
    if len(paths) != 1:
        state = f"{len(paths)} files of that name ({', '.join(str(p.relative_to(source)) for p in paths[:4])})"
        raise InputError(
            f"{source / name}: {state if paths else 'no such file'}; expected this table, as the data set's owner "
            "publishes it, once below this folder"
        )
    if unread := [str(path.relative_to(source)) for path in ranks if path not in paths]:
        say(f"note: {paths[0].relative_to(source)} is read, {', '.join(unread[:4])} not")
    return paths[0]


def needed_file(source: Path, name: str, *others: str) -> Path:
    """Find a file that must stand; see `published_file`."""
    path = published_file(source, name, *others)
    assert path is not None
    return path


def read_published(
    path: Path, columns: Collection[str], *, sheet: str | int = 0, further: Collection[str] = (), separator: str = ","
) -> pd.DataFrame:
    """Read a CSV table or a workbook's sheet as text.

    Args:
        path: the file; `.xls` and `.xlsx` are workbooks.
        columns: those that must stand.
        sheet: of a workbook.
        further: columns that are taken where they stand; all others are left aside.
        separator: of a CSV table.

    Returns:
        These columns; an empty cell is NaN, blanks and line ends around a value are dropped, and the index is the row
        that a spreadsheet shows (header = 1).

    Raises:
        InputError: unreadable, or a column is missing.
    """
    kept = {*columns, *further}
    if path.suffix.lower() in (".xls", ".xlsx"):
        table = read_sheet(path, sheet)
        table = table.iloc[1:].set_axis([str(name).strip() for name in table.iloc[0]], axis=1) if len(table) else table
    else:
        try:
            table = pd.read_csv(
                path, dtype=str, keep_default_na=False, sep=separator, encoding="utf-8-sig",
                usecols=lambda name: name.strip() in kept,
            )  # fmt: skip
            table.columns = table.columns.str.strip()
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not the data set's table ({_one_line(error)})") from error
    need(table, columns, path)
    table = table[[name for name in table.columns if name in kept]]
    table.index = pd.RangeIndex(2, len(table) + 2)
    table = table.apply(lambda cells: cells.astype(str).str.strip())
    return table.mask(table == "").astype(object)


def column_names(path: Path, sheet: str | int = 0) -> list[str]:
    """Names in the first row of a CSV table or a workbook's sheet.

    Raises:
        InputError: unreadable.
    """
    if path.suffix.lower() in (".xls", ".xlsx"):
        return [name.strip() for _, first in read_sheet(path, sheet).head(1).iterrows() for name in first]
    try:
        return [str(name).strip() for name in pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not the data set's table ({_one_line(error)})") from error


def read_sheet(path: Path, sheet: str | int) -> pd.DataFrame:
    """Read all cells of a workbook's sheet as text, empty ones as empty text, header rows too.

    Raises:
        InputError: unreadable, or no such sheet.
    """
    try:
        with refusing_workbook(path):
            cells = pd.read_excel(path, sheet_name=sheet, dtype=object, header=None, na_filter=False)
    except UnreadableText as error:
        raise InputError(f"{path}: not the data set's table ({error.value}); expected {error.expected}") from error
    return cells.map(_cell_text)


def need(table: pd.DataFrame, columns: Collection[str], path: Path) -> None:
    """Refuse a table that lacks columns; the message names those that stand there instead."""
    missing = [column for column in columns if column not in table]
    if not missing:
        return
    stated = [str(name) for name in table.columns]
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            stated = [name.strip() for name in file.readline()[:5000].split(",")]
    unknown = [name for name in stated if name not in columns][:SHOWN_COLUMNS]
    raise InputError(
        f"{path}: columns {', '.join(missing)} are missing; expected {', '.join(columns)}; "
        f"other columns that stand there: {', '.join(unknown) or 'none'}"
    )


def coded(
    table: pd.DataFrame,
    column: str,
    codes: Mapping[str, object],
    path: Path,
    *,
    missing: Collection[str] = (),
    needed: bool = False,
) -> pd.Series:
    """Translate a column's codes, upper and lower case alike, `1.0` like `1`; NaN where the cell is empty.

    Args:
        table: from `read_published`.
        column: of it.
        codes: meaning by code.
        path: the table's file, for the message.
        missing: further words for an empty cell.
        needed: an empty cell is a fault.

    Raises:
        InputError: cells that hold no code of the data set, each with its row.
    """
    cells = table[column].map(lambda cell: re.sub(r"^(-?\d+)\.0+$", r"\1", str(cell)).upper(), na_action="ignore")
    cells = cells.mask(cells.isin([word.upper() for word in missing]))
    known = {code.upper(): meaning for code, meaning in codes.items()}
    strange = ~cells.isin(list(known)) & (cells.notna() | needed)
    expected = f"one of {', '.join(codes)}, as this data set codes it"
    stated = table[column].fillna("")
    faults = [BadCell(path.name, int(row), column, stated[row], expected) for row in table.index[strange]]
    raise_bad_cells(faults[:SHOWN_FAULTS])
    return cells.map(known).astype(object)


def identifiers(table: pd.DataFrame, column: str, path: Path) -> pd.Series:
    """A column that tells patients, images or files apart, as it stands.

    Raises:
        InputError: empty cells, each with its row.
    """
    empty = table.index[table[column].isna()]
    faults = [BadCell(path.name, int(row), column, "", f"a value{EMPTY_CELL}") for row in empty]
    raise_bad_cells(faults[:SHOWN_FAULTS])
    return table[column]


def numbers(table: pd.DataFrame, column: str, path: Path, *, missing: Collection[str] = ()) -> pd.Series:
    """A column's finite numbers; NaN where the cell is empty.

    Raises:
        InputError: cells that are no number, each with its row.
    """
    cells = table[column].mask(table[column].isin(list(missing)))
    values = pd.to_numeric(cells, errors="coerce").astype(float)
    strange = cells.notna() & ~np.isfinite(values)
    faults = [BadCell(path.name, int(row), column, cells[row], "a number") for row in table.index[strange]]
    raise_bad_cells(faults[:SHOWN_FAULTS])
    return values


def _cell_text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return "" if np.isnan(cell) else f"{cell:.15g}"
    return str(cell)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
