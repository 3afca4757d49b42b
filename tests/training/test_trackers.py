"""A run's mirrors: chosen by one setting, with its numbers to the end, and never a path or a patient."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mammo_aln.errors import InputError
from mammo_aln.runs.identity import RunIdentity, run_identity
from mammo_aln.runs.record import read_state
from mammo_aln.settings import LogConfig, PretrainSettings, Settings
from mammo_aln.settings.parse import settings_from
from mammo_aln.training.summary import Summary
from mammo_aln.training.trackers.mirrored import CellOfSweep, Mirrored
from mammo_aln.training.trackers.registry import Mirrors, require_trackers
from mammo_aln.training.train import train_run
from tests.support.tiny_settings import tiny_settings
from tests.support.wandb_files import offline_runs


def logged(**log) -> Settings:
    return replace(tiny_settings(), log=LogConfig(**log))


CHARTS = {"roc", "precision_recall", "calibration", "confusion"}
IDENTITY = RunIdentity("0.1", 3, {}, "0123456789abcdef", "fedcba9876543210")


def mirrored(settings: Settings, cell: CellOfSweep | None = None) -> Mirrored:
    return Mirrored(Path("runs") / "abc", settings, IDENTITY, cell)


def test_a_run_is_named_by_what_it_is_and_a_cell_as_its_sweep_names_it() -> None:
    settings = replace(logged(), seed=7)
    settings = replace(settings, model=replace(settings.model, backbone="timm:resnet10t"))
    alone = mirrored(settings)
    assert (alone.title, alone.group, alone.job_type) == ("resnet10t-fixed_5cm-s7", "cohort:01234567", "train")
    assert alone.tags == ["timm:resnet10t", "fixed_5cm", *settings.model.inputs, "cohort:01234567"]
    assert mirrored(replace(settings, data=replace(settings.data, folds=5, fold=2))).title.endswith("-s7-f2")
    cell = mirrored(settings, CellOfSweep("grid", "optim.lr=0.1, seed=7", "optim.lr=0.1"))
    assert (cell.title, cell.group, cell.tags[-1]) == ("optim.lr=0.1, seed=7", "grid", "sweep:grid")
    assert cell.config["configuration"] == "optim.lr=0.1"
    assert (cell.config["cohort_digest"], cell.config["package_version"]) == (IDENTITY.cohort, "0.1")
    assert mirrored(PretrainSettings()).job_type == "pretrain"


def test_no_mirror_gets_a_path_of_weights(tmp_path: Path) -> None:
    weights = tmp_path / "home of someone" / "weights.ckpt"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    settings = replace(logged(), model=replace(logged().model, pretrained=str(weights)))
    config = Mirrored(tmp_path / "abc", settings, run_identity(settings, "c", ["k"])).config
    assert config["model"]["pretrained"] == "sha256:" + hashlib.sha256(b"weights").hexdigest()
    assert "someone" not in str(config)


@pytest.fixture(scope="module")
def offline(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = replace(tiny_settings(epochs=3), log=LogConfig(wandb="offline", tracker=("wandb", "csv")))
    return train_run(phantom, tmp_path_factory.mktemp("runs"), settings, store=store)


def test_wandb_holds_every_epoch_and_the_frozen_numbers_of_the_best_one(offline: Path) -> None:
    [run] = offline_runs(offline)
    own = pd.read_csv(offline / "metrics.csv")
    assert [row["_step"] for row in run.history] == own["epoch"].tolist() == [0, 1, 2]
    for column in ("train_loss", "val_auc", "lr", "train_patients_per_s"):
        assert [row[column] for row in run.history] == pytest.approx(own[column].tolist(), rel=1e-12)
    table = pd.read_csv(offline / "predictions.csv", dtype={"patient_id": str})
    val = table[table["split"] == "val"]
    assert run.summary["val_auc"] == pytest.approx(roc_auc_score(val["aln_status"], val["score"]))
    assert run.summary["best_epoch"] == own["val_auc"].argmax() + 1
    threshold = json.loads((offline / "predictions.json").read_text())["threshold"]["value"]
    calls = pd.crosstab(val["score"] >= threshold, val["aln_status"] == 1)
    counts = {(call, label): calls.get(label, {}).get(call, 0) for call in (True, False) for label in (True, False)}
    shown = [run.summary[f"val_{name}"] for name in ("tp", "fp", "fn", "tn")]
    assert shown == [counts[pair] for pair in ((True, True), (True, False), (False, True), (False, False))]
    assert {key.partition("/")[0] for key in run.history[-1] if "/" in key} == CHARTS | {"crops"}
    media = {path.name.partition("_2_")[0] for path in (offline / "wandb").rglob("media/images/*")}
    assert media == CHARTS | {"crops"}


def test_wandb_and_csv_tell_neither_host_nor_paths_nor_patients(offline: Path, phantom: Path) -> None:
    [run] = offline_runs(offline)
    assert run.record.host == ""
    for secret in (socket.gethostname(), str(Path.home()), getpass.getuser(), str(offline.parent)):
        assert secret.encode() not in run.raw, secret
    mirrors = [path for folder in ("wandb", "csv") for path in (offline / folder).rglob("*") if path.is_file()]
    patients = pd.read_csv(phantom / "patients.csv", dtype=str)["patient_id"]
    for path in mirrors:
        content = path.read_bytes()
        assert not any(patient.encode() in content for patient in patients)
        assert str(phantom).encode() not in content, path.name


def test_csv_holds_every_epoch_once_and_the_frozen_numbers(offline: Path) -> None:
    [table] = (offline / "csv").rglob("metrics.csv")
    rows, own = pd.read_csv(table), pd.read_csv(offline / "metrics.csv")
    for column in ("lr", "val_loss"):
        assert rows[column].dropna().tolist() == pytest.approx(own[column].tolist())
    assert {"final/threshold", "final/temperature", "final/val_auc", "final/val_auc_low"} <= set(rows)


def test_the_sheet_of_crops_may_be_left_out(offline: Path, tmp_path: Path) -> None:
    settings = replace(tiny_settings(epochs=3), log=LogConfig(wandb="offline", pictures=False))
    shutil.copytree(offline, tmp_path / offline.name, ignore=shutil.ignore_patterns("wandb"))
    with Mirrors(Mirrored(tmp_path / offline.name, settings, IDENTITY)) as mirrors:
        mirrors.complete()
    [run] = offline_runs(tmp_path / offline.name)
    assert not list((tmp_path / offline.name / "wandb").rglob("crops*"))
    assert list((tmp_path / offline.name / "wandb").rglob("roc*"))
    assert len(run.history) == 3


@pytest.mark.slow
def test_a_training_killed_and_resumed_is_one_whole_run_on_wandb(phantom: Path, store: Path, tmp_path: Path) -> None:
    """Killed with -9 behind some epochs; the mirrors are those of a run that was never killed."""
    words = ["train", str(phantom), "--out", str(tmp_path), "--store", str(store), "--log.tracker=[wandb,csv]"]
    words += ["--model.inputs=[clinical]", "--trainer.max_epochs=40", "--trainer.accelerator=cpu"]
    words += ["--trainer.save_every_s=0", "--optim.ema_decay=0"]
    command = [sys.executable, "-m", "mammo_aln", *words]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not any(
            len(path.read_text().splitlines()) > 5 for path in tmp_path.glob("*/metrics.csv")
        ):
            time.sleep(0.01)
        process.kill()
    [run] = tmp_path.iterdir()
    assert 5 < len((run / "metrics.csv").read_text().splitlines()) <= 40
    subprocess.run(command, check=True, capture_output=True)
    [whole] = offline_runs(run)
    assert (whole.id, [row["_step"] for row in whole.history]) == (run.name, list(range(40)))
    assert whole.summary["epochs"] == 40
    assert whole.summary["val_auc"] == pytest.approx(Summary.of_run(run).val_auc)
    assert whole.summary["val_auc"] == pytest.approx(max(row["val_auc"] for row in whole.history), abs=1e-5)
    [table] = (run / "csv").rglob("metrics.csv")
    assert pd.read_csv(table)["epoch"].dropna().tolist() == list(range(40))


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"NETRC": "/nonexistent"}, "W&B has no API key for https://api.wandb.ai here"),
        ({"WANDB_API_KEY": "0" * 40, "WANDB_MODE": "offline"}, "WANDB_MODE=offline is set"),
        ({"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_INIT_TIMEOUT": "3"}, "CommError"),
    ],
    ids=["no key", "switched off", "unreachable"],
)
def test_wandb_that_cannot_be_reached_is_one_line_and_an_offline_run(
    variables: dict[str, str], words: str, phantom: Path, store: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "mammo_aln", "train", str(phantom), f"--out={tmp_path}", f"--store={store}"]
    command += [
        "--log.wandb=online",
        "--model.inputs=[clinical]",
        "--trainer.max_epochs=2",
        "--trainer.accelerator=cpu",
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**kept, **variables})
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("note: log.wandb=online:") == 1
    assert words in done.stderr
    assert "`mammo-aln sync` uploads it later" in done.stderr
    [run] = offline_runs(Path(done.stdout.strip()))
    assert [row["_step"] for row in run.history] == [0, 1]


def test_a_mirror_that_cannot_be_written_is_one_line_and_no_failed_training(
    phantom: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("mammo_aln.training.trackers.loggers.CSVLogger.save", full)
    run = train_run(phantom, tmp_path, replace(logged(tracker=("csv",)), seed=3), store=store)
    assert read_state(run).state == "completed"
    note = "note: csv cannot be written (OSError: No space left on device); the training goes on without it"
    assert capsys.readouterr().err.count(note) == 1


def test_the_tracker_does_not_change_the_run_and_none_is_allowed(phantom: Path, store: Path, tmp_path: Path) -> None:
    several = [logged(tracker=("csv", "wandb"), wandb="offline"), logged(tracker=()), logged(wandb="disabled")]
    assert len({run_identity(settings, "c", ["k"]).run_id for settings in several}) == 1
    run = train_run(phantom, tmp_path, several[1], store=store)
    assert not (run / "wandb").exists()
    assert not (run / "csv").exists()


def test_settings_take_a_list_of_trackers() -> None:
    assert settings_from(Settings, {"log": {"tracker": ["csv", "mlflow"]}}, "x").log.tracker == ("csv", "mlflow")
    with pytest.raises(InputError, match="tracker"):
        settings_from(Settings, {"log": {"tracker": ["comet"]}}, "x")


@pytest.mark.parametrize(("setting", "value"), [("tracker", "[]"), ("wandb", "disabled")])
def test_none_is_answered_with_the_word_for_none(setting: str, value: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"got none; for none write log.{setting}={value}")):
        settings_from(Settings, {"log": {setting: "none"}}, "x")


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_tracker_is_told_before_any_work(
    name: str, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mammo_aln.training.trackers.registry.find_spec", lambda module: None)
    with pytest.raises(InputError, match=f"log.tracker names {name}.*pip install 'mammo-aln.{name}."):
        train_run(phantom, tmp_path / "runs", logged(tracker=(name,)), store=tmp_path / "store")
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "store").exists()


def test_a_training_needs_no_wandb(phantom: Path, store: Path, tmp_path: Path) -> None:
    """In a process that cannot import it."""
    words = ["train", str(phantom), "--out", str(tmp_path), "--store", str(store), "--model.inputs=[clinical]"]
    words += ["--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] == 'wandb': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from mammo_aln.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--log.tracker=[csv]"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "best epoch 1 of 1" in done.stderr


def test_require_trackers_leaves_a_disabled_wandb_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mammo_aln.training.trackers.registry.find_spec", lambda module: None)
    require_trackers(logged(wandb="disabled"))
    with pytest.raises(InputError, match="pip install wandb"):
        require_trackers(logged(wandb="offline"))
