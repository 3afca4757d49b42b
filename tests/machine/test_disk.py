"""`doctor --out`: the folder's disk, tried with real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammo_aln.cli import main
from mammo_aln.machine import locks
from mammo_aln.machine.disk import try_disk


@pytest.mark.parametrize("kind", ["posix", "lease"])
def test_locks_and_leases_bind_a_second_process_here(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(locks.VARIABLE, kind)
    trial = try_disk(tmp_path)
    assert trial.faults == ()
    assert trial.leases == (kind == "lease")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_on_which_two_processes_hold_one_file_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second process looks where the first one's lock is not: as on a mount with locks of each machine's own."""
    monkeypatch.setattr("mammo_aln.machine.disk.TAKE", "import sys; sys.exit(0)")
    assert try_disk(tmp_path).faults == ("a second process takes what this one holds",)


def test_doctor_says_which_of_both_a_disk_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mammo_aln.doctor.LOOKS", ())
    assert main(["doctor", "--out", str(tmp_path / "new")]) == 0
    assert "PASS" in capsys.readouterr().err
    monkeypatch.setenv(locks.VARIABLE, "lease")
    assert main(["doctor", "--out", str(tmp_path / "new")]) == 0
    assert "leases are used; a run whose machine crashed goes on elsewhere 120 s later" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["doctor", "--out", str(tmp_path / "file")]) == 1
    assert "FAIL" in capsys.readouterr().err
