from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.cohort.datasets.cbis_ddsm import cbis_ddsm_tables
from mammo_aln.cohort.datasets.duke import COLUMNS, duke_tables
from mammo_aln.cohort.datasets.folder import write_cohort_folder
from mammo_aln.cohort.datasets.vindr import vindr_tables
from mammo_aln.cohort.tables import image_path, read_cohort
from mammo_aln.errors import InputError

DATA = Path(__file__).parent / "data"


def cbis(folder: Path, pattern: str):
    read = {
        name: [pd.read_csv(folder / pattern.format(kind, name), dtype=str) for kind in ("calc", "mass")]
        for name in ("train", "test")
    }
    return cbis_ddsm_tables(read["train"], read["test"])


def test_cbis_ddsm_excerpt(tmp_path):
    out = write_cohort_folder(cbis(DATA, "cbis_ddsm_excerpt_{}_{}.csv"), tmp_path / "c", dicom_root=tmp_path / "tcia")
    cohort = read_cohort(out, need=("patients", "images"))
    assert cohort.name == "CBIS-DDSM"
    assert cohort.patients["unit_id"].str.fullmatch(r"P_\d{5}/[LR]").all()
    assert not cohort.images["path"].str.contains("\n").any()
    assert image_path(cohort, cohort.images.iloc[0]).is_relative_to(tmp_path / "tcia")
    raw = pd.concat([pd.read_csv(path, dtype=str) for path in DATA.glob("cbis_ddsm_excerpt_*.csv")])
    malignant = raw[raw["pathology"] == "MALIGNANT"]
    units = set(malignant["patient_id"] + "/" + malignant["left or right breast"].str[0])
    assert set(cohort.patients.loc[cohort.patients["aln_status"] == 1, "unit_id"]) == units
    tested = set(pd.concat([pd.read_csv(path, dtype=str) for path in DATA.glob("*_test.csv")])["patient_id"])
    assert set(cohort.patients.loc[cohort.patients["split"] == "internal_test", "patient_id"]) == tested


def test_cbis_ddsm_whole(shared, tmp_path):
    pattern = "cbis_ddsm_{}_case_description_{}_set.csv"
    out = write_cohort_folder(cbis(shared / "data/tables", pattern), tmp_path / "c")
    cohort = read_cohort(out, need=("patients", "images"))  # no patient in two splits, no duplicate, no bad cell
    assert cohort.patients["patient_id"].nunique() == 1566  # as published (Lee et al. 2017)
    assert cohort.images["image_id"].is_unique
    with pytest.raises(InputError, match="stands there already"):
        write_cohort_folder(cbis(shared / "data/tables", pattern), out)


def test_vindr(tmp_path):
    columns = ["study_id", "image_id", "laterality", "view_position", "breast_birads", "breast_density"]
    columns += ["finding_categories", "xmin", "ymin", "xmax", "ymax", "split"]
    rows = [
        ("s1", "a", "L", "MLO", "BI-RADS 5", "DENSITY C", "['Mass', 'Suspicious Lymph Node']", "1.5", "2", "30", "40"),
        ("s1", "a", "L", "MLO", "BI-RADS 5", "DENSITY C", "['Suspicious Lymph Node']", "5", "2", "30", "40"),
        ("s1", "b", "R", "CC", "BI-RADS 1", "DENSITY C", "['No Finding']", None, None, None, None),
        ("s2", "c", "R", "CC", "BI-RADS 3", "DENSITY A", "['Skin Thickening']", "5", "2", "30", "40"),
    ]
    table = pd.DataFrame([(*row, "training" if row[0] == "s1" else "test") for row in rows], columns=columns)
    cohort = read_cohort(write_cohort_folder(vindr_tables(table), tmp_path / "c"))
    np.testing.assert_array_equal(cohort.patients["aln_status"], [1, 0])
    assert list(cohort.patients["split"]) == ["train", "internal_test"]
    assert list(cohort.patients["density"]) == ["C", "A"]
    assert list(cohort.images["path"]) == ["images/s1/a.dicom", "images/s1/b.dicom", "images/s2/c.dicom"]
    assert list(cohort.regions["region"]) == ["primary", "axilla", "skin_thickening"]
    assert cohort.regions.loc[0, "x_min"] == 1.5
    with pytest.raises(InputError, match="columns xmin are missing"):
        vindr_tables(table.drop(columns="xmin"))
    with pytest.raises(InputError, match="finding_categories = 'Mass'"):
        vindr_tables(table.assign(finding_categories="Mass"))


def test_duke(tmp_path):
    names = [name.upper().replace(": ", ":  ") + " " for name in COLUMNS]  # stray blanks, as in the sheet
    values = [
        # id, ER, PR, HER2, T, N, birth, received NAT, N after
        ("Breast_MRI_001", "1", "1", "0", "2", "1", "-20000", "1", "0"),
        ("Breast_MRI_002", "0", "0", "1", "3", "2", "-18262.5", "1", "1"),
        ("Breast_MRI_003", "0", "NC", "1", "3", "1", "-18000", "1", "-1"),
        ("Breast_MRI_004", "0", "0", "1", "1", "0", "-18000", "1", "0"),
        ("Breast_MRI_005", "0", "0", "1", "1", "1", "-18000", "2", "NA"),
        ("Breast_MRI_006", "0", "0", "1", "1", "-1", "-18000", "1", ""),
    ]
    sheet = pd.DataFrame([["group"] * 9, names, ["legend"] * 9, *values], dtype=object)
    patients = read_cohort(write_cohort_folder(duke_tables(sheet), tmp_path / "c"), need=("patients",)).patients
    np.testing.assert_array_equal(patients["aln_status"], [0, 1, np.nan, 0, np.nan, np.nan])
    assert list(patients["exclusion_reason"]) == [
        "", "", "", "node-negative before NAT", "no neoadjuvant therapy", "nodal stage before NAT unknown",
    ]  # fmt: skip
    assert patients.loc[1, "age"] == 50.0
    assert patients.loc[2, "pr"] is np.nan or pd.isna(patients.loc[2, "pr"])
    with pytest.raises(InputError, match="sheet Data: columns er are missing"):
        duke_tables(sheet.drop(columns=1))


def test_ispy_labels_residual_disease_and_keeps_the_trials_apart():
    from mammo_aln.cohort.datasets.ispy import ispy_tables

    second = pd.DataFrame({"pid": ["a", "b"], "age": [40.0, None], "HR": [0, 1], "HER2pos": [1, 0], "pCR": [1, 0]})
    predictors = pd.DataFrame(
        {"SUBJECTID": [1, 2], "age": [50.0, 60.0], "HR Pos": [1.0, None], "Her2MostPos": [0.0, 1.0]}
    )
    outcomes = pd.DataFrame({"SUBJECTID": [2, 1], "PCR": [None, 1.0]})
    patients = ispy_tables(second, predictors, outcomes).patients
    assert patients["aln_status"].astype(object).where(patients["aln_status"].notna(), None).tolist() == [0, 1, 0, None]
    assert patients["split"].tolist() == ["train"] * 2 + ["external_test"] * 2
    assert patients["hr"].astype(object).where(patients["hr"].notna(), None).tolist() == [
        "negative",
        "positive",
        "positive",
        None,
    ]
    assert patients["patient_id"].tolist() == ["ISPY2-a", "ISPY2-b", "ISPY1-1", "ISPY1-2"]


def test_ispy_tables_make_a_cohort(shared, tmp_path):
    from mammo_aln.cohort.datasets.folder import write_cohort_folder
    from mammo_aln.cohort.datasets.ispy import ispy_tables
    from mammo_aln.cohort.tables import read_cohort

    pytest.importorskip("openpyxl")
    folder = shared / "data" / "clinical"
    workbook = folder / "I-SPY_1_All_Patient_Clinical_and_Outcome_Data.xlsx"
    sheets = [pd.read_excel(workbook, sheet_name=name) for name in ("predictors", "outcomes")]
    tables = ispy_tables(pd.read_csv(folder / "breastdcedl_ispy2_metadata.csv"), *sheets)
    cohort = read_cohort(write_cohort_folder(tables, tmp_path / "cohort"), need=("patients",))
    counts = cohort.patients.groupby("split")["aln_status"].agg(["size", "count", "sum"])
    assert counts.loc["train"].tolist() == [982, 982, 666]
    assert counts.loc["external_test"].tolist() == [221, 215, 157]
