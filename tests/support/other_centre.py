"""The phantom's external centre as a cohort of its own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tests.support.run_folders import linked_copy


def other_centre(phantom: Path, folder: Path, patients: pd.DataFrame | None = None, *, regions: bool = True) -> Path:
    """The external patients of the phantom as a cohort of their own, their table replaced where one is given."""
    cohort = linked_copy(phantom, folder)
    (cohort / "openings.jsonl").unlink(missing_ok=True)
    table = external(phantom) if patients is None else patients
    table.to_csv(cohort / "patients.csv", index=False)
    images = pd.read_csv(cohort / "images.csv", dtype=str)
    images = images[images["patient_id"].isin(table["patient_id"])]
    images.to_csv(cohort / "images.csv", index=False)
    drawn = pd.read_csv(cohort / "regions.csv", dtype=str)
    drawn[drawn["image_id"].isin(images["image_id"])].to_csv(cohort / "regions.csv", index=False)
    if not regions:
        (cohort / "regions.csv").unlink()
    return cohort


def external(phantom: Path) -> pd.DataFrame:
    table = pd.read_csv(phantom / "patients.csv", dtype=str)
    return table[table["split"] == "external_test"].drop(columns="split").reset_index(drop=True)
