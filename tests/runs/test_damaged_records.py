"""Records of a run that were cut off, emptied or replaced are one message that names the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mammo_aln.errors import InputError
from mammo_aln.files import read_object, write_json
from mammo_aln.runs.record import read_state, write_state
from mammo_aln.runs.seal import frozen_digests
from mammo_aln.training.prediction_facts import PredictionFacts

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda whole: whole[: len(whole) // 2],
    "nothing": lambda _: b"",
    "a list": lambda _: b"[1]",
    "brackets": lambda _: b"[" * 200_000,
    "no text": lambda _: bytes(range(128, 256)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_named(damage: str, tmp_path: Path) -> None:
    write_state(tmp_path, "completed", run_id="a")
    write_json(tmp_path / "predictions.json", {"threshold": {"value": 0.5}, "calibration": {}, "cohort_flow": []})
    for name in ("state.json", "predictions.json"):
        file = tmp_path / name
        assert read_object(file)
        file.write_bytes(DAMAGE[damage](file.read_bytes()))
    for name, read in (
        ("state", lambda: read_state(tmp_path)),
        ("predictions", lambda: frozen_digests(tmp_path)),
        ("predictions", lambda: PredictionFacts.read(tmp_path / "predictions.csv")),
    ):
        with pytest.raises(InputError, match=rf"{name}\.json: .*bring it back from a copy"):
            read()


def test_a_record_that_is_a_pipe_or_lacks_a_fact_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match="not a pipe"):
        read_object(tmp_path / "pipe.json")
    write_json(tmp_path / "predictions.json", {"threshold": 0.5})
    with pytest.raises(InputError, match=r"predictions\.json: 'cohort_flow': expected the facts"):
        PredictionFacts.read(tmp_path / "predictions.csv")
