"""A training that goes on says what it is computed with now and was not before, whichever version recorded that."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammo_aln.files import write_json
from mammo_aln.training.checkpoints import LAST
from mammo_aln.training.last_digits import arithmetic_in_words, tell_other_arithmetic
from tests.support.tiny_settings import tiny_settings

NOW = ["torch 2.9", "OMP_NUM_THREADS=4", "data.device_gb=1.0 (crops changed by loaders)", "trainer.compile=false"]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (NOW, ""),
        (["torch 2.9", "OMP_NUM_THREADS=4", "data.device_gb=0.0 (crops changed by loaders)", NOW[3]], ""),
        (["torch 2.8", *NOW[1:]], "goes on with torch 2.9, where it had torch 2.8"),
        (NOW[:3], "goes on with trainer.compile=false, where it had no word on that"),
        ([*NOW, "matmul=highest"], "goes on with no word on that, where it had matmul=highest"),
        ([*NOW[2:], "torch 2.8"], "with torch 2.9, OMP_NUM_THREADS=4, where it had torch 2.8"),
        ([], "where it had no word on that"),
        ({"torch": "2.9"}, "another version recorded its arithmetic in another form"),
        ([["torch", "2.9"]], "another version recorded its arithmetic in another form"),
        ("torch 2.9", "another version recorded its arithmetic in another form"),
    ],
)
def test_what_is_computed_otherwise_is_told(
    before: object, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "0123"
    write_json(run / "environment.json", {"arithmetic": before})
    tell_other_arithmetic(run, NOW)
    assert capsys.readouterr().err == ""  # nothing was trained that could differ
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / LAST).touch()
    tell_other_arithmetic(run, NOW)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == bool(expected)
    assert expected in "".join(lines)


def test_no_two_words_of_one_training_are_of_one_kind() -> None:
    """Else a change could hide behind the other."""
    words = arithmetic_in_words(tiny_settings())
    assert len(set(words)) == len(words)
