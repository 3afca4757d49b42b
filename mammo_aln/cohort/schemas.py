"""Pandera schemas of a cohort's tables; their checks carry the words that a user reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from pandera.errors import SchemaErrors
from pandera.pandas import Check, Column, DataFrameSchema

from mammo_aln.cohort.declaration import ClinicalFeature, map_hint
from mammo_aln.dicom.image_tags import SIDES
from mammo_aln.dicom.spacing import LARGEST_MM, SMALLEST_MM
from mammo_aln.dicom.views import SCREENING_VIEWS
from mammo_aln.errors import EMPTY_CELL, BadCell
from mammo_aln.files import nameable
from mammo_aln.spreadsheet.missing import is_missing_word
from mammo_aln.spreadsheet.written_numbers import numbers, two_readings

SPLITS = ("train", "val", "internal_test", "external_test")
YES_NO = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
ONE_READING = "a number with one reading: its comma or point may mark decimals or thousands"
NAT_START_DAY = "nat_start_day"
"""Column of patients.csv: the day of the first treatment, on the scale of `days` in images.csv."""
IMAGE_TIMEPOINTS = ("pre_nat", "post_nat", "prior")
BOX = ("x_min", "y_min", "x_max", "y_max")
WORDS_OF_LABEL = "; cohort.yaml reads words: `map` under `label`, such as {yes: 1, no: 0}"
MOST = 1e12
TOO_LARGE = f"a number of at most {MOST:g} on either side of 0, or empty"
_MOST_DAYS = 36_500
_BUILT_IN = {"not_nullable": f"a value{EMPTY_CELL}", "column_in_dataframe": "this column in the table"}


def _check(holds: Callable[[pd.Series], pd.Series], expected: str) -> Check:
    return Check(holds, error=expected)


def one_of(allowed: Collection[str], hint: str = "") -> Check:
    """The cell is one of these values."""
    return _check(lambda cells: cells.isin(list(allowed)), f"one of {', '.join(allowed)}{hint}")


def word_check(holds: str | Callable[[pd.Series], pd.Series], expected: str) -> Check:
    """The whole cell matches a regular expression, or each cell passes a test."""
    if callable(holds):
        return _check(holds, expected)
    return _check(lambda cells: cells.str.fullmatch(holds), expected)


def path_check() -> Check:
    """A disk can have a file of that path."""
    return _check(lambda cells: cells.map(nameable), "a path whose names have at most 255 bytes each, 4000 in all")


def _finite(expected: str = "a finite number") -> Check:
    return _check(lambda cells: np.isfinite(numbers(cells)) | two_readings(cells), expected)


def _bounded() -> Check:
    return _check(lambda cells: ~too_large(cells), TOO_LARGE)


def too_large(cells: pd.Series) -> pd.Series:
    """Tell which cells hold a finite number that no measurement has, and that would make an SD overflow."""
    size = numbers(cells).abs()
    return (size > MOST) & np.isfinite(size)


def _one_reading() -> Check:
    return _check(lambda cells: ~two_readings(cells), ONE_READING)


def _binary() -> Check:
    return _check(lambda cells: numbers(cells).isin([0.0, 1.0]), f"0, 1 or empty{WORDS_OF_LABEL}")


def _days() -> Check:
    # 20210310 and a spreadsheet's 44265 are dates
    expected = "days since the patient's first study (a number, never a date) or empty"
    return _check(lambda cells: numbers(cells).abs() <= _MOST_DAYS, expected)


def _yes_no() -> Check:
    return _check(lambda cells: cells.str.lower().isin(list(YES_NO)), "1 or 0 (or true, false, yes, no)")


def _unique(what: str) -> Check:
    return _check(lambda cells: ~cells.duplicated(keep="first"), f"each {what} once; it stands in a row above")


def _named() -> Check:
    return _check(lambda cells: ~cells.map(is_missing_word).astype(bool), "a name; this is a word for a missing value")


def _file_name_safe() -> Check:
    # These names become parts of file names (exported crops), so a separator could write outside a folder.
    return _check(lambda cells: ~cells.str.contains(r"[/\\\x00-\x1f]|^\.", regex=True), "a name without / or \\")


def patients_schema(features: Mapping[str, ClinicalFeature], patients: pd.DataFrame, label: str) -> DataFrameSchema:
    """Schema of `patients.csv` with a `unit_id` column added.

    Args:
        features: declared clinical features.
        patients: the table at hand: optional columns are checked only where they stand, strange levels have a hint.
        label: column that holds the outcome.
    """
    columns = {
        "patient_id": Column(checks=_named(), nullable=False),
        "center": Column(checks=_named(), nullable=False),
        label: Column(checks=_binary(), nullable=True),
        "unit_id": Column(checks=_unique("patient_id (and side)"), nullable=True),
        "side": Column(checks=one_of(SIDES), nullable=True, required=False),
        "split": Column(checks=one_of(SPLITS), nullable=True, required=False),
        "eligible": Column(checks=_yes_no(), nullable=False, required=False),
        NAT_START_DAY: Column(checks=_days(), nullable=True, required=False),
    }
    for name, feature in features.items():
        checks = (
            [_finite("a finite number or empty"), _bounded(), _one_reading()] if feature.kind == "continuous" else []
        )
        if feature.levels and name in patients:
            cells = patients[name].dropna()
            strange = cells[~cells.isin(feature.levels)]
            checks.append(one_of(feature.levels, f"; {map_hint(feature, strange)}"))
        columns[name] = Column(checks=checks, nullable=True)
    return DataFrameSchema({name: column for name, column in columns.items() if column.required or name in patients})


def images_schema(known_patients: Collection[str] | None, near: str = "") -> DataFrameSchema:
    """Schema of `images.csv`; an empty laterality or view means unknown; `near` tells of alike identifiers."""
    of_patients = [] if known_patients is None else [known(known_patients, f"a patient_id of patients.csv{near}")]
    possible = _check(
        lambda cells: numbers(cells).between(SMALLEST_MM, LARGEST_MM),
        f"millimetres of breast per pixel, {SMALLEST_MM} to {LARGEST_MM:g}",
    )
    return DataFrameSchema(
        {
            "image_id": Column(checks=[_unique("image_id"), _file_name_safe()], nullable=False),
            "patient_id": Column(checks=of_patients, nullable=False),
            "path": Column(checks=path_check(), nullable=False),
            "laterality": Column(checks=one_of(SIDES), nullable=True),
            "view": Column(checks=one_of(SCREENING_VIEWS), nullable=True),
            "spacing_mm": Column(checks=possible, nullable=True, required=False),
            "days": Column(checks=_days(), nullable=True, required=False),
            "timepoint": Column(checks=one_of(IMAGE_TIMEPOINTS), nullable=True, required=False),
            "eligible": Column(checks=_yes_no(), nullable=True, required=False),
        }
    )


def regions_schema(known_images: Collection[str] | None) -> DataFrameSchema:
    """Schema of `regions.csv`."""
    of_images = [] if known_images is None else [known(known_images, "an image_id of images.csv")]
    corners = {corner: Column(checks=[_finite(), _one_reading()], nullable=False) for corner in BOX}
    return DataFrameSchema(
        {
            "image_id": Column(checks=of_images, nullable=False),
            "region": Column(checks=_file_name_safe(), nullable=False),
            **corners,
        }
    )


def known(names: Collection[str], expected: str) -> Check:
    """The cell is one of these names, told in words instead of listed."""
    return _check(lambda cells: cells.isin(list(names)), expected)


def schema_faults(
    file: str, table: pd.DataFrame, schema: DataFrameSchema, shown_as: Mapping[str, str]
) -> list[BadCell]:
    """All faults of a table, rows numbered by its index; `shown_as` renames columns that the user does not know."""
    try:
        schema.validate(table, lazy=True)
    except SchemaErrors as errors:
        return [_as_bad_cell(file, case, shown_as) for case in errors.failure_cases.to_dict("records")]
    return []


def _as_bad_cell(file: str, case: Mapping[Hashable, Any], shown_as: Mapping[str, str]) -> BadCell:
    check = str(case["check"])
    expected = _BUILT_IN.get(check, check)
    if check == "column_in_dataframe":
        absent = str(case["failure_case"])
        if file == "patients.csv" and absent not in ("patient_id", "center"):
            expected += (
                "; `column: NAME` in its entry of cohort.yaml if it has another name, no entry if it does not exist"
            )
        return BadCell(file, None, absent, "missing", expected)
    value = case["failure_case"]
    column = str(case["column"])
    row = int(case["index"])
    return BadCell(file, row, shown_as.get(column, column), "" if pd.isna(value) else value, expected)


def row_faults(
    file: str, table: pd.DataFrame, faulty: pd.Series, column: str, expected: str | pd.Series
) -> list[BadCell]:
    """A fault in `column` for each faulty row; what is expected may differ by row."""
    words = expected if isinstance(expected, pd.Series) else pd.Series(expected, table.index)
    cells = table[column].fillna("")
    return [BadCell(file, int(row), column, cells[row], words[row]) for row in table.index[faulty]]


FEW_BOXES = 3
"""From so many on, empty boxes that are most of a table's rows are a form of their own."""


def box_faults(file: str, regions: pd.DataFrame) -> list[BadCell]:
    """Boxes that are empty, lie before the image's first pixel, or stand twice."""
    faults = []
    box = regions[list(BOX)].apply(numbers)
    for low, high in (("x_min", "x_max"), ("y_min", "y_max")):
        empty = (box[low] >= box[high]) & np.isfinite(box[low]) & np.isfinite(box[high])
        expected: str | pd.Series = f"more than {low} = " + regions[low]
        if empty.sum() >= FEW_BOXES and 2 * empty.sum() > len(empty):
            expected = f"more than {low}; most rows hold less: a width or height? `mammo-aln regions` reads such tables"
        faults += row_faults(file, regions, empty, high, expected)
        outside = (box[high] <= 0) & ~empty & np.isfinite(box[high])
        faults += row_faults(file, regions, outside, high, "more than 0; the region lies outside its image")
    key = pd.concat([regions[["image_id", "region"]], box], axis=1)
    twice = key.duplicated(keep="first") & key.notna().all(axis=1)
    return faults + row_faults(file, regions, twice, "region", "each box once; it stands in a row above")
