"""Files that cannot be written are told in words; long work is told in lines."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln import progress
from mammo_aln.errors import InputError
from mammo_aln.files import folder_whole, make_folder, nameable, write_csv, write_json, write_text, written_whole
from mammo_aln.progress import Progress, track
from tests.support.full_disk import room_for


def test_a_file_where_a_folder_should_be_is_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(InputError, match="taken"):
        write_text(tmp_path / "taken" / "metrics.json", "{}")


@pytest.mark.parametrize("name", ["x" * 300, "taken/runs"])
def test_a_folder_that_cannot_be_is_wrong_input(name: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(InputError, match="this folder cannot be created"):
        make_folder(tmp_path / name)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_text(path, "x" * 9999),
        lambda path: write_json(path, ["x"] * 9999),
        lambda path: write_csv(path, pd.DataFrame({"x": range(9999)})),
    ],
)
def test_a_full_disk_is_told_in_words_and_leaves_what_stood_there(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    write_text(tmp_path / "state.json", "old")
    with (
        room_for(5000),
        pytest.raises(
            InputError, match=r"state.json: cannot be written \(File too large\); .* 0\.01 MB here: .*ulimit"
        ),
    ):
        write(tmp_path / "state.json")
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert (tmp_path / "state.json").read_text() == "old"


def test_a_fault_that_is_no_full_disk_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "a"):
        (tmp_path / "nowhere").read_text()


def test_a_line_for_many_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress.say_once.cache_clear()
    for line in ("one", "two", "one"):
        progress.say_once(line)
    assert capsys.readouterr().err == "one\ntwo\n"


def test_bytes_are_written_in_a_unit_that_shows_them() -> None:
    assert [progress.byte_text(count) for count in (81_920, 262_000_000, 13_100_000_000)] == [
        "0.08 MB",
        "262.00 MB",
        "13.10 GB",
    ]


def test_a_block_that_fails_leaves_what_stood_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")

    def fail_halfway() -> None:
        with written_whole(tmp_path / "a.txt") as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_any_value_is_json_that_every_parser_reads(tmp_path: Path) -> None:
    values = {
        "bounds": (math.inf, -math.inf, [math.nan, (1, -math.inf)]),
        3: np.array([[0.5, np.nan], [np.inf, -np.inf]]),
        "count": np.int64(2**40),
        "path": Path("/a/ä"),
        "none": None,
        "yes": np.True_,
    }
    write_json(tmp_path / "a.json", values)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"), parse_constant=pytest.fail) == {
        "bounds": ["Inf", "-Inf", ["NaN", [1, "-Inf"]]],
        "3": [[0.5, "NaN"], ["Inf", "-Inf"]],
        "count": 2**40,
        "path": "/a/ä",
        "none": None,
        "yes": True,
    }


def test_a_file_is_on_the_disk_before_its_name_and_the_name_before_the_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut may leave at any instant is the old file or the new one, in folders that are there."""
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{handle}"))
        events.append("content" if name.suffix == ".part" else str(name.relative_to(tmp_path)))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", lambda own, other: events.append("renamed") or replace(own, other))
    write_text(tmp_path / "runs" / "a" / "state.json", "new")
    assert sorted(events[:2]) == [".", "runs"]  # each new folder's name stands in the one above
    assert events[2:] == ["content", "renamed", "runs/a"]
    events.clear()
    write_text(tmp_path / "runs" / "a" / "state.json", "newer", durable=False)
    assert events == ["renamed"]


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775)]
)
def test_who_may_read_a_file_is_what_the_umask_says(umask: int, file: int, folder: int, tmp_path: Path) -> None:
    """Scores and outcomes are nobody else's where the user says so, and the group's where a group works together."""
    before = os.umask(umask)
    try:
        write_text(tmp_path / "runs" / "predictions.csv", "x")
        with folder_whole(tmp_path / "cohort"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "runs" / "predictions.csv").stat().st_mode & 0o777 == file
    for name in ("runs", "cohort"):
        assert (tmp_path / name).stat().st_mode & 0o777 == folder


def test_a_folder_that_another_command_wrote_meanwhile_stands_as_that_left_it(tmp_path: Path) -> None:
    def both() -> None:
        with folder_whole(tmp_path / "cohort") as ours:
            (ours / "a").touch()
            with folder_whole(tmp_path / "cohort") as theirs:
                (theirs / "b").touch()

    with pytest.raises(InputError, match="another command wrote it meanwhile"):
        both()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["cohort", "cohort/b"]


def test_a_log_gets_a_line_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PLAIN_LINE_EVERY_S", 0.0)
    assert list(track([1, 2], total=2, what="crops", unit="image")) == [1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("crops: 1/2 image (")
    assert "image/s" in lines[0]
    assert lines[0].endswith("s left)")
    assert len(lines) == 3


def test_work_that_goes_on_counts_from_where_it_stood(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Progress(total=10, what="train", unit="step", done=6)
    told.advance()  # within the first 30 s: no line
    monkeypatch.setattr(progress, "PLAIN_LINE_EVERY_S", 0.0)
    told.advance(2, note="val_auc 0.7")
    told.end()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("train: 9/10 step (")
    assert lines[0].endswith("; val_auc 0.7")
    assert lines[1].startswith("train: 9/10 step in")


def test_a_text_that_a_spreadsheet_would_compute_is_kept_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress.say_once.cache_clear()
    ids = ["P1", "=cmd|' /C calc'!A0", "@SUM(1)"]
    table = pd.DataFrame(
        {
            "patient_id": ids,
            "plus": ["-5", "+1.5e-3", "-"],
            "limit": ["-Inf", "+inf", "-Infinity"],
            "note": ["+1+2", "a", "b"],
            "x": [-1.0, 2, 3],
        }
    )
    write_csv(tmp_path / "p.csv", table)
    assert list(pd.read_csv(tmp_path / "p.csv", dtype=str)["patient_id"]) == ids
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" begins like a formula")[0] for line in lines] == [
        "p.csv: patient_id \"=cmd|' /C calc'!A0\"",
        "p.csv: note '+1+2'",
    ]


def test_a_path_that_no_disk_can_have_is_known_before_the_disk_is_asked(tmp_path: Path) -> None:
    for path, may_be in {
        "a" * 255: True,
        "a" * 256: False,
        "ä" * 128: False,
        "a/" * 2100: False,
        "b/" * 1900: True,
    }.items():
        assert nameable(path) is may_be
        if not may_be:
            with pytest.raises(OSError, match="too long"):
                (tmp_path / path).stat()
