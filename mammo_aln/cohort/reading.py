"""CSV and YAML as text: every cell a string, every row with its number in a spreadsheet, every fault collected."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import yaml

from mammo_aln.errors import BadCell

Yaml: TypeAlias = "str | list[Yaml] | dict[str, Yaml]"


def read_text_table(path: Path, faults: list[BadCell]) -> pd.DataFrame | None:
    """Read a UTF-8 CSV (with or without BOM) as strings; an empty cell is NaN, blanks around a value are dropped.

    Args:
        path: the file; it exists.
        faults: gets one entry per fault.

    Returns:
        Object columns, indexed by the row number a spreadsheet shows (header = 1), or None where nothing could be read.
    """
    name = path.name

    def fault(row: int | None, column: str, value: object, expected: str) -> pd.DataFrame | None:
        faults.append(BadCell(name, row, column, value, expected))
        return None

    try:
        text = path.read_bytes().decode("utf-8-sig")
        records = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except UnicodeDecodeError as error:
        return fault(None, "encoding", f"byte {error.object[error.start]:#04x}", "UTF-8 text")
    except OSError as error:
        return fault(None, "file", error.strerror, "a readable file")
    except csv.Error as error:
        return fault(None, "format", str(error), "CSV with commas and closed double quotes")
    header = [cell.strip() for cell in records[0]] if records else []
    if not any(header):
        return fault(None, "header", "", "a first row with column names; the table is empty")
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        return fault(1, "header", header[0], "column names separated by commas")
    repeated = sorted({column for column in header if header.count(column) > 1})
    for column in repeated:
        fault(1, "header", column, "each column name once and not empty")
    if repeated:
        return None
    rows: dict[int, list[str]] = {}
    for number, record in enumerate(records[1:], start=2):
        cells = [cell.strip() for cell in record]
        if not any(cells):
            continue
        if len(cells) != len(header):
            fault(number, "columns", len(cells), f"{len(header)} cells, as in the header")
            cells = (cells + [""] * len(header))[: len(header)]
        rows[number] = cells
    if not rows:
        return fault(None, "rows", 0, "at least one row below the header; the table is empty")
    table = pd.DataFrame(list(rows.values()), columns=header, index=list(rows), dtype=object)
    return table.mask(table == "", np.nan)


def read_text_yaml(path: Path, faults: list[BadCell]) -> dict[str, Yaml]:
    """Read a YAML mapping whose scalars all stay strings (`no`, `007`, `1.0` as they stand)."""
    try:
        # BaseLoader builds strings, lists and mappings only: safe, and the level `no` does not become False.
        content = yaml.load(path.read_bytes().decode("utf-8-sig"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "the file"
        faults.append(BadCell(path.name, None, where, getattr(error, "problem", type(error).__name__), "YAML in UTF-8"))
        return {}
    if content in (None, ""):
        return {}
    if not isinstance(content, dict):
        faults.append(BadCell(path.name, None, "content", type(content).__name__, "a mapping of keys to values"))
        return {}
    return content


def split_numbers(cell: object) -> tuple[float, ...]:
    """Read the numbers of a cell such as `0.6 0.6 2.0`; empty where one of them is none."""
    try:
        return tuple(map(float, str(cell).replace(";", " ").split()))
    except ValueError:
        return ()
