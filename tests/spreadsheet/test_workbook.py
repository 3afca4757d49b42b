from __future__ import annotations

import contextlib
import datetime
import zipfile

import numpy as np
import openpyxl
import pandas as pd
import pytest

from mammo_aln.cohort.datasets.published import read_sheet
from mammo_aln.errors import InputError
from mammo_aln.spreadsheet.text_table import read_text_table


def same(book):
    pass


ROWS = [["patient_id", "n"], ["p1", 5], ["p2", 6]]


def saved(path, rows=ROWS, change=same):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    change(book)
    book.save(path)
    return path


def read(path):
    faults = []
    return read_text_table(path, faults), [str(fault) for fault in faults]


def test_cells_are_what_excel_shows(tmp_path):
    def zeros(book):
        book.active["A3"].number_format = "00000"

    rows = [
        ["id", "b", "c", "d", "e"],
        [12.0, True, datetime.date(2021, 4, 3), "007", 0.1],
        [42, "#N/A", None, " x ", 3],
    ]
    table, faults = read(saved(tmp_path / "t.xlsx", rows, zeros))
    assert faults == []
    assert table.fillna("").to_numpy().tolist() == [
        ["12", "TRUE", "2021-04-03", "007", "0.1"], ["00042", "", "", "x", "3"],
    ]  # fmt: skip
    assert list(table.index) == [2, 3]


def percent(book):
    book.active["B2"].number_format = "0%"


MAY = datetime.datetime(2021, 5, 1)


@pytest.mark.parametrize(
    ("rows", "change", "words"),
    [
        (ROWS, lambda b: b.active.merge_cells("A2:A3"), "cells A2:A3 = 'merged': expected one value in each cell"),
        (ROWS, lambda b: b.create_sheet("b").append([1]), "sheets = 'Sheet, b': expected one filled sheet, or one"),
        ([*ROWS, ["p3", "=1+1"]], same, "cell B4 = '=1+1': expected a formula's value"),
        ([*ROWS, ["p3", "#REF!"]], same, "cell B4 = '#REF!': expected a value; Excel could not compute"),
        ([*ROWS, [1234567890123456, 5]], same, "cell A4 = '1234567890123456': expected text: of a number"),
        (ROWS, percent, "cell B2 = '500 %': expected a number without a percent format"),
        ([*ROWS, ["p3", MAY]], same, "cell B4 = '2021-05-01 00:00:00': expected a number"),
    ],
)  # fmt: skip
def test_what_has_no_one_reading_is_refused(tmp_path, rows, change, words):
    _, faults = read(saved(tmp_path / "t.xlsx", rows, change))
    assert len(faults) == 1, faults
    assert words in faults[0]


def test_the_sheet_named_as_the_file_is_read(tmp_path):
    def two(book):
        book.active.title = "Patients"
        book.create_sheet("legend").append(["x"])

    table, faults = read(saved(tmp_path / "patients.xlsx", change=two))
    assert faults == []
    assert list(table["n"]) == ["5", "6"]


def test_no_workbook(tmp_path):
    path = tmp_path / "t.xlsx"
    path.write_text("a,b\n")
    assert "an .xlsx workbook, unlocked" in read(path)[1][0]
    path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(500))
    assert "an old .xls, or locked with a password" in read(path)[1][0]


def test_real_workbook(shared, tmp_path):
    source = shared / "data/clinical/I-SPY_1_All_Patient_Clinical_and_Outcome_Data.xlsx"
    _, faults = read(source)
    assert "expected one filled sheet" in faults[0]
    (tmp_path / "predictors.xlsx").write_bytes(source.read_bytes())
    table, faults = read(tmp_path / "predictors.xlsx")
    assert faults == []
    other = pd.read_excel(source, "predictors").dropna(how="all")  # a second reader
    assert len(table) == len(other) == 221
    np.testing.assert_array_equal(table["age"].astype(float), other["age"])
    np.testing.assert_array_equal(table["MRI LD PreSurg"].astype(float), other["MRI LD PreSurg"])
    assert table.loc[2].fillna("").tolist()[:4] == ["1001", "2009-09-03", "38.73", "1"]


def members_changed(path, old, new):
    """A copy of a workbook, one text in all its members replaced."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name).replace(old, new) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'r="A2"', b'r="A0"'),
        (b"<row ", b"<row spans='x' ht='y' "),
        (b"<sheetData>", b"<sheetData><<"),
        (b"styleSheet", b"styleShee"),
        (b"sheetId=", b"sheetid="),
    ],
)
def test_a_workbook_whose_inside_is_odd_is_read_or_one_fault(old, new, tmp_path):
    path = saved(tmp_path / "t.xlsx")
    members_changed(path, old, new)
    table, faults = read(path)
    assert (table is None) == bool(faults)
    with contextlib.suppress(InputError):  # the owners' tables have a reader of their own
        read_sheet(path, 0)


def test_a_cell_far_from_the_table_and_a_bomb_are_refused_at_once(tmp_path):
    def far(book):
        book.active["XFD1048576"] = "note"

    table, faults = read(saved(tmp_path / "far.xlsx", change=far))
    assert table is None
    assert "delete what stands far from the table" in faults[0]
    path = saved(tmp_path / "bomb.xlsx")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/more.xml", "w") as member:
        for _ in range(600):
            member.write(bytes(1 << 20))
    assert "bytes unpacked" in read(path)[1][0]
