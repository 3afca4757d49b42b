"""Runs uploaded to W&B by its own client, to a server that keeps what it is sent."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import wandb

from mammo_aln.errors import InputError
from mammo_aln.runs.record import write_state
from mammo_aln.settings import LogConfig, PretrainConfig, PretrainSettings
from mammo_aln.sweeps.sync import sync_runs
from mammo_aln.training.pretraining.pretrain import pretrain_run
from mammo_aln.training.train import train_run
from tests.support.tiny_settings import tiny_settings
from tests.support.wandb_server import SentRun, Server, wandb_server

EPOCHS = 4


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """W&B's client keeps the server that it first heard of until it is torn down."""
    with wandb_server() as server:
        monkeypatch.delenv("WANDB_MODE", raising=False)
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        wandb.teardown()
        yield server
        wandb.teardown()


@pytest.fixture(scope="module")
def trained(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = replace(tiny_settings(epochs=EPOCHS, inputs=("clinical",)), seed=11)
    return train_run(phantom, tmp_path_factory.mktemp("runs"), settings, store=store)


@pytest.fixture(scope="module")
def pretrained(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny = tiny_settings(epochs=2, inputs=("primary",))
    settings = PretrainSettings(
        crop=tiny.crop,
        model=tiny.model,
        data=tiny.data,
        trainer=tiny.trainer,
        log=LogConfig(wandb="disabled"),
        pretrain=PretrainConfig(labels=("aln_status",)),
    )
    return pretrain_run(phantom, tmp_path_factory.mktemp("pretrain"), settings, store=store).parent


def sync(server: Server, folder: Path) -> SentRun:
    assert sync_runs(folder) == folder
    return server.runs[folder.name]


def test_a_run_is_uploaded_whole_and_once(server: Server, trained: Path) -> None:
    own = pd.read_csv(trained / "metrics.csv")
    for _ in range(2):
        run = sync(server, trained)
        assert [row["_step"] for row in run.history] == list(range(EPOCHS))
        assert [row["val_loss"] for row in run.history] == pytest.approx(own["val_loss"].tolist())
        assert run.summary["val_auc"] == pytest.approx(own["val_auc"].max(), abs=1e-5)
        assert (run.summary["epochs"], run.exit_code) == (EPOCHS, 0)


def test_a_stopped_run_that_was_uploaded_goes_on_at_its_next_epoch(
    server: Server, trained: Path, tmp_path: Path
) -> None:
    run = tmp_path / trained.name
    shutil.copytree(trained, run)
    whole = (run / "metrics.csv").read_text().splitlines()
    for name in ("predictions.csv", "predictions.json"):
        (run / name).rename(tmp_path / name)
    write_state(run, "stopped")
    (run / "metrics.csv").write_text("\n".join(whole[:3]) + "\n")
    for _ in range(2):
        assert [row["_step"] for row in sync(server, run).history] == [0, 1]
    for name in ("predictions.csv", "predictions.json"):
        (tmp_path / name).rename(run / name)
    write_state(run, "completed")
    (run / "metrics.csv").write_text("\n".join(whole) + "\n")
    assert [row["_step"] for row in sync(server, run).history] == list(range(EPOCHS))
    assert server.runs[run.name].summary["epochs"] == EPOCHS


def test_a_pretraining_is_uploaded_as_one_whole_and_once(server: Server, pretrained: Path) -> None:
    for _ in range(2):
        run = sync(server, pretrained)
        assert [row["_step"] for row in run.history] == [0, 1]
        assert (run.about["jobType"], run.summary["epochs"]) == ("pretrain", 2)


def test_what_is_uploaded_needs_no_file_of_weights_and_no_cohort(server: Server, trained: Path, tmp_path: Path) -> None:
    """The settings are those on record: weights that the run began from may be gone from this machine."""
    run = tmp_path / trained.name
    shutil.copytree(trained, run)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("pretrained: false", "pretrained: /gone/weights.ckpt"))
    assert "/gone" in (run / "config.yaml").read_text()
    sent = sync(server, run)
    assert sent.config["model"]["pretrained"] is False
    assert "/gone" not in str(sent.config)


def test_files_that_cannot_be_read_are_named(server: Server, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / trained.name
    shutil.copytree(trained, run)
    (run / "environment.json").write_text("{}")
    with pytest.raises(InputError, match=r"environment\.json: cannot be read"):
        sync_runs(run)
    assert not server.runs


def test_a_training_that_uploads_sends_each_epoch_and_the_summary(
    server: Server, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(tiny_settings(epochs=3, inputs=("clinical",)), log=LogConfig(wandb="online"))
    run = server.runs[train_run(phantom, tmp_path, settings, store=store).name]
    assert "note:" not in capsys.readouterr().err
    assert [row["_step"] for row in run.history] == [0, 1, 2]
    assert {"roc", "confusion"} <= set(run.history[-1])
    assert run.summary["val_auc"] == pytest.approx(max(row["val_auc"] for row in run.history), abs=1e-5)
    assert (run.summary["epochs"], run.exit_code) == (3, 0)
    assert any(name.startswith("media/images/roc") for name in run.files)
