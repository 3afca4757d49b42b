"""The truth of the messy export against what a cohort made of it: nobody's label, box or exam may have changed."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from tests.support.messy_export import HOSPITALS, USED, Export, mrn

MOST_LOST_PX = 0.011
"""Boxes were written with two decimals, x and width apart."""


def compare_with_truth(cohort: Path, key: Path, crops: Path, export: Export, phantom: Path) -> None:
    """Assert that labels, centres, sides, boxes and the images of all crops are those of the truth.

    Args:
        cohort: the cohort folder that the commands made.
        key: what `index --key` wrote.
        crops: what `crop --export` wrote.
        export: the export with the truth of its files.
        phantom: the cohort that the export was made of.
    """
    from mammo_aln.cohort.tables import read_cohort

    linked = pd.read_csv(key, dtype=str)
    truth = pd.read_csv(phantom / "patients.csv", dtype=str, keep_default_na=False)
    truth.index = pd.Index([mrn(number) for number in range(len(truth))])
    patients = read_cohort(cohort).patients
    hospital_number = linked.drop_duplicates("patient_id").set_index("patient_id")["PatientID"]
    assert sorted(hospital_number) == sorted(truth.index)
    eligible = patients[patients["eligible"]]
    assert set(patients["patient_id"]) - set(eligible["patient_id"]) == {
        hospital_number[hospital_number == mrn(50)].index[0]
    }
    for row in eligible.to_dict("records"):
        expected = truth.loc[hospital_number[row["patient_id"]]]
        assert row["aln_status"] == float(expected["aln_status"])
        assert row["side"] == expected["side"]
        assert row["center"].casefold() == HOSPITALS[expected["center"]].casefold()
        assert (row["split"] == "external_test") == (expected["center"] == "center_c")
    instance = linked.set_index("image_id")["SOPInstanceUID"]
    _compare_boxes(cohort, instance, export)
    read = {json.loads(path.read_text())["image_id"] for path in crops.glob("*.json")}
    assert len(read) > 150
    wrong = {str(instance[image]) for image in read} - export.of(USED)
    assert not wrong, f"{len(wrong)} images among the crops that no model may see"


def _compare_boxes(cohort: Path, instance: pd.Series, export: Export) -> None:
    drawn = pd.read_csv(export.boxes, sep=";", decimal=",", encoding="utf-8-sig")
    regions = pd.read_csv(cohort / "regions.csv").dropna(subset="x_min")
    assert len(regions) == len(drawn)
    regions["key"] = regions["image_id"].map(instance) + regions["region"]
    drawn["key"] = drawn["SOPInstanceUID"] + drawn["Finding"].map({"Mass": "primary", "Axilla": "axilla"})
    both = regions.merge(drawn, on="key", validate="one_to_one")
    assert len(both) == len(drawn)
    for low, high, start, length in (("x_min", "x_max", "x", "width"), ("y_min", "y_max", "y", "height")):
        assert (both[low] - both[start]).abs().max() < MOST_LOST_PX
        assert (both[high] - both[start] - both[length]).abs().max() < MOST_LOST_PX
