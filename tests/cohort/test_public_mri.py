"""Public MRI sets: real tables of the I-SPY trials; Duke and MAMA-MIA from small workbooks shaped as described."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from mammo_aln.cohort.datasets.catalogue import import_tables
from mammo_aln.cohort.datasets.duke import COLUMNS
from mammo_aln.cohort.tables import Cohort, read_cohort
from mammo_aln.errors import InputError

OWNERS_HEADERS = (
    "Patient ID", "ER", "PR", "HER2", "Staging(Tumor Size)# [T]", "Staging(Nodes)#(Nx replaced by -1)[N]",
    "Date of Birth (Days)", "Received Neoadjuvant Therapy or Not",
    "Pathologic response to Neoadjuvant therapy:  Pathologic stage (N) following neoadjuvant therapy",
    "Pathologic Response to Neoadjuvant Therapy",
)  # fmt: skip
DUKE_ROWS = (
    # id, ER, PR, HER2, T, N, birth, received NAT, N after, response
    ("Breast_MRI_001", 1, 1, 0, 2, 1, -20000, 1, 0, 1),
    ("Breast_MRI_002", 0, 0, 1, 3, 2, -18262.5, 1, 1, 2),
    ("Breast_MRI_003", 0, "NC", 1, 3, 1, -18000, 1, -1, 2),
    ("Breast_MRI_004", 0, 0, 1, 1, 0, -18000, 1, 0, 2),
    ("Breast_MRI_005", 0, 0, 1, 1, 1, -18000, 2, "NA", "NA"),
    ("Breast_MRI_006", 0, 0, 2, 5, -1, -18000, 1, "", "NP"),
)


def imported(name: str, source: Path, out: Path) -> Cohort:
    return read_cohort(import_tables(name, source, out), need=("patients",))


def duke_folder(folder: Path, *, legend: str = "{1=yes, 2=no}", headers: tuple[str, ...] = OWNERS_HEADERS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    legends = ["", *["{0=neg, 1=pos}"] * 3, "", "", "", legend, "", ""]
    sheet = pd.DataFrame([["group"] * len(headers), list(headers), legends, *DUKE_ROWS])
    sheet.to_excel(folder / "Clinical_and_Other_Features.xlsx", sheet_name="Data", header=False, index=False)
    return folder


def test_duke_reads_three_header_rows_and_the_stage_after_nat(tmp_path: Path) -> None:
    cohort = imported("duke", duke_folder(tmp_path / "s"), tmp_path / "c")
    patients = cohort.patients
    np.testing.assert_array_equal(patients["aln_status"], [0, 1, np.nan, 0, np.nan, np.nan])
    assert list(patients["exclusion_reason"]) == [
        "", "", "", "node-negative before NAT", "no neoadjuvant therapy", "nodal stage before NAT unknown",
    ]  # fmt: skip
    assert patients.loc[1, "age"] == 50.0
    assert pd.isna(patients.loc[2, "pr"])
    assert patients.loc[5, ["her2", "cT"]].isna().all()  # borderline, Tis
    assert "pathologic_response" not in cohort.clinical
    declared = yaml.safe_load((tmp_path / "c" / "cohort.yaml").read_text())
    assert declared["outcomes"] == {"pathologic_response": "post_surgery"}
    assert declared["dataset"]["licence"] == "CC BY-NC 4.0"
    assert set(COLUMNS) <= {" ".join(name.split()).lower() for name in OWNERS_HEADERS}


def test_duke_legend_decides_who_had_therapy(tmp_path: Path) -> None:
    cohort = imported("duke", duke_folder(tmp_path / "a", legend="{1=no, 2=yes}"), tmp_path / "ca")
    assert list(cohort.patients["exclusion_reason"] == "no neoadjuvant therapy") == [
        True,
        True,
        True,
        True,
        False,
        True,
    ]
    with pytest.raises(InputError, match="names no yes and no"):
        import_tables("duke", duke_folder(tmp_path / "b", legend="{1=chemo, 2=none}"), tmp_path / "cb")
    without = tuple("ESR1" if name == "ER" else name for name in OWNERS_HEADERS)
    with pytest.raises(InputError, match=r"columns er are missing; expected .*; other columns that stand .*esr1"):
        import_tables("duke", duke_folder(tmp_path / "d", headers=without), tmp_path / "cd")


def test_duke_says_that_its_boxes_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = duke_folder(tmp_path / "s")
    (source / "Annotation_Boxes.xlsx").touch()
    imported("duke", source, tmp_path / "c")
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["cohort.yaml", "patients.csv"]
    assert "no volumes.csv: Annotation_Boxes.xlsx is not read" in capsys.readouterr().err


def mama_mia_folder(folder: Path, receptors: tuple[tuple[int, int, int], ...]) -> Path:
    columns = ["patient_id", "dataset", "pcr", "hr", "er", "pr", "her2", "age"]
    rows = [
        (f"DUKE_{number:03}", "DUKE", pcr, 1, *signs, 50)
        for number, pcr, signs in zip((1, 2, 4), (1, 0, 0), receptors, strict=True)
    ]
    rows.append(("ISPY2_100899", "ISPY2", "NA", 1, 1, 1, 0, 60))
    folder.mkdir(parents=True, exist_ok=True)
    with pd.ExcelWriter(folder / "clinical_and_imaging_info.xlsx") as book:
        pd.DataFrame(rows, columns=columns).to_excel(book, sheet_name="dataset_info", index=False)
    for patient in ("DUKE_001", "ISPY2_100899"):
        name = patient.lower() if patient.startswith("ISPY") else patient
        for path in (f"images/{patient}/{name}_0001.nii.gz", f"segmentations/expert/{name}.nii.gz"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
    return folder


SAME = ((1, 1, 0), (0, 0, 1), (0, 0, 1))


def test_mama_mia_alone_labels_residual_disease(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = imported("mama-mia", mama_mia_folder(tmp_path / "s", SAME), tmp_path / "c")
    np.testing.assert_array_equal(cohort.patients["aln_status"], [0, 1, 1, np.nan])
    assert list(cohort.volumes["patient_id"]) == ["DUKE_001", "ISPY2_100899"]
    assert cohort.volumes.loc[0, "mask_path"] == "segmentations/expert/DUKE_001.nii.gz"
    said = capsys.readouterr().err
    assert "left out: 2 patients without the file of their image" in said
    assert "aln_status is unknown" in said
    assert "women of Duke, I-SPY 1 and I-SPY 2 stand in the sets duke, ispy1 and ispy2 too" in said


def test_mama_mia_takes_the_nodal_stage_of_duke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = mama_mia_folder(tmp_path / "s", SAME)
    duke_folder(source / "duke")
    cohort = imported("mama-mia", source, tmp_path / "c")
    np.testing.assert_array_equal(cohort.patients["aln_status"], [0, 1, 0, np.nan])
    assert list(cohort.patients["eligible"]) == [True, True, False, False]
    assert cohort.patients.loc[3, "exclusion_reason"] == "nodal stage after NAT not in this set"
    assert "residual_disease" not in cohort.clinical
    declared = yaml.safe_load((tmp_path / "c" / "cohort.yaml").read_text())
    assert declared["outcomes"] == {"residual_disease": "post_surgery"}
    assert [source.name for source in cohort.sources] == ["MAMA-MIA", "Duke-Breast-Cancer-MRI"]
    assert (
        "3 patients DUKE_nnn are taken as Duke's Breast_MRI_nnn: 100.0% of their receptors" in capsys.readouterr().err
    )


def test_a_join_of_other_women_is_refused(tmp_path: Path) -> None:
    source = mama_mia_folder(tmp_path / "s", ((0, 0, 1), (1, 1, 0), (0, 1, 1)))
    duke_folder(source / "duke")
    with pytest.raises(InputError, match="2 of 9 receptors of DUKE_nnn equal those of Breast_MRI_nnn"):
        import_tables("mama-mia", source, tmp_path / "c")


def test_ispy_tables_as_published(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shared / "data" / "clinical"
    first, second = imported("ispy1", folder, tmp_path / "1"), imported("ispy2", folder, tmp_path / "2")
    outcomes = pd.read_excel(folder / "I-SPY_1_All_Patient_Clinical_and_Outcome_Data.xlsx", sheet_name="outcomes")
    expected = (1 - outcomes.set_index("SUBJECTID")["PCR"]).rename(lambda number: f"ISPY1-{number}")
    got = first.patients.set_index("patient_id")["aln_status"]
    pd.testing.assert_series_equal(got.sort_index(), expected.sort_index(), check_names=False, check_index_type=False)
    assert "rcb" not in first.clinical
    assert len(second.patients) == 982
    assert int(second.patients["aln_status"].sum()) == 666  # 316 complete responses, as BreastDCEDL counts
    capsys.readouterr()
    both = imported("ispy", folder, tmp_path / "b")
    assert "BreastDCEDL's (cite Fridman et al. 2025" in capsys.readouterr().err
    counts = both.patients.groupby("split")["aln_status"].agg(["size", "count", "sum"])
    assert counts.loc["train"].tolist() == [982, 982, 666]
    assert counts.loc["external_test"].tolist() == [221, 215, 157]
    assert [source.licence for source in both.sources] == ["CC BY 4.0", "CC BY 3.0"]


def test_ispy2_in_the_owners_form(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"Patient ID": [100899, 1], "Arm": "x", "HR": [1, 0], "HER2": [0, 1], "pCR": [1, 0], "Age": [50, 60]}
    )
    table.to_excel(tmp_path / "ISPY2-Imaging-Cohort-1-Clinical-Data.xlsx", index=False)
    patients = imported("ispy2", tmp_path, tmp_path / "c").patients
    assert list(patients["patient_id"]) == ["ISPY2-100899", "ISPY2-1"]
    assert list(patients["aln_status"]) == [0, 1]
    assert list(patients["hr"]) == ["positive", "negative"]
    shutil.rmtree(tmp_path / "c")
    table.rename(columns={"pCR": "response"}).to_excel(
        tmp_path / "ISPY2-Imaging-Cohort-1-Clinical-Data.xlsx", index=False
    )
    with pytest.raises(InputError, match=r"columns pcr are missing; expected .*; other columns .*response"):
        import_tables("ispy2", tmp_path, tmp_path / "c")
