"""A frozen run scores other patients, and other cohorts, without being changed by them."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.inference.opened import _refuse_other_pixels
from mammo_aln.inference.predict import predict_cohort, scored_here
from mammo_aln.progress import say_once
from mammo_aln.runs.ledger import LEDGER
from mammo_aln.runs.record import write_settings
from mammo_aln.settings import TrainerConfig
from mammo_aln.training.train import train_run
from tests.support.other_centre import external, other_centre
from tests.support.run_folders import linked_copy
from tests.support.tiny_settings import tiny_settings


@pytest.fixture(scope="module")
def run(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(phantom, tmp_path_factory.mktemp("runs"), tiny_settings(), store=store)


def test_one_row_per_patient_of_the_split(run: Path, phantom: Path, store: Path, tmp_path: Path) -> None:
    out = predict_cohort(run, phantom, tmp_path / "external.csv", split="external_test", store=store)
    table = pd.read_csv(out, dtype={"patient_id": str, "run_id": str})
    assert list(table)[:1] == ["run_id"]
    patients = pd.read_csv(phantom / "patients.csv", dtype=str)
    expected = patients[patients["split"] == "external_test"]
    assert sorted(table["patient_id"]) == sorted(expected["patient_id"])
    assert set(table["center"]) == set(expected["center"])
    about = json.loads(out.with_suffix(".json").read_text())
    frozen = json.loads((run / "predictions.json").read_text())
    assert about["threshold"] == frozen["threshold"]
    assert about["calibration"] == frozen["calibration"]
    assert about["cohort_flow"][-1]["n"] == len(table)


def test_scoring_validation_again_gives_the_runs_own_numbers(
    run: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    again = pd.read_csv(predict_cohort(run, phantom, tmp_path / "val.csv", split="val", store=store))
    own = pd.read_csv(run / "predictions.csv").query("split == 'val'")
    assert np.allclose(again["logit"], own["logit"], atol=1e-5)


def test_a_cohort_without_split_or_labels_reads_as_external_test(
    run: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    cohort = linked_copy(phantom, tmp_path / "other")
    table = external(phantom).head(6).drop(columns="side")
    table["aln_status"] = ""
    table.to_csv(cohort / "patients.csv", index=False)
    keep = set(table["patient_id"])
    images = pd.read_csv(cohort / "images.csv", dtype=str)
    images = images[images["patient_id"].isin(keep)]
    images.to_csv(cohort / "images.csv", index=False)
    regions = pd.read_csv(cohort / "regions.csv", dtype=str)
    regions[regions["image_id"].isin(images["image_id"])].to_csv(cohort / "regions.csv", index=False)
    scored = pd.read_csv(predict_cohort(run, cohort, tmp_path / "p.csv", store=store))
    assert len(scored) == 6
    columns = ["run_id", "patient_id", "center", "split", "aln_status", "score", "logit", "call", "inputs_seen"]
    assert list(scored) == columns
    assert set(scored["split"]) == {"external_test"}
    assert scored["aln_status"].isna().all()
    assert scored["score"].between(0, 1).all()


def test_patients_without_a_view_or_without_the_axilla_are_scored(
    run: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    cohort = linked_copy(phantom, tmp_path / "other")
    images = pd.read_csv(cohort / "images.csv", dtype=str)
    images = images[images["view"] == "CC"]
    images.to_csv(cohort / "images.csv", index=False)
    regions = pd.read_csv(cohort / "regions.csv", dtype=str)
    regions[regions["image_id"].isin(images["image_id"])].to_csv(cohort / "regions.csv", index=False)
    whole = pd.read_csv(predict_cohort(run, phantom, tmp_path / "whole.csv", split="external_test", store=store))
    with pytest.raises(InputError, match=r"12 of 12 patients are scored without a crop of axilla.*\n.*--allow_missing"):
        predict_cohort(run, cohort, tmp_path / "fewer.csv", split="external_test", store=store)
    assert not (tmp_path / "fewer.csv").exists()
    out = predict_cohort(run, cohort, tmp_path / "fewer.csv", split="external_test", store=store, allow_missing=True)
    fewer = pd.read_csv(out)
    assert len(fewer) == len(whole)
    assert np.isfinite(fewer["logit"]).all()
    assert not np.allclose(fewer["logit"], whole["logit"])


def test_openings_of_the_labelled_test_are_counted_and_printed(
    run: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    cohort = linked_copy(phantom, tmp_path / "sealed")
    (cohort / LEDGER).unlink(missing_ok=True)
    run = Path(shutil.copytree(run, tmp_path / "runs" / run.name))
    (run / LEDGER).unlink(missing_ok=True)
    n = int((pd.read_csv(cohort / "patients.csv")["split"] == "external_test").sum())
    told = []
    for name in ("one", "two"):
        out = predict_cohort(run, cohort, tmp_path / f"{name}.csv", split="external_test", store=store)
        told.append(json.loads(out.with_suffix(".json").read_text())["splits"]["external_test"])
    assert [found["opened"] for found in told] == [1, 2]
    assert told[0]["n_labelled"] == n
    predict_cohort(run, cohort, tmp_path / "val.csv", split="val", store=store)
    assert len((cohort / LEDGER).read_text().splitlines()) == 2
    assert main(["evaluate", str(tmp_path / "two.csv"), "--out", str(tmp_path / "e"), "--resamples=20"]) == 0
    page = (tmp_path / "e" / "report.html").read_text()
    assert "external test has been opened 2 times" in page
    assert "no other run had opened it before, this run once. It belongs to no plan declared beforehand" in page


def test_a_run_changed_since_its_training_is_refused(run: Path, phantom: Path, store: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(run, tmp_path / run.name)
    weights = torch.load(changed / "checkpoints" / "best.ckpt", weights_only=True)
    weights["state_dict"] = {name: value * 1.01 for name, value in weights["state_dict"].items()}
    torch.save(weights, changed / "checkpoints" / "best.ckpt")
    with pytest.raises(InputError, match="weights changed after the training ended"):
        predict_cohort(changed, phantom, tmp_path / "q.csv", split="val", store=store)
    assert not (tmp_path / "q.csv").exists()


def test_no_scores_are_written_where_the_opening_cannot_be_recorded(
    run: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="cannot be recorded there"):
        predict_cohort(
            run, phantom, tmp_path / "p.csv", split="external_test", store=store, ledger=tmp_path / "no" / "l.jsonl"
        )
    assert not (tmp_path / "p.csv").exists()


def test_unfinished_runs_and_absent_splits_are_refused(run: Path, phantom: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, expected in [
        (tmp_path / "empty", r"not a run directory.*empty holds no run"),
        (run.parent, rf"not a run directory.* holds: {run.name}"),
        (run.parent / "nosuch", rf"nosuch: no such run; .* holds: {run.name}"),
        (run / "checkpoints" / "best.ckpt", rf"best.ckpt: a file; expected the run directory, {run}$"),
    ]:
        with pytest.raises(InputError, match=expected):
            predict_cohort(path, phantom, tmp_path / "p.csv")
    cohort = linked_copy(phantom, tmp_path / "other")
    table = pd.read_csv(cohort / "patients.csv", dtype=str)
    table[table["split"] != "external_test"].to_csv(cohort / "patients.csv", index=False)
    with pytest.raises(InputError, match=r"external_test|patient"):
        predict_cohort(run, cohort, tmp_path / "p.csv", split="external_test", store=store)
    assert not (tmp_path / "p.csv").exists()


def test_a_whole_cohort_is_scored_and_judged_together_with_its_run(
    run: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    out = predict_cohort(run, phantom, tmp_path / "all.csv", store=store)
    assert main(["evaluate", str(out), "--run", str(run), "--out", str(tmp_path / "e"), "--resamples=20"]) == 0
    judged = json.loads((tmp_path / "e" / "metrics.json").read_text())["splits"]
    counted = pd.read_csv(phantom / "patients.csv")["split"].value_counts().to_dict()
    assert {name: found["n"]["value"] for name, found in judged.items()} == counted


def test_a_fold_validates_its_own_patients_and_scores_them_again_as_such(
    phantom: Path, store: Path, tmp_path: Path
) -> None:
    settings = tiny_settings()
    runs = [
        train_run(
            phantom, tmp_path / "r", replace(settings, data=replace(settings.data, folds=2, fold=fold)), store=store
        )
        for fold in (0, 1)
    ]
    own = [
        pd.read_csv(run / "predictions.csv", dtype={"patient_id": str, "run_id": str}).query("split == 'val'")
        for run in runs
    ]
    patients = pd.read_csv(phantom / "patients.csv", dtype=str)
    dealt = patients.loc[patients["split"].isin(["train", "val"]), "patient_id"]
    assert sorted([*own[0]["patient_id"], *own[1]["patient_id"]]) == sorted(dealt)
    again = pd.read_csv(predict_cohort(runs[1], phantom, tmp_path / "v.csv", split="val", store=store), dtype=str)
    assert sorted(again["patient_id"]) == sorted(own[1]["patient_id"])
    # Another cohort's split column means what it says.
    changed = external(phantom)
    changed["split"] = ["train", "val"] * (len(changed) // 2)
    other = other_centre(phantom, tmp_path / "other", changed)
    scored = pd.read_csv(predict_cohort(runs[1], other, tmp_path / "o.csv", store=store), dtype=str)
    assert scored["split"].value_counts().to_dict() == changed["split"].value_counts().to_dict()


def test_a_run_of_a_gpu_machine_is_scored_without_one(
    run: Path, phantom: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny_settings()
    gpu = replace(settings, trainer=replace(settings.trainer, accelerator="gpu", devices=4, precision="16-mixed"))
    moved = shutil.copytree(run, tmp_path / run.name)
    write_settings(moved, gpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    scored = pd.read_csv(predict_cohort(moved, phantom, tmp_path / "p.csv", split="val", store=store))
    own = pd.read_csv(run / "predictions.csv").query("split == 'val'")
    assert np.allclose(scored["logit"], own["logit"], atol=1e-5)


@pytest.mark.parametrize(
    ("trained", "card", "expected", "words"),
    [
        ("16-mixed", None, "32-true", "trained in 16-mixed, which this machine does not compute: scored in 32-true"),
        ("bf16-mixed", None, "bf16-mixed", ""),
        ("bf16-mixed", (7, 5), "32-true", "trained in bf16-mixed, which this machine"),
        ("bf16-mixed", (9, 0), "bf16-mixed", ""),
        ("16-mixed", (7, 5), "16-mixed", ""),
        ("32-true", (9, 0), "32-true", ""),
    ],
)
def test_arithmetic_that_this_machine_lacks_is_told_when_it_scores(
    trained, card, expected: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card is not None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(card is not None))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: card)
    say_once.cache_clear()
    assert scored_here(TrainerConfig(precision=trained, accelerator="gpu", devices=4)).precision == expected
    scored_here(TrainerConfig(precision=trained, accelerator="gpu", devices=4))
    told = capsys.readouterr().err
    assert told.count("\n") == bool(words)
    assert told.startswith(words)


@pytest.mark.parametrize("name", ["p.json", "folder"])
def test_predictions_need_a_name_of_their_own(name: str, run: Path, phantom: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=name):
        predict_cohort(run, phantom, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_last_line_of_standard_output_is_the_path_alone(
    run: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.csv"
    words = [
        "predict",
        "--run",
        str(run),
        "--cohort",
        str(phantom),
        "--store",
        str(store),
        "--split",
        "val",
        "--out",
        str(out),
    ]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{out}\n"


def test_the_readme_trains_in_a_users_own_trainer(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    small = ', backbone_args={"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]}'
    code = block.replace('"COHORT"', repr(str(phantom))).replace('backbone="resnet50"', f'backbone="resnet50"{small}')
    code = code.replace('crop="fixed_5cm"', 'crop=CropConfig(strategy="fixed_5cm", size_px=64)')
    code = code.replace("max_epochs=1", 'max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False')
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec("from mammo_aln.settings import CropConfig\n" + code, scope)
    assert scope["model"].trainer.current_epoch == 1


def test_a_compiled_run_is_scored_without_a_compiler_and_that_is_said(monkeypatch, capsys):
    monkeypatch.setattr("mammo_aln.machine.hardware.which", lambda name: None)
    trainer = TrainerConfig(accelerator="cpu", compile=True)
    assert scored_here(trainer) == replace(trainer, compile=False)
    assert "C++ compiler" in capsys.readouterr().err


@pytest.mark.parametrize(("version", "copies", "scores"), [(3, 0, True), (3, 2, False), (4, 2, True), (2, 0, False)])
def test_a_run_of_older_crops_scores_where_the_pixels_that_it_reads_are_the_same(
    tmp_path: Path, version: int, copies: int, scores: bool
) -> None:
    """Version 4 keeps what lies around a crop, which test-time copies show, and leaves the crop as 3 cut it."""
    record = {"package_version": "0.1.0", "code_revision": "0123abc"}
    (tmp_path / "environment.json").write_text(json.dumps(record))
    subject = "test-time copies of crops" if version == 3 else "pixels"
    words = rf"{subject} were made by pixel path {version}, .* is 4; .*trained it \(version 0\.1\.0, 0123abc\)"
    with nullcontext() if scores else pytest.raises(InputError, match=words):
        _refuse_other_pixels(tmp_path, {"pixel_path_version": version}, copies)
