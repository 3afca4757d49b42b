"""TensorBoard's and MLflow's files, read back by their own readers."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.errors import Requeue
from mammo_aln.runs.identity import RunIdentity
from mammo_aln.runs.record import read_state
from mammo_aln.settings import LogConfig, Settings
from mammo_aln.training.summary import Summary
from mammo_aln.training.trackers.mirrored import CellOfSweep, Mirrored
from mammo_aln.training.trackers.outcome import read_rows
from mammo_aln.training.trackers.registry import Mirrors
from mammo_aln.training.train import train_run
from tests.support.tiny_settings import tiny_settings
from tests.support.tracker_files import Curves, mlflow_curves, mlflow_runs, tensorboard_curves

EPOCHS = 4
FORMATS = {"tensorboard": tensorboard_curves, "mlflow": mlflow_curves}
CELL = CellOfSweep("grid", "optim.lr=0.001, seed=0", "optim.lr=0.001")
IDENTITY = RunIdentity("0.1", 3, {"optim": {"lr": 0.001, "betas": [0.9, 0.99]}}, "0123456789abcdef", "fedcba9876543210")


def settings_for(*trackers: str) -> Settings:
    return replace(
        tiny_settings(epochs=EPOCHS, inputs=("clinical",)), log=LogConfig(tracker=trackers, project="axilla")
    )


@pytest.fixture(autouse=True)
def own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def trained(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings, out = settings_for("tensorboard", "mlflow"), tmp_path_factory.mktemp("runs")
    return train_run(phantom, out, settings, store=store, cell=CELL)


def rows_of(table: pd.DataFrame) -> Mapping[str, list[tuple[int, float]]]:
    """Curves as metrics.csv tells them: step and value where there is one."""
    return {
        str(name): [(epoch, value) for epoch, value in enumerate(table[name].astype(float)) if math.isfinite(value)]
        for name in table
    }


def assert_whole(curves: Curves, run: Path) -> None:
    """Each column of metrics.csv once, and the frozen numbers of the run."""
    for name, rows in rows_of(pd.read_csv(run / "metrics.csv")).items():
        assert [step for step, _ in curves[name]] == [step for step, _ in rows], name
        assert [value for _, value in curves[name]] == pytest.approx([value for _, value in rows], rel=1e-6), name
    summary = Summary.of_run(run)
    for name in ("val_auc", "train_auc", "temperature", "best_epoch"):
        [(_, value)] = curves[f"final/{name}"]
        assert value == pytest.approx(getattr(summary, name), rel=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_has_each_epoch_once_and_the_frozen_numbers(name: str, trained: Path) -> None:
    curves = FORMATS[name](trained)
    assert_whole(curves, trained)
    assert set(curves) - set(pd.read_csv(trained / "metrics.csv")) == {
        key for key in curves if key.startswith("final/")
    }


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_that_was_cut_off_behind_two_epochs_is_whole_after_the_next_attempt(
    name: str, trained: Path, tmp_path: Path
) -> None:
    """The first attempt is left as a kill leaves it: without its end."""
    run = tmp_path / trained.name
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("tensorboard", "mlflow.db*", "mlruns"))
    mirrored = Mirrored(run, settings_for(name), IDENTITY)
    rows = read_rows(run)
    first = Mirrors(mirrored)
    first.log_rows(rows[:1], last=False)
    first.log_rows(rows[:2], last=False)
    with Mirrors(mirrored) as second:
        second.log_rows(rows[:3], last=False)
        second.log_rows(rows, last=True)
        second.complete()
    assert_whole(FORMATS[name](run), run)


def test_mlflow_names_a_cell_as_its_sweep_does_and_holds_its_settings(trained: Path) -> None:
    [kept] = mlflow_runs(trained)
    assert (kept.info.run_name, kept.info.status) == (CELL.cell, "FINISHED")
    assert (kept.data.tags["group"], kept.data.tags["job_type"]) == (CELL.sweep, "train")
    identity = json.loads((trained / "environment.json").read_text())["identity"]
    assert float(kept.data.params["optim.lr"]) == settings_for().optim.lr
    assert kept.data.params["configuration"] == CELL.configuration
    assert kept.data.params["cohort_digest"] == identity["cohort"]
    assert not kept.data.tags["mlflow.user"]


def test_a_run_that_is_stopped_while_it_is_mirrored_is_mirrored_by_the_next_attempt(
    phantom: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: Mirrors) -> None:
        raise Requeue("stopped by SIGTERM")

    settings = replace(settings_for("csv"), seed=5)
    with monkeypatch.context() as patch:
        patch.setattr(Mirrors, "complete", stop)
        with pytest.raises(Requeue):
            train_run(phantom, tmp_path, settings, store=store)
    [run] = tmp_path.iterdir()
    assert read_state(run).state == "stopped"
    scores = (run / "predictions.csv").read_bytes()
    train_run(phantom, tmp_path, settings, store=store)
    assert read_state(run).state == "completed"
    assert (run / "predictions.csv").read_bytes() == scores
    [table] = (run / "csv").rglob("metrics.csv")
    assert pd.read_csv(table)["final/val_auc"].dropna().tolist() == pytest.approx([Summary.of_run(run).val_auc])


def test_no_name_of_the_host_and_no_path_stands_in_a_mirror(trained: Path) -> None:
    """SQLite's file is searched as bytes, what it freed and did not overwrite included."""
    files = [path for name in ("tensorboard", "mlflow.db*") for path in trained.glob(name)]
    files = [path for top in files for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file()]
    assert {path.suffix for path in files} >= {".db", ".yaml"}
    names = [os.fsencode(name) for name in (str(trained.parent), str(Path.cwd()), str(Path.home()))]
    for path in files:
        content = path.read_bytes()
        assert socket.gethostname() not in path.name
        assert not [name for name in names if len(name) > 4 and name in content], path
    assert not (Path.cwd() / "mlruns").exists()
