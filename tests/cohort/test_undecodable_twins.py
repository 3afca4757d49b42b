"""Files among those compared that cannot be decoded: what ends a decoder is tried once, what may pass, again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mammo_aln.cohort.checks.boxes import misplaced_boxes
from mammo_aln.cohort.likeness import twins
from mammo_aln.cohort.likeness.twins import KEPT_FILE, died_before, fingerprints, twins_among
from tests.support.caged import in_the_kept_process, killed_from_outside, off_the_disk
from tests.support.crop_cohort import image, patient, small_cohort, write_tables

CRASH = "crash_jpeg8_precision17"


@pytest.fixture
def files(tmp_path: Path, shared: Path) -> dict[str, Path]:
    """Two sound images, one of them under two names, and one that crashes its decoder."""
    small_cohort(tmp_path, 2)
    shutil.copyfile(tmp_path / "i0.dcm", tmp_path / "i2.dcm")
    shutil.copyfile(shared / "cases" / "hostile" / f"{CRASH}.dcm", tmp_path / f"{CRASH}.dcm")
    return {name: tmp_path / f"{name}.dcm" for name in ("i0", "i1", "i2", CRASH)}


def test_what_ends_its_decoder_is_tried_once_and_told_each_time(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    assert sorted(fingerprints(files, store)) == ["i0", "i1", "i2"]
    assert died_before(files, store) == {CRASH}
    journal = (store / KEPT_FILE).read_bytes()
    capsys.readouterr()
    for _ in range(2):
        assert [group.images for group in twins_among(files, store)] == [("i0", "i2")]
        said = capsys.readouterr().err
        assert "fingerprints:" not in said  # nothing was decoded
        assert said.count("1 images cannot be decoded and are not compared by their pixels") == 1
    assert (store / KEPT_FILE).read_bytes() == journal
    shutil.copyfile(files["i1"], files[CRASH])
    assert sorted(fingerprints(files, store)) == sorted(files)


def test_what_was_ended_from_outside_is_compared_by_the_next_call(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when the machine's memory was full: what was found without it must not stand for good."""
    store = tmp_path / "store"
    pair = {name: files[name] for name in ("i0", "i2")}
    with in_the_kept_process(killed_from_outside):
        assert twins_among(pair, store, workers=1) == []
    assert "1 images cannot be decoded" in capsys.readouterr().err
    assert not died_before(pair, store)
    assert [group.images for group in twins_among(pair, store)] == [("i0", "i2")]


def test_a_file_that_the_disk_does_not_give_is_compared_by_the_next_call(
    files: dict[str, Path], tmp_path: Path
) -> None:
    pair = {name: files[name] for name in ("i0", "i2")}
    with in_the_kept_process(off_the_disk):
        assert twins_among(pair, tmp_path / "store", workers=1) == []
    assert [group.images for group in twins_among(pair, tmp_path / "store")] == [("i0", "i2")]


def test_a_stop_keeps_the_fingerprints_that_were_taken(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = twins.caged

    def stopped(*arguments: object) -> object:
        yield from list(whole(*arguments))[:2]  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(twins, "caged", stopped)
    with pytest.raises(KeyboardInterrupt):
        fingerprints(files, tmp_path / "store")
    assert len((tmp_path / "store" / KEPT_FILE).read_text().splitlines()) == 2


def test_boxes_are_not_sought_on_images_that_end_their_decoder(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [image("i1", "p0"), image(CRASH, "p1")]
    boxes = [(row["image_id"], "primary", 60, 130, 95, 165) for row in rows]
    cohort = write_tables(tmp_path, [patient("p0"), patient("p1")], rows, boxes)
    fingerprints(files, tmp_path / "store")
    capsys.readouterr()
    misplaced_boxes(cohort, kept_in=tmp_path / "store")
    said = capsys.readouterr().err
    assert "boxes on breasts: 1/1 image" in said
    assert "1 of 2 images cannot be decoded, so their boxes are not looked at" in said
