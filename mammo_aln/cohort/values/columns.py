"""`patients.csv` as `cohort.yaml` reads it: columns and values by their declared names, missing codes, one spelling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from mammo_aln.cohort.declaration import ClinicalFeature, ColumnReading, Declaration
from mammo_aln.cohort.schemas import NAT_START_DAY, SPLITS
from mammo_aln.dicom.image_tags import SIDES
from mammo_aln.errors import BadCell, did_you_mean
from mammo_aln.spreadsheet.characters import as_listed, one_spelling, spellings
from mammo_aln.spreadsheet.missing import is_missing_word, without_missing_words
from mammo_aln.spreadsheet.written_numbers import numbers

FILE = "patients.csv"
VALUES_SHOWN = 10
LISTED = {"side": SIDES, "split": SPLITS}


def known_columns(declared: Declaration) -> tuple[str, ...]:
    """Names by which `patients.csv` may call its columns."""
    renamed = [reading.column for reading in declared.readings.values()]
    own = (
        "patient_id",
        "center",
        "side",
        "split",
        "eligible",
        "exclusion_reason",
        NAT_START_DAY,
        declared.label_column,
    )
    names = [*own, *declared.clinical]
    return tuple(dict.fromkeys([*renamed, *(name for name in names if name not in declared.readings)]))


def as_declared(patients: pd.DataFrame, declared: Declaration, faults: list[BadCell]) -> pd.DataFrame:
    """Bring a table's columns and values to those that the declaration names.

    Args:
        patients: text of `patients.csv`.
        declared: what `cohort.yaml` says of it.
        faults: gets one entry per column or value that the declaration does not cover.

    Returns:
        The table with missing values as NaN, and each centre, side, split and level in one spelling.
    """
    table = _renamed(patients, declared, faults)
    levels = _stated_values(declared)
    _refuse_two_readings_of_minus(table, declared, levels, faults)
    table = without_missing_words(table, levels)
    for name, reading in declared.readings.items():
        if name in table:
            table = table.assign(**{name: _read(table[name], name, reading, declared, faults)})
    return table.assign(
        **{name: _spelt(table[name], allowed) for name, allowed in _listed(declared).items() if name in table}
    )


def spelling_facts(patients: pd.DataFrame, declared: Declaration) -> list[tuple[str, Counter[str]]]:
    """Centres and levels that the file spells in several ways and that are read as one: column, spellings."""
    facts: list[tuple[str, Counter[str]]] = []
    table = _renamed(patients, declared, [])
    for name, allowed in _listed(declared).items():
        if allowed is None and name in table:
            groups = spellings(table[name].dropna())
            facts += [(name, group) for group in groups.values() if len(group) > 1]
    return facts


def same_value(value: object, code: str) -> bool:
    """Tell whether a cell holds a code, as text or as the same number (`999` and `999.0`)."""
    return isinstance(value, str) and (value == code or as_listed(value, [code]) == code)


def _listed(declared: Declaration) -> dict[str, Collection[str] | None]:
    """Columns of names: with those that are allowed, or None where any name is."""
    levels = {
        name: feature.levels or None for name, feature in declared.clinical.items() if feature.kind != "continuous"
    }
    return {"center": None, **LISTED, **levels}


def _spelt(cells: pd.Series, allowed: Collection[str] | None) -> pd.Series:
    present = cells.dropna()
    mapping = one_spelling(present) if allowed is None else {value: as_listed(value, allowed) for value in set(present)}
    return cells.map(lambda value: mapping.get(value, value)).astype(object)


def _renamed(patients: pd.DataFrame, declared: Declaration, faults: list[BadCell]) -> pd.DataFrame:
    """Columns under the names that the product knows them by."""
    names: dict[str, str] = {}
    for name, reading in declared.readings.items():
        if reading.column == name:
            continue
        where = _where(name, declared)
        if reading.column not in patients:
            near = did_you_mean(reading.column, map(str, patients.columns))
            faults.append(BadCell("cohort.yaml", None, f"{where}.column", reading.column, f"a column of {FILE}{near}"))
        elif name in patients:
            expected = f"one column for {name}; {FILE} has this one and {name} itself"
            faults.append(BadCell("cohort.yaml", None, f"{where}.column", reading.column, expected))
        elif reading.column in names:
            expected = f"a column of its own; {names[reading.column]} takes it"
            faults.append(BadCell("cohort.yaml", None, f"{where}.column", reading.column, expected))
        else:
            names[reading.column] = name
    return patients.rename(columns=names)


def _where(name: str, declared: Declaration) -> str:
    if name in declared.clinical:
        return f"clinical.{name}"
    return "label" if name == declared.label_column else f"columns.{name}"


def _stated_values(declared: Declaration) -> dict[str, Collection[str]]:
    """Values that the declaration itself names: never words for missing."""
    stated: dict[str, Collection[str]] = {name: feature.levels for name, feature in declared.clinical.items()}
    for name, reading in declared.readings.items():
        stated[name] = (*stated.get(name, ()), *reading.values)
    return stated


def _read(
    cells: pd.Series, name: str, reading: ColumnReading, declared: Declaration, faults: list[BadCell]
) -> pd.Series:
    """Cells with codes for missing as NaN and values mapped; those that nothing covers are faults."""
    codes = {value for value in cells.dropna().unique() for code in reading.missing if same_value(value, code)}
    cells = cells.mask(cells.isin(list(codes)), np.nan)
    if reading.values:
        cells = _mapped(cells, name, reading.values, declared, faults)
    if reading.range is not None:
        low, high = reading.range
        values = numbers(cells)
        outside = values.notna() & ~values.between(low, high)
        expected = (
            f"{low:g} to {high:g} ({_where(name, declared)}.range), or a code in {_where(name, declared)}.missing"
        )
        faults += [BadCell(FILE, int(row), name, cells[row], expected) for row in cells.index[outside]]
    return cells


def _mapped(
    cells: pd.Series, name: str, values: Mapping[str, str], declared: Declaration, faults: list[BadCell]
) -> pd.Series:
    keys = {value: as_listed(value, values) for value in cells.dropna().unique()}
    mapping = {value: values[key] for value, key in keys.items() if key in values}
    feature = declared.clinical.get(name)
    allowed = [*values.values(), *(feature.levels if feature else ())]
    unmapped = [value for value in keys if value not in mapping and as_listed(value, allowed) not in allowed]
    if feature is not None and feature.kind == "continuous":
        unmapped = [value for value in unmapped if np.isnan(numbers(pd.Series([value], dtype=object))[0])]
    if unmapped:
        counts = Counter(cells[cells.isin(unmapped)])
        shown = ", ".join(f"{value!r} ({count})" for value, count in counts.most_common(VALUES_SHOWN))
        more = ", ..." if len(counts) > VALUES_SHOWN else ""
        expected = f"only values of {_where(name, declared)}.map ({', '.join(values)}), or those that it gives"
        faults.append(BadCell(FILE, None, f"{name} in {sum(counts.values())} rows", f"{shown}{more}", expected))
    read = cells.map(lambda value: mapping.get(value, value)).astype(object)
    as_written = [value for value in keys if value not in mapping]
    if name == declared.label_column and as_written and len(keys) > 1 and read.dropna().nunique() == 1:
        # of codes 1 and 2, a map of 2 alone makes all patients positive
        shown = ", ".join(map(repr, keys))
        expected = (
            f"{', '.join(map(repr, as_written))} in label.map too; without it, all rows read as {read.dropna().iloc[0]}"
        )
        faults.append(BadCell(FILE, None, name, shown, expected))
    return read.mask(read.map(is_missing_word).astype(bool) & ~read.isin(_levels(feature)), np.nan)


def _levels(feature: ClinicalFeature | None) -> list[str]:
    return list(feature.levels) if feature else []


def _refuse_two_readings_of_minus(
    table: pd.DataFrame, declared: Declaration, levels: Mapping[str, Collection[str]], faults: list[BadCell]
) -> None:
    """A lone minus means missing, but beside `+` a negative finding."""
    for name in [*declared.clinical, declared.label_column]:
        if name not in table or "-" in levels.get(name, ()):
            continue
        values = set(table[name].dropna())
        if "-" in values and any(value.endswith("+") for value in values):
            expected = f"a value, or empty; beside + it may mean negative: say so in {_where(name, declared)}.map"
            rows = table.index[table[name] == "-"]
            faults += [BadCell(FILE, int(row), name, "-", expected) for row in rows]
