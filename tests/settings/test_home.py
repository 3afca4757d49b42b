"""Paths that begin with a tilde: a home folder where a shell would mean it, a name where `./` says so."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.settings.parse import parse
from tests.support.crop_cohort import small_cohort


def placed(out: Path, also: list[Path] | None = None) -> None:
    """Take two settings that are paths."""


@pytest.mark.parametrize(
    ("word", "path"),
    [
        ("--out=~/a", "{home}/a"),
        ("--out=./~/a", "{here}/~/a"),
        ("--out=.//~a", "{here}/~a"),
        ("--out=a/~/b", "a/~/b"),
        ("--out=~", "{home}"),
    ],
)
def test_a_tilde_is_a_home_folder_but_for_a_name_that_is_said_to_lie_here(
    word: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    expected = Path(path.format(home=home, here=here))
    for words in ([word], word.split("=")):
        assert parse(placed, "place", "", words) == {"out": expected, "also": None}
    assert parse(placed, "place", "", ["--out=x", f"--also={word[6:]}"])["also"] == [expected]


def test_a_verb_reads_and_writes_below_a_folder_that_is_named_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    small_cohort(tmp_path / "~", 40)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    assert main(["split", "./~", "--val_share", "0.3"]) == 0, capsys.readouterr().err
    assert set(pd.read_csv(tmp_path / "~/patients.csv")["split"]) >= {"train", "val"}
    assert not home.exists()
