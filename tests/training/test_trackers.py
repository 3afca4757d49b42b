"""A run's mirrors: chosen by one setting, with its numbers to the end, and never a path or a patient."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.errors import InputError
from mammo_aln.runs.identity import run_identity
from mammo_aln.settings import LogConfig, Settings
from mammo_aln.settings.parse import settings_from
from mammo_aln.training.trackers import Mirrored, open_trackers, require_trackers
from mammo_aln.training.train import train_run
from tests.support.tiny_settings import tiny_settings


def logged(**log) -> Settings:
    return replace(tiny_settings(), log=LogConfig(**log))


def test_wandb_gets_no_path_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [mirror] = open_trackers(Mirrored(tmp_path / "r", logged(wandb="offline"), "0123456789abcdef"))
    monkeypatch.setattr(type(mirror), "experiment", property(lambda self: pytest.fail("sent to W&B")))
    mirror.log_hyperparams({"model": {"pretrained": "/home/someone/weights.ckpt"}})


def test_a_run_is_named_by_what_it_is(tmp_path: Path) -> None:
    settings = replace(logged(), seed=7)
    mirrored = Mirrored(tmp_path / "r", replace(settings, model=replace(settings.model, backbone="timm:resnet10t")))
    assert mirrored.title == "resnet10t-fixed_5cm-s7"
    assert mirrored.tags[:2] == ["timm:resnet10t", "fixed_5cm"]


def test_wandb_and_csv_tell_neither_paths_nor_patients(phantom: Path, store: Path, tmp_path: Path) -> None:
    run = train_run(phantom, tmp_path, logged(wandb="offline", tracker=("wandb", "csv")), store=store)
    mirrored = [path for folder in ("wandb", "csv") for path in (run / folder).rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in mirrored)
    patients = pd.read_csv(phantom / "patients.csv", dtype=str)["patient_id"]
    for path in mirrored:
        content = path.read_bytes()
        assert not any(patient.encode() in content for patient in patients)
        assert str(phantom).encode() not in content, path.name
    [table] = (run / "csv").rglob("metrics.csv")
    rows = pd.read_csv(table)
    own = pd.read_csv(run / "metrics.csv")
    assert rows["lr"].dropna().tolist() == own["lr"].tolist()
    assert rows["val_loss"].dropna().tolist() == pytest.approx(own["val_loss"].tolist())
    assert {"final/threshold", "final/temperature", "final/val_auc", "final/val_auc_low"} <= set(rows)


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


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_tracker_is_told_before_any_work(
    name: str, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mammo_aln.training.trackers.find_spec", lambda module: None)
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
    monkeypatch.setattr("mammo_aln.training.trackers.find_spec", lambda module: None)
    require_trackers(logged(wandb="disabled"))
    with pytest.raises(InputError, match="pip install wandb"):
        require_trackers(logged(wandb="offline"))
