from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.cohort.check import check_cohort
from mammo_aln.cohort.twins import identical_files
from mammo_aln.errors import InputError
from tests.support.dicom_writer import mammogram, save


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Eight patients in two splits, one CC view of 100 x 80 pixels each, a primary region in every one."""
    root = tmp_path / "cohort"
    patients, images, regions = [], [], []
    for number in range(8):
        name = f"p{number}"
        tags = {"PatientID": f"H{number}", "StudyInstanceUID": f"1.2.3.{number}", "StudyDate": "20210310"}
        save(mammogram((100, 80), InstanceNumber=number, **tags), root / f"dicom/{name}.dcm")
        patients.append((name, "AB"[number % 2], number // 2 % 2, "train" if number < 4 else "val"))
        images.append((f"i{number}", name, f"dicom/{name}.dcm", "L", "CC"))
        regions.append((f"i{number}", "primary", 10, 20, 79.5, 100))
    write(root, "patients", patients, ["patient_id", "center", "aln_status", "split"])
    write(root, "images", images, ["image_id", "patient_id", "path", "laterality", "view"])
    write(root, "regions", regions, ["image_id", "region", "x_min", "y_min", "x_max", "y_max"])
    return root


def write(root, name, rows, columns):
    pd.DataFrame(rows, columns=columns).to_csv(root / f"{name}.csv", index=False)


def spoil(root, file, old, new):
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))


def test_a_sound_cohort_has_no_problem_and_no_flag(cohort, capsys):
    assert check_cohort(cohort) == []
    said = capsys.readouterr()
    assert "flag" not in said.err
    assert "0 problems" in said.err
    train = next(line for line in said.err.splitlines() if line.startswith("train"))
    assert train.split() == ["train", "4", "50.0%", "2", "2", "0", "A,", "B"]
    assert said.out == ""


def test_faults_of_the_tables_are_problems(cohort, capsys):
    spoil(cohort, "patients.csv", "p0,A,0", "p0,A,9")
    spoil(cohort, "images.csv", "i1,p1", "i0,p1")
    problems = check_cohort(cohort)
    assert "patients.csv row 2, aln_status = '9': expected 0, 1 or empty; cohort.yaml reads words" in "".join(problems)
    assert len(problems) == 3  # the doubled image, and the region that lost its image
    assert "3 faults in the tables" in capsys.readouterr().err
    with pytest.raises(InputError, match="no such cohort folder"):
        check_cohort(cohort / "nowhere")


def test_one_class_only(cohort):
    spoil(cohort, "patients.csv", "1,val", "0,val")
    assert check_cohort(cohort) == ["split val: one class only (0 patients with status 1, 4 with status 0)"]


def test_files_missing_unreadable_or_cut(cohort):
    (cohort / "dicom/p0.dcm").unlink()
    (cohort / "dicom/p1.dcm").write_text("no image")
    data = (cohort / "dicom/p2.dcm").read_bytes()
    (cohort / "dicom/p2.dcm").write_bytes(data[:-5000])
    assert check_cohort(cohort) == [
        "image i0: cannot be opened (No such file or directory): dicom/p0.dcm",
        "image i1: not DICOM (no DICM marker after 128 bytes): dicom/p1.dcm",
        "image i2: the file is too short for its 100 x 80 pixels",
    ]


def test_copies_between_patients_and_splits(cohort, capsys):
    data = (cohort / "dicom/p0.dcm").read_bytes()
    (cohort / "dicom/p1.dcm").write_bytes(data)
    (cohort / "dicom/p7.dcm").write_bytes(data)
    assert check_cohort(cohort) == ["images i0, i1, i7: identical files in the splits train, val"]
    spoil(cohort, "images.csv", "i7,p7,dicom/p7.dcm", "i7,p7,dicom/p6.dcm")
    problems = check_cohort(cohort)
    assert "images i0, i1: identical files of the patients p0, p1" in problems
    assert "images i6, i7: identical files of the patients p6, p7" in problems
    spoil(cohort, "images.csv", "i6,p6", "i6,p7")
    capsys.readouterr()
    assert "images i6, i7" not in "".join(check_cohort(cohort))
    said = capsys.readouterr().err
    assert "flag: set aside: another image of this side and view is used: its path comes first (regions.csv has" in said
    assert "(1: image i7)" in said


def test_the_same_instance_saved_anew(cohort):
    for name in ("p0", "p5"):
        save(mammogram((100, 80), SOPInstanceUID="1.2.3.4", StudyDescription=name), cohort / f"dicom/{name}.dcm")
    assert check_cohort(cohort) == ["images i0, i5: the same SOPInstanceUID in the splits train, val"]


@pytest.mark.parametrize("box", ["10,20,82.5,100", "10,20,79.5,101.5", "-2,20,79.5,100", "500,500,600,600"])
def test_a_region_outside_its_image(cohort, box):
    spoil(cohort, "regions.csv", "i3,primary,10,20,79.5,100", f"i3,primary,{box}")
    (problem,) = check_cohort(cohort)
    assert problem.startswith("image i3: region primary (")
    assert "reaches outside the image of 80 columns x 100 rows" in problem


def test_an_eligible_patient_without_images(cohort, capsys):
    spoil(cohort, "images.csv", "i7,p7", "i7,p6")
    spoil(cohort, "regions.csv", "i2,primary", "i2,axilla")
    assert check_cohort(cohort) == ["patient p7: no image of this eligible patient"]
    assert "flag: no primary region in any image of this eligible patient (1: patient p2)" in capsys.readouterr().err
    table = pd.read_csv(cohort / "patients.csv")
    table.assign(eligible=[1] * 7 + [0]).to_csv(cohort / "patients.csv", index=False)
    assert check_cohort(cohort) == []


@pytest.mark.parametrize(
    ("start", "reason"), [(386, "a prior exam, more than 180 days before NAT"), (-344, "after NAT")]
)
def test_a_wrong_year_of_nat_is_told(cohort, start, reason):
    for name, column in (("images.csv", "days"), ("patients.csv", "nat_start_day")):
        values = [0 if column == "days" else 21] * 7 + [0 if column == "days" else start]
        pd.read_csv(cohort / name).assign(**{column: values}).to_csv(cohort / name, index=False)
    assert check_cohort(cohort) == [
        f"patient p7: no image of this eligible patient is read: 1 x {reason} (regions.csv has a box on it); "
        f"nat_start_day is {start}: is the year of NAT's start right?"
    ]


def test_patients_whose_names_look_alike_are_told(tmp_path, capsys):
    names = ["7", "007", "p1", "P1", "PA", "P\u0410", "1-11", "11-1"]
    rows = "".join(f"{name},A,{number % 2}\n" for number, name in enumerate(names))
    (tmp_path / "patients.csv").write_text(f"patient_id,center,aln_status\n{rows}")
    assert check_cohort(tmp_path) == []
    said = capsys.readouterr().err
    assert "read as different patients: '007' and '7'; 'P1' and 'p1'; 'PA' and 'P\u0410'; of one patient" in said


def test_flags_of_headers(cohort, capsys):
    tags = [{"PatientID": f"H{number}", "StudyInstanceUID": f"1.2.3.{number}"} for number in range(3)]
    save(mammogram((100, 80), ImagerPixelSpacing=None, **tags[0]), cohort / "dicom/p0.dcm")
    save(
        mammogram((100, 80), Modality="RG", SOPClassUID="1.2", ImageLaterality="R", **tags[1]), cohort / "dicom/p1.dcm"
    )
    save(mammogram((100, 80), ViewPosition="ML", **tags[2]), cohort / "dicom/p2.dcm")
    assert check_cohort(cohort) == []
    said = capsys.readouterr().err
    assert "no spacing in the header: crops in millimetres are refused until spacing_mm is given (1: image i0)" in said
    assert "modality RG, not MG" in said
    assert "laterality is L in images.csv but R in the header (1: image i1)" in said
    assert "by its header: view ML is neither CC nor MLO (1: image i2)" in said
    table = pd.read_csv(cohort / "images.csv").assign(spacing_mm=[0.085, 0.7] + [None] * 6)
    table.to_csv(cohort / "images.csv", index=False)
    assert check_cohort(cohort) == []
    said = capsys.readouterr().err
    assert "no spacing" not in said
    assert "spacing_mm outside 0.02 to 0.5 mm (1: image i1)" in said


def test_patients_alone_are_flagged_not_refused(tmp_path, capsys):
    (tmp_path / "patients.csv").write_text("patient_id,center,aln_status\n1,A,1\n2,A,0\n")
    assert check_cohort(tmp_path) == []
    said = capsys.readouterr().err
    assert "no images.csv" in said
    assert "no split column" in said


def test_the_film_mammogram(shared, tmp_path, capsys):
    (tmp_path / "cohort.yaml").write_text(f"dicom_root: {shared / 'data/mg_dicom'}\n")
    (tmp_path / "patients.csv").write_text("patient_id,center,aln_status\n1,A,1\n")
    (tmp_path / "images.csv").write_text("image_id,patient_id,path,laterality,view\ni,1,MG1_J2KI,L,MLO\n")
    assert check_cohort(tmp_path) == []
    said = capsys.readouterr().err
    assert "modality RG, not MG" in said
    assert "crops in millimetres are refused until spacing_mm is given" in said


def test_identical_files_look_at_the_middle_too(tmp_path):
    paths = {name: tmp_path / name for name in "abcd"}
    content = bytes(400_000)
    for name in "abc":
        paths[name].write_bytes(content)
    middle = bytearray(content)
    middle[200_000] = 1
    paths["b"].write_bytes(middle)
    assert identical_files(paths) == [["a", "c"]]  # d does not exist


def test_the_treated_side_is_looked_at(cohort, capsys):
    patients = pd.read_csv(cohort / "patients.csv").assign(side=["R", "L"] + ["L"] * 6)
    patients.to_csv(cohort / "patients.csv", index=False)
    assert check_cohort(cohort) == []
    said = capsys.readouterr().err
    assert "no image of the treated side R (1: patient p0)" in said
    assert "a primary region on a side that patients.csv does not treat (1: image i0)" in said


def test_like_faults_are_one_line_for_every_verb(cohort, capsys):
    rows = "".join(f"q{number},,\n" for number in range(57))
    (cohort / "patients.csv").write_text(f"patient_id,center,aln_status\n{rows}")
    (cohort / "images.csv").unlink()
    (cohort / "regions.csv").unlink()
    line = "patients.csv: center is empty in 57 rows (2-58): expected a value"
    assert check_cohort(cohort) == [line]
    said = capsys.readouterr().err
    assert "57 faults in the tables" in said
    assert said.count("\n") == 2
    assert main(["split", str(cohort)]) == 2
    assert capsys.readouterr().err == f"mammo-aln split: 57 faults in the tables:\n  {line}\n"


def test_features_that_no_model_may_read_are_told(cohort, capsys):
    patients = pd.read_csv(cohort / "patients.csv").assign(pcr_breast=[0, 1] * 4, size_after=range(8))
    patients.to_csv(cohort / "patients.csv", index=False)
    (cohort / "cohort.yaml").write_text(
        "clinical:\n  pcr_breast: {kind: categorical, known_at: post_surgery}\n"
        "  size_after: {kind: continuous, known_at: post_nat}\n"
    )
    (problem,) = check_cohort(cohort)
    assert problem.startswith("clinical feature pcr_breast: known_at is post_surgery")
    assert "flag: known_at is post_nat: an input only with data.allow_post_nat" in capsys.readouterr().err
    assert check_cohort(cohort, clinical_inputs=False) == []
    assert "flag: known_at is post_surgery" in capsys.readouterr().err
