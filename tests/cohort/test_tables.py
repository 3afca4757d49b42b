from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mammo_aln.cohort.tables import ClinicalFeature, image_path, read_cohort, with_split
from mammo_aln.errors import InputError


def spoil(root: Path, file: str, old: str, new: str) -> None:
    text = (root / file).read_text(encoding="utf-8")
    assert old in text
    (root / file).write_text(text.replace(old, new), encoding="utf-8")


def message_of(root: Path, **arguments) -> str:
    with pytest.raises(InputError) as caught:
        read_cohort(root, **arguments)
    return str(caught.value)


def test_values_keep_their_kind(sound):
    cohort = read_cohort(sound)
    assert cohort.name == "three centres"
    assert list(cohort.patients["patient_id"]) == ["007", "008", "9"]
    np.testing.assert_array_equal(cohort.patients["aln_status"], [1.0, 0.0, np.nan])
    np.testing.assert_array_equal(cohort.patients["age"], [51.5, np.nan, 47.0])
    assert list(cohort.patients["her2"]) == ["no", "yes", "no"]
    assert cohort.patients["eligible"].all()
    assert cohort.clinical["ct"] == ClinicalFeature("ct", "ordinal", ("1", "2", "3", "4"))
    np.testing.assert_array_equal(cohort.images["spacing_mm"], [np.nan, 0.07, np.nan])
    assert cohort.regions.loc[0, "x_max"] == 30.5
    assert image_path(cohort, cohort.images.iloc[0]) == sound / "a/i1.dcm"


def test_bom_blank_lines_and_blanks_around_cells_do_no_harm(sound):
    lines = (sound / "patients.csv").read_text().replace("007,A", " 007 ,A").replace("\n008", "\n\n008")
    (sound / "patients.csv").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    assert list(read_cohort(sound).patients["patient_id"]) == ["007", "008", "9"]
    spoil(sound, "patients.csv", "008,A,0", "008,A,5")
    assert "patients.csv row 4, aln_status = '5'" in message_of(sound)  # as a spreadsheet counts, blank row included


def test_a_cohort_may_be_patients_alone(tmp_path):
    (tmp_path / "patients.csv").write_text("patient_id,center,aln_status\n1,Ä,1.0\n", encoding="utf-8")
    cohort = read_cohort(tmp_path, need=("patients",))
    assert cohort.name == tmp_path.name
    assert cohort.dicom_root == tmp_path
    assert cohort.images.empty
    assert "spacing_mm" in cohort.images
    assert cohort.regions.empty
    assert list(cohort.patients["center"]) == ["Ä"]
    message = message_of(tmp_path)
    assert "images.csv" in message
    assert "regions.csv" in message


def test_each_treated_axilla_is_a_unit(sound):
    (sound / "patients.csv").write_text(
        "patient_id,center,aln_status,side,age,ct,her2\nA,c,1,L,1,1,no\nA,c,0,R,1,1,no\nB,c,0,,1,1,no\n"
    )
    (sound / "images.csv").unlink()  # its patients are others
    patients = read_cohort(sound, need=("patients",)).patients
    assert list(patients["unit_id"]) == ["A/L", "A/R", "B"]


def test_ineligible_rows_keep_their_reason(sound):
    (sound / "patients.csv").write_text(
        "patient_id,center,aln_status,eligible,exclusion_reason,age,ct,her2\n"
        "007,c,1,true,,1,1,no\n008,c,0,0,node-negative at baseline,1,1,no\n9,c,0,No,,1,1,no\n"
    )
    patients = read_cohort(sound).patients
    assert list(patients["eligible"]) == [True, False, False]
    assert list(patients["exclusion_reason"]) == ["", "node-negative at baseline", "not stated"]


def test_the_label_may_have_another_column(sound):
    spoil(sound, "cohort.yaml", "aln_status", "ypn_positive")
    spoil(sound, "patients.csv", "aln_status", "ypn_positive")
    np.testing.assert_array_equal(read_cohort(sound).patients["aln_status"], [1.0, 0.0, np.nan])
    spoil(sound, "patients.csv", "007,A,1", "007,A,yes")
    assert "ypn_positive = 'yes': expected 0, 1 or empty" in message_of(sound)


def test_a_cohort_without_split_reads_as_external_test(sound):
    assert list(with_split(read_cohort(sound)).patients["split"]) == ["train", "train", "val"]
    spoil(sound, "patients.csv", ",split", "")
    for split in (",train", ",val"):
        spoil(sound, "patients.csv", split, "")
    assert set(with_split(read_cohort(sound)).patients["split"]) == {"external_test"}


BAD = [
    ("patients.csv", "007,A,1", "007,A,2", "patients.csv row 2, aln_status = '2': expected 0, 1 or empty"),
    ("patients.csv", "007,A,1", "007,A,inf", "row 2, aln_status = 'inf'"),
    ("patients.csv", "9,B", ",B", "row 4, patient_id = '': expected a value"),
    ("patients.csv", "9,B", "9,", "row 4, center = ''"),
    ("patients.csv", "008,A", "007,A", "row 3, patient_id = '007': expected each patient_id (and side) once"),
    ("patients.csv", "yes,train", "yes,test", "row 3, split = 'test': expected one of train, val"),
    ("patients.csv", "yes,train", "yes,", "row 3, split = '': expected a split"),
    ("patients.csv", "51.5", "fifty", "row 2, age = 'fifty': expected a finite number"),
    ("patients.csv", "51.5", "inf", "row 2, age = 'inf'"),
    ("patients.csv", "51.5", "-1e300", "row 2, age = '-1e300': expected a number of at most 1e+12"),
    ("patients.csv", ",2,no", ",5,no", "row 2, ct = '5': expected one of 1, 2, 3, 4"),
    ("patients.csv", "yes,train", "equivocal,train", "row 3, her2 = 'equivocal': expected one of no, yes"),
    ("patients.csv", "center", "centre", "patients.csv, center = 'missing': expected this column"),
    ("patients.csv", ",age", ",years", "patients.csv, age = 'missing'"),
    ("patients.csv", "no,train", "no,train,7", "row 2, columns = 8: expected 7 cells"),
    ("patients.csv", "yes,train", '"yes,train', "expected CSV with commas and closed double quotes"),
    ("patients.csv", "ct,her2", "ct,ct", "header = 'ct': expected each column name once"),
    ("images.csv", "i2,007", "i1,007", "images.csv row 3, image_id = 'i1': expected each image_id once"),
    ("images.csv", "i2,007", "../i2,007", "row 3, image_id = '../i2': expected a name without /"),
    ("images.csv", "i3,008", "i3,8", "images.csv row 4, patient_id = '8': expected a patient_id of patients.csv"),
    ("images.csv", "L,MLO", "LEFT,MLO", "row 3, laterality = 'LEFT': expected one of L, R"),
    ("images.csv", "L,MLO", "L,ML", "row 3, view = 'ML': expected one of CC, MLO"),
    ("images.csv", "0.07", "0", "row 3, spacing_mm = '0': expected millimetres of breast per pixel, 0.005 to 1"),
    ("images.csv", "0.07", "70", "row 3, spacing_mm = '70': expected millimetres of breast per pixel, 0.005 to 1"),
    ("images.csv", "a/i3.dcm", "", "row 4, path = ''"),
    ("regions.csv", "i2,axilla", "i9,axilla", "regions.csv row 4, image_id = 'i9': expected an image_id of images.csv"),
    ("regions.csv", "10,20", "inf,20", "row 2, x_min = 'inf': expected a finite number"),
    ("regions.csv", "10,20", "nan,20", "row 2, x_min = '': expected a value"),
    ("regions.csv", "10,20", ",20", "row 2, x_min = '': expected a value"),
    ("regions.csv", "0,0,5,5", "5,0,5,5", "row 4, x_max = '5': expected more than x_min = 5"),
    ("regions.csv", "0,0,5,5", "0,-9,5,-1", "row 4, y_max = '-1': expected more than 0; the region lies outside"),
    ("regions.csv", "50,20,60,40", "10.0,20,30.50,40", "row 3, region = 'primary': expected each box once"),
    ("cohort.yaml", "clinical:", "clinics:", "cohort.yaml, clinics = "),
    ("cohort.yaml", "continuous", "numeric", "clinical.age.kind = 'numeric': expected one of continuous, ordinal"),
    ("cohort.yaml", ", levels: [1, 2, 3, 4]", "", "clinical.ct.levels = []: expected at least two levels"),
    ("cohort.yaml", "[1, 2, 3, 4]", "[1, 2, 2, 4]", "clinical.ct.levels = "),
    ("cohort.yaml", "unit: years", "units: years", "clinical.age.units = 'years': expected only the keys kind"),
    ("cohort.yaml", "unit: years", "known_at: later", "clinical.age.known_at = 'later': expected one of baseline"),
    ("cohort.yaml", "{column: aln_status", "{columm: aln_status", "label.columm"),
    ("cohort.yaml", "  age:", "  aln_status:", "clinical.aln_status = 'aln_status': expected another column"),
    ("cohort.yaml", "clinical:", "clinical: [", "cohort.yaml, line"),
    ("cohort.yaml", "name: three centres", "- three", "YAML"),
]


@pytest.mark.parametrize(("file", "old", "new", "told"), BAD, ids=[f"{case[0]}:{case[2]}" for case in BAD])
def test_a_fault_is_told_with_its_place(sound, file, old, new, told):
    spoil(sound, file, old, new)
    assert told in message_of(sound)


def test_all_faults_of_all_tables_come_at_once(sound):
    spoil(sound, "cohort.yaml", "name:", "nam:")
    spoil(sound, "patients.csv", "007,A,1", "007,A,7")
    spoil(sound, "patients.csv", "51.5", "x")
    spoil(sound, "images.csv", "L,MLO", "L,LMO")
    spoil(sound, "regions.csv", "0,0,5,5", "6,7,5,5")
    lines = message_of(sound).splitlines()
    assert lines[0] == "6 faults in the tables:"
    assert [line.split(",")[0].split()[0] for line in lines[1:]] == [
        "cohort.yaml", "patients.csv", "patients.csv", "images.csv", "regions.csv", "regions.csv",
    ]  # fmt: skip


def test_one_patient_in_two_splits(sound):
    (sound / "patients.csv").write_text(
        "patient_id,side,center,aln_status,split,age,ct,her2\n"
        "007,L,c,1,train,1,1,no\n007,R,c,0,val,1,1,no\n008,L,c,0,val,1,1,no\n"
    )
    assert "patients.csv row 3, split = 'val': expected train, as in this patient's other row" in message_of(sound)
    spoil(sound, "patients.csv", "R,c", "R,d")
    assert "row 3, center = 'd': expected c, as in this patient's other row" in message_of(sound)


def test_a_bilateral_patient_names_both_sides(sound):
    (sound / "patients.csv").write_text(
        "patient_id,side,center,aln_status,age,ct,her2\n007,L,c,1,1,1,no\n007,,c,0,1,1,no\n008,X,c,0,1,1,no\n"
    )
    message = message_of(sound)
    assert "row 3, side = '': expected L or R" in message
    assert "row 4, side = 'X': expected one of L, R" in message


def test_missing_empty_and_foreign_files(sound):
    assert "no such cohort folder" in message_of(sound / "nowhere")
    (sound / "images.csv").write_text("")
    (sound / "volumes.csv").write_text("patient_id,timepoint,sequence,image_path\n")
    (sound / "patients.csv").write_bytes(
        "patient_id,center,aln_status\n1,\xcc\xfe\xed\xf5\xe5\xed,1\n".encode("latin-1")
    )
    message = message_of(sound)
    assert "images.csv, header = '': expected a first row with column names; the table is empty" in message
    assert "volumes.csv, rows = 0: expected at least one row below the header; the table is empty" in message
    assert 'patients.csv, encoding = "byte 0xcc in ' in message  # Greek or Cyrillic: which, nothing tells
