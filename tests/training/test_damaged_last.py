"""A `last.ckpt` that was cut off: the training begins anew by itself, a completed run does without it; both say so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mammo_aln.training.checkpoints import drop_damaged

NAMES = ("last.ckpt", "best.ckpt", "next_best.ckpt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in NAMES:
        torch.save({"epoch": 1, "weights": torch.arange(1000.0)}, folder / name)
    return folder


@pytest.mark.parametrize("kept_bytes", [0, 100, 700])
def test_a_cut_checkpoint_goes_and_the_rest_is_said(
    kept_bytes: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = folder / "last.ckpt"
    last.write_bytes(last.read_bytes()[:kept_bytes])
    drop_damaged(folder.parent, completed=True)
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "next_best.ckpt"]
    assert "a completed run does without it" in capsys.readouterr().err
    last.write_bytes(b"")
    drop_damaged(folder.parent, completed=False)
    assert list(folder.iterdir()) == []
    assert "last.ckpt: damaged or cut short" in (error := capsys.readouterr().err)
    assert "the training begins anew" in error


def test_whole_checkpoints_stay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drop_damaged(folder.parent, completed=False)
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    assert capsys.readouterr().err == ""
