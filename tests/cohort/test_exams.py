"""Exams by their dates, patients by their headers, and the key that alone may hold either."""

from __future__ import annotations

import datetime
import stat

import pandas as pd
import pytest

from mammo_aln.cohort.check import check_cohort
from mammo_aln.cohort.index import index_folder
from mammo_aln.errors import InputError
from tests.support.dicom_writer import mammogram, save

FIRST = datetime.date(2020, 12, 20)
CHANGED = ("spacing_mm", "timepoint", "eligible", "exclusion_reason")


def exam(folder, name, after_days=0, *, uid="1.2.9", **tags):
    """One image of an exam so many days after the first."""
    date = (FIRST + datetime.timedelta(days=after_days)).strftime("%Y%m%d")
    number = sum(map(ord, str(folder / name)))
    values = {"StudyDate": date, "StudyInstanceUID": uid, "InstanceNumber": number, **tags}
    return save(mammogram(**values), folder / name)


def table(out, name="images"):
    return pd.read_csv(out / f"{name}.csv", dtype=str, keep_default_na=False).set_index(
        "path" if name != "patients" else "patient_id"
    )


def test_studies_are_numbered_by_date_and_days_are_counted(tmp_path, capsys):
    root = tmp_path / "dicom" / "anna"
    exam(root, "c.dcm", 400, uid="1.2.1")
    exam(root, "a.dcm", 0, uid="1.2.3")
    exam(root, "b.dcm", 31, uid="1.2.2", ViewPosition="MLO")
    exam(root, "b2.dcm", 31, uid="1.2.20")
    images = table(index_folder(tmp_path / "dicom", tmp_path / "co"))
    assert dict(images["study"]) == {"anna/a.dcm": "s1", "anna/b.dcm": "s2", "anna/b2.dcm": "s3", "anna/c.dcm": "s4"}
    assert dict(images["days"]) == {"anna/a.dcm": "0", "anna/b.dcm": "31", "anna/b2.dcm": "31", "anna/c.dcm": "400"}
    said = capsys.readouterr().err
    assert "1 patient has several exams (anna): say what is before NAT: nat_start_day in patients.csv" in said
    text = "".join(path.read_text() for path in (tmp_path / "co").iterdir()) + said
    assert not any(date in text for date in ("20201220", "2020-12-20", "202101", "2021-01"))


@pytest.mark.parametrize(
    ("tags", "days"),
    [
        ({"StudyDate": None, "AcquisitionDate": "20201230"}, "10"),
        ({"StudyDate": "", "AcquisitionDate": None, "ContentDate": "20201231"}, "11"),
        ({"StudyDate": "2020.12.25"}, "5"),
        ({"StudyDate": "19000101", "AcquisitionDate": "20201222"}, "2"),
        ({"StudyDate": "20201399", "AcquisitionDate": None}, ""),
        ({"StudyDate": "19000101"}, ""),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_which_date_counts(tmp_path, tags, days):
    exam(tmp_path / "d" / "p", "a.dcm")
    exam(tmp_path / "d" / "p", "b.dcm", uid="1.2.10", **tags)
    images = table(index_folder(tmp_path / "d", tmp_path / "co"))
    assert (images.loc["p/a.dcm", "days"], images.loc["p/b.dcm", "days"]) == ("0", days)
    assert images.loc["p/b.dcm", "study"] == ("s2" if days else "u1")


def test_exams_without_any_date_are_told_apart(tmp_path, capsys):
    for name, uid in (("a.dcm", "1.2.1"), ("b.dcm", "1.2.2")):
        exam(tmp_path / "d" / "p", name, uid=uid, StudyDate=None)
    exam(tmp_path / "d" / "q", "c.dcm", uid="1.2.3", StudyDate=None)
    out = index_folder(tmp_path / "d", tmp_path / "co")
    assert dict(table(out)["study"]) == {"p/a.dcm": "u1", "p/b.dcm": "u2", "q/c.dcm": ""}
    said = capsys.readouterr().err
    assert "3 images have no date of their exam" in said
    assert "1 patient has several exams (p)" in said


def test_a_second_index_keeps_the_users_words_and_what_the_user_deleted(tmp_path, capsys):
    root = tmp_path / "d" / "p"
    for number, name in enumerate(("a.dcm", "b.dcm", "c.dcm")):
        exam(root, name, 10 * number, uid=f"1.2.{number}")
    out = index_folder(tmp_path / "d", tmp_path / "co")
    images = pd.read_csv(out / "images.csv", dtype=str, keep_default_na=False)
    words = {"spacing_mm": "0.08", "timepoint": "prior", "eligible": "0", "exclusion_reason": "clip, seen by AB"}
    images.assign(**words)[images["path"] != "p/c.dcm"].to_csv(out / "images.csv", index=False)
    exam(root, "d.dcm", 50, uid="1.2.7")
    capsys.readouterr()
    again = table(index_folder(tmp_path / "d", out))
    assert list(again.index) == ["p/a.dcm", "p/b.dcm", "p/d.dcm"]
    assert all(dict(again.loc[path, list(CHANGED)]) == words for path in ("p/a.dcm", "p/b.dcm"))
    assert list(again["days"]) == ["0", "10", "50"]
    assert table(out, "exclusions").loc["p/c.dcm", "reason"] == "its row was deleted from images.csv"
    assert "1 image whose row was deleted" in capsys.readouterr().err


def test_an_earlier_exam_found_later_does_not_move_the_scale_of_nat(tmp_path):
    exam(tmp_path / "d" / "p", "a.dcm", 0, uid="1.2.1")
    out = index_folder(tmp_path / "d", tmp_path / "co")
    (out / "patients.csv").write_text("patient_id,center,aln_status,nat_start_day\np,A,1,14\n")
    exam(tmp_path / "d" / "p", "prior.dcm", -700, uid="1.2.2")
    images = table(index_folder(tmp_path / "d", out))
    assert dict(images["days"]) == {"p/a.dcm": "0", "p/prior.dcm": "-700"}
    assert dict(images["study"]) == {"p/a.dcm": "s2", "p/prior.dcm": "s1"}
    (out / "patients.csv").write_text("patient_id,center,aln_status\np,A,1\n")
    images = table(index_folder(tmp_path / "d", out))  # nothing stands on the scale: it begins at the first study
    assert dict(images["days"]) == {"p/a.dcm": "700", "p/prior.dcm": "0"}


def test_days_of_files_that_are_not_at_hand_keep_their_scale(tmp_path):
    exam(tmp_path / "d" / "p", "a.dcm", 0, uid="1.2.1")
    exam(tmp_path / "d" / "p", "b.dcm", 30, uid="1.2.2", ViewPosition="MLO")
    out = index_folder(tmp_path / "d", tmp_path / "co")
    (tmp_path / "d/p/a.dcm").unlink()
    assert list(table(index_folder(tmp_path / "d", out))["days"]) == ["0", "30"]
    exam(tmp_path / "e" / "p", "c.dcm", 90, uid="1.2.3")  # of another folder: which scale, no file at hand says
    images = table(index_folder(tmp_path / "e", out))
    assert list(images["days"]) == ["0", "30", ""]


def test_an_older_images_table_is_filled_in(tmp_path):
    exam(tmp_path / "d" / "p", "a.dcm", 0, uid="1.2.1")
    exam(tmp_path / "d" / "p", "b.dcm", 90, uid="1.2.2")
    out = index_folder(tmp_path / "d", tmp_path / "co")
    new = ["study", "days", "timepoint", "eligible", "exclusion_reason", "kind"]
    pd.read_csv(out / "images.csv", dtype=str).drop(columns=new).to_csv(out / "images.csv", index=False)
    (out / "patients.csv").write_text("patient_id,center,aln_status\np,A,1\n")
    assert any("several days, which images.csv does not state: index again" in line for line in check_cohort(out))
    images = table(index_folder(tmp_path / "d", out))
    assert list(images["days"]) == ["0", "90"]
    assert list(images["kind"]) == ["projection", "projection"]
    assert any("several exams" in line for line in check_cohort(out))


def test_days_that_no_longer_fit_the_files_fail_the_check(tmp_path):
    """As after two patients were made one by hand: both have a day 0."""
    exam(tmp_path / "d" / "p", "a.dcm", 0, uid="1.2.1")
    exam(tmp_path / "d" / "q", "b.dcm", 196, uid="1.2.2", ViewPosition="MLO")
    out = index_folder(tmp_path / "d", tmp_path / "co")
    images = pd.read_csv(out / "images.csv", dtype=str, keep_default_na=False)
    images.assign(patient_id="p").to_csv(out / "images.csv", index=False)
    (out / "patients.csv").write_text("patient_id,center,aln_status\np,A,1\n")
    assert any(line.startswith("patient p: days in images.csv do not fit") for line in check_cohort(out))
    assert list(table(index_folder(tmp_path / "d", out))["days"]) == ["0", "196"]


def test_days_of_the_users_stay_where_nat_counts_on_them(tmp_path):
    """As where the dates of the headers were shifted study by study: 196 days read as 10, which would be before NAT."""
    exam(tmp_path / "d" / "p", "a.dcm", 0, uid="1.2.1")
    exam(tmp_path / "d" / "p", "b.dcm", 10, uid="1.2.2", ViewPosition="MLO")
    out = index_folder(tmp_path / "d", tmp_path / "co")
    images = pd.read_csv(out / "images.csv", dtype=str, keep_default_na=False)
    images.assign(days=["0", "196"]).to_csv(out / "images.csv", index=False)
    (out / "patients.csv").write_text("patient_id,center,aln_status,nat_start_day\np,A,1,14\n")
    exam(tmp_path / "d" / "p", "c.dcm", 20, uid="1.2.3", ImageLaterality="R")
    again = table(index_folder(tmp_path / "d", out))
    assert list(again["days"]) == ["0", "196", ""]  # the scale of a new image is unknown: it is asked about
    assert any("days in images.csv do not fit" in line for line in check_cohort(out))
    assert any("images whose days are unknown" in line for line in check_cohort(out))
    again.assign(days="").reset_index().to_csv(out / "images.csv", index=False)
    assert list(table(index_folder(tmp_path / "d", out))["days"]) == ["0", "10", "20"]


def test_exams_that_the_user_set_aside_are_asked_about_no_more(tmp_path, capsys):
    exam(tmp_path / "d" / "p", "a.dcm", 0, uid="1.2.1")
    exam(tmp_path / "d" / "p", "b.dcm", 196, uid="1.2.2")
    out = index_folder(tmp_path / "d", tmp_path / "co")
    images = pd.read_csv(out / "images.csv", dtype=str, keep_default_na=False)
    images.assign(eligible=["", "0"]).to_csv(out / "images.csv", index=False)
    assert "several exams" in capsys.readouterr().err
    index_folder(tmp_path / "d", out)
    assert "several exams" not in capsys.readouterr().err


def test_patients_are_issuer_and_number(tmp_path):
    root = tmp_path / "flat"
    for number, (patient, issuer) in enumerate([("17", "A"), ("17", "B"), ("17", "A"), ("18", "A")]):
        exam(root, f"{number}.dcm", uid=f"1.2.{number}", PatientID=patient, IssuerOfPatientID=issuer)
    images = table(index_folder(root, tmp_path / "co"))
    assert list(images["patient_id"]) == ["p0001", "p0002", "p0001", "p0003"]


@pytest.mark.parametrize(
    "word",
    [
        "removed",
        "ANONYMOUS",
        "Anonymized",
        "none",
        "0",
        "000000",
        "xxx",
        "N/A",
        " ",
        "-",
        "Anonymized Patient",
        "UNBEKANNT",
        "Test^Patient",
    ],
)
def test_a_placeholder_names_nobody(tmp_path, capsys, word):
    for number in range(4):
        exam(tmp_path / "flat", f"{number}.dcm", uid=f"1.2.{number // 2}", PatientID=word)
    out = index_folder(tmp_path / "flat", tmp_path / "co")
    assert list(table(out)["patient_id"]) == ["p0001", "p0001", "p0002", "p0002"]
    assert "4 images bear no PatientID or one that names nobody" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["A0", "anon-17", "1234", "999", "P1", "Patient 12", "Anna", "NN-4", "患者一"])
def test_a_pseudonym_names_a_patient(tmp_path, word):
    for number in range(2):
        tags = {"PatientID": word, "SpecificCharacterSet": "ISO_IR 192"}
        exam(tmp_path / "flat", f"{number}.dcm", uid=f"1.2.{number}", **tags)
    assert set(table(index_folder(tmp_path / "flat", tmp_path / "co"))["patient_id"]) == {"p0001"}


def test_a_file_is_never_a_patient(tmp_path):
    exam(tmp_path / "flat", "a.dcm", uid="", PatientID="removed")
    exam(tmp_path / "flat", "b.dcm", uid="1.2.3", PatientID="M1")
    out = index_folder(tmp_path / "flat", tmp_path / "co")
    assert list(table(out).index) == ["b.dcm"]
    assert "put each patient's files into a folder of their own" in table(out, "exclusions").loc["a.dcm", "reason"]


def test_contradictions_are_told_without_the_values(tmp_path, capsys):
    root = tmp_path / "d"
    exam(root / "p", "a.dcm", PatientBirthDate="19500101", PatientID="A")
    exam(root / "p", "b.dcm", PatientBirthDate="19610203", PatientID="A", PatientSex="M", ViewPosition="MLO")
    exam(root / "p", "c.dcm", PatientSex="F", PatientID="A", ImageLaterality="R", ViewPosition="LCC")
    exam(root / "q", "d.dcm", PatientID="A", uid="1.2.4")
    exam(root / "r", "e.dcm", PatientID="R", uid="1.2.4")
    exam(root / "s", "f.dcm", PatientID="R", uid="1.2.5", IssuerOfPatientID="UKB")
    out = index_folder(root, tmp_path / "co")
    said = capsys.readouterr().err
    for fact in (
        "several dates of birth in one patient: p",
        "several sexes in one patient: p",
        "one issuer and PatientID in several patients: p, q",
        "one StudyInstanceUID in several patients: q, r",
        "one PatientID, with and without IssuerOfPatientID in several patients: r, s",
        "ViewPosition names the other side (L)",
    ):
        assert fact in said
    assert "1950" not in said
    (out / "patients.csv").write_text("patient_id,center,aln_status\np,A,1\nq,A,0\nr,A,0\ns,A,0\n")
    check_cohort(out)
    assert "flag: several dates of birth in one patient, by the headers (1: patient p)" in capsys.readouterr().err


def test_the_key_links_numbers_to_the_hospitals(tmp_path, capsys):
    tags = {"PatientID": "HOSP-4711", "IssuerOfPatientID": "UKB", "AccessionNumber": "ACC9"}
    exam(tmp_path / "d" / "p", "a.dcm", SOPInstanceUID="1.2.77", uid="1.2.9", **tags)
    key = tmp_path / "private" / "key.csv"
    out = index_folder(tmp_path / "d", tmp_path / "co", key=key)
    (row,) = pd.read_csv(key, dtype=str).to_dict("records")
    image = table(out)["image_id"].iloc[0]
    assert row == {
        "patient_id": "p", "image_id": image, "PatientID": "HOSP-4711", "IssuerOfPatientID": "UKB",
        "AccessionNumber": "ACC9", "StudyDate": "20201220", "StudyInstanceUID": "1.2.9", "SOPInstanceUID": "1.2.77",
        "path": "p/a.dcm",
    }  # fmt: skip
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert list(key.parent.iterdir()) == [key]
    text = "".join(path.read_text() for path in out.iterdir()) + capsys.readouterr().err
    assert not any(secret in text for secret in ("HOSP-4711", "UKB", "ACC9", "20201220", "1.2.77"))
    exam(tmp_path / "e" / "q", "b.dcm", 5, SOPInstanceUID="1.2.78")
    index_folder(tmp_path / "e", out, key=key)  # the first folder's rows stay
    assert list(pd.read_csv(key, dtype=str)["SOPInstanceUID"]) == ["1.2.77", "1.2.78"]
    images = pd.read_csv(out / "images.csv", dtype=str)
    images[images["patient_id"] == "q"].to_csv(out / "images.csv", index=False)
    index_folder(tmp_path / "e", out, key=key)  # a patient whose rows were taken out is in no key either
    assert list(pd.read_csv(key, dtype=str)["SOPInstanceUID"]) == ["1.2.78"]


def test_a_key_inside_the_cohort_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    exam(tmp_path / "d" / "p", "a.dcm")
    out = tmp_path / "co"
    out.mkdir()
    (tmp_path / "link").symlink_to(out)
    (tmp_path / "direct.csv").symlink_to(out / "key.csv")
    monkeypatch.chdir(tmp_path)
    for key in (out / "key.csv", "link/key.csv", "co/../co/sub/key.csv", "direct.csv", "./d/../co/key.csv"):
        with pytest.raises(InputError, match="lies in the cohort folder"):
            index_folder(tmp_path / "d", out, key=key)
    with pytest.raises(InputError, match="lies in the cohort folder"):
        index_folder("d", "link", key="co/key.csv")
    assert list(out.iterdir()) == []
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="another table stands there"):
        index_folder(tmp_path / "d", out, key="other.csv")
    assert (tmp_path / "other.csv").read_text() == "a,b\n1,2\n"


def test_a_lost_dicom_folder_is_one_line(tmp_path):
    for number in range(8):
        exam(tmp_path / "d" / f"p{number}", "a.dcm", uid=f"1.2.{number}", PatientID=f"H{number}")
    out = index_folder(tmp_path / "d", tmp_path / "co")
    lines = [f"p{number},A,{number % 2}" for number in range(8)]
    (out / "patients.csv").write_text("\n".join(["patient_id,center,aln_status", *lines]) + "\n")
    assert check_cohort(out) == []
    (tmp_path / "d").rename(tmp_path / "gone")
    problems = [line for line in check_cohort(out) if "missing" in line]
    assert len(problems) == 1
    assert "8 of 8 files are missing" in problems[0]
    assert "correct dicom_root in cohort.yaml" in problems[0]


def test_a_file_in_place_of_a_folder_is_told(tmp_path):
    path = exam(tmp_path / "d" / "p", "a.dcm")
    with pytest.raises(InputError, match=r"is a file; expected a folder, e\.g\. mammo-aln index"):
        index_folder(path, tmp_path / "co")
    with pytest.raises(InputError, match="is a file; expected the cohort folder"):
        check_cohort(path)


def test_days_counted_anew_under_an_old_start_of_nat_are_told(tmp_path, capsys):
    first = exam(tmp_path / "dicom" / "p", "a.dcm", 0, uid="1.2.1")
    exam(tmp_path / "dicom" / "p", "b.dcm", 31, uid="1.2.2")
    out = index_folder(tmp_path / "dicom", tmp_path / "co")
    (out / "patients.csv").write_text("patient_id,center,aln_status,nat_start_day\np,A,1,14\n")
    index_folder(tmp_path / "dicom", out)
    assert "taken away" not in capsys.readouterr().err
    first.unlink()
    (out / "images.csv").unlink()
    assert table(index_folder(tmp_path / "dicom", out))["days"].tolist() == ["0"]  # the exam of day 31
    assert "nat_start_day of 1 patients in patients.csv counts on the former ones" in capsys.readouterr().err
