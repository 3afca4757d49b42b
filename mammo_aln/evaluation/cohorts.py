"""Patients of one or several cohorts beside their predictions: clinical features, and how their images were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mammo_aln.errors import InputError
from mammo_aln.evaluation.baseline import STRUCTURE, features_of
from mammo_aln.evaluation.predictions import Predictions
from mammo_aln.progress import say

VENDOR = "vendor"


@dataclass(frozen=True)
class CohortTable:
    """Tables of one cohort that a report describes its patients with.

    Attributes:
        name: of the cohort.
        patients: one row per treated axilla: `patient_id`, `aln_status` and features.
        features: clinical features known at baseline, or None where none is declared: then every column counts.
        acquisition: one row per `patient_id` of how the images were made (vendor, spacing, VOI, ...), or None.
    """

    name: str
    patients: pd.DataFrame
    features: Sequence[str] | None = None
    acquisition: pd.DataFrame | None = None

    @property
    def image_columns(self) -> list[str]:
        """Columns of the acquisition table."""
        if self.acquisition is None or self.acquisition.empty:
            return []
        return [str(name) for name in self.acquisition.columns if name != "patient_id"]

    def described(self) -> pd.DataFrame:
        """Patients with their baseline features and image columns; no other clinical column."""
        images = self.image_columns
        columns = features_of(self.patients) if self.features is None else self.features
        clinical = [name for name in columns if name in self.patients and name not in images]
        table = self.patients[[name for name in self.patients if name in STRUCTURE] + clinical]
        if not images or self.acquisition is None:
            return table
        beside = self.acquisition.drop_duplicates("patient_id")
        return table.merge(beside, on="patient_id", how="left")


@dataclass(frozen=True)
class Described:
    """Rows of predictions with the patients' features beside them.

    Attributes:
        rows: `patient_id`, `center`, `side`, `split`, `aln_status`, `score`, then features and image columns.
        clinical: names of the clinical features.
        images: names of the image columns.
    """

    rows: pd.DataFrame
    clinical: list[str]
    images: list[str]

    @property
    def features(self) -> list[str]:
        """Clinical features, and the vendor of the images where it is known: what patients are grouped by."""
        return self.clinical + [name for name in self.images if name == VENDOR]

    def with_columns(self, names: Sequence[str]) -> pd.DataFrame:
        """The rows with these of their features alone."""
        return self.rows[[name for name in self.rows if name in STRUCTURE or name in names]]


def described_rows(
    predictions: Predictions, cohorts: Sequence[CohortTable], *, stored: Sequence[str] = ()
) -> Described:
    """Put the patients' features beside their predictions; predicted patients that no cohort holds are left out.

    Args:
        predictions: of one model.
        cohorts: one or several.
        stored: splits whose aggregated figures the run carries: nobody needs to be told that their patients are absent.

    Raises:
        InputError: a cohort holds no predicted patient, or two cohorts hold the same one.
    """
    joined = [_joined(predictions, cohort, several=len(cohorts) > 1) for cohort in cohorts]
    rows = pd.concat(joined).sort_index()
    if rows.index.has_duplicates:
        shown = ", ".join(sorted(set(rows.loc[rows.index.duplicated(), "patient_id"]))[:10])
        raise InputError(
            f"predicted patients stand in two of the cohorts: {shown}; name each patient once, or give one cohort"
        )
    absent = predictions.table.drop(index=rows.index)
    missing = absent[~absent["split"].isin(stored)]
    if len(missing):
        total = len(predictions.table)
        say(f"{len(missing)} of {total} predicted patients stand in no table given: baseline and subgroups lack them")
    images = list(dict.fromkeys(name for cohort in cohorts for name in cohort.image_columns))
    structure = [*predictions.table.columns]
    clinical = [str(name) for name in rows if name not in structure and name not in images]
    return Described(rows.reset_index(drop=True), clinical, images)


def _joined(predictions: Predictions, cohort: CohortTable, *, several: bool) -> pd.DataFrame:
    """Predicted rows that a cohort holds, in the order of the predictions, with its columns beside them."""
    table, patients = predictions.table, cohort.described()
    keys = ["patient_id"]
    if several and predictions.has_center and "center" in patients:
        keys.append("center")  # two cohorts may use one number
    if "side" in patients and (patients["side"].fillna("") != "").any() and (table["side"] != "").all():
        keys.append("side")
    beside = patients.drop_duplicates(keys).set_index(keys)
    held = table.set_index(keys).index.isin(beside.index)
    if not held.any():
        raise InputError(
            f"no predicted patient stands in the patients table of {cohort.name}: it is another cohort's; "
            "--cohort takes the folder that was scored"
        )
    wide = beside[[name for name in beside if name not in STRUCTURE]]
    return table[held].join(wide, on=keys)
