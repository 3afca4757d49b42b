"""Tables of a cohort as files: CSV or workbook, every cell read as text; one column written back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.declaration import Declaration, read_declaration
from mammo_aln.cohort.reading import read_text_table
from mammo_aln.cohort.values.columns import as_declared, known_columns
from mammo_aln.dicom.image_tags import SIDES
from mammo_aln.dicom.views import SCREENING_VIEWS
from mammo_aln.errors import BadCell, InputError, raise_bad_cells
from mammo_aln.files import stands, write_csv, written_whole
from mammo_aln.spreadsheet.characters import as_listed
from mammo_aln.spreadsheet.delimited import UnreadableText
from mammo_aln.spreadsheet.missing import without_missing_words
from mammo_aln.spreadsheet.workbook import WORKBOOKS, write_workbook_column


def table_file(root: Path, name: str, faults: list[BadCell]) -> Path | None:
    """File of one of a cohort's tables: CSV or workbook; None where there is none, a fault where there are both."""
    files = [path for path in (root / f"{name}{ending}" for ending in (".csv", *WORKBOOKS)) if stands(path)]
    if len(files) > 1:
        words = " and ".join(path.name for path in files)
        faults.append(BadCell(files[0].name, None, "files", words, "one of them; take the other away"))
        return None
    return files[0] if files else None


def read_table(
    root: Path, name: str, needed: bool, known: Collection[str], faults: list[BadCell]
) -> pd.DataFrame | None:
    """Read one of a cohort's tables as text; None where it does not stand or cannot be read.

    Args:
        root: the cohort folder.
        name: of the table.
        needed: it must stand.
        known: columns that it may have.
        faults: gets what is wrong with it.
    """
    before = len(faults)
    path = table_file(root, name, faults)
    if path is not None:
        table = read_text_table(path, faults, known, may_be_empty=name == "regions")
        return table if table is None or name == "patients" else _spelt(without_missing_words(table))
    if needed and len(faults) == before:
        faults.append(BadCell(f"{name}.csv", None, "file", "missing", f"this file in {root}"))
    return None


def _spelt(table: pd.DataFrame) -> pd.DataFrame:
    """The table with sides and views as the product writes them, whatever their case."""
    listed = {"laterality": SIDES, "view": SCREENING_VIEWS}
    cells = {name: table[name] for name in listed if name in table}
    spelt = {name: {value: as_listed(value, listed[name]) for value in cells[name].dropna().unique()} for name in cells}
    return table.assign(
        **{name: cells[name].map(lambda value, by=by: by.get(value, value)) for name, by in spelt.items()}
    )


def patients_as_written(root: Path) -> tuple[pd.DataFrame, Declaration]:
    """Text of `patients.csv` and what `cohort.yaml` says of it, before one is read by the other.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    faults: list[BadCell] = []
    declared = read_declaration(root, faults)
    table = read_table(root, "patients", True, known_columns(declared), faults)
    raise_bad_cells(faults)
    if table is None:
        raise InputError(f"{root}: patients.csv changed meanwhile; run the command again")
    return table, declared


def write_patients_column(root: Path, name: str, by_patient: Mapping[str, str]) -> Path:
    """Write one column of `patients.csv`, or of the workbook in its place; other columns stay as they are written.

    Args:
        root: the cohort folder.
        name: the column, as the product knows it.
        by_patient: its value by `patient_id`; others get an empty cell.

    Returns:
        The file.

    Raises:
        InputError: the table cannot be read, or the workbook cannot take a column without losing something.
    """
    table, declared = patients_as_written(root)
    path = table_file(root, "patients", []) or root / "patients.csv"
    values = as_declared(table, declared, [])["patient_id"].map(by_patient)
    column = declared.readings[name].column if name in declared.readings else name
    if path.suffix == ".csv":
        write_csv(path, table.assign(**{column: values}))
        return path
    with written_whole(path) as unfinished:
        try:
            cells = dict(zip(values.index.tolist(), values.fillna("").tolist(), strict=True))
            write_workbook_column(path, column, cells, unfinished)
        except UnreadableText as error:
            raise InputError(f"{path.name}, {error.column}: {error.value}; expected {error.expected}") from error
    return path
