"""A scrubbed copy predicts bit for bit as its run, and no byte of it tells whose run it was."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

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


@pytest.fixture
def edited(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / run.name))


def rewrite(file: Path, change: Callable[[Any], Any]) -> None:
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


@pytest.mark.parametrize("content", [{"crop": {"size_mm": 70.0}}, {"note": "Dr. Nachname"}, None])
def test_a_recipe_that_was_edited_is_refused_by_all_that_read_the_run(
    content: dict[str, object] | None, edited: Path, phantom: Path, store: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if content is None:
        (edited / "recipe.json").write_bytes(b"\x8b\x00" * 99)
    else:
        rewrite(edited / "recipe.json", lambda recipe: recipe | content)
    predict = ["predict", "--run", str(edited), "--cohort", str(phantom), "--store", str(store)]
    for words in (
        [*predict, "--out", str(tmp_path / "p.csv")],
        ["scrub", str(edited), "--out", str(tmp_path / "copy")],
    ):
        assert main([*words]) == 2
        assert "recipe.json" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [edited.name]


def test_a_lineage_that_was_edited_is_no_lineage_of_the_weights(
    edited: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (edited / "lineage.json").read_text()
    rewrite(edited / "lineage.json", lambda sources: [sources[0] | {"name": "Dr. Nachname", "note": "Dr. Nachname"}])
    words = ["predict", "--run", str(edited), "--cohort", str(phantom), "--store", str(store)]
    assert main([*words, "--out", str(tmp_path / "p.csv")]) == 2
    assert "lineage.json (best.ckpt holds another)" in capsys.readouterr().err
    assert main(["scrub", str(edited), "--out", str(tmp_path / "copy")]) == 0
    assert (tmp_path / "copy" / "lineage.json").read_text() == before


@pytest.mark.parametrize("file", ["environment.json", "predictions.json", "config.yaml", "predictions.csv"])
def test_what_a_version_does_not_know_is_not_copied(file: str, edited: Path, tmp_path: Path) -> None:
    note = {"note": "Nachname"}
    if file == "predictions.csv":
        pd.read_csv(edited / file, dtype=str).assign(Nachname="1").to_csv(edited / file, index=False)
    elif file == "config.yaml":
        plain = yaml.safe_load((edited / file).read_text())
        (edited / file).write_text(yaml.safe_dump(plain | {"log": plain["log"] | {"project": "Nachname"}}))
    elif file == "environment.json":
        rewrite(edited / file, lambda plain: plain | note | {"identity": plain["identity"] | note})
        rewrite(edited / file, lambda plain: plain | {"packages": plain["packages"] | note})
    else:
        rewrite(edited / file, lambda plain: plain | note | {"settings": plain["settings"] | note})
        rewrite(edited / file, lambda plain: plain | {"inputs": plain["inputs"] | note})
    assert main(["scrub", str(edited), "--out", str(tmp_path / "copy")]) == 0
    assert not [content for content in contents(tmp_path / "copy") if b"Nachname" in content]


@pytest.mark.parametrize(
    ("file", "at"),
    [
        ("environment.json", ("python",)),
        ("environment.json", ("identity", "settings", "crop", "strategy")),
        ("predictions.json", ("settings", "model", "backbone")),
    ],
)
def test_a_text_that_no_training_writes_there_is_refused(
    file: str, at: tuple[str, ...], edited: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def plant(plain: dict[str, Any]) -> dict[str, Any]:
        inner = plain
        for name in at[:-1]:
            inner = inner[name]
        inner[at[-1]] = "Nachname"
        return plain

    rewrite(edited / file, plant)
    assert main(["scrub", str(edited), "--out", str(tmp_path / "copy")]) == 2
    assert f"{file}: not what a training writes there" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("file", ["config.yaml", "environment.json", "recipe.json", "predictions.json"])
def test_no_copy_is_made_of_a_run_with_a_pipe(
    file: str, edited: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (edited / file).unlink()
    os.mkfifo(edited / file)
    assert main(["scrub", str(edited), "--out", str(tmp_path / "copy")]) == 2
    assert file in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()


def test_a_copy_of_a_copy_predicts_too(run: Path, phantom: Path, store: Path, tmp_path: Path) -> None:
    assert main(["scrub", str(run), "--out", str(tmp_path / "copy")]) == 0
    assert main(["scrub", str(tmp_path / "copy"), "--out", str(tmp_path / "second")]) == 0
    for model in ("copy", "second"):
        words = ["predict", "--run", str(tmp_path / model), "--cohort", str(phantom), "--store", str(store)]
        assert main([*words, "--split", "external_test", "--out", str(tmp_path / f"{model}.csv")]) == 0
    assert (tmp_path / "copy.csv").read_bytes() == (tmp_path / "second.csv").read_bytes()


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
