"""Each room's docstring holds an example that runs."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from tests.support.run_folders import linked_copy

PACKAGE = Path(__file__).resolve().parents[2] / "mammo_aln"
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_the_rooms_example_runs(
    room: str, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"mammo_aln.{room}")
    (example,) = doctest.DocTestFinder(recurse=False).find(module, module.__name__, globs={})
    assert example.examples, f"mammo_aln/{room}/__init__.py has no example"
    linked_copy(phantom, tmp_path / "COHORT")
    (tmp_path / "COHORT" / "dicom").symlink_to(phantom / "dicom")
    monkeypatch.chdir(tmp_path)
    results = doctest.DocTestRunner().run(example)
    assert results.failed == 0, capsys.readouterr().out
