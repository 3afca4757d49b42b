from __future__ import annotations

import os

import pandas as pd
import pytest

from mammo_aln.cohort.index import index_folder
from mammo_aln.cohort.tables import image_path, read_cohort, read_images
from mammo_aln.errors import BadCell, InputError
from mammo_aln.spreadsheet.text_table import read_text_table
from tests.support.dicom_writer import BORN, NAME, PATIENT, mammogram, save


def table(folder, name):
    return pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)


@pytest.fixture
def dicoms(tmp_path):
    root = tmp_path / "dicoms"
    for patient in ("007", "008"):
        for side in "LR":
            for view in ("CC", "MLO"):
                tags = {"PatientID": f"{PATIENT}-{patient}", "ImageLaterality": side, "ViewPosition": view}
                tags |= {"StudyInstanceUID": f"1.2.3.{patient[-1]}"}
                save(mammogram(**tags), root / patient / "study" / f"{side}{view}.dcm")
    return root


def test_folders_are_patients(dicoms, tmp_path, capsys):
    out = index_folder(dicoms, tmp_path / "cohort")
    images = table(out, "images")
    assert len(images) == 8
    assert set(images["patient_id"]) == {"007", "008"}
    assert images["image_id"].is_unique
    assert list(images.loc[images["path"] == "007/study/RMLO.dcm", "laterality"]) == ["R"]
    assert set(images["imager_pixel_spacing_mm"]) == {"0.07"}
    assert table(out, "exclusions").empty
    assert list(table(out, "patients")["patient_id"]) == ["007", "008"]
    assert "several patients" not in capsys.readouterr().err
    (out / "patients.csv").write_text("patient_id,center,aln_status\n007,A,1\n008,A,0\n")
    cohort = read_cohort(out, need=("patients", "images"))  # what index wrote is a cohort
    assert all(image_path(cohort, row).is_file() for _, row in cohort.images.iterrows())


def test_nothing_that_identifies_is_written_or_said(dicoms, tmp_path, capsys):
    save(mammogram(PatientID="OTHER-1"), dicoms / "flat.dcm")
    (dicoms / "broken.dcm").write_bytes((dicoms / "flat.dcm").read_bytes()[:400])
    out = index_folder(dicoms, tmp_path / "cohort")
    said = capsys.readouterr()
    text = "".join(path.read_text() for path in out.iterdir()) + said.err + said.out
    for secret in (NAME, "Mustermann", PATIENT, BORN, "OTHER-1"):
        assert secret not in text
    assert said.out == ""


def test_files_in_one_folder_are_told_apart_by_header(tmp_path):
    flat = tmp_path / "flat"
    for number, patient in enumerate(["B", "A", "B", None]):
        save(mammogram(PatientID=patient, InstanceNumber=number), flat / f"{number}.dcm")
    out = index_folder(flat, tmp_path / "cohort")
    assert list(table(out, "images")["patient_id"]) == ["p0001", "p0002", "p0001", "p0003"]
    save(mammogram(PatientID="A", InstanceNumber=9), flat / "00.dcm")
    save(mammogram(PatientID="C", InstanceNumber=9), flat / "000.dcm")
    images = table(index_folder(flat, out), "images").set_index("path")["patient_id"]
    assert dict(images) == {
        "0.dcm": "p0001", "1.dcm": "p0002", "2.dcm": "p0001", "3.dcm": "p0003", "00.dcm": "p0002", "000.dcm": "p0004",
    }  # fmt: skip


def test_a_number_is_never_a_folders_name(tmp_path):
    save(mammogram(PatientID="A", StudyInstanceUID="1.2.3"), tmp_path / "dicom/first.dcm")
    save(mammogram(PatientID="B", InstanceNumber=2, StudyInstanceUID="1.2.4"), tmp_path / "dicom/p0001/second.dcm")
    images = table(index_folder(tmp_path / "dicom", tmp_path / "cohort"), "images")
    assert dict(images[["path", "patient_id"]].values) == {"first.dcm": "p0002", "p0001/second.dcm": "p0001"}


def test_what_a_user_filled_in_stays(dicoms, tmp_path):
    out = index_folder(dicoms, tmp_path / "cohort")
    (out / "patients.csv").write_text("patient_id,center,aln_status\n007,A,1\n008,A,0\n")
    images = table(out, "images").assign(spacing_mm="0.085", patient_id="renamed")
    images.to_csv(out / "images.csv", index=False)
    yaml = (out / "cohort.yaml").read_text() + "clinical: {}\n"
    (out / "cohort.yaml").write_text(yaml)
    save(mammogram(InstanceNumber=5, PatientID=f"{PATIENT}-008"), dicoms / "008" / "new.dcm")
    index_folder(dicoms, out)
    again = table(out, "images")
    assert len(again) == 9
    assert list(again["spacing_mm"]) == ["0.085"] * 8 + [""]
    assert again["patient_id"].iloc[-1] == "renamed"  # its folder's patient goes by this name now
    assert (out / "patients.csv").read_text().endswith("008,A,0\n")
    assert (out / "cohort.yaml").read_text() == yaml


def test_every_file_left_out_has_its_reason(dicoms, tmp_path):
    (dicoms / "notes.txt").write_text("hello")
    (dicoms / "empty.dcm").write_bytes(b"")
    (dicoms / ".hidden").write_bytes(b"x")
    save(mammogram(Modality="US", SOPClassUID="1.2"), dicoms / "us.dcm")
    save(mammogram(ViewPosition="ML"), dicoms / "007" / "ml.dcm")
    (dicoms / "008" / "z.dcm").write_bytes((dicoms / "007/study/LCC.dcm").read_bytes())
    os.mkfifo(dicoms / "pipe")
    out = index_folder(dicoms, tmp_path / "cohort")
    reasons = dict(table(out, "exclusions").values)
    assert reasons == {
        "007/ml.dcm": "view ML is neither CC nor MLO",
        "008/z.dcm": "the same SOPInstanceUID as 007/study/LCC.dcm",
        "empty.dcm": "the file is empty",
        "notes.txt": "not DICOM (no DICM marker after 128 bytes)",
        "pipe": "not a regular file",
        "us.dcm": "modality US, and no tag says mammogram",
    }
    assert len(table(out, "images")) == 8


def test_the_cohort_may_lie_in_or_be_the_indexed_folder(dicoms):
    for out in (dicoms / "cohort", dicoms):
        for _ in range(2):  # the second time its own files stand there
            index_folder(dicoms, out)
            assert len(table(out, "images")) == 8
            assert table(out, "exclusions").empty
        for path in out.glob("*.*"):
            path.unlink()


def test_a_folder_level_too_many_is_told(dicoms, tmp_path, capsys):
    out = index_folder(dicoms.parent, tmp_path / "cohort")
    assert "1 folder of several patients by their headers (dicoms): not taken as patients" in capsys.readouterr().err
    names = table(out, "images").set_index("path")["patient_id"]
    assert {path.split("/")[1]: name for path, name in names.items()} == {"007": "p0001", "008": "p0002"}


def test_nothing_to_index(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        index_folder(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="holds no file"):
        index_folder(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "in" / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"no mammogram among 1 files \(1 x not DICOM"):
        index_folder(tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["exclusions.csv"]


REAL_MAMMOGRAMS = (
    "MG1_J2KI",
    "MG1_JPLY",
    "MG_spacing_clunie.dcm",
    "cbis_P_00173_L_MLO.dcm",
    "cbis_P_00173_R_CC.dcm",
)
"""Of the real files these are 2D mammograms; film without any spacing are all but Clunie's."""


def test_real_files(shared, tmp_path, capsys):
    out = index_folder(shared / "data", tmp_path / "cohort")
    images = table(out, "images").set_index("path")
    assert set(images.index) == {f"mg_dicom/{name}" for name in REAL_MAMMOGRAMS}
    film = images.loc["mg_dicom/MG1_J2KI"]
    assert "modality RG, not MG" in film["flags"]
    assert "crops in millimetres are refused until spacing_mm is given" in film["flags"]
    clunie = images.loc["mg_dicom/MG_spacing_clunie.dcm"]
    assert (clunie["view"], clunie["laterality"], clunie["pixel_spacing_mm"]) == ("CC", "R", "0.25")
    files = sum(path.is_file() for path in (shared / "data").rglob("*"))
    assert len(table(out, "exclusions")) + len(images) == files
    assert "4 x no spacing in the header" in capsys.readouterr().err


def test_a_linked_folder_is_followed_once_and_behind_what_lies_here(dicoms, tmp_path, capsys):
    elsewhere = tmp_path / "elsewhere"
    copy = (dicoms / "007" / "study" / "LCC.dcm").read_bytes()
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "a.dcm").write_bytes(copy + b"\0\0")
    save(mammogram(InstanceNumber=7), elsewhere / "deep" / "b.dcm")
    (elsewhere / "back").symlink_to(dicoms)
    (dicoms / "001").symlink_to(elsewhere)
    (dicoms / "002").symlink_to(dicoms / "008")
    (dicoms / "003").symlink_to(elsewhere / "deep")
    (dicoms / "008" / "round").symlink_to(dicoms)  # a circle
    out = index_folder(dicoms, tmp_path / "cohort")
    images = table(out, "images")
    assert len(images) == 9
    assert {"007/study/LCC.dcm", "001/deep/b.dcm"} < set(images["path"])
    not_followed = "a link to a folder that is listed itself, or that holds this one: not followed"
    assert dict(table(out, "exclusions").to_numpy()) == {
        "001/deep/a.dcm": "the same SOPInstanceUID as 007/study/LCC.dcm",
        **dict.fromkeys(("001/back", "002", "003", "008/round"), not_followed),
    }
    assert "are not followed: these folders are listed themselves, or hold DICOM_DIR" in capsys.readouterr().err


def test_a_file_comes_before_a_link_to_it_or_to_a_copy_of_it(dicoms, tmp_path):
    copy = tmp_path / "copy.dcm"
    copy.write_bytes((dicoms / "007" / "study" / "LCC.dcm").read_bytes() + b"\0\0")
    save(mammogram(InstanceNumber=7), tmp_path / "only.dcm")
    (dicoms / "001").mkdir()
    (dicoms / "001" / "copy.dcm").symlink_to(copy)
    (dicoms / "001" / "in.dcm").symlink_to(dicoms / "008" / "study" / "RCC.dcm")
    (dicoms / "001" / "only.dcm").symlink_to(tmp_path / "only.dcm")
    out = index_folder(dicoms, tmp_path / "cohort")
    images, left_out = table(out, "images"), table(out, "exclusions")
    assert {"001/only.dcm", "007/study/LCC.dcm", "008/study/RCC.dcm"} < set(images["path"])
    assert dict(left_out.to_numpy()) == {
        "001/copy.dcm": "the same SOPInstanceUID as 007/study/LCC.dcm, and a link",
        "001/in.dcm": "a link to 008/study/RCC.dcm",
    }


NAMES_NO_TABLE_HOLDS = ("\x1b", "a\u200bb", "a\u202eb", "a\nb", "a\rb", "lost\ufffd", " a", "a ", "#REF!", "\u115f")


def test_names_that_no_table_can_hold_never_stop_a_cohort(dicoms, tmp_path):
    for number, name in enumerate(NAMES_NO_TABLE_HOLDS):
        save(mammogram(SOPInstanceUID=f"1.2.9.{number}"), dicoms / name / "x.dcm")
        save(mammogram(SOPInstanceUID=f"1.2.8.{number}"), dicoms / "009" / "s" / f"{name}.d" / f"{name}.dcm")
    out = index_folder(dicoms, tmp_path / "cohort")
    cohort = read_images(out)
    assert len(cohort.images) == len({image_path(cohort, row) for _, row in cohort.images.iterrows()})
    assert all(image_path(cohort, row).is_file() for _, row in cohort.images.iterrows())
    faults: list[BadCell] = []
    left_out = read_text_table(out / "exclusions.csv", faults)
    assert not faults
    assert len(left_out) + len(cohort.images) == 8 + 2 * len(NAMES_NO_TABLE_HOLDS)
    assert left_out["reason"].str.contains("no table can hold it; rename it").all()
    # of a file deep inside, blanks at a name's end and a word of spreadsheets stand as they are
    assert {path for path in cohort.images["path"] if path.startswith("009")} == {
        f"009/s/{name}.d/{name}.dcm" for name in (" a", "a ", "#REF!")
    }


@pytest.mark.parametrize(
    ("stated", "written"),
    [
        ("Holo\0Inc", "Holo Inc"),
        ("a\x07b", "a b"),
        ("GE\0\0", "GE"),
        ("M\u00fcller", "M??ller"),
        ("#REF!", ""),
        ("a\rb", "a b"),
    ],
)
def test_texts_of_headers_are_written_as_a_table_can_hold_them(tmp_path, stated, written):
    tags = {
        "Manufacturer": stated,
        "ManufacturerModelName": stated,
        "AccessionNumber": stated,
        "PatientID": f"1{stated}2",
    }
    save(mammogram(SpecificCharacterSet="ISO_IR 192", **tags), tmp_path / "dicoms" / "1" / "x.dcm")
    for _ in range(2):  # the key is read when it is written again
        out = index_folder(tmp_path / "dicoms", tmp_path / "cohort", key=tmp_path / "key.csv", workers=1)
    assert list(read_images(out).images["manufacturer"].fillna("")) == [written]


def test_patients_whose_numbers_are_not_ascii_stay_apart(tmp_path):
    for number, patient in enumerate(["患者一", "患者二", "患者一"]):
        dataset = mammogram(SpecificCharacterSet="ISO_IR 192", PatientID=patient, InstanceNumber=number)
        save(dataset, tmp_path / "flat" / f"{number}.dcm")
    out = index_folder(tmp_path / "flat", tmp_path / "cohort")
    assert list(table(out, "images")["patient_id"]) == ["p0001", "p0002", "p0001"]


@pytest.mark.parametrize("names", [("a.dcm", "b.dcm"), ("b.dcm", "a.dcm")])
def test_a_copy_cut_in_a_transfer_never_stands_for_the_whole_file(names, tmp_path):
    cut, whole = (tmp_path / "flat" / name for name in names)
    save(mammogram(), whole)
    cut.write_bytes(whole.read_bytes()[:-100])
    out = index_folder(whole.parent, tmp_path / "cohort")
    (image,), (left_out,) = (table(out, name).to_dict("records") for name in ("images", "exclusions"))
    assert image["path"] == whole.name
    assert left_out["path"] == cut.name
    assert f"the same SOPInstanceUID as {whole.name}" in left_out["reason"]


def test_a_moved_file_does_not_become_a_second_row(dicoms, tmp_path):
    out = index_folder(dicoms, tmp_path / "cohort")
    (dicoms / "007/study/LCC.dcm").rename(dicoms / "007/moved.dcm")
    images = table(index_folder(dicoms, out), "images")
    assert images["image_id"].is_unique
    (row,) = table(out, "exclusions").to_dict("records")
    assert row["path"] == "007/moved.dcm"
    assert "the same SOPInstanceUID as 007/study/LCC.dcm" in row["reason"]


def test_the_summary_counts_the_reasons_that_it_does_not_show(dicoms, tmp_path, capsys):
    for number, view in enumerate(["ML", "LM", "LMO", "XCCL", "FB", "SIO", "AT", "AT"]):
        save(mammogram(ViewPosition=view, InstanceNumber=number), dicoms / f"{number}.dcm")
    index_folder(dicoms, tmp_path / "cohort")
    said = capsys.readouterr().err
    assert said.count("  excluded: ") == 6
    assert "  excluded: 2 x view AT is neither CC nor MLO" in said
    assert "  excluded: and 2 others, see exclusions.csv" in said
