"""A real sweep in its trackers: killed and resumed, and trained by W&B's own agent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mammo_aln.sweeps.planning.definition import read_definition
from mammo_aln.sweeps.planning.wandb_file import write_wandb_sweep
from tests.support.sweep_files import sweep, tiny_sweep, words
from tests.support.tracker_files import mlflow_curves, tensorboard_curves
from tests.support.wandb_files import offline_runs
from tests.support.wandb_server import Server, wandb_server

EPOCHS, KILLED_BEHIND = 60, 25
CLINICAL = {"inputs": ["clinical"]}


@pytest.fixture
def server() -> Iterator[Server]:
    with wandb_server() as server:
        yield server


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cell_killed_at_epoch_25_of_60_and_resumed_is_whole_in_every_tracker(
    phantom: Path, store: Path, tmp_path: Path, server: Server
) -> None:
    """Killed with -9, the sweep and its worker; W&B's files are then read by W&B's own `wandb sync` as well."""
    out = tmp_path / "out"
    file = tiny_sweep(
        tmp_path,
        grid={},
        model=CLINICAL,
        log={"tracker": ["wandb", "csv", "tensorboard", "mlflow"]},
        trainer={"max_epochs": EPOCHS, "accelerator": "cpu", "save_every_s": 0},
    )
    given = (file, f"--cohort={phantom}", f"--out={out}", f"--store={store}", "--slots=1")
    with subprocess.Popen(words(*given), stderr=subprocess.DEVNULL, start_new_session=True) as process:
        while process.poll() is None and not any(
            len(path.read_text().splitlines()) > KILLED_BEHIND for path in out.glob("runs/*/metrics.csv")
        ):
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
    [run] = (out / "runs").iterdir()
    done = len(pd.read_csv(run / "metrics.csv"))
    assert KILLED_BEHIND <= done < EPOCHS
    assert sweep(*given).returncode == 0
    assert json.loads((run / "state.json").read_text())["attempts"] == 2

    own = pd.read_csv(run / "metrics.csv")
    [cell] = pd.read_csv(out / "cells.csv").to_dict("records")
    assert own["epoch"].tolist() == list(range(EPOCHS))
    [offline] = offline_runs(run)
    assert [row["_step"] for row in offline.history] == list(range(EPOCHS))
    assert [row["val_loss"] for row in offline.history] == pytest.approx(own["val_loss"].tolist())
    curves = {"tensorboard": tensorboard_curves(run), "mlflow": mlflow_curves(run)}
    for curve in curves.values():
        assert [step for step, _ in curve["val_loss"]] == list(range(EPOCHS))
        assert [value for _, value in curve["val_loss"]] == pytest.approx(own["val_loss"].tolist(), rel=1e-6)
    [table] = (run / "csv").rglob("metrics.csv")
    assert pd.read_csv(table)["epoch"].dropna().tolist() == list(range(EPOCHS))

    [folder] = (run / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **server.variables})
    [sent] = server.runs.values()
    assert [row["_step"] for row in sent.history] == list(range(EPOCHS))
    assert sent.about["displayName"] == "seed=0"
    for said in (offline.summary, sent.summary):
        assert said["val_auc"] == pytest.approx(cell["val_auc"])
    for curve in curves.values():
        assert curve["final/val_auc"][0][1] == pytest.approx(cell["val_auc"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_wandb_agent_trains_the_very_runs_that_the_sweep_would(
    phantom: Path, store: Path, tmp_path: Path, server: Server
) -> None:
    """The file says `log.wandb: disabled`, and the agent stands in another folder."""
    grid = {"model.inputs": [["primary"], ["primary", "clinical"]], "optim.lr": [1e-05]}
    file, out = tiny_sweep(tmp_path, grid=grid), tmp_path / "out"
    definition = read_definition(file)
    server.sweep = write_wandb_sweep(definition, phantom, out, tmp_path / "wandb.yaml", store=store).read_text()
    parameters = yaml.safe_load(server.sweep)["parameters"]
    fixed = {name: given["value"] for name, given in parameters.items() if "value" in given}
    server.trials = [{"model.inputs": each, **fixed} for each in parameters["model.inputs"]["values"]]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [sys.executable, "-m", "wandb", "agent", "nobody/mammo-aln/s"]
    subprocess.run(
        command, check=True, capture_output=True, cwd=elsewhere, env={**os.environ, **server.variables, "PATH": path}
    )
    done = sweep(file, f"--cohort={phantom}", f"--out={out}", f"--store={store}")
    assert done.returncode == 0, done.stderr
    cells = pd.read_csv(out / "cells.csv").set_index("run_id")
    assert len(cells) == 2
    assert {json.loads((out / "runs" / run / "state.json").read_text())["attempts"] for run in cells.index} == {1}
    assert sorted(server.runs) == ["trial0", "trial1"]
    for sent in server.runs.values():
        assert sent.exit_code == 0
        assert sent.summary["val_auc"] == pytest.approx(cells["val_auc"][sent.config["run_id"]])
        assert [row["_step"] for row in sent.history] == [0, 1]
