"""Files that cannot be written are told in words; long work is told in lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammo_aln import progress
from mammo_aln.errors import InputError
from mammo_aln.files import make_folder, write_text, written_whole
from mammo_aln.progress import Progress, track


def test_a_file_where_a_folder_should_be_is_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(InputError, match="taken"):
        write_text(tmp_path / "taken" / "metrics.json", "{}")


@pytest.mark.parametrize("name", ["x" * 300, "taken/runs"])
def test_a_folder_that_cannot_be_is_wrong_input(name: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(InputError, match="this folder cannot be created"):
        make_folder(tmp_path / name)


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
