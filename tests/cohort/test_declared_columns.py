"""`cohort.yaml` says what the file's columns and words mean; one rule of missing, one spelling of a name."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.cohort.check import check_cohort
from mammo_aln.cohort.clinical import ClinicalEncoder
from mammo_aln.cohort.declaration import ClinicalFeature, declaration_differences
from mammo_aln.cohort.tables import image_path, read_cohort, refuse_differing_declarations
from mammo_aln.cohort.values.codes import codes_of
from mammo_aln.errors import InputError

YAML = """\
label: {column: Nodes after NAT, map: {yes: 1, no: 0}}
columns:
  patient_id: MRN
  center: {column: Hospital, map: {CHU Lyon: Lyon}}
  side: {column: Seite, map: {links: L, rechts: R}}
clinical:
  age: {column: Age_years, kind: continuous, unit: years, range: [18, 110]}
  size: {kind: continuous, unit: mm, missing: [999, -1]}
  er:
    column: ER status
    kind: categorical
    levels: [negative, positive]
    map: {neg: negative, pos: positive, +: positive, -: negative}
"""
HEAD = "MRN;Hospital;Seite;Nodes after NAT;Age_years;size;ER status\n"
ROWS = "007;CHU Lyon;links;yes;51,5;999;pos\n008;Lyon;rechts;no;47;12;-\n9;lyon;;n/a;unknown;-1;NA\n"


@pytest.fixture
def mapped(tmp_path: Path) -> Path:
    (tmp_path / "cohort.yaml").write_text(YAML)
    (tmp_path / "patients.csv").write_text(HEAD + ROWS)
    return tmp_path


def message_of(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_cohort(root, need=("patients",))
    return str(caught.value)


def test_columns_and_values_are_read_by_their_declared_names(mapped):
    patients = read_cohort(mapped, need=("patients",)).patients
    assert list(patients["patient_id"]) == ["007", "008", "9"]
    assert list(patients["center"]) == ["Lyon"] * 3
    assert list(patients["side"].fillna("")) == ["L", "R", ""]
    np.testing.assert_array_equal(patients["aln_status"], [1, 0, np.nan])
    np.testing.assert_array_equal(patients["age"], [51.5, 47, np.nan])
    np.testing.assert_array_equal(patients["size"], [np.nan, 12, np.nan])
    assert list(patients["er"].fillna("")) == ["positive", "negative", ""]


def test_a_workbook_in_place_of_the_csv(mapped):
    book = openpyxl.Workbook()
    for line in (HEAD + ROWS.replace("51,5", "51.5")).splitlines():
        book.active.append([cell or None for cell in line.split(";")])
    book.save(mapped / "patients.xlsx")
    assert "patients.csv and patients.xlsx': expected one of them" in message_of(mapped)
    expected = read_cohort_without(mapped, "patients.xlsx", book)
    pd.testing.assert_frame_equal(read_cohort(mapped, need=("patients",)).patients, expected)


def read_cohort_without(root, name, book):
    (root / name).unlink()
    patients = read_cohort(root, need=("patients",)).patients
    (root / "patients.csv").unlink()
    book.save(root / name)
    return patients


@pytest.mark.parametrize("header", ["Split ", "Patient set"])
def test_split_writes_into_the_column_that_it_reads(tmp_path, header):
    book = openpyxl.Workbook()
    book.active.append(["patient_id", "center", "aln_status", header, "note"])
    for number in range(40):
        book.active.append([number, "AB"[number % 2], number // 2 % 2, "train", "x"])
    book.save(tmp_path / "patients.xlsx")
    if "set" in header:
        (tmp_path / "cohort.yaml").write_text("columns: {split: patient set}\n")
    assert main(["split", str(tmp_path), "--external_center", "B", "--overwrite=true"]) == 0
    assert (read_cohort(tmp_path, need=("patients",)).patients["split"] == "external_test").sum() == 20
    assert openpyxl.load_workbook(tmp_path / "patients.xlsx").active.max_column == 5


@pytest.mark.parametrize("workbook", [False, True])
def test_split_adds_its_column_and_keeps_the_others(tmp_path, workbook):
    (tmp_path / "cohort.yaml").write_text("columns: {patient_id: MRN}\n")
    centers = ["Lyon", "lyon", "LYON ", "Paris"]
    rows = [("MRN", "Center", "aln_status", "comment")]
    rows += [(f"{k:03d}", centers[k % 4], str(k // 4 % 2), f"é{k}") for k in range(40)]
    if workbook:
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(tmp_path / "patients.xlsx")
    else:
        (tmp_path / "patients.csv").write_text("".join(";".join(row) + "\n" for row in rows), encoding="utf-16")
    assert main(["split", str(tmp_path), "--external_center", "lyon"]) == 0
    patients = read_cohort(tmp_path, need=("patients",)).patients
    assert (
        set(patients.loc[patients["split"] == "external_test", "center"]) == {"Lyon"}
        or len(set(patients["center"])) == 2
    )
    assert (patients["split"] == "external_test").sum() == 30
    assert list(patients["comment"]) == [f"é{number}" for number in range(40)]
    assert list(patients["patient_id"]) == [f"{number:03d}" for number in range(40)]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("pos\n", "FISH\n", "er in 1 rows = \"'FISH' (1)\": expected only values of clinical.er.map (neg, pos, +, -)"),
        ("51,5", "151,5", "patients.csv row 2, age = '151,5': expected 18 to 110 (clinical.age.range)"),
        ("51,5", "1,234", "row 2, age = '1,234': expected a number with one reading"),
        ("yes;", "maybe;", "Nodes after NAT in 1 rows"),
        ("Age_years", "Age_year", "'Age_years': expected a column of patients.csv; did you mean Age_year?"),
        ("size;", "age;", "expected one column for age; patients.csv has this one and age itself"),
        ("007;", "unknown;", "patient_id = 'unknown': expected a name; this is a word for a missing value"),
    ],
)  # fmt: skip
def test_what_the_declaration_does_not_cover(mapped, old, new, words):
    text = (mapped / "patients.csv").read_text()
    assert old in text
    (mapped / "patients.csv").write_text(text.replace(old, new, 1))
    assert words in message_of(mapped)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("range: [18, 110]", "range: [110, 18]", "clinical.age.range = ['110', '18']: expected two numbers"),
        ("missing: [999, -1]", "mising: [999]", "clinical.size.mising"),
        ("  patient_id: MRN", "  mrn: MRN", "columns.mrn = 'MRN': expected one of patient_id, center"),
        ("map: {yes: 1, no: 0}", "map: yes", "label.map = 'yes': expected a mapping"),
    ],
)
def test_faults_of_the_declaration(mapped, old, new, words):
    assert old in YAML
    (mapped / "cohort.yaml").write_text(YAML.replace(old, new))
    assert words in message_of(mapped)


WORDS = ["", "NA", "n/a", "NaN", "nan", "Unknown", "-", ".", "NULL", "#N/A", "?", "<NA>", "#n/a", "n.a."]
WORDS += ["nil", "unk", "Not Known", "not available", "missing", "--"]


@pytest.mark.parametrize("word", WORDS)
def test_one_rule_of_missing(sound, word):
    text = (sound / "patients.csv").read_text().replace("51.5,2,no", f"{word},{word},{word}")
    (sound / "patients.csv").write_text(text)
    assert read_cohort(sound).patients.loc[0, ["age", "ct", "her2"]].isna().all()


def test_a_declared_level_is_no_word_for_missing_and_minus_beside_plus_is_asked_about(tmp_path):
    (tmp_path / "patients.csv").write_text("patient_id,center,aln_status,er\n1,A,1,+\n2,A,0,-\n3,A,0,unknown\n")
    (tmp_path / "cohort.yaml").write_text("clinical: {er: {kind: categorical}}\n")
    assert "er = '-': expected a value, or empty; beside + it may mean negative" in message_of(tmp_path)
    (tmp_path / "cohort.yaml").write_text("clinical: {er: {kind: categorical, levels: [+, '-', unknown]}}\n")
    assert list(read_cohort(tmp_path, need=("patients",)).patients["er"]) == ["+", "-", "unknown"]


def codes(tmp_path, values, kind="continuous"):
    rows = "".join(f"{number},A,{number % 2},{value}\n" for number, value in enumerate(values))
    (tmp_path / "patients.csv").write_text(f"patient_id,center,aln_status,size\n{rows}")
    (tmp_path / "cohort.yaml").write_text(f"clinical: {{size: {{kind: {kind}}}}}\n")
    return check_cohort(tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([5, 94, 30, *[999] * 9], "9 cells are 999, all others at most 94"),
        ([5, 94, 30, -1], "1 cell is -1, all others at least 5"),
        ([5, 9.5, 3, 99.0, 99], "2 cells are 99, all others at most 9.5"),
        ([1, 2, 3, 9999], "1 cell is 9999, all others at most 3"),
    ],
)
def test_codes_are_found(tmp_path, capsys, values, words):
    (problem,) = codes(tmp_path, values)
    assert words in problem
    assert "missing: [" in problem
    capsys.readouterr()
    read_cohort(tmp_path, need=("patients",))  # the road of every verb
    assert words in capsys.readouterr().err
    number = words.split(" are ")[-1].split(" is ")[-1].split(",")[0]
    (tmp_path / "cohort.yaml").write_text(f"clinical: {{size: {{kind: continuous, missing: [{number}]}}}}\n")
    assert check_cohort(tmp_path) == []
    (tmp_path / "cohort.yaml").write_text("clinical: {size: {kind: continuous, range: [-1, 9999]}}\n")
    assert check_cohort(tmp_path) == []


@pytest.mark.parametrize("values", [[40, 99, 98, 97], [7, 8, 9, 10], [88, 60, 50, 77], [-3, -1, 2, 5], [9, 99, 999]])
def test_numbers_among_their_like_are_no_codes(tmp_path, values):
    assert codes(tmp_path, values) == []


def test_codes_among_levels(tmp_path):
    assert (
        "1 cell is -1, all others are words (no, yes)" in codes(tmp_path, ["yes", "no", "yes", "-1"], "categorical")[0]
    )
    assert "1 cell is 9, all others 0 to 1" in codes(tmp_path, [0, 1, 1, 9], "categorical")[0]
    assert codes(tmp_path, [1, 2, 3, 4], "categorical") == []


def test_case_08_reads_alike_however_missing_is_written(tmp_path):
    tables = []
    for word in ("", "NA", "999"):
        rows = "".join(f"{k},A,{k % 2},{word if k % 5 == 0 else 10 + k}\n" for k in range(20))
        (tmp_path / "patients.csv").write_text(f"patient_id,center,aln_status,size\n{rows}")
        (tmp_path / "cohort.yaml").write_text("clinical: {size: {kind: continuous, missing: [999]}}\n")
        tables.append(read_cohort(tmp_path, need=("patients",)).patients)
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


def test_case_15_spellings_are_one_and_told(tmp_path, capsys):
    spelt = ["Lyon", "lyon", "Lyon ", "LYON", "Lyon\u00a0"]
    rows = [f"P{k:02d},{spelt[k % 5] if k < 20 else 'Orléans'},{k // 2 % 2},{['pos', 'Pos'][k % 2]}" for k in range(40)]
    text = "patient_id,center,aln_status,her2\n" + "\n".join([*rows, "P40,Orleans,1,neg"])
    (tmp_path / "patients.csv").write_text(text)
    (tmp_path / "cohort.yaml").write_text("clinical: {her2: {kind: categorical}}\n")
    assert check_cohort(tmp_path) == []
    said = capsys.readouterr().err
    assert "flag: read as one center: 'Lyon' (12), 'lyon' (4), 'LYON' (4)" in said
    assert "flag: read as one her2: 'pos' (20), 'Pos' (20)" in said
    assert "centres that look alike and are read as 2: 'Orleans', 'Orl\u00e9ans'" in said
    for center in ("LYON", "lyon "):
        assert main(["split", str(tmp_path), "--external_center", center, "--overwrite=true"]) == 0
        patients = read_cohort(tmp_path, need=("patients",)).patients
        assert set(patients.loc[patients["center"] == "Lyon", "split"]) == {"external_test"}
        assert (patients["center"] == "Lyon").sum() == 20
    assert main(["split", str(tmp_path), "--external_center", "Lion", "--overwrite=true"]) == 2
    assert "did you mean Lyon?" in capsys.readouterr().err


def test_names_in_the_forms_of_mac_and_windows_are_one(tmp_path):
    for form, other in (("NFC", "NFD"), ("NFD", "NFC")):
        root = tmp_path / form
        name = unicodedata.normalize(form, "Zoé 01")
        (root / name).mkdir(parents=True)
        (root / name / "a.dcm").write_text("x")
        other_name = unicodedata.normalize(other, name)
        (root / "patients.csv").write_text(f"patient_id,center,aln_status\n{other_name},A,1\n")
        (root / "images.csv").write_text(
            f"image_id,patient_id,path,laterality,view\ni,{name},{other_name}/a.dcm,l,cc\n"
        )
        cohort = read_cohort(root, need=("patients",))
        assert list(cohort.patients["patient_id"]) == ["Zoé 01"]
        assert image_path(cohort, cohort.images.iloc[0]).is_file()


def test_headers_in_another_case_are_not_passed_over(sound):
    lines = (sound / "images.csv").read_text().splitlines()
    rows = [f"{line},post_nat,196,0,late" for line in lines[1:]]
    (sound / "images.csv").write_text(
        "\n".join([lines[0].upper() + ",Timepoint,DAYS,Eligible,Exclusion Reason", *rows])
    )
    text = (sound / "patients.csv").read_text().splitlines()
    (sound / "patients.csv").write_text("\n".join([text[0] + ",NAT start day", *(f"{line},21" for line in text[1:])]))
    cohort = read_cohort(sound)
    assert set(cohort.images["timepoint"]) == {"post_nat"}
    assert {"days", "eligible", "exclusion_reason"} <= set(cohort.images.columns)
    assert "nat_start_day" in cohort.patients


def test_lost_zeros_are_told(sound):
    text = (sound / "patients.csv").read_text()
    (sound / "patients.csv").write_text(text.replace("007", "7").replace("008", "8"))
    message = message_of(sound)
    assert "expected a patient_id of patients.csv; it has '7' for '007' (leading zeros" in message


def test_a_level_in_other_words_names_the_map_to_write(sound):
    text = (sound / "patients.csv").read_text()
    yaml = (sound / "cohort.yaml").read_text()
    assert "levels: [no, yes]" in yaml
    (sound / "cohort.yaml").write_text(yaml.replace("levels: [no, yes]", "levels: [negative, positive]"))
    hint = "expected one of negative, positive; cohort.yaml maps them: `clinical: {her2: {kind: categorical, map: {"
    assert hint in message_of(sound)
    (sound / "patients.csv").write_text(text.replace(",no", ",NEG").replace(",yes", ",pos: 2+"))
    assert f'{hint}NEG: negative, "pos: 2+": LEVEL}}}}}}`' in message_of(sound)


def test_a_template_of_regions_holds_no_box(sound):
    text = "image_id,region,x_min,y_min,x_max,y_max\ni1,primary,,,,\ni2,primary,1,2,3,4\n"
    (sound / "regions.csv").write_text(text)
    assert list(read_cohort(sound).regions["image_id"]) == ["i2"]
    for rows in ("i1,primary,,,,\n", ""):
        (sound / "regions.csv").write_text(f"image_id,region,x_min,y_min,x_max,y_max\n{rows}")
        assert read_cohort(sound).regions.empty
    (sound / "regions.csv").write_text("image_id,region,x_min,y_min,x_max,y_max\ni1,primary,1,,3,4\n")
    with pytest.raises(InputError, match="y_min = ''"):
        read_cohort(sound)


def test_levels_of_another_cohort_in_another_case_are_known():
    her2 = {"her2": ClinicalFeature("her2", "categorical")}
    ct = {"ct": ClinicalFeature("ct", "ordinal", ("T1", "T2"))}
    encoder = ClinicalEncoder.fit(her2 | ct, pd.DataFrame({"her2": ["no", "yes"], "ct": ["T1", "T2"]}, dtype=object))
    other = pd.DataFrame({"her2": ["NO", "Yes"], "ct": ["t1", "T2"]}, dtype=object)
    same = pd.DataFrame({"her2": ["no", "yes"], "ct": ["T1", "T2"]}, dtype=object)
    np.testing.assert_array_equal(encoder.encode(other), encoder.encode(same))
    assert encoder.unknown_levels(other) == {"her2": 0}


def test_declarations_of_two_cohorts():
    own = {
        "size": ClinicalFeature("size", "continuous", unit="mm"),
        "er": ClinicalFeature("er", "categorical", ("neg", "pos")),
        "ct": ClinicalFeature("ct", "ordinal", ("1", "2", "3")),
        "age": ClinicalFeature("age", "continuous", unit="years"),
    }
    other = {
        "size": ClinicalFeature("size", "continuous", unit="cm"),
        "er": ClinicalFeature("er", "categorical", ("pos", "neg")),
        "ct": ClinicalFeature("ct", "ordinal", ("3", "2", "1")),
    }
    assert declaration_differences(own, own) == []
    assert declaration_differences(own, other) == [
        "clinical feature size: unit is mm here and cm there",
        "clinical feature ct: levels is 1, 2, 3 here and 3, 2, 1 there",
    ]


def test_cohorts_whose_units_differ_do_not_stand_in_one_table(tmp_path):
    folders = []
    for name, unit in (("north", "years"), ("south", "months")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "patients.csv").write_text("patient_id,center,aln_status,age\np1,A,1,50\n")
        (folder / "cohort.yaml").write_text(f"name: {name}\nclinical:\n  age: {{kind: continuous, unit: {unit}}}\n")
        folders.append(read_cohort(folder, need=("patients",)))
    refuse_differing_declarations([folders[0], folders[0]])
    with pytest.raises(InputError, match="age: unit is years here and months there"):
        refuse_differing_declarations(folders)


@pytest.mark.parametrize(("cells", "values"), [("12", "{2: 1}"), ("01", "{0: 1}")])
def test_half_a_map_does_not_make_all_patients_positive(tmp_path, cells, values):
    (tmp_path / "cohort.yaml").write_text(f"label: {{column: nodes, map: {values}}}\n")
    (tmp_path / "patients.csv").write_text(f"patient_id,center,nodes\nA,x,{cells[0]}\nB,x,{cells[1]}\n")
    assert "expected '1' in label.map too; without it, all rows read as 1" in message_of(tmp_path)


def test_a_slip_of_the_pen_is_told_and_hides_no_code():
    ages = pd.Series([str(year) for year in range(31, 79, 2)] + ["580", "999", "999"], dtype=object)
    codes = {code.value: code for code in codes_of("age", ages, True)}
    assert (codes["580"].count, codes["580"].apart, codes["580"].others) == (1, False, "all others 31 to 77")
    assert (codes["999"].count, codes["999"].apart) == (2, True)
    skewed = pd.Series(np.random.default_rng(0).lognormal(3, 0.6, 400).round(1).astype(str), dtype=object)
    assert codes_of("size_mm", skewed, True) == []
