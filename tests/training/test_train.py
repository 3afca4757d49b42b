"""A training leaves a run that is whole, frozen, resumable, and blind to every test split."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics.discrimination import auc
from mammo_aln.model.backbones import Backbone
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.model.optim import learning_rate_factor
from mammo_aln.runs.epoch_scores import read_epoch_scores
from mammo_aln.runs.record import read_settings
from mammo_aln.settings import BACKBONES, STRATEGIES
from mammo_aln.training.callbacks import RunRecorder
from mammo_aln.training.train import train_run
from tests.support.processes import started
from tests.support.run_folders import linked_copy, same_run
from tests.support.tiny_settings import tiny_settings


@pytest.fixture(scope="module")
def three_epochs(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(phantom, tmp_path_factory.mktemp("runs"), tiny_settings(epochs=3), store=store)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_crop_trains_with_every_backbone(
    backbone: str, strategy: str, phantom: Path, store: Path, tmp_path: Path
) -> None:
    run = train_run(phantom, tmp_path, tiny_settings(backbone, strategy=strategy), store=store)
    assert json.loads((run / "state.json").read_text())["state"] == "completed"
    assert np.isfinite(pd.read_csv(run / "metrics.csv")["train_loss"]).all()


def test_a_run_holds_what_the_readme_says(three_epochs: Path, phantom: Path) -> None:
    names = {path.name for path in three_epochs.iterdir()}
    expected = {"config.yaml", "environment.json", "recipe.json", "metrics.csv", "predictions.csv", "predictions.json"}
    assert expected | {"state.json", "checkpoints", "exclusions.csv"} <= names
    assert len(pd.read_csv(three_epochs / "metrics.csv")) == 3
    table = pd.read_csv(three_epochs / "predictions.csv", dtype={"patient_id": str, "run_id": str})
    patients = pd.read_csv(phantom / "patients.csv", dtype=str)
    expected_ids = patients.loc[patients["split"].isin(["train", "val"]), "patient_id"]
    assert sorted(table["patient_id"]) == sorted(expected_ids)
    assert set(table["run_id"]) == {three_epochs.name}


def test_scores_by_epoch_are_those_that_the_metrics_and_the_predictions_tell_of(three_epochs: Path) -> None:
    scores = read_epoch_scores(three_epochs)
    metrics = pd.read_csv(three_epochs / "metrics.csv")
    assert [auc(row, scores.labels) for row in scores.logits] == pytest.approx(metrics["val_auc"].tolist(), abs=1e-6)
    table = pd.read_csv(three_epochs / "predictions.csv")
    table = table[table["split"] == "val"]
    assert np.array_equal(table["aln_status"] == 1, scores.labels)
    assert np.allclose(table["logit"], scores.logits[metrics["val_auc"].idxmax()], atol=1e-5)


def test_checkpoints_load_as_plain_data_and_name_no_patient(three_epochs: Path, phantom: Path) -> None:
    patient = pd.read_csv(phantom / "patients.csv", dtype=str)["patient_id"].iloc[0]
    for name in ("best.ckpt", "last.ckpt"):
        path = three_epochs / "checkpoints" / name
        assert torch.load(path, weights_only=True)["mammo_aln"]["run_id"] == three_epochs.name
        content = path.read_bytes()
        assert patient.encode() not in content
        assert str(phantom).encode() not in content


def test_best_holds_the_averaged_network_alone_and_last_no_moments(three_epochs: Path) -> None:
    files = [three_epochs / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")]
    best, last = (torch.load(file, weights_only=True) for file in files)
    names = [name for name in last["state_dict"] if name.startswith("average.network.")]
    assert list(best["state_dict"]) == names
    assert not {"optimizer_states", "lr_schedulers"} & (best.keys() | last.keys())
    values = sum(value.nbytes for value in best["state_dict"].values())
    assert files[0].stat().st_size < 1.5 * values + 200_000
    table = pd.read_csv(three_epochs / "metrics.csv")
    assert best["epoch"] == int(table["val_auc"].idxmax())
    loaded = AxillaryClassifier.load(files[0])
    assert loaded.average is None
    network = loaded.network.state_dict()
    assert all(torch.equal(network[name.removeprefix("average.network.")], best["state_dict"][name]) for name in names)


def test_the_optimiser_stays_in_a_finished_run_on_request_and_is_no_other_run(
    three_epochs: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    plain = tiny_settings(epochs=3)
    run = train_run(phantom, tmp_path, replace(plain, trainer=replace(plain.trainer, keep_optimiser=True)), store=store)
    assert run.name == three_epochs.name
    assert (run / "predictions.csv").read_bytes() == (three_epochs / "predictions.csv").read_bytes()
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    moments = last["optimizer_states"][0]["state"].values()
    assert {int(each["step"]) for each in moments} == {last["global_step"]}
    assert all(each["exp_avg_sq"].isfinite().all() for each in moments)
    both = replace(plain, trainer=replace(plain.trainer, keep_optimiser=True, prune=True))
    with pytest.raises(InputError, match=r"trainer\.keep_optimiser = true: it is kept in last\.ckpt"):
        train_run(phantom, tmp_path / "both", both, store=store)


def test_a_run_that_is_pruned_predicts_and_is_not_trained_again(
    three_epochs: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    plain = tiny_settings(epochs=3)
    pruned = replace(plain, trainer=replace(plain.trainer, prune=True))
    run = train_run(phantom, tmp_path, pruned, store=store)
    assert run.name == three_epochs.name
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["best.ckpt"]
    assert (run / "predictions.csv").read_bytes() == (three_epochs / "predictions.csv").read_bytes()
    shutil.copy(three_epochs / "checkpoints" / "last.ckpt", run / "checkpoints")  # asked for later
    assert train_run(phantom, tmp_path, pruned, store=store) == run
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["best.ckpt"]


def test_threshold_and_calibration_come_from_validation_alone(three_epochs: Path) -> None:
    about = json.loads((three_epochs / "predictions.json").read_text())
    table = pd.read_csv(three_epochs / "predictions.csv")
    val = table[table["split"] == "val"]
    assert about["threshold"]["split"] == about["calibration"]["split"] == "val"
    cuts = np.sort(val["score"].unique())
    cuts = np.concatenate([[-np.inf], (cuts[1:] + cuts[:-1]) / 2, [np.inf]])
    positive = val["aln_status"] == 1
    youden = [
        ((val["score"] >= cut) & positive).sum() / positive.sum()
        + ((val["score"] < cut) & ~positive).sum() / (~positive).sum()
        for cut in cuts
    ]
    best = cuts[np.flatnonzero(np.isclose(youden, np.max(youden)))]
    assert np.isclose(best, float(about["threshold"]["value"])).any()
    temperature = about["calibration"]["temperature"]
    assert np.allclose(table["score"], 1 / (1 + np.exp(-table["logit"] / temperature)))


def test_training_opens_no_test_image(phantom: Path, tmp_path: Path) -> None:
    """The test splits' files are gone: whoever touched one would fail."""
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    for table in [*phantom.glob("*.csv"), phantom / "cohort.yaml"]:
        shutil.copy(table, cohort)
    patients = pd.read_csv(cohort / "patients.csv", dtype=str)
    images = pd.read_csv(cohort / "images.csv", dtype=str)
    kept = set(patients.loc[patients["split"].isin(["train", "val"]), "patient_id"])
    for row in images.itertuples():
        if row.patient_id in kept:
            (cohort / row.path).parent.mkdir(parents=True, exist_ok=True)
            os.link(phantom / row.path, cohort / row.path)
    run = train_run(cohort, tmp_path / "runs", tiny_settings())
    assert pd.read_csv(run / "exclusions.csv").query("reason.str.contains('not there|missing|No such')").empty


def test_a_finished_run_is_not_trained_again(three_epochs: Path, phantom: Path, store: Path) -> None:
    best = three_epochs / "checkpoints" / "best.ckpt"
    before = best.stat().st_mtime_ns
    assert train_run(phantom, three_epochs.parent, tiny_settings(epochs=3), store=store) == three_epochs
    assert best.stat().st_mtime_ns == before


def test_a_run_that_other_code_began_is_named_where_it_is_not_gone_on_with(
    three_epochs: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a run of a former version lies there: no version of its learning in its identity, nor this one's settings."""
    changes = {
        "older": {},
        "other_seed": {"seed": 7},
        "other_rate": {"optim": {"lr": 0.1}},
        "other_engine": {"data": {"augment_engine": "torchvision"}},
        "pretraining": {"pretrain": {}},
    }
    for name, changed in changes.items():
        other = shutil.copytree(three_epochs, tmp_path / name)
        record = json.loads((other / "environment.json").read_text())
        del record["identity"]["learning_version"]
        plain = record["identity"]["settings"]
        del plain["optim"]["unimodal_weight"]
        for key, value in changed.items():
            plain[key] = {**plain.get(key, {}), **value} if isinstance(value, dict) else value
        record["code_revision"] = "0123abc"
        (other / "environment.json").write_text(json.dumps(record))
    run = train_run(phantom, tmp_path, tiny_settings(epochs=3), store=store)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "begins anew" in line]
    assert line.startswith(f"run {run.name} begins anew: {tmp_path / 'older'} (version ")
    assert "0123abc) has the same settings and cohort" in line
    assert not any(name in line for name in list(changes)[1:])
    train_run(phantom, tmp_path, tiny_settings(epochs=3), store=store)
    assert "anew" not in capsys.readouterr().err


def test_a_changed_label_is_a_new_run_and_a_moved_cohort_is_not(
    three_epochs: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    moved = linked_copy(phantom, tmp_path / "moved")
    table = pd.read_csv(moved / "patients.csv", dtype=str)
    table.sample(frac=1, random_state=0).to_csv(moved / "patients.csv", index=False)
    runs = shutil.copytree(three_epochs.parent, tmp_path / "runs")
    assert train_run(moved, runs, tiny_settings(epochs=3), store=store).name == three_epochs.name
    first = table.index[table["split"] == "train"][0]
    table.loc[first, "aln_status"] = "0" if table.loc[first, "aln_status"] == "1" else "1"
    table.to_csv(moved / "patients.csv", index=False)
    assert train_run(moved, tmp_path / "other", tiny_settings(), store=store).name != three_epochs.name


def test_a_run_that_died_between_epochs_ends_as_if_it_had_not(
    three_epochs: Path, phantom: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = RunRecorder.on_train_epoch_end

    def die_after_second(self: RunRecorder, trainer, module) -> None:
        save(self, trainer, module)
        if trainer.current_epoch == 1:
            raise RuntimeError("power cut")

    monkeypatch.setattr(RunRecorder, "on_train_epoch_end", die_after_second)
    with pytest.raises(RuntimeError, match="power cut"):
        train_run(phantom, tmp_path, tiny_settings(epochs=3), store=store)
    monkeypatch.setattr(RunRecorder, "on_train_epoch_end", save)
    assert json.loads((tmp_path / three_epochs.name / "state.json").read_text())["state"] == "failed"
    resumed = train_run(phantom, tmp_path, tiny_settings(epochs=3), store=store)
    same_run(resumed, three_epochs)
    assert json.loads((resumed / "state.json").read_text())["attempts"] == 2


def test_kill_9_in_the_middle_of_an_epoch_loses_nothing(
    three_epochs: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(phantom), "--out", str(tmp_path), "--store", str(store)]
    words += ["--config", str(three_epochs / "config.yaml")]
    command = [sys.executable, "-m", "mammo_aln", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    last = tmp_path / three_epochs.name / "checkpoints" / "last.ckpt"
    while not last.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it had ended before"
    assert main(words) == 0
    assert capsys.readouterr().out == f"{last.parents[1]}\n"
    same_run(last.parents[1], three_epochs)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_training_that_is_stopped_says_so_and_keeps_others_off_while_it_runs(
    sent: signal.Signals, code: int, three_epochs: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "mammo_aln", "train", str(phantom), "--out", str(tmp_path), "--store", str(store)]
    words += ["--config", str(three_epochs / "config.yaml"), "--trainer.max_epochs=500"]
    process = started(words)
    while not (found := list(tmp_path.glob("*/checkpoints/last.ckpt"))) and process.poll() is None:
        time.sleep(0.02)
    run = found[0].parents[1]
    with pytest.raises(InputError, match=f"process {process.pid} on"):
        train_run(phantom, tmp_path, read_settings(run), store=store)
    assert json.loads((run / "state.json").read_text())["state"] == "running"
    process.send_signal(sent)
    out, told = process.communicate(timeout=120)
    assert process.returncode == code
    assert out == ""
    assert "stopped" in told.splitlines()[-1]
    assert json.loads((run / "state.json").read_text())["state"] == "stopped"


def test_wrong_settings_leave_no_run_behind(phantom: Path, store: Path, tmp_path: Path) -> None:
    tiny = tiny_settings()
    wrong = [
        (replace(tiny, model=replace(tiny.model, backbone="timm:nonsense")), "nonsense"),
        (replace(tiny, trainer=replace(tiny.trainer, accelerator="gpu", devices=99)), r"trainer\.devices=99"),
        (replace(tiny, trainer=replace(tiny.trainer, precision="16-mixed")), r"trainer\.precision"),
    ]
    for settings, message in wrong:
        with pytest.raises(InputError, match=message):
            train_run(phantom, tmp_path / "runs", settings, store=store)
    assert not (tmp_path / "runs").exists()
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken"):
        train_run(phantom, tmp_path / "taken", tiny, store=store)


def test_the_log_tells_of_steps_within_an_epoch(
    phantom: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mammo_aln.progress.PLAIN_LINE_EVERY_S", 0.0)
    train_run(phantom, tmp_path, tiny_settings(epochs=2), store=store)
    told = capsys.readouterr().err
    assert re.search(r"train: 1/\d+ step \(.* s left\)", told)
    assert re.search(r"train: \d+/\d+ step \(.* s left\); epoch 1/2: train_loss", told)
    assert "scoring val: 1/" in told


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda table: table.drop(columns="split"), "mammo-aln split"),
        (lambda table: table.assign(aln_status=table["aln_status"].where(table["split"] != "val", "1")), "'val'"),
        (lambda table: table.assign(split=table["split"].replace("val", "train")), "'val'"),
        (lambda table: table.assign(eligible="0"), "'train'"),
    ],
)
def test_a_cohort_that_cannot_be_learnt_from_is_refused_in_words(
    change, expected: str, phantom: Path, store: Path, tmp_path: Path
) -> None:
    cohort = linked_copy(phantom, tmp_path / "cohort")
    change(pd.read_csv(cohort / "patients.csv", dtype=str)).to_csv(cohort / "patients.csv", index=False)
    with pytest.raises(InputError, match=expected):
        train_run(cohort, tmp_path / "runs", tiny_settings(), store=store)
    assert not (tmp_path / "runs").exists()


def test_a_cpu_computes_the_same_run_deterministically(
    three_epochs: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    settings = read_settings(three_epochs)
    settings = replace(settings, trainer=replace(settings.trainer, deterministic=True))
    same_run(train_run(phantom, tmp_path, settings, store=store), three_epochs)
    assert not torch.are_deterministic_algorithms_enabled()


def test_focal_loss_and_drop_path_enter_a_run(phantom: Path, store: Path, tmp_path: Path) -> None:
    tiny = tiny_settings()
    ids = set()
    for optim in (tiny.optim, replace(tiny.optim, loss="focal"), replace(tiny.optim, loss="focal", focal_gamma=1.0)):
        settings = replace(tiny, optim=optim, model=replace(tiny.model, drop_path_rate=0.1))
        ids.add(train_run(phantom, tmp_path, settings, store=store).name)
    assert len(ids) == 3


def test_the_rate_in_metrics_is_the_one_that_the_settings_give(phantom: Path, store: Path, tmp_path: Path) -> None:
    """Not that of a loaded backbone's lowest layer."""
    tiny = tiny_settings(epochs=2)
    begun = Backbone(tiny.model.backbone, tiny.model.backbone_args, tiny.crop.size_px).body.state_dict()
    safetensors.torch.save_file(
        {name: weight.contiguous() for name, weight in begun.items()}, tmp_path / "begun.safetensors"
    )
    tiny = replace(tiny, model=replace(tiny.model, pretrained=str(tmp_path / "begun.safetensors")))
    run = train_run(phantom, tmp_path, replace(tiny, optim=replace(tiny.optim, layer_decay=0.1)), store=store)
    first, last = pd.read_csv(run / "metrics.csv").to_dict("records")
    share = learning_rate_factor(first["step"], total_steps=last["step"], warmup_fraction=tiny.optim.warmup_fraction)
    assert first["lr"] == pytest.approx(tiny.optim.lr * share) != 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_training_is_the_same_run(phantom: Path, store: Path, tmp_path: Path) -> None:
    tiny = tiny_settings(epochs=2)
    compiled = replace(tiny, trainer=replace(tiny.trainer, compile=True))
    plain = train_run(phantom, tmp_path / "plain", tiny, store=store)
    fast = train_run(phantom, tmp_path / "fast", compiled, store=store)
    assert fast.name == plain.name
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (plain, fast)]
    assert list(states[0]) == list(states[1])
    one, other = (pd.read_csv(run / "metrics.csv") for run in (plain, fast))
    assert np.allclose(one["train_loss"], other["train_loss"], atol=1e-3)


def test_training_average_and_prediction_are_compiled(
    phantom: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[torch.nn.Module] = []

    def noted(module: torch.nn.Module) -> None:
        compiled.append(module)
        module._compiled_call_impl = torch.compile(module._call_impl, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", noted)
    tiny = tiny_settings()
    train_run(phantom, tmp_path, replace(tiny, trainer=replace(tiny.trainer, compile=True)), store=store)
    # Two encoders each: the network that learns, its average, and what is read from the checkpoint for prediction.
    assert len(set(compiled)) == 6


def test_compiling_without_a_compiler_is_refused_before_any_work(
    phantom: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mammo_aln.machine.hardware.which", lambda name: None)
    tiny = tiny_settings()
    with pytest.raises(InputError, match=r"trainer\.compile"):
        train_run(phantom, tmp_path / "r", replace(tiny, trainer=replace(tiny.trainer, compile=True)), store=store)
    assert not (tmp_path / "r").exists()
