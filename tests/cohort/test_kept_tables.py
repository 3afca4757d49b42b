"""Kept tables: equal to what was read, used while no byte of a file and no code changes, and gone with any change."""

from __future__ import annotations

import os
import shutil
from dataclasses import fields
from multiprocessing import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.cohort import kept_tables, packed, tables
from mammo_aln.cohort.content import tables_digest
from mammo_aln.cohort.tables import Cohort, read_cohort
from mammo_aln.errors import InputError
from tests.support.kept_files import counted, same_times, two_at_once


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever tables are read cell by cell."""
    return counted(monkeypatch, tables, "_judged")


def equal(one: Cohort, other: Cohort) -> None:
    for field in fields(Cohort):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, pd.DataFrame):
            pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
            assert mine.columns.dtype == theirs.columns.dtype
            for name in mine:
                assert list(map(type, mine[name].tolist())) == list(map(type, theirs[name].tolist()))
        else:
            assert mine == theirs


def kept(store: Path) -> list[Path]:
    return sorted(store.glob("frozen/*.tables"))


def test_a_second_start_reads_what_the_first_judged(sound: Path, store: Path, judged: list[str]) -> None:
    first, second = read_cohort(sound, kept_in=store), read_cohort(sound, kept_in=store)
    assert judged == ["judged"]
    equal(first, second)
    equal(second, read_cohort(sound))


def test_what_is_in_use_is_young_and_outlives_what_others_keep(sound: Path, store: Path) -> None:
    read_cohort(sound, kept_in=store)
    (file,) = kept(store)
    os.utime(file, (0, 0))
    read_cohort(sound, kept_in=store)
    assert file.stat().st_mtime > 0


def cell_changed(root: Path) -> None:
    """Another outcome in a file of the same size and times."""
    rewritten(root / "patients.csv", b"008,A,0", b"008,A,1")


def box_moved(root: Path) -> None:
    rewritten(root / "regions.csv", b"10,20,30.5", b"11,20,30.5")


def level_renamed(root: Path) -> None:
    rewritten(root / "cohort.yaml", b"levels: [no, yes]", b"levels: [yes, no]")


def rewritten(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    with same_times(path):
        path.write_bytes(content.replace(old, new))


def row_order(root: Path) -> None:
    header, *rows = (root / "images.csv").read_text().splitlines()
    (root / "images.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")


def table_added(root: Path) -> None:
    (root / "volumes.csv").write_text("patient_id,timepoint,sequence,image_path,mask_path\n007,pre,t2w,a,b\n")


def table_removed(root: Path) -> None:
    (root / "regions.csv").unlink()


def declaration_removed(root: Path) -> None:
    (root / "cohort.yaml").unlink()


@pytest.mark.parametrize(
    "change", [cell_changed, box_moved, level_renamed, row_order, table_added, table_removed, declaration_removed]
)
def test_any_change_of_a_file_reads_the_tables_anew(sound: Path, store: Path, judged: list[str], change) -> None:
    read_cohort(sound, need=("patients",), kept_in=store)
    change(sound)
    changed = read_cohort(sound, need=("patients",), kept_in=store)
    assert judged == ["judged"] * 2
    equal(changed, read_cohort(sound, need=("patients",)))


def test_other_code_reads_the_tables_anew(
    sound: Path, store: Path, judged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_cohort(sound, kept_in=store)
    monkeypatch.setattr(kept_tables, "code_digest", lambda rooms: "other")
    read_cohort(sound, kept_in=store)
    assert len(judged) == 2


def test_a_file_of_another_version_is_read_by_none(
    sound: Path, store: Path, judged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((packed, "PACKED_VERSION"), (kept_tables, "KEPT_TABLES_VERSION")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, getattr(module, name) + 1)
            read_cohort(sound, kept_in=store)
        judged.clear()
        equal(read_cohort(sound, kept_in=store), read_cohort(sound))
        assert judged == ["judged"] * 2  # with the one that keeps nothing
        shutil.rmtree(store / "frozen")


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:-1], lambda whole: whole.replace(b"007", b"008"), lambda _: b""]
)
def test_a_damaged_file_is_replaced(sound: Path, store: Path, judged: list[str], damage) -> None:
    first = read_cohort(sound, kept_in=store)
    (file,) = kept(store)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert file.read_bytes() != whole
    equal(read_cohort(sound, kept_in=store), first)
    assert (len(judged), file.read_bytes()) == (2, whole)


def test_what_must_stand_is_asked_for_each_time(sound: Path, store: Path) -> None:
    (sound / "images.csv").unlink()
    (sound / "regions.csv").unlink()
    read_cohort(sound, need=("patients",), kept_in=store)
    with pytest.raises(InputError, match=r"images\.csv"):
        read_cohort(sound, need=("patients", "images"), kept_in=store)
    text = (sound / "patients.csv").read_text().replace("aln_status", "outcome")
    (sound / "patients.csv").write_text(text)
    read_cohort(sound, need=("patients",), outcome=False, kept_in=store)
    with pytest.raises(InputError, match="aln_status"):
        read_cohort(sound, need=("patients",), kept_in=store)


def test_faults_are_never_kept(sound: Path, store: Path) -> None:
    rewritten(sound / "images.csv", b"i3,008", b"i3,777")
    for _ in range(2):
        with pytest.raises(InputError, match="777"):
            read_cohort(sound, kept_in=store)
    assert not kept(store)


def test_a_file_that_changes_while_the_tables_are_read_keeps_nothing(
    sound: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tables._judged
    monkeypatch.setattr(tables, "_judged", lambda *args: (cell_changed(sound), whole(*args))[1])
    read_cohort(sound, kept_in=store)
    assert not kept(store)


def test_a_file_that_changes_before_what_is_kept_was_read_is_read_anew(
    sound: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_cohort(sound, kept_in=store)
    whole = kept_tables.read_packed

    def read_late(path: Path) -> object:
        kept_content = whole(path)
        cell_changed(sound)
        return kept_content

    monkeypatch.setattr(kept_tables, "read_packed", read_late)
    assert read_cohort(sound, kept_in=store).patients["aln_status"].tolist()[1] == 1


def test_a_workbook_beside_a_table_is_refused_though_the_table_is_kept(sound: Path, store: Path) -> None:
    read_cohort(sound, kept_in=store)
    (sound / "patients.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match="one of them"):
        read_cohort(sound, kept_in=store)


def test_codes_for_missing_values_are_said_by_each_process(
    sound: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"n{number},A,1,{999 if number < 12 else 40 + number},2,no,train\n" for number in range(40))
    (sound / "patients.csv").write_text((sound / "patients.csv").read_text() + rows)
    said = []
    for _ in range(2):
        tables._say_once.cache_clear()  # another process
        read_cohort(sound, kept_in=store)
        said.append(capsys.readouterr().err)
    assert "999" in said[0]
    assert said[0] == said[1]
    tables._say_once.cache_clear()
    read_cohort(sound, tell=False, kept_in=store)
    assert capsys.readouterr().err == ""


def test_a_table_whose_encoding_is_said_is_not_kept(
    sound: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (sound / "patients.csv").read_text().replace(",B,", ",Zürich,")
    (sound / "patients.csv").write_bytes(text.encode("latin-1"))
    for _ in range(2):
        read_cohort(sound, kept_in=store)
        assert "not UTF-8" in capsys.readouterr().err
    assert not kept(store)


def test_nothing_is_written_where_there_is_no_store_yet(sound: Path, tmp_path: Path) -> None:
    read_cohort(sound, kept_in=sound / ".crops")
    assert not (sound / ".crops").exists()


def test_a_store_that_cannot_be_written_is_told_and_the_tables_are_read(
    sound: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / "frozen").write_text("a file stands there")
    equal(read_cohort(sound, kept_in=store), read_cohort(sound))
    assert "tables are not kept" in capsys.readouterr().err


def digests_of(root: Path, store: Path, begin: Event, digests: Queue) -> None:
    """What one of two processes does: takes away what is kept, and reads."""
    begin.wait()
    for _ in range(20):
        for file in kept(store):
            file.unlink(missing_ok=True)
        digests.put(tables_digest(read_cohort(root, kept_in=store)))


def test_two_processes_at_once_read_and_keep_the_same(sound: Path, store: Path) -> None:
    digests = two_at_once(digests_of, sound, store, answers=40)
    assert set(digests) == {tables_digest(read_cohort(sound))}
    assert all(packed.read_packed(file) is not None for file in kept(store))
    assert {path.suffix for path in (store / "frozen").iterdir()} <= {".tables"}


def test_what_a_clinic_remarks_stays_in_its_own_table(sound: Path, store: Path, judged: list[str]) -> None:
    table = pd.read_csv(sound / "patients.csv", dtype=str)
    remarks = ["asked Mrs Miller", *[""] * (len(table) - 1)]
    table.insert(1, "remark", remarks)
    table["eligible"] = ["no", *["yes"] * (len(table) - 1)]
    table["exclusion_reason"] = ["Mrs Miller moved", *[""] * (len(table) - 1)]
    table.to_csv(sound / "patients.csv", index=False)
    first, second = read_cohort(sound, kept_in=store), read_cohort(sound, kept_in=store)
    assert judged == ["judged"]
    assert second.patients["remark"].dropna().tolist() == remarks[:1]
    equal(first, second)
    assert not [path for path in store.rglob("*") if path.is_file() and b"Miller" in path.read_bytes()]
