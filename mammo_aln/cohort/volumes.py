"""`volumes.csv`: which volume and mask stand for a patient, a time point, a sequence and a region."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd
from pandera.pandas import Column, DataFrameSchema

from mammo_aln.cohort.reading import split_numbers
from mammo_aln.cohort.schemas import known, numbers, one_of, path_check, row_faults, word_check
from mammo_aln.errors import BadCell

VOLUME_COLUMNS = ("patient_id", "timepoint", "sequence", "image_path", "mask_path")
VOLUME_OPTIONS = ("region", "mask_label", "mask_roi", "spacing_mm")
TIMEPOINTS = ("pre", "post")
DEFAULT_REGION = "lesion"
KEY = ["patient_id", "timepoint", "sequence", "region"]
SPACING_LIMITS_MM = (0.05, 20.0)


def volumes_schema(known_patients: Collection[str] | None) -> DataFrameSchema:
    """Schema of `volumes.csv`.

    Optional columns: `region` (default `lesion`), `mask_label` (the mask's value, or a SEG's segment number, that is
    this region; empty = every value but 0), `mask_roi` (ROIName of an RT structure set), `spacing_mm` (three numbers
    for the file's first, second and third axis; it replaces what the headers of image and mask say).
    """
    of_patients = [] if known_patients is None else [known(known_patients, "a patient_id of patients.csv")]
    name = word_check(r"[A-Za-z0-9][A-Za-z0-9-]*", "letters, digits and - (it becomes part of feature names)")
    label = word_check(r"[1-9][0-9]*", "a whole number from 1, or empty")
    low, high = SPACING_LIMITS_MM

    def three_lengths(cells: pd.Series) -> pd.Series:
        return cells.map(split_numbers).map(lambda mm: len(mm) == 3 and low <= min(mm) <= max(mm) <= high)

    return DataFrameSchema(
        {
            "patient_id": Column(checks=of_patients, nullable=False),
            "timepoint": Column(checks=one_of(TIMEPOINTS), nullable=False),
            "sequence": Column(checks=name, nullable=False),
            "image_path": Column(checks=path_check(), nullable=False),
            "mask_path": Column(checks=path_check(), nullable=False),
            "region": Column(checks=name, nullable=True, required=False),
            "mask_label": Column(checks=label, nullable=True, required=False),
            "mask_roi": Column(nullable=True, required=False),
            "spacing_mm": Column(
                checks=word_check(three_lengths, f"three lengths in mm from {low} to {high:g}, e.g. 0.6 0.6 2.0"),
                nullable=True,
                required=False,
            ),
        }
    )


def volume_faults(volumes: pd.DataFrame) -> list[BadCell]:
    """Volumes that stand twice, and regions of one image that state different spacings."""
    if not set(VOLUME_COLUMNS) <= set(volumes.columns):
        return []
    typed = typed_volumes(volumes)
    twice = "each patient, time point, sequence and region once; it stands in a row above"
    faults = row_faults("volumes.csv", typed, typed.duplicated(KEY), "patient_id", twice)
    stated = typed.groupby(["patient_id", "timepoint", "sequence"])[["image_path", "spacing_mm"]].transform("first")
    for column in ("image_path", "spacing_mm"):
        differs = typed[column].fillna("") != stated[column].fillna("")
        other = stated[column].astype(str) + ", as for this image's other region"
        faults += row_faults("volumes.csv", typed, differs, column, other)
    return faults


def typed_volumes(volumes: pd.DataFrame | None) -> pd.DataFrame:
    """All columns of the table, strings, with their defaults; `mask_label` is 0 for "every value", index as read."""
    columns = [*VOLUME_COLUMNS, *VOLUME_OPTIONS]
    if volumes is None:
        volumes = pd.DataFrame(columns=columns, dtype=object)
    table = volumes.reindex(columns=columns).astype(object)
    table["region"] = table["region"].fillna(DEFAULT_REGION)
    table["mask_roi"] = table["mask_roi"].fillna("").map(str.strip)
    table["mask_label"] = numbers(table["mask_label"]).fillna(0).astype(int)
    return table
