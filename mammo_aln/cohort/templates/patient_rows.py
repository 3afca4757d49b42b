"""Rows of a clinical table for the patients that `index` listed: by patient_id, or by the key's hospital numbers."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.reading import read_text_table
from mammo_aln.errors import BadCell, InputError, raise_bad_cells
from mammo_aln.progress import say
from mammo_aln.spreadsheet.characters import folded
from mammo_aln.spreadsheet.written_numbers import numbers

LEAST_OVERLAP = 0.5
"""Share of the table's rows, or of the patients, that a column of identifiers must name."""
SHOWN = 5
NAMESPACES = ("patient_id", "PatientID")
"""Headers that say whose numbers a column holds: the cohort's, or the hospital's."""
SHORT_DATE = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d\d)")


@dataclass(frozen=True)
class PatientKey:
    """The private key of a cohort: what the hospital calls its patients, and the day that counts as 0."""

    patient_of: dict[str, str]
    first_day: dict[str, datetime.date]


def read_key(path: Path, images: pd.DataFrame) -> PatientKey:
    """Read the key that `index --key` wrote.

    Args:
        path: the CSV file.
        images: `image_id`, `patient_id` and, where it stands, `days` of images.csv.

    Raises:
        InputError: it is no key, or of another cohort.
    """
    table = _read(path)
    if not {"patient_id", "image_id", "PatientID"} <= set(table.columns):
        raise InputError(f"--key {path}: not a key (columns {', '.join(table.columns)}); `index --key` writes one")
    table = table[table["image_id"].isin(set(images["image_id"]))]
    if table.empty:
        raise InputError(f"--key {path}: it names no image of this cohort's images.csv")
    owners: dict[str, set[str]] = {}
    for column in ("PatientID", "AccessionNumber"):
        if column in table:
            for number, patient in table[[column, "patient_id"]].dropna().itertuples(index=False):
                owners.setdefault(number, set()).add(patient)
    return PatientKey({name: min(them) for name, them in owners.items() if len(them) == 1}, _first_days(table, images))


def _first_days(key: pd.DataFrame, images: pd.DataFrame) -> dict[str, datetime.date]:
    """Date of day 0 of each patient; none where dates and days do not agree."""
    if "StudyDate" not in key or "days" not in images:
        return {}
    days = dict(zip(images["image_id"], numbers(images["days"]), strict=True))
    zero: dict[str, set[datetime.date]] = {}
    for image, patient, text in key[["image_id", "patient_id", "StudyDate"]].dropna().itertuples(index=False):
        date = date_of(text)
        if date is not None and np.isfinite(days.get(image, np.nan)):
            zero.setdefault(patient, set()).add(date - datetime.timedelta(days=int(days[image])))
    return {patient: min(dates) for patient, dates in zero.items() if len(dates) == 1}


def date_of(text: str, month_first: bool | None = None) -> datetime.date | None:
    """Read a date that is written year first, or as day.month.year; None where it is none or has two readings.

    Args:
        text: the cell.
        month_first: what its column shows of dates with slashes or hyphens; None where it shows nothing.
    """
    match = re.match(r"(\d{4})([-/]?)(\d\d?)\2(\d\d?)(?!\d)", text)
    if match is not None:
        parts = (int(match[1]), int(match[3]), int(match[4]))
    elif (match := SHORT_DATE.fullmatch(text)) is not None:
        first, second = int(match[1]), int(match[3])
        if match[2] != "." and first <= 12 and second <= 12 and first != second and month_first is None:
            return None  # 3/4 is in March or in April
        is_month_first = match[2] != "." and (second > 12 or (first <= 12 and month_first is True))
        day, month = (second, first) if is_month_first else (first, second)
        # nobody's treatment began in 1921
        parts = (int(match[4]) + (2000 if len(match[4]) == 2 else 0), month, day)
    else:
        return None
    try:
        return datetime.date(*parts)
    except ValueError:
        return None


def month_first(cells: Iterable[object]) -> bool | None:
    """Tell from a column's dates such as 3/14/2021 how its 3/4/2021 are meant; None where they do not show it."""
    matches = [SHORT_DATE.fullmatch(cell) for cell in cells if isinstance(cell, str)]
    pairs = [(int(match[1]), int(match[3])) for match in matches if match is not None and match[2] != "."]
    shown = {second > 12 for first, second in pairs if (first > 12) != (second > 12)}
    return shown.pop() if len(shown) == 1 else None


def read_clinical_table(path: Path) -> pd.DataFrame:
    """Read a clinical table of any usual writing.

    Raises:
        InputError: it is missing or has faults.
    """
    return _read(path)


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    faults: list[BadCell] = []
    table = read_text_table(path, faults)
    raise_bad_cells(faults)
    if table is None:
        raise InputError(f"{path}: not a readable table")
    return table


def matched_rows(
    table: pd.DataFrame, file: str, patients: list[str], key: PatientKey | None
) -> tuple[str, pd.DataFrame]:
    """Match a clinical table's rows to patients; what does not match is said.

    Args:
        table: text.
        file: its name.
        patients: `patient_id` of all patients of images.csv.
        key: the hospital's numbers.

    Returns:
        The column of identifiers, and the rows of the patients with `patient_id` added, in the order of the table.

    Raises:
        InputError: no column, or several alike, hold identifiers of these patients.
    """
    own = _by_any_case(dict(zip(patients, patients, strict=True)))
    of_key = key.patient_of if key else {}
    hospital = _by_any_case({number: patient for number, patient in of_key.items() if patient in set(patients)})
    names = hospital | own
    column = _identifier(table, file, names, len(patients), key is not None)
    if column in NAMESPACES and hospital:
        names = own if column == "patient_id" else hospital
    else:
        _refuse_two_owners(table[column], file, own, hospital)
    matches = table[column].map(
        lambda value: names.get(value, names.get(folded(value))) if isinstance(value, str) else None
    )
    if matches.isna().any():
        matches = _without_zeros(table[column], matches, names)
    rows = table.assign(patient_id=matches)
    strangers = rows.loc[matches.isna(), column]
    absent = [patient for patient in patients if patient not in set(matches.dropna())]
    say(f"{file}: {column!r} names the patients: {matches.nunique()} of {len(patients)} have a row")
    if len(strangers):
        say(f"{file}: {len(strangers)} row{'s' if len(strangers) > 1 else ''} of nobody in images.csv left out")
    if absent:
        shown = ", ".join(absent[:SHOWN]) + (", ..." if len(absent) > SHOWN else "")
        say(f"{file}: {len(absent)} patient{'s' if len(absent) > 1 else ''} without a row, not eligible: {shown}")
    return column, rows[matches.notna()]


def _by_any_case(patient_of: Mapping[str, str]) -> dict[str, str]:
    """Add the form without case of each name that no other one shares."""
    forms = Counter(map(folded, patient_of))
    return {folded(name): patient for name, patient in patient_of.items() if forms[folded(name)] == 1} | dict(
        patient_of
    )


def _identifier(table: pd.DataFrame, file: str, names: dict[str, str], patients: int, has_key: bool) -> str:
    bare = {_bare(folded(name)) for name in names}
    counts = Counter(
        {
            str(column): len({value for value in cells.dropna() if _bare(folded(value)) in bare})
            for column, cells in table.items()
        }
    )
    (best, most), *others = counts.most_common(2)
    if most < LEAST_OVERLAP * min(patients, len(table)) or not most:
        hint = "" if has_key else "; --key PRIVATE.csv, which `index --key` writes, gives the hospital's numbers"
        raise InputError(
            f"{file}: no column names the patients of images.csv ({best!r} names {most} of {patients}){hint}"
        )
    if others and others[0][1] == most:
        raise InputError(f"{file}: {best!r} and {others[0][0]!r} both name the patients; take one of them out")
    return best


def _refuse_two_owners(cells: pd.Series, file: str, own: Mapping[str, str], hospital: Mapping[str, str]) -> None:
    """Refuse a column whose values are one patient's patient_id and another patient's number in the hospital."""
    owners = [{_bare(name): patient for name, patient in names.items()} for names in (own, hospital)]
    for value in cells.dropna():
        one, other = (names.get(_bare(folded(value))) for names in owners)
        if one is not None and other is not None and one != other:
            raise InputError(
                f"{file}: {value!r} in {cells.name!r} is a patient_id of images.csv, and the hospital's number of "
                f"{other!r} in the key; name the column patient_id or PatientID, whichever it holds"
            )


def _bare(name: str) -> str:
    return name.removesuffix(".0").lstrip("0")


def _without_zeros(cells: pd.Series, matches: pd.Series, names: dict[str, str]) -> pd.Series:
    """Match identifiers whose leading zeros a spreadsheet dropped, where one patient alone can be meant."""
    owners: dict[str, set[str]] = {}
    for name, patient in names.items():
        owners.setdefault(_bare(name), set()).add(patient)
    owned_by = cells.where(matches.isna()).map(
        lambda value: owners.get(_bare(folded(value)), set()) if isinstance(value, str) else set()
    )
    single = owned_by.map(lambda them: min(them) if len(them) == 1 else None)
    if single.notna().any():
        first = cells[single.notna()].iloc[0]
        count = int(single.notna().sum())
        say(f"{count} identifiers matched without their leading zeros, which a spreadsheet drops ({first!r}, ...)")
    return matches.where(matches.notna(), single)
