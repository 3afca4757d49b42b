"""One person under two names: by header, name, clinical values or volume; refused on every road, or by a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.cohort.check import check_cohort
from mammo_aln.cohort.likeness.guard import AcceptedLeaks, refuse_leaks
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.errors import InputError
from tests.support.dicom_writer import mammogram, save

COUNT = 8


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Eight patients of two centres, four in train, one image each with identifiers of its own."""
    root = tmp_path / "cohort"
    for number in range(COUNT):
        write(root, number)
    numbers = range(COUNT)
    patients = {
        "patient_id": [f"p{number}" for number in numbers],
        "center": ["AB"[number % 2] for number in numbers],
        "aln_status": [number // 2 % 2 for number in numbers],
        "split": ["train" if number < 4 else "external_test" for number in numbers],
    }
    images = {
        "image_id": [f"i{number}" for number in numbers],
        "patient_id": patients["patient_id"],
        "path": [f"{number}.dcm" for number in numbers],
        "laterality": "L",
        "view": "CC",
    }
    pd.DataFrame(patients).to_csv(root / "patients.csv", index=False)
    pd.DataFrame(images).to_csv(root / "images.csv", index=False)
    return root


def write(root: Path, number: int, **tags: object) -> None:
    own = {
        "PatientID": f"H{number}917351",
        "StudyInstanceUID": f"1.2.3.{number}",
        "SOPInstanceUID": f"1.2.9.{number}",
        "PatientBirthDate": f"19{40 + number}0302",
    }
    pixels = np.random.default_rng(number).integers(0, 4000, (40, 30), np.uint16).tobytes()
    save(mammogram((40, 30), PixelData=pixels, **{**own, **tags}), root / f"{number}.dcm")


def compared(cohort: Path, between: str = "split") -> AcceptedLeaks | None:
    return refuse_leaks(read_cohort(cohort, need=("patients",)), between, None, pixels=False)


def refused(cohort: Path, between: str = "split") -> str:
    with pytest.raises(InputError) as error:
        compared(cohort, between)
    return str(error.value)


SAME = {
    "the same SOPInstanceUID": {"SOPInstanceUID": "1.2.9.0"},
    "the same StudyInstanceUID": {"StudyInstanceUID": "1.2.3.0"},
    "the same PatientID and date of birth": {"PatientID": "H0917351", "PatientBirthDate": "19400302"},
    "the same PatientID": {"PatientID": "H0917351", "PatientBirthDate": ""},
}


@pytest.mark.parametrize(
    ("words", "unlabelled"), [*((words, False) for words in SAME), ("the same StudyInstanceUID", True)]
)
def test_one_person_in_two_splits_is_refused_and_a_problem(cohort: Path, words: str, unlabelled: bool) -> None:
    assert compared(cohort) is None

    if words == "the same PatientID":
        write(cohort, 0, PatientBirthDate="")
    write(cohort, 5, **SAME[words])
    if unlabelled:
        table = pd.read_csv(cohort / "patients.csv")
        table.assign(aln_status=table["aln_status"].where(table["patient_id"] != "p5")).to_csv(
            cohort / "patients.csv", index=False
        )
    message = refused(cohort)
    assert f"the patients p0, p5: {words}, in external_test and train" in message
    assert "leaks_accepted in cohort.yaml" in message
    assert "patients share a person or an exposure" in refused(cohort, "patient_id")
    problems = [line for line in check_cohort(cohort, pixels=False) if words in line]
    assert len(problems) == 1
    if unlabelled:
        assert main(["split", str(cohort), "--overwrite"]) == 2


def test_what_is_no_persons_own_is_told_and_not_refused(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Centres that number from 1, namesakes of other dates of birth, and a placeholder are no leak."""
    write(cohort, 0, PatientID="0012", PatientBirthDate="")
    write(cohort, 5, PatientID="0012", PatientBirthDate="")
    write(cohort, 1, PatientID="HOSPITAL9", PatientBirthDate="19400302")
    write(cohort, 6, PatientID="HOSPITAL9", PatientBirthDate="19500302")
    write(cohort, 2, PatientID="removed")
    write(cohort, 7, PatientID="removed")
    assert compared(cohort) is None
    said = capsys.readouterr().err
    assert "the patients p0, p5: the same PatientID in several centres, no date of birth kept" in said
    assert "the patients p1, p6: the same PatientID, other dates of birth or sex" in said
    assert "p2, p7" not in said
    assert not [line for line in check_cohort(cohort, pixels=False) if "PatientID" in line]


def test_issuers_tell_numbers_of_two_hospitals_apart(cohort: Path) -> None:
    write(cohort, 0, PatientID="12", IssuerOfPatientID="A", PatientBirthDate="")
    write(cohort, 5, PatientID="12", IssuerOfPatientID="B", PatientBirthDate="")
    assert compared(cohort) is None
    write(cohort, 5, PatientID="12", IssuerOfPatientID="A", PatientBirthDate="")
    assert "p0, p5: the same PatientID" in refused(cohort)


def test_a_uid_that_a_whole_export_shares_is_a_filler(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, count = tmp_path / "c", 12
    for number in range(count):
        write(root, number, StudyInstanceUID="1.2.3")
    names = [f"p{number}" for number in range(count)]
    split = ["train", "external_test"] * (count // 2)
    table = pd.DataFrame({"patient_id": names, "center": "A", "aln_status": 1, "split": split})
    table.to_csv(root / "patients.csv", index=False)
    files = [f"{number}.dcm" for number in range(count)]
    images = pd.DataFrame({"image_id": names, "patient_id": names, "path": files, "laterality": "L", "view": "CC"})
    images.to_csv(root / "images.csv", index=False)
    assert compared(root) is None
    assert "the same StudyInstanceUID, as a filler would be" in capsys.readouterr().err


def test_a_written_reason_goes_on_and_is_handed_to_the_report(cohort: Path) -> None:
    write(cohort, 5, StudyInstanceUID="1.2.3.0")
    (cohort / "cohort.yaml").write_text("leaks_accepted: yes\n")
    with pytest.raises(InputError, match="the reason in words"):
        read_cohort(cohort, need=("patients",))
    reason = "p5 is p0's sister, both were put into one study by the archive"
    (cohort / "cohort.yaml").write_text(f'leaks_accepted: "{reason}"\n')
    accepted = compared(cohort)
    assert accepted is not None
    assert accepted.reason == reason
    assert accepted.counts == {"the same StudyInstanceUID, in external_test and train": 1}
    assert not [line for line in check_cohort(cohort, pixels=False) if "StudyInstanceUID" in line]


def test_headers_are_compared_again_when_a_file_or_a_patient_changes(cohort: Path) -> None:
    for _ in range(2):
        assert compared(cohort) is None
    images = pd.read_csv(cohort / "images.csv")
    images.loc[5, "path"] = "0.dcm"
    images.to_csv(cohort / "images.csv", index=False)
    assert "p0, p5" in refused(cohort)


def table_of(count: int, seed: int) -> pd.DataFrame:
    """Clinical tables of people who are alike: few levels, features that go together, ages in years."""
    draw = np.random.default_rng(seed)
    er = draw.random(count) < 0.7
    pr = np.where(draw.random(count) < 0.9, er, ~er)
    return pd.DataFrame(
        {
            "center": "A",
            "aln_status": draw.integers(0, 2, count),
            "age": draw.normal(52, 11, count).round().astype(int),
            "er": er.astype(int),
            "pr": pr.astype(int),
            "ct": draw.choice([1, 2, 3, 4], count, p=[0.15, 0.5, 0.25, 0.1]),
        }
    )


KINDS = (
    "clinical:\n  age: {kind: continuous}\n  er: {kind: categorical}\n  pr: {kind: categorical}\n"
    "  ct: {kind: categorical}\n"
)


def clinical_cohort(root: Path, table: pd.DataFrame, more: str = "") -> Path:
    root.mkdir()
    (root / "cohort.yaml").write_text(KINDS + more)
    table.assign(patient_id=[f"p{number}" for number in range(len(table))]).to_csv(root / "patients.csv", index=False)
    return root


@pytest.mark.parametrize("seed", range(5))
def test_people_who_are_alike_by_chance_are_not_refused(tmp_path: Path, seed: int) -> None:
    table = table_of(400, seed).assign(split=["train"] * 250 + ["external_test"] * 150)
    cohort = read_cohort(clinical_cohort(tmp_path / "c", table), need=("patients",))
    assert refuse_leaks(cohort, "split", None) is None
    assert refuse_leaks(cohort, "patient_id", None) is None


def test_a_test_that_is_a_copy_of_training_is_refused_without_any_image(tmp_path: Path) -> None:
    learnt = table_of(60, 1)
    table = pd.concat([learnt.assign(split="train"), learnt.head(30).assign(split="internal_test")])
    root = clinical_cohort(tmp_path / "c", table)
    assert "equal in all 4 clinical values, as " in refused(root)
    assert [line for line in check_cohort(root, pixels=False) if "equal in all 4 clinical values" in line]


def test_one_person_is_known_by_values_that_nobody_else_has(tmp_path: Path) -> None:
    table = table_of(200, 2).assign(split=["train"] * 120 + ["internal_test"] * 80)
    draw = np.random.default_rng(0)
    table = table.assign(crp=draw.normal(5, 1, 200), hb=draw.normal(13, 1, 200))
    more = "  crp: {kind: continuous}\n  hb: {kind: continuous}\n"
    assert (
        refuse_leaks(read_cohort(clinical_cohort(tmp_path / "a", table, more), need=("patients",)), "split", None)
        is None
    )
    again = pd.concat([table, table.head(1).assign(split="internal_test")])
    message = refused(clinical_cohort(tmp_path / "b", again, more))
    assert "the patients p0, p200: equal in all 6 clinical values, in internal_test and train" in message


def test_the_pooled_tables_of_cbis_ddsm_do_not_pass(shared: Path, tmp_path: Path) -> None:
    """31 patients stand in the training set of one kind of lesion and in the test set of the other."""
    tables = shared / "data/tables"
    rows = pd.concat(
        pd.read_csv(tables / f"cbis_ddsm_{kind}_case_description_{split}_set.csv", dtype=str).assign(
            split="train" if split == "train" else "internal_test"
        )
        for kind in ("calc", "mass")
        for split in ("train", "test")
    )
    rows["aln_status"] = (rows["pathology"] == "MALIGNANT").astype(int)
    rows["side"] = rows["left or right breast"].str[0]
    rows["center"] = "CBIS-DDSM"
    both = rows.groupby("patient_id")["split"].nunique()
    shared_people = set(both.index[both > 1])
    assert len(shared_people) == 31
    # as the tables stand, a row per breast and set
    root = tmp_path / "plain"
    root.mkdir()
    columns = ["patient_id", "side", "center", "aln_status", "split"]
    rows.drop_duplicates(["patient_id", "side", "split"])[columns].to_csv(root / "patients.csv", index=False)
    problems = check_cohort(root, pixels=False)
    assert len({line.split("'")[1] for line in problems if "split" in line} & {"internal_test", "train"}) >= 1
    assert main(["split", str(root), "--overwrite"]) == 2
    # by the names of folders and of the PatientID tag, which is what `index` reads
    root = tmp_path / "folders"
    root.mkdir()
    rows["patient_id"] = rows["image file path"].str.split("/").str[0]
    rows.drop_duplicates("patient_id")[columns].to_csv(root / "patients.csv", index=False)
    caught = {
        line.split("of patient ")[1].split(" ")[0]
        for line in check_cohort(root, pixels=False)
        if "in the splits" in line
    }
    assert caught == shared_people
    assert "folders of patient P_" in refused(root)


def test_one_volume_of_two_patients_is_refused(cohort: Path) -> None:
    rows = [
        {"patient_id": name, "timepoint": "pre", "sequence": "DCE", "image_path": f"{name}.nii", "mask_path": "m.nii"}
        for name in ("p0", "p5")
    ]
    pd.DataFrame(rows).to_csv(cohort / "volumes.csv", index=False)
    for name in ("p0", "p5"):
        (cohort / f"{name}.nii").write_bytes(b"the same" * 1000)
    assert "the patients p0, p5: the same volume" in refused(cohort)
    (cohort / "p5.nii").write_bytes(b"not same" * 1000)
    assert compared(cohort) is None
