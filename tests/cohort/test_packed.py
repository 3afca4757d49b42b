"""Tables in one file: read back as they were, and no table at all where a byte of the file is another."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.cohort import packed as form
from mammo_aln.cohort.packed import Packed, mark_used, read_packed, write_packed

FACTS = {"lines": ["ä", ""], "sizes": [[1, 2**40]], "share": 0.1}


def many_kinds() -> dict[str, pd.DataFrame]:
    texts = ["a", "", "two\nlines", "naïve", "a", "007"]
    columns = {
        "object": pd.Series([*texts[:5], np.nan], dtype=object),
        "distinct": pd.Series([f"x{number}" for number in range(6)], dtype=object),
        "missing": pd.Series([np.nan] * 6, dtype=object),
        "str": pd.Series(texts, dtype="str"),
        "str missing": pd.Series(["a", np.nan, "b", "a", "a", ""], dtype="str"),
        "float": [0.1, np.nan, np.inf, -0.0, 5e-324, 1e308],
        "whole": np.array([2**62, -1, 0, 1, 2, 3]),
        "bool": [True, False, True, True, False, False],
    }
    table = pd.DataFrame(columns)
    first_blank = pd.DataFrame({"blank": pd.Series([""], dtype=object), "one": pd.Series(["x"], dtype=object)})
    named = table.set_axis(pd.Index(list(columns), dtype=object), axis=1)
    return {"all": table, "named": named, "none": table[:0], "blank": first_blank, "bare": pd.DataFrame()}


def test_tables_are_read_back_in_each_cell_type_and_name(tmp_path: Path) -> None:
    tables = many_kinds()
    assert write_packed(tmp_path / "a.tables", Packed(tables, FACTS), most=3)
    again = read_packed(tmp_path / "a.tables")
    assert again is not None
    assert again.facts == FACTS
    assert list(again.tables) == list(tables)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(again.tables[name], table, check_exact=True)
        assert again.tables[name].columns.dtype == table.columns.dtype
        for column in table:
            cells, read = table[column].tolist(), again.tables[name][column].tolist()
            assert [(type(cell), repr(cell)) for cell in read] == [(type(cell), repr(cell)) for cell in cells]
    again.tables["all"].loc[0, "float"] = 3.0  # like any other table
    assert again.tables["all"]["float"][0] == 3.0


@pytest.mark.parametrize(
    "cells",
    [["a", None], ["1", 1], [1, True], ["a\0b", "c"], ["\ud800"], [pd.Timestamp(0)], [["a"], ["b"]]],
    ids=["None", "number", "bool", "separator", "surrogate", "date", "list"],
)
def test_what_would_come_back_as_another_thing_is_not_written(tmp_path: Path, cells: list[object]) -> None:
    table = pd.DataFrame({"column": pd.Series(cells, dtype=object)})
    assert not write_packed(tmp_path / "a.tables", Packed({"table": table}), most=3)
    assert not list(tmp_path.iterdir())


def test_two_columns_of_one_name_and_another_index_are_not_written(tmp_path: Path) -> None:
    twice = pd.DataFrame([["a", "b"]], columns=["x", "x"])
    moved = pd.DataFrame({"x": ["a"]}, index=[5])
    assert not any(write_packed(tmp_path / "a.tables", Packed({"t": table}), most=3) for table in (twice, moved))


def test_a_file_cut_off_anywhere_or_with_any_byte_changed_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.tables"
    write_packed(path, Packed({"t": pd.DataFrame({"x": ["a", "b"], "y": [1.5, 2.5]})}, FACTS), most=3)
    whole = path.read_bytes()
    for place in {*range(0, len(whole), 29), *range(60, 70), len(whole) - 1}:
        path.write_bytes(whole[:place])
        assert read_packed(path) is None, place
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert read_packed(path) is None, place
    path.write_bytes(whole)
    assert read_packed(path) is not None


def test_a_file_of_another_version_or_of_another_program_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tables"
    with monkeypatch.context() as patch:
        patch.setattr(form, "PACKED_VERSION", form.PACKED_VERSION + 1)
        # what is not read back is not written: the later program reads its own form
        assert write_packed(path, Packed({"t": pd.DataFrame({"x": ["a"]})}), most=3)
    assert read_packed(path) is None
    for content in (b'{"no": "version"}\n', b"no JSON\n", b"no end of line", b"[]\n", b""):
        path.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        assert read_packed(path) is None, content


def test_the_oldest_of_one_ending_are_removed_and_one_in_use_is_young(tmp_path: Path) -> None:
    table = Packed({"t": pd.DataFrame({"x": ["a"]})})
    other = tmp_path / "other.crops"
    other.write_text("kept by others")
    for number, name in enumerate("abc"):
        write_packed(tmp_path / f"{name}.tables", table, most=3)
        os.utime(tmp_path / f"{name}.tables", (number, number))
    mark_used(tmp_path / "a.tables")
    write_packed(tmp_path / "d.tables", table, most=3)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tables", "c.tables", "d.tables", "other.crops"}
