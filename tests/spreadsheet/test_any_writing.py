"""A table in any writing that people's programs give it reads back equal, or is refused; it never reads differently."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mammo_aln.errors import BadCell
from mammo_aln.spreadsheet.text_table import read_text_table
from mammo_aln.spreadsheet.written_numbers import numbers, two_readings

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"]
HEADER = ["patient_id", "center", "size_mm"]
LETTERS = st.sampled_from("abcdefghikmnorstuvyzABDEGHLMNPRST")
NAMES = st.text(LETTERS, min_size=1, max_size=6)
ACCENTED = st.tuples(
    NAMES, st.sampled_from(["", "\u00e9", "\u00fc", "\u00f3", "\u00e8 a", ";", ",", '"', "|", " x"]), NAMES
)
CENTRES = ACCENTED.map("".join)
SIZES = st.one_of(
    st.integers(-99_999, 9_999_999).map(float),
    st.decimals(-9999, 99_999, places=2).map(float),
    st.decimals(0, 99, places=3).map(float),
)
ROWS = st.lists(st.tuples(NAMES, CENTRES, SIZES), min_size=1, max_size=6)


def plain(value: float) -> str:
    return str(int(value)) if value.is_integer() else f"{value:.10f}".rstrip("0")


def decimal_comma(value: float) -> str:
    return plain(value).replace(".", ",")


def grouped(value: float, thousands: str, decimal: str) -> str:
    sign, (whole, _, rest) = "-" if value < 0 else "", plain(abs(value)).partition(".")
    return sign + f"{int(whole):,}".replace(",", thousands) + (decimal + rest if rest else "")


WRITINGS = {
    "plain": plain,
    "decimal comma": decimal_comma,
    "English thousands": lambda value: grouped(value, ",", "."),
    "German thousands": lambda value: grouped(value, ".", ","),
    "Swiss thousands": lambda value: grouped(value, "'", "."),
    "French thousands": lambda value: grouped(value, "\u202f", ","),
}


def read_back(path: Path) -> tuple[pd.DataFrame | None, list[BadCell]]:
    faults: list[BadCell] = []
    return read_text_table(path, faults, HEADER), faults


def assert_equal_or_refused(path: Path, rows: list[tuple[str, str, float]]) -> bool:
    """Whether it was read."""
    table, faults = read_back(path)
    if faults or table is None:
        assert faults
        return False
    assert list(table["patient_id"]) == [row[0] for row in rows]
    assert list(table["center"]) == [row[1] for row in rows]
    refused = two_readings(table["size_mm"])
    for value, is_refused, row in zip(numbers(table["size_mm"]), refused, rows, strict=True):
        assert is_refused or value == pytest.approx(row[2], abs=1e-9), (table["size_mm"].tolist(), row)
    return not refused.any()


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    rows=ROWS,
    mark=st.sampled_from(",;\t|"),
    writing=st.sampled_from(sorted(WRITINGS)),
    encoding=st.sampled_from([*ENCODINGS, "cp1252", "mac_roman", "cp850"]),
    ends=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    form=st.sampled_from(["NFC", "NFD"]),
    sep_line=st.booleans(),
    empties=st.integers(0, 2),
    capital=st.booleans(),
)
def test_text_in_any_writing(tmp_path, rows, mark, writing, encoding, ends, quoting, form, sep_line, empties, capital):
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=mark, lineterminator=ends, quoting=quoting)
    writer.writerow([name.upper() if capital else f" {name} " for name in HEADER] + [""] * empties)
    for patient, center, size in rows:
        writer.writerow([patient, f"{center} ", WRITINGS[writing](size)] + [""] * empties)
        if empties:
            writer.writerow([""] * (3 + empties))
    if mark == "," and writing == "German thousands":
        return  # `1.234` is a decimal where commas separate cells
    text = (f"sep={mark}{ends}" if sep_line else "") + stream.getvalue()
    path = tmp_path / "patients.csv"
    try:
        path.write_bytes(unicodedata.normalize(form, text).encode(encoding))
    except UnicodeEncodeError:
        return
    assert_equal_or_refused(path, rows)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, as_text=st.booleans(), before=st.integers(0, 2), writing=st.sampled_from(sorted(WRITINGS)))
def test_a_workbook(tmp_path, rows, as_text, before, writing):
    book = openpyxl.Workbook()
    for _ in range(before):
        book.active.append([])
    book.active.append([*HEADER, None])
    for patient, center, size in rows:
        book.active.append([patient, f"{center}\u00a0", WRITINGS[writing](size) if as_text else size])
    book.active.append([None, " ", None])
    path = tmp_path / "patients.xlsx"
    book.save(path)
    assert assert_equal_or_refused(path, rows) or as_text


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_usual_writings_are_read_not_refused(tmp_path, mark, encoding):
    rows = [("p1", "München", 51.5), ("p2", "Orléans", 7.0), ("007", "Lyon", 0.25)]
    cells = [f'{patient}{mark}{center}{mark}"{decimal_comma(size)}"' for patient, center, size in rows]
    path = tmp_path / "patients.csv"
    path.write_bytes("\r\n".join([mark.join(HEADER), *cells, mark * 2, ""]).encode(encoding))
    assert assert_equal_or_refused(path, rows)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a,b;c\n1,2;3\n", "one separator; commas or semicolons split this table alike"),
        (b"a;b\n1;2;3\n", "2 cells, as in the header"),
        (b"a,b\n1,2,5\n", "2 cells, as in the header; quote a cell that holds a comma, as in a decimal comma"),
        (b'"a,b,c"\n"1,2,3"\n', "column names separated by commas, outside one pair of quotes"),
        (b"a,b\n1,\xe2\x80\x8b2\n", "text without the invisible character U+200B ZERO WIDTH SPACE"),
        (b"a\xe2\x80\x8b,b\n1,2\n", "a name without the invisible character U+200B ZERO WIDTH SPACE"),
        (b"a,b\n1,#REF!\n", "a value; a spreadsheet could not compute this one"),
        (b"a,b\n1,M\x9fnchen\n", "save as UTF-8"),  # u with two dots in Mac Roman, Y in Windows-1252
        (b"a,b\n1,\xcc\xee\xf1\xea\xe2\xe0\n", "save as UTF-8"),  # Moscow in Windows-1251
        (b"\xff\xfea\x00,\x00b", "UTF-8 text"),
        (b"PK\x03\x04rest", "a text table, or a workbook named .xlsx"),
        (b"a,,c\n1,2,3\n", "each column name once and not empty"),
        (b"a;b\n1,5;1.234\n", "in this table the point may mark thousands"),
        ("a,b\n1,Orl\ufffdans\n".encode(), "U+FFFD REPLACEMENT CHARACTER"),
    ],
)
def test_two_readings_are_refused_in_one_line(tmp_path, data, words):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    table, faults = read_back(path)
    assert len(faults) == 1, faults
    assert words in str(faults[0])
    assert table is None or faults


def test_names_of_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("Patient ID,CENTER,Size-mm\np1,Lyon,5\n")
    assert list(read_back(path)[0].columns) == HEADER
    path.write_text("Patient ID,patient_id,center\np1,p2,Lyon\n")
    assert "one column patient_id; 'Patient ID' and 'patient_id' have two readings" in str(read_back(path)[1][0])


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1,234", "5"], [None, 5]),
        (["1,234", "51,5"], [1.234, 51.5]),
        (["1,234", "12,345,678"], [1234, 12345678]),
        (["1,234", "1,234.5"], [1234, 1234.5]),
        (["1,234", "1,234.5", "51,5"], [None, 1234.5, 51.5]),
        (["1.234", "5"], [1.234, 5]),
        (["1.234", "51,5"], [None, 51.5]),
        (["1.234", "1.234.567"], [1234, 1234567]),
        (["1,234,56", "12/3", "0x1A", "1_000", "inf"], [None, None, None, None, float("inf")]),
        (["0,123", "-,5", "1 234,5", "1'234"], [0.123, -0.5, 1234.5, 1234]),
    ],
)
def test_numbers(cells, values):
    read = numbers(pd.Series(cells, dtype=object))
    assert [None if pd.isna(value) else value for value in read] == values
