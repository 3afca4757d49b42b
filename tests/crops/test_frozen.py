"""The kept table of crops: equal to what it was made from, used while nothing changes, and gone with any change."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from multiprocessing import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.cohort import packed
from mammo_aln.cohort.tables import Cohort, read_cohort
from mammo_aln.crops import build, frozen, keys
from mammo_aln.crops.build import CropSet, build_crops
from mammo_aln.crops.provenance import fallback_ledger
from mammo_aln.crops.store.store import CropStore
from mammo_aln.settings import CropConfig, PixelConfig
from tests.support.crop_cohort import image, mammogram, patient, small_cohort, write_image, write_tables
from tests.support.kept_files import counted, same_times, two_at_once

SMALL = CropConfig(size_px=32, auxiliary=())


def crops_of(cohort: Cohort, crop: CropConfig = SMALL, pixels: PixelConfig = PixelConfig()) -> CropSet:
    return build_crops(cohort, pixels, crop, workers=1)


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever crops are described image by image."""
    return counted(monkeypatch, build, "_describe")


def equal(one: CropSet, other: CropSet) -> None:
    for name in ("table", "exclusions", "uncropped"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.recipe == other.recipe
    assert dict(one.contents) == dict(other.contents)
    assert fallback_ledger(one) == fallback_ledger(other)
    for key in one.table["key"]:
        np.testing.assert_array_equal(one.open_store().read(key), other.open_store().read(key))
        assert one.open_store().crop(key) == other.open_store().crop(key)


def test_a_second_start_reads_what_the_first_described(tmp_path: Path, described: list[str]) -> None:
    root = tmp_path / "c"
    small_cohort(root, 2)
    write_image(root / "bare.dcm", mammogram(300, 200, 0.4, 0.4), ImagerPixelSpacing=None)
    (root / "text.dcm").write_text("no DICOM at all")
    rows = [image("i0", "p0"), image("i1", "p1"), image("text", "p2"), image("bare", "p3")]
    boxes = [(row["image_id"], "primary", 60, 130, 95, 165) for row in rows]
    cohort = write_tables(root, [patient(f"p{number}") for number in range(4)], rows, boxes)
    first, second = crops_of(cohort), crops_of(read_cohort(root))
    assert described == ["describe"]
    assert list(first.exclusions["image_id"]) == ["text", "bare"]
    equal(first, second)


def test_the_kept_table_reads_no_journal_until_another_record_is_asked_for(tmp_path: Path) -> None:
    cohort = small_cohort(tmp_path / "c", 2)
    first = crops_of(cohort)
    second = crops_of(cohort)
    store, first_key = second.open_store(), first.table["key"][0]
    assert not store._entries
    copy = type(store)(*store.__reduce__()[1])
    np.testing.assert_array_equal(copy.read(first_key), first.open_store().read(first_key))
    assert "no such key" not in store
    assert set(store._entries) == set(CropStore(store.path)._entries)


def resaved(root: Path) -> None:
    """Another content of the same size under the same time of change."""
    path = root / "i0.dcm"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    with same_times(path):
        path.write_bytes(bytes(content))


def replaced(root: Path) -> None:
    shutil.copy2(root / "i1.dcm", root / "i0.dcm")


def relinked(root: Path) -> None:
    """The name leads to another file of the same size."""
    (root / "i0.dcm").unlink()
    (root / "i0.dcm").symlink_to(root / "i1.dcm")


def removed(root: Path) -> None:
    (root / "i0.dcm").unlink()


def box_moved(root: Path) -> None:
    table = pd.read_csv(root / "regions.csv")
    table.loc[0, "x_min"] -= 10
    table.to_csv(root / "regions.csv", index=False)


def patient_barred(root: Path) -> None:
    table = pd.read_csv(root / "patients.csv")
    table.assign(eligible=[0, *[1] * (len(table) - 1)]).to_csv(root / "patients.csv", index=False)


def journal_cut(root: Path) -> None:
    journal = next((root / ".crops" / "segments").glob("*.jsonl"))
    journal.write_bytes(journal.read_bytes()[:-1])


def segments_gone(root: Path) -> None:
    shutil.rmtree(root / ".crops" / "segments")


def kept_file(root: Path) -> Path:
    (file,) = (root / ".crops" / "frozen").glob("*.crops")
    return file


def bit_flipped(root: Path) -> None:
    text = bytearray(kept_file(root).read_bytes())
    text[len(text) // 2] ^= 1
    kept_file(root).write_bytes(bytes(text))


def cut_off(root: Path) -> None:
    kept_file(root).write_bytes(kept_file(root).read_bytes()[:-1])


def emptied(root: Path) -> None:
    """As a power cut may leave it."""
    kept_file(root).write_bytes(b"")


@pytest.mark.parametrize(
    "change",
    [
        *(resaved, replaced, relinked, removed, box_moved, patient_barred),
        *(journal_cut, segments_gone, bit_flipped, cut_off, emptied),
    ],
)
def test_any_change_of_a_file_a_table_or_the_store_describes_anew(tmp_path: Path, described: list[str], change) -> None:
    root = tmp_path / "c"
    small_cohort(root, 3)
    crops_of(read_cohort(root))
    time.sleep(0.02)  # a clock tick of the file system
    change(root)
    changed = crops_of(read_cohort(root))
    assert described == ["describe"] * 2
    shutil.rmtree(root / ".crops" / "frozen")
    equal(changed, crops_of(read_cohort(root)))


@pytest.mark.parametrize(
    "settings", [{"crop": replace(SMALL, size_mm=40.0)}, {"pixels": PixelConfig(percentile_low=2.0)}]
)
def test_any_change_of_a_setting_describes_anew(tmp_path: Path, described: list[str], settings) -> None:
    cohort = small_cohort(tmp_path / "c", 2)
    crops_of(cohort)
    crops_of(cohort, **settings)
    assert len(described) == 2


def test_other_code_describes_anew(tmp_path: Path, described: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = small_cohort(tmp_path / "c", 2)
    crops_of(cohort)
    monkeypatch.setattr(frozen, "code_digest", lambda rooms: "other")
    crops_of(cohort)
    assert len(described) == 2


@pytest.mark.parametrize(("module", "version"), [(packed, "PACKED_VERSION"), (frozen, "FROZEN_VERSION")])
def test_what_another_version_kept_is_not_read(
    tmp_path: Path, described: list[str], monkeypatch: pytest.MonkeyPatch, module, version: str
) -> None:
    cohort = small_cohort(tmp_path / "c", 2)
    with monkeypatch.context() as patch:
        patch.setattr(module, version, getattr(module, version) + 1)
        first = crops_of(cohort)
    equal(first, crops_of(cohort))
    assert len(described) == 2


def description_taken(root: Path, begin: Event, tables: Queue) -> None:
    """What one of two processes does: takes away what is kept, and starts."""
    begin.wait()
    for _ in range(5):
        for file in (root / ".crops" / "frozen").glob("*.crops"):
            file.unlink(missing_ok=True)
        crops = crops_of(read_cohort(root))
        tables.put((crops.table.to_csv(), dict(crops.contents)))


def test_two_processes_at_once_describe_and_keep_the_same(tmp_path: Path) -> None:
    root = tmp_path / "c"
    first = crops_of(small_cohort(root, 2))
    for described in two_at_once(description_taken, root, answers=10):
        assert described == (first.table.to_csv(), dict(first.contents))
    assert all(packed.read_packed(file) is not None for file in (root / ".crops" / "frozen").iterdir())


def test_where_nothing_is_missing_each_file_is_keyed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = small_cohort(tmp_path / "c", 3)
    crops_of(cohort)
    shutil.rmtree(tmp_path / "c" / ".crops" / "frozen")
    names: list[str] = []
    whole = keys.file_key
    monkeypatch.setattr(keys, "file_key", lambda path, *rest: names.append(path.name) or whole(path, *rest))
    crops_of(cohort)
    assert sorted(names) == ["i0.dcm", "i1.dcm", "i2.dcm"]


def test_another_split_of_the_same_patients_reads_the_same_table(tmp_path: Path, described: list[str]) -> None:
    cohort = small_cohort(tmp_path / "c", 2)
    crops_of(cohort)
    crops_of(replace(cohort, patients=cohort.patients.assign(split="val")))
    assert described == ["describe"]


def test_a_file_that_changes_while_crops_are_described_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "c"
    cohort = small_cohort(root, 2)
    whole = build._describe
    monkeypatch.setattr(build, "_describe", lambda *args: (resaved(root), whole(*args))[1])
    crops_of(cohort)
    assert not list((root / ".crops" / "frozen").glob("*.crops"))


def large_cohort(root: Path) -> Cohort:
    """Two images of more than a megabyte each."""
    boxes = []
    for number in range(2):
        pixels = mammogram(1000, 700, 0.1, 0.1, seed=number)
        write_image(root / f"i{number}.dcm", pixels, ImagerPixelSpacing=[0.1, 0.1])
        boxes.append((f"i{number}", "primary", 100, 430, 295, 565))
    rows = [image(f"i{number}", f"p{number}") for number in range(2)]
    return write_tables(root, [patient(f"p{number}") for number in range(2)], rows, boxes)


def digested(root: Path) -> list[str]:
    """SHA-256 of the files that were read whole for it, as the journals have them."""
    journals = sorted((root / ".crops" / "segments").glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    records = [json.loads(line)["record"] for journal in journals for line in journal.read_text().splitlines()]
    return [record["sha256"] for record in records if record["kind"] == "content"]


def linked(root: Path) -> None:
    os.link(root / "i0.dcm", root / "second name")


def chmodded(root: Path) -> None:
    (root / "i0.dcm").chmod(0o600)


@pytest.mark.parametrize("change", [linked, chmodded])
def test_a_change_of_status_alone_hashes_no_file_anew_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change
) -> None:
    root = tmp_path / "c"
    root.mkdir()
    first = crops_of(large_cohort(root))
    assert sorted(digested(root)) == sorted(first.contents.values())
    time.sleep(0.02)
    change(root)
    second = crops_of(read_cohort(root))
    assert len(digested(root)) == 2
    assert "1 files have another status change time" in capsys.readouterr().err
    equal(first, second)
    crops_of(read_cohort(root))
    assert "status change time" not in capsys.readouterr().err  # the kept table knows the file as it is now


def edited_in_place(root: Path) -> None:
    """Bytes of a block that is compared, under the old time of change."""
    path = root / "i0.dcm"
    with same_times(path), path.open("r+b") as file:
        file.seek(-50, os.SEEK_END)
        file.write(b"\x01" * 20)


@pytest.mark.parametrize("change", [edited_in_place, replaced])
def test_another_content_under_the_same_size_and_time_is_hashed(tmp_path: Path, change) -> None:
    root = tmp_path / "c"
    root.mkdir()
    first = crops_of(large_cohort(root))
    time.sleep(0.02)
    change(root)
    os.utime(root / "i0.dcm", ns=(0, 0)) if change is replaced else None
    second = crops_of(read_cohort(root))
    assert digested(root)[2:] == [second.contents["i0"]]
    assert first.contents["i0"] != second.contents["i0"]
