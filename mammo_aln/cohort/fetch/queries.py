"""Queries to a PACS: studies by their UID, accession number or patient, from flags and from a list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.reading import read_text_table
from mammo_aln.errors import BadCell, InputError, did_you_mean, raise_bad_cells

UID = re.compile(r"[0-9]+(\.[0-9]+)+")
LONGEST_UID = 64
FEWEST_DOTS = 4
"""A study's UID has a root, an organisation and more behind it; an accession number with so many dots is unheard of."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "StudyInstanceUID": ("study", "studyuid", "studyinstanceuid", "studies"),
    "AccessionNumber": ("accession", "accessionnumber", "accessions", "accno"),
    "PatientID": ("patient", "patientid", "patients", "mrn"),
}
"""Spellings of a list's columns, without blanks, underscores, hyphens and capitals."""


@dataclass(frozen=True)
class Query:
    """Studies whose attribute has a value."""

    keyword: str
    value: str


def read_queries(
    studies: Iterable[str], accessions: Iterable[str], patients: Iterable[str], listed: Path | None
) -> list[Query]:
    """Gather what is asked, each once, in order.

    Args:
        studies: StudyInstanceUIDs.
        accessions: accession numbers.
        patients: PatientIDs.
        listed: a table with the columns study, accession or patient (one or several), or a bare column of study UIDs.

    Raises:
        InputError: nothing is asked, a value cannot be searched for, or the table is faulty; all faults are listed.
    """
    faults: list[BadCell] = []
    queries = []
    for flag, keyword, values in (
        ("--study", "StudyInstanceUID", studies),
        ("--accession", "AccessionNumber", accessions),
        ("--patient", "PatientID", patients),
    ):
        for value in values:
            queries.append(Query(keyword, value.strip()))
            if expected := _expected(queries[-1]):
                faults.append(BadCell("the command line", None, flag, value, expected))
    if listed is not None:
        queries += _of_table(listed, faults)
    raise_bad_cells(faults)
    if not queries:
        raise InputError("nothing is asked for: give --study, --accession, --patient or --list FILE")
    return list(dict.fromkeys(queries))


def _expected(query: Query) -> str:
    """Word the form that a value should have had; empty where it can be searched for."""
    if not query.value:
        return "a value"
    if any(character in query.value for character in "*?\\,") or not query.value.isprintable():
        return "one exact value, without * ? , and \\, which a server takes for a pattern or a list"
    is_uid = UID.fullmatch(query.value) is not None and len(query.value) <= LONGEST_UID
    return "" if query.keyword != "StudyInstanceUID" or is_uid else "a UID: numbers with dots between them"


def _of_table(path: Path, faults: list[BadCell]) -> list[Query]:
    if not path.is_file():
        raise InputError(f"{path}: no such file (expected a list of what to fetch)")
    bare = _bare_studies(path)
    if bare:
        return bare
    table = read_text_table(path, faults)
    if table is None:
        return []
    keywords = {column: _keyword(column) for column in table.columns}
    if not any(keywords.values()):
        names = ", ".join(map(str, table.columns))
        near = did_you_mean(_plain(str(table.columns[0])), [name for names in COLUMNS.values() for name in names])
        faults.append(BadCell(path.name, 1, "header", names, f"a column named study, accession or patient{near}"))
        return []
    return [
        query
        for column, keyword in keywords.items()
        if keyword
        for query in _of_column(table[column], keyword, path, faults)
    ]


def _bare_studies(path: Path) -> list[Query]:
    """The UIDs of a list that holds nothing else, one a line."""
    try:
        lines = [line.strip().strip('"') for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        return []
    values = [line for line in lines if line]
    plain = all(UID.fullmatch(value) and value.count(".") >= FEWEST_DOTS for value in values)
    return [Query("StudyInstanceUID", value) for value in values] if plain else []


def _of_column(cells: pd.Series, keyword: str, path: Path, faults: list[BadCell]) -> list[Query]:
    queries = []
    for row, cell in cells.dropna().items():
        query = Query(keyword, str(cell).strip())
        queries.append(query)
        if expected := _expected(query):
            faults.append(BadCell(path.name, int(str(row)), str(cells.name), cell, expected))
    return queries


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]", "", name).lower()


def _keyword(column: object) -> str:
    names: Sequence[str] = [keyword for keyword, known in COLUMNS.items() if _plain(str(column)) in known]
    return names[0] if names else ""
