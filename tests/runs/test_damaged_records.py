"""Records of a run that were cut off, emptied or replaced are one message that names the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mammo_aln.errors import InputError
from mammo_aln.evaluation.people import Development
from mammo_aln.files import read_object, read_own_table, write_json
from mammo_aln.runs.lineage import read_lineage
from mammo_aln.runs.listing import listed_runs
from mammo_aln.runs.names import run_named
from mammo_aln.runs.record import read_state, write_settings, write_state
from mammo_aln.runs.seal import frozen_digests
from mammo_aln.settings import Settings
from mammo_aln.training.prediction_facts import PredictionFacts
from mammo_aln.training.trackers.outcome import read_rows

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


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["state.json", "lineage.json", "baseline.json", "metrics.csv"])
def test_whoever_reads_a_damaged_record_names_it(name: str, damage: str, tmp_path: Path) -> None:
    write_settings(tmp_path, Settings())
    write_state(tmp_path, "completed", run_id="a", name="mine")
    write_json(tmp_path / "lineage.json", [])
    write_json(tmp_path / "baseline.json", {"by_split": {}, "by_center": {}})
    (tmp_path / "metrics.csv").write_text("epoch,val_auc\n0,0.5\n")
    assert listed_runs(tmp_path)[0].val_auc == 0.5
    (tmp_path / name).write_bytes(DAMAGE[damage]((tmp_path / name).read_bytes()))
    for read in (listed_runs, read_lineage, Development.read, read_rows, lambda run: run_named(run.parent, "mine")):
        try:
            read(tmp_path)
        except InputError as error:
            assert str(tmp_path) in str(error)  # noqa: PT017 - most readers read another file, and are content


@pytest.mark.parametrize("text", ["", "epoch,val_auc\n0,=cmd\n", "epoch\n0\n", 'epoch,val_auc\n0,"0.5\n', "a\0b"])
def test_a_damaged_table_of_ours_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(InputError, match=r"metrics\.csv: not the table that was written there"):
        read_own_table(tmp_path / "metrics.csv", "val_auc")


def test_an_object_that_lacks_a_name_says_so(tmp_path: Path) -> None:
    write_json(tmp_path / "job.json", {"cell": "a"})
    with pytest.raises(InputError, match="holds no job; damaged"):
        read_object(tmp_path / "job.json", "job", "cell")
    (tmp_path / "metrics.csv").write_text("epoch\n0\n")
    with pytest.raises(InputError, match="not the table"):
        read_own_table(tmp_path / "metrics.csv", "*", "val_auc")
