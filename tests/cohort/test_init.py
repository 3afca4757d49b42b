"""`mammo-aln init`: a nurse's spreadsheet becomes patients.csv and cohort.yaml; each guess is told, nothing is lost."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.cohort.index import SKELETON
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.cohort.templates.column_names import role_of, unit_of
from mammo_aln.cohort.templates.guesses import guess_column
from mammo_aln.cohort.templates.patient_rows import PatientKey, date_of, matched_rows, month_first
from mammo_aln.errors import InputError

COUNT = 24
FIRST = datetime.date(2019, 3, 5)


def first_exam(number: int) -> datetime.date:
    return FIRST + datetime.timedelta(days=17 * number)


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    """A cohort as `index --key` leaves it: two images of each patient, the second 5 days after the first."""
    root = tmp_path / "cohort"
    root.mkdir()
    rows, key = [], []
    for number in range(COUNT):
        for visit, days in enumerate((0, 5)):
            image, patient = f"i{number}_{visit}", f"p{number:04d}"
            rows.append((image, patient, f"{image}.dcm", "L", "CC", days))
            date = (first_exam(number) + datetime.timedelta(days=days)).strftime("%Y%m%d")
            key.append(
                (patient, image, f"00{4210 + number}", f"A{number}", date, f"1.2.{number}.{visit}", f"{image}.dcm")
            )
    columns = ["image_id", "patient_id", "path", "laterality", "view", "days"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "images.csv", index=False)
    names = ["patient_id", "image_id", "PatientID", "AccessionNumber", "StudyDate", "SOPInstanceUID", "path"]
    pd.DataFrame(key, columns=names).to_csv(tmp_path / "key.csv", index=False)
    (root / "cohort.yaml").write_text(SKELETON.format(name='"cohort"', dicom_root='"/data/dicom"'))
    skeleton = pd.DataFrame(
        {"patient_id": [f"p{number:04d}" for number in range(COUNT)], "center": "", "aln_status": ""}
    )
    skeleton.to_csv(root / "patients.csv", index=False)
    return root


HEAD = [
    " MRN ", "Hospital", "Side", "Age (years)", "ER status", "cT", "Ki67 %", "Start of NAT", "Nodes after NAT",
    "RCB class", "Patient name", "Date of diagnosis", "Remarks",
]  # fmt: skip


def nurse_row(number: int) -> list[object]:
    return [
        f"00{4210 + number}" + " " * (number % 2),
        ["Lyon", "LYON ", "Porto"][number % 3],
        ["left", "right"][number % 2],
        None if number == 1 else f"{40 + number},5",
        ["pos", "neg", "unknown"][number % 3],
        ["T2", "T1", "T3"][number % 3],
        999 if number % 8 == 0 else 5 + number * 3,
        first_exam(number) + datetime.timedelta(days=14 + number),
        ["yes", "no"][number // 2 % 2],
        number % 4,
        "Doe",
        FIRST,
        "called, will come",
    ]


def clinic(path: Path, numbers: list[int], change: Callable[[list[object]], list[object]] = lambda row: row) -> Path:
    book = openpyxl.Workbook()
    book.active.append(change(list(HEAD)))
    for number in numbers:
        book.active.append(change(nurse_row(number)))
    book.save(path)
    return path


def test_a_nurses_spreadsheet(indexed, tmp_path, capsys):
    numbers = [number for number in range(COUNT) if number != 10]
    table = clinic(tmp_path / "clinic.xlsx", [*numbers, 900])
    assert main(["init", str(indexed), "--clinical", str(table), "--key", str(tmp_path / "key.csv")]) == 0
    said = capsys.readouterr().err
    for words in (
        "'MRN' names the patients: 23 of 24 have a row",
        "1 row of nobody in images.csv left out",
        "1 patient without a row, not eligible: p0010",
        "'Hospital': the centre: ",
        "'Side': the treated side: left = L, right = R",
        "'Age (years)': age, continuous, in years",
        "read as missing: unknown (8)",
        "'cT': ct, ordinal: T1, T2, T3",
        "3 cells are 999, all others at most 74: read as missing",
        "'Nodes after NAT': the outcome: yes = 1, no = 0 (1 = metastasis left after NAT)",
        "'RCB class': known post surgery by its name, so never an input",
        "'Patient name': left out, it may identify a person",
        "'Date of diagnosis': left out, it holds dates",
        "'Remarks': left out",
    ):
        assert words in said, words
    text = (indexed / "patients.csv").read_text() + (indexed / "cohort.yaml").read_text()
    assert not any(word in text for word in ("4210", "Doe", "2019", "will come"))
    cohort = read_cohort(indexed)
    assert str(cohort.dicom_root) == "/data/dicom"
    patients = cohort.patients.set_index("patient_id")
    assert list(cohort.clinical) == ["age", "er_status", "ct", "ki67"]
    assert cohort.clinical["age"].unit == "years"
    for number in numbers:
        row, truth = patients.loc[f"p{number:04d}"], nurse_row(number)
        assert row["center"] == ["Lyon", "Lyon", "Porto"][number % 3]
        assert row["side"] == "LR"[number % 2]
        assert row["aln_status"] == {"yes": 1, "no": 0}[truth[8]]
        assert (number == 1 and np.isnan(row["age"])) or row["age"] == 40.5 + number
        assert np.isnan(row["ki67"]) if truth[6] == 999 else row["ki67"] == truth[6]
        assert int(row["nat_start_day"]) == 14 + number  # from the exam of day 0
        assert row["eligible"]
    assert len(patients) == COUNT  # row 900 is of nobody
    assert not patients.loc["p0010", "eligible"]
    assert patients.loc["p0010", "exclusion_reason"] == "no row in clinic.xlsx"
    assert cohort.regions.empty
    assert len(pd.read_csv(indexed / "regions.csv")) == 2 * COUNT


@pytest.mark.parametrize("missing", [("cohort.yaml", "regions.csv"), ("regions.csv",), ("patients.csv",)])
def test_an_interrupted_call_goes_on_and_writes_the_same(indexed, tmp_path, missing):
    table = clinic(tmp_path / "clinic.xlsx", list(range(COUNT)))
    command = ["init", str(indexed), "--clinical", str(table), "--key", str(tmp_path / "key.csv")]
    templates = {path.name: path.read_bytes() for path in indexed.iterdir()}
    assert main(command) == 0
    whole = {path.name: path.read_bytes() for path in indexed.iterdir()}
    for name in missing:  # as they stood before the command
        (indexed / name).unlink()
        if name in templates:
            (indexed / name).write_bytes(templates[name])
    assert main(command) == 0
    assert {path.name: path.read_bytes() for path in indexed.iterdir()} == whole


def test_what_was_filled_in_by_hand_stops_an_interrupted_call(indexed, tmp_path, capsys):
    table = clinic(tmp_path / "clinic.xlsx", list(range(COUNT)))
    command = ["init", str(indexed), "--clinical", str(table), "--key", str(tmp_path / "key.csv")]
    assert main(command) == 0
    (indexed / "regions.csv").unlink()
    by_hand = (indexed / "patients.csv").read_text().replace("Lyon", "Nice")
    (indexed / "patients.csv").write_text(by_hand)
    assert main(command) == 2
    assert "patients.csv filled in already" in capsys.readouterr().err
    assert (indexed / "patients.csv").read_text() == by_hand


def test_what_is_filled_in_is_never_overwritten(indexed, tmp_path, capsys):
    table = clinic(tmp_path / "clinic.xlsx", list(range(COUNT)))
    command = ["init", str(indexed), "--clinical", str(table), "--key", str(tmp_path / "key.csv")]
    assert main(command) == 0
    before = {path.name: path.read_bytes() for path in indexed.iterdir()}
    assert main(command) == 2
    assert "patients.csv and cohort.yaml filled in already, and never overwritten" in capsys.readouterr().err
    assert main(["init", str(indexed)]) == 0
    assert {path.name: path.read_bytes() for path in indexed.iterdir()} == before


def test_a_table_of_centre_and_outcome_alone_takes_the_templates_place(indexed, tmp_path):
    names = sorted(pd.read_csv(indexed / "images.csv")["patient_id"].unique())
    pd.DataFrame({"patient_id": names, "Zentrum": "Graz", "ypN": "ypN1"}).to_csv(tmp_path / "clinic.csv", index=False)
    assert main(["init", str(indexed), "--clinical", str(tmp_path / "clinic.csv")]) == 0
    assert read_cohort(indexed).patients["aln_status"].eq(1).all()


def test_without_a_clinical_table(indexed):
    assert main(["init", str(indexed)]) == 0
    assert "range: [18, 110]" in (indexed / "cohort.yaml").read_text()
    assert 'dicom_root: "/data/dicom"' in (indexed / "cohort.yaml").read_text()
    patients = pd.read_csv(indexed / "patients.csv", dtype=str)
    assert len(patients) == COUNT
    (indexed / "patients.csv").write_text("patient_id,center,aln_status\np0001,A,1\n")
    assert main(["init", str(indexed)]) == 0
    assert "p0001,A,1" in (indexed / "patients.csv").read_text()


def test_by_patient_id_and_with_lost_zeros(indexed, tmp_path, capsys):
    def as_number(row):
        return [row[0] if row[0] == HEAD[0] else int(str(row[0])), *row[1:]]

    table = clinic(tmp_path / "clinic.xlsx", list(range(COUNT)), as_number)
    assert main(["init", str(indexed), "--clinical", str(table)]) == 2
    assert "no column names the patients of images.csv" in capsys.readouterr().err
    assert not (indexed / "regions.csv").exists()
    assert main(["init", str(indexed), "--clinical", str(table), "--key", str(tmp_path / "key.csv")]) == 0
    assert "24 identifiers matched without their leading zeros" in capsys.readouterr().err
    assert read_cohort(indexed).patients["aln_status"].notna().all()


def test_a_patient_in_two_rows_is_refused(indexed, tmp_path, capsys):
    table = clinic(tmp_path / "clinic.xlsx", [*range(COUNT), 3])
    assert main(["init", str(indexed), "--clinical", str(table), "--key", str(tmp_path / "key.csv")]) == 2
    assert "clinic.xlsx rows 5, 26: a patient (and side) stands in several rows" in capsys.readouterr().err


def guessed(header, values):
    return guess_column(header, pd.Series(values, dtype=object), set())


def test_the_outcome_is_turned_round_only_by_its_name():
    assert guessed("Nodal pCR", ["yes", "no"]).values == {"yes": "0", "no": "1"}
    assert guessed("Axillary nodes after surgery", ["positive", "negative"]).values == {
        "positive": "1",
        "negative": "0",
    }
    stages = ["ypN0", "ypN1a", "ypN2", "ypN0(i+)"]
    assert guessed("ypN", stages).values == {"ypN0": "0", "ypN1a": "1", "ypN2": "1"}  # i+ is for the user to say
    assert guessed("ypN", ["a", "b"]).undecided == ("a", "b")


@pytest.mark.parametrize(
    ("header", "cells", "status"),
    [
        ("Nodes after NAT (0=negative, 1=positive)", "0 1", "0 1"),
        ("Nodes after NAT (1=negative, 0=positive)", "0 1", "1 0"),
        ("Nodes after NAT (negative=0, positive=1)", "0 1", "0 1"),
        ("Nodal status after NAT (ypN0 = pCR)", "0 1", "? ?"),
        ("Nodes after NAT (negative = 1)", "0 1", "? 0"),
        ("Nodes after NAT (1: negative)", "0 1", "? 0"),
        ("Axilla after NAT (negative/positive)", "0 1", "? ?"),  # the name says both
        ("ALN status (1 = negative, 2 = positive)", "1 2", "0 1"),
        ("ALN status", "1 2", "? ?"),  # which of two codes is which, nobody knows
        ("Nodal pCR", "0 1 2", "1 0 ?"),
        ("Nodal pCR", "pCR non-pCR", "0 1"),
        ("Axillary pCR", "positive negative", "? ?"),
        ("No nodal pCR", "1 0", "1 0"),
        ("Residual nodal disease (no pCR)", "1 0", "1 0"),
        ("No. of positive nodes after NAT", "0 3 12 99", "0 1 1 ?"),
        ("ypN", "ypN1mi ypN0(sn)", "1 0"),
        ("LK-Status nach NAT", "positiv negativ", "1 0"),
        ("Ganglions apr\u00e8s CNA", "oui non", "1 0"),
        ("Ganglions indemnes apr\u00e8s CNA", "oui non", "0 1"),
        ("Lymfeklieren na NAC", "ja", "1"),
        ("No residual nodal disease", "yes no", "? ?"),
        ("Absence of nodal metastasis after NAT", "yes no", "? ?"),
        ("keine LK-Metastasen nach Chemo", "ja nein", "? ?"),
        ("Nodal pCR not achieved", "yes no", "? ?"),
        ("Lack of nodal pCR", "1 0", "? ?"),
        ("Axillary response after NAT", "yes no positive", "? ? ?"),
        ("Axillary downstaging after NAT", "0 1 2", "? ? ?"),
        ("Axilla clear after chemo", "yes no", "0 1"),
        ("Nodes after NAT neg?", "1 0", "0 1"),
        ("Axilla nopCR after NAT", "yes no", "? ?"),
        ("Incomplete nodal response after NAT", "yes no", "1 0"),
        ("Number of nodes after NAT", "0 1 12", "? ? ?"),
        ("Nodes after NAT (1 = ypN0, 0 = ypN+)", "0 1", "1 0"),
        ("ypN", "ypN+ ypN1(mi)(sn) ypN0(i+) ypNx ypN0(mol+)", "1 1 ? ? ?"),
        ("aln_status (0/1)", "0 1", "0 1"),
    ],
)
def test_no_outcome_is_turned_round(header, cells, status):
    guess = guessed(header, cells.split())
    assert guess.role == "outcome"
    assert [guess.values.get(cell, "?") for cell in cells.split()] == status.split()


def test_sides_of_other_languages_and_codes():
    assert guessed("Tumorseite", ["li", "re."]).values == {"li": "L", "re.": "R"}
    assert guessed("C\u00f4t\u00e9", ["G", "D"]).values == {"G": "L", "D": "R"}
    assert guessed("Side (1=R, 2=L)", ["1", "2"]).values == {"1": "R", "2": "L"}
    assert guessed("Side", ["L", "R", "both"]).undecided == ("both",)


def test_what_is_not_understood_is_one_line_to_write(indexed, tmp_path, capsys):
    names = sorted(pd.read_csv(indexed / "images.csv")["patient_id"].unique())
    sides = ["both", *["left"] * (len(names) - 1)]
    table = {"patient_id": names, "Zentrum": "Graz", "Centre name": "LKH", "Side": sides, "ALN status": "1"}
    rows = pd.DataFrame(table)
    rows.loc[::2, "ALN status"] = "2"
    rows.to_csv(tmp_path / "clinic.csv", index=False)
    assert main(["init", str(indexed), "--clinical", str(tmp_path / "clinic.csv")]) == 0
    assert "'Centre name': left out, it says the same as 'Zentrum'" in capsys.readouterr().err
    with pytest.raises(InputError, match="write 0 or 1") as refusal:
        read_cohort(indexed)
    assert "write L or R" in str(refusal.value)
    text = (indexed / "cohort.yaml").read_text()
    assert '"both": "write L or R"' in text
    written = text.replace('"1": "write 0 or 1"', '"1": 0').replace('"2": "write 0 or 1"', '"2": 1')
    (indexed / "cohort.yaml").write_text(written.replace("write L or R", "L"))
    assert read_cohort(indexed).patients["aln_status"].mean() == pytest.approx(0.5, abs=0.05)


def test_kinds():
    assert guessed("Tumour size [mm]", ["12", "15,5", "20", "33", "41", "7"]).kind == "continuous"
    assert guessed("Tumour size [mm]", ["12", "15,5"]).unit == "mm"
    assert guessed("Grade", ["1", "2", "3", "2"]).kind == "ordinal"
    assert guessed("Grade", ["1", "2", "3", "9"]).missing == ["9"]
    stage = guessed("cT", ["cT1c", "cT2", "T2", "2", "cT2", "cT3", "cT1c"])
    assert (stage.levels, stage.values) == (("cT1c", "cT2", "cT3"), {"T2": "cT2", "2": "cT2"})
    assert guessed("Stage", ["I", "II", "III", "I", "II", "III"]).values == {}
    assert guessed("HER2", ["pos", "neg", "pos", "Pos"]).levels == ("neg", "pos")
    assert "mixed" in guessed("Size", ["1", "2", "3", "4", ">50"]).why
    assert "two readings" in guessed("Cells", ["1,234", "2"]).why
    assert guessed("Biopsy", ["03.04.2021", "05.06.2021"]).kind == "date"


@pytest.mark.parametrize(
    ("header", "role"),
    [
        ("pCR", "post_surgery"), ("RCB", "post_surgery"), ("Survival (days)", "post_surgery"),
        ("RFS_code", "post_surgery"), ("Date of birth", "person"), ("Name", "person"),
        ("MRI LD PreSurg", "post_nat"), ("MRI LD 1-3dAC", "post_nat"), ("Size after NAT", "post_nat"),
        ("ypN", "outcome"), ("aln_status", "outcome"), ("Residual nodal disease", "outcome"),
        ("Age", "baseline"), ("MRI LD Baseline", "baseline"), ("ER+", "baseline"), ("Menopausal status", "baseline"),
        ("Beginn Chemotherapie", "nat_start"), ("NAC start", "nat_start"),
        ("Rezidiv", "post_surgery"), ("Resttumor (mm)", "post_surgery"), ("D\u00e9c\u00e8s", "post_surgery"),
        ("Tumorgr\u00f6\u00dfe nach NACT", "post_nat"), ("Axilla MRI after NAT", "post_nat"),
        ("Ansprechen", "post_nat"),
        ("Grading nach Elston", "baseline"), ("Menopause (1=pre, 2=post)", "baseline"), ("Postmenopausal", "baseline"),
        ("Therapiebeginn", "nat_start"), ("Hospital name", "center"), ("Standort", "center"), ("Fallnummer", "person"),
        ("Centre", "center"), ("Klinik", "center"), ("Laterality", "side"),
        ("pN", "post_surgery"), ("pT stage", "post_surgery"), ("ypN = 1", "post_surgery"), ("TRG", "post_surgery"),
        ("Axillary downstaging", "post_surgery"), ("Adjuvant therapy", "post_surgery"),
        ("Axillary surgery", "post_surgery"), ("Nodes removed after NAT", "post_surgery"),
        ("Removed lymph nodes", "post_surgery"),
        ("Neo-adjuvant regimen", "baseline"), ("Age at start of NAT", "baseline"),
        ("MRI before start of NAT", "baseline"),
    ],
)  # fmt: skip
def test_roles_by_name(header, role):
    assert role_of(header) == role


def test_units_and_dates():
    assert [unit_of(text) for text in ("Age (years)", "age_years", "size_mm", "Ki67 %", "er")] == [
        "years",
        "years",
        "mm",
        "%",
        None,
    ]
    assert date_of("2021-04-03") == date_of("20210403") == date_of("3.4.2021") == datetime.date(2021, 4, 3)
    assert date_of("13/4/2021") == datetime.date(2021, 4, 13)
    assert date_of("2021/04/03") == date_of("03.04.21") == datetime.date(2021, 4, 3)
    assert [month_first(dates) for dates in (["3/4/2021"], ["3/4/2021", "4/13/2021"], ["13/4/21"])] == [
        None,
        True,
        False,
    ]
    assert month_first(["4/13/2021", "13/4/2021"]) is None
    assert date_of("3/4/2021", True) == datetime.date(2021, 3, 4)
    assert date_of("3/4/21", False) == datetime.date(2021, 4, 3)
    assert date_of("3.4.2021", True) == datetime.date(2021, 4, 3)
    assert [date_of(text) for text in ("3/4/2021", "31.2.2021", "april")] == [None, None, None]


def test_names_that_differ_in_case_alone_are_not_exchanged():
    table = pd.DataFrame({"patient_id": ["p1", "P2", "P3", "ab"]})
    rows = matched_rows(table, "clinic.csv", ["p1", "P1", "p2", "p3", "P3", "AB", "Ab"], None)[1]
    assert list(rows["patient_id"]) == ["p1", "p2", "P3"]  # ab may be either


def test_a_number_that_names_two_patients_joins_nobody():
    table = pd.DataFrame({"MRN": ["102", "103"], "age": ["50", "51"]})
    key = PatientKey({"102": "101", "103": "102"}, {})
    with pytest.raises(InputError, match="name the column patient_id or PatientID"):
        matched_rows(table, "clinic.csv", ["101", "102"], key)
    rows = matched_rows(table.rename(columns={"MRN": "PatientID"}), "clinic.csv", ["101", "102"], key)[1]
    assert list(rows["patient_id"]) == ["101", "102"]
