"""A scrubbed copy predicts bit for bit as its run, and no byte of it tells whose run it was."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from mammo_aln.cli import main
from mammo_aln.inference.predict import predict_cohort
from mammo_aln.training.train import train_run
from tests.support.full_disk import room_for
from tests.support.tiny_settings import tiny_settings


@pytest.fixture(scope="module")
def run(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(phantom, tmp_path_factory.mktemp("runs"), tiny_settings(), store=store)


def contents(folder: Path) -> Iterator[bytes]:
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            yield content
            if content[:2] == b"PK":
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    yield from (archive.read(name) for name in archive.namelist())


def test_the_copy_scores_as_the_run_and_tells_nobody(
    run: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scrub", str(run), "--out", str(tmp_path / "copy")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'copy'}\n"
    tables = []
    for model in (run, tmp_path / "copy"):
        out = tmp_path / f"{len(tables)}.csv"
        predict_cohort(
            model, phantom, out, split="external_test", store=store, ledger=tmp_path / f"ledger_{len(tables)}"
        )
        tables.append(pd.read_csv(out, dtype=str))
    pd.testing.assert_frame_equal(*tables)
    assert "cannot be known" in json.loads((tmp_path / "1.json").read_text())["warnings"][0]
    learnt = pd.read_csv(run / "predictions.csv", dtype=str)
    hashes = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["mammo_aln"]["trained_on"][0]
    names = {*learnt["patient_id"], *learnt["center"], *hashes["patients"], *hashes["files"], str(phantom.parent)}
    day = json.loads((run / "state.json").read_text())["started"][:10]
    for content in contents(tmp_path / "copy"):
        assert not {
            name for name in {*names, day} if re.search(rb"(?<!\w)%b(?!\w)" % re.escape(name.encode()), content)
        }


def test_each_file_is_listed_with_whom_it_names(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "notes.txt").write_text("/home/erika/study, seen 2019-03-17 by A0002")
    try:
        assert main(["scrub", str(run)]) == 0
    finally:
        (run / "notes.txt").unlink()
    lines = capsys.readouterr().out.splitlines()
    learnt = pd.read_csv(run / "predictions.csv", dtype=str)
    told = {line.partition(":")[0]: line for line in lines if not line.startswith(" ")}
    assert {path.name for path in run.iterdir() if path.is_file()} <= told.keys()
    assert (
        f"holds {learnt['patient_id'].nunique()} patients, {learnt['center'].nunique()} centres"
        in told["predictions.csv"]
    )
    assert "1 patients" in told["notes.txt"]
    assert "/home/erika/study" in told["notes.txt"]
    assert "2019-03-17" in told["notes.txt"]
    assert "holds" not in told["checkpoints/best.ckpt"]


def test_what_would_name_somebody_is_not_copied(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = (run / "recipe.json").read_text()
    (run / "recipe.json").write_text(recipe.replace("{", '{"note": "/home/erika/study",', 1))
    try:
        assert main(["scrub", str(run), "--out", str(tmp_path / "copy")]) == 2
    finally:
        (run / "recipe.json").write_text(recipe)
    assert "recipe.json: 1 paths (/home/erika/study)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["environment.json", "predictions.json", "config.yaml"])
def test_a_file_of_another_make_is_refused_in_words(
    name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run / name
    content = file.read_text()
    file.write_text('{"model": 3, "inputs": 3, "identity": 3}')
    try:
        assert main(["scrub", str(run), "--out", str(tmp_path / "copy")]) == 2
    finally:
        file.write_text(content)
    said = capsys.readouterr().err
    assert name in said
    assert "fault of mammo-aln" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_in_words(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with room_for(20_000):
        assert main(["scrub", str(run), "--out", str(tmp_path / "copy")]) == 2
    assert "raise that limit (ulimit -f), then the same command goes on" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_copy_is_not_averaged_with_other_runs(
    run: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scrub", str(run), "--out", str(tmp_path / "copy")]) == 0
    words = ["predict", "--run", str(run), "--run", str(tmp_path / "copy"), "--cohort", str(phantom)]
    assert main([*words, "--store", str(store), "--split", "val", "--out", str(tmp_path / "out.csv")]) == 2
    assert "scrubbed" in capsys.readouterr().err
