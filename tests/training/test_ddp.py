"""Two processes (gloo, on the CPU) train one run: every patient counts once, whatever the splits' sizes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mammo_aln.errors import InputError, Requeue
from mammo_aln.evaluation.statistics.discrimination import auc
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.model.optim import binary_loss
from mammo_aln.runs.record import write_settings
from mammo_aln.settings import Settings
from mammo_aln.training import callbacks
from mammo_aln.training.callbacks import RunRecorder
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.train import train_run
from tests.support.processes import default_signals
from tests.support.run_folders import untimed
from tests.support.tiny_settings import tiny_settings


def two_process_settings(epochs: int = 2):
    tiny = tiny_settings(epochs=epochs, drop_rate=0.3, modality_dropout=0.3)
    return replace(
        tiny,
        # Two folds of the phantom's 19 patients: neither 9 nor 10 divides into full batches of both ranks.
        data=replace(tiny.data, batch_size=4, folds=2),
        trainer=replace(tiny.trainer, devices=2),
    )


FIGURES = ["epoch", "step", "lr", "train_loss", "val_loss", "val_auc"]


def one_process(settings: Settings) -> Settings:
    return replace(settings, trainer=replace(settings.trainer, devices=1))


def words(cohort: Path, store: Path, out: Path) -> list[str]:
    config = str(out.parent / "config.yaml")
    return ["-m", "mammo_aln", "train", str(cohort), "--out", str(out), "--store", str(store), "--config", config]


def as_slurm_tasks(command: list[str]) -> list[subprocess.Popen]:
    """Start two processes as `srun --ntasks=2` does."""
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env={
                **os.environ,
                "SLURM_JOB_ID": str(20000 + os.getpid()),
                "SLURM_JOB_NAME": "train",
                "SLURM_NTASKS": "2",
                "SLURM_NTASKS_PER_NODE": "2",
                "SLURM_NNODES": "1",
                "SLURM_NODELIST": "127.0.0.1",
                "SLURM_PROCID": str(rank),
                "SLURM_LOCALID": str(rank),
                "SLURM_NODEID": "0",
            },
            stdout=subprocess.PIPE,
            preexec_fn=default_signals,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "slurm"])
def test_two_processes_make_the_run_of_one(launcher: str, phantom: Path, store: Path, tmp_path: Path) -> None:
    """The same id, steps and figures; crops that neither of them had are built once; every patient counts once."""
    settings = two_process_settings()
    single = train_run(phantom, tmp_path / "single", one_process(settings), store=store)
    data = MammoDataModule.from_settings(settings, phantom, store)
    data.prepare_data()
    data.setup()
    write_settings(tmp_path, settings)
    command = words(phantom, tmp_path / "store", tmp_path / "runs")
    if launcher == "torchrun":
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        done = subprocess.run([*torchrun, *command], capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr
        out = done.stdout
    else:
        tasks = as_slurm_tasks(command)
        told = [task.communicate(timeout=280) for task in tasks]
        assert [task.returncode for task in tasks] == [0, 0], told
        out = told[0][0] + told[1][0]
    (run,) = (tmp_path / "runs").iterdir()
    assert out.splitlines() == [str(run)]
    assert run.name == single.name
    one, two = (pd.read_csv(folder / "metrics.csv")[FIGURES] for folder in (single, run))
    pd.testing.assert_frame_equal(two, one, rtol=0, atol=1e-5)
    one, two = (pd.read_csv(folder / "predictions.csv") for folder in (single, run))
    np.testing.assert_allclose(two["logit"], one["logit"], rtol=0, atol=1e-5)
    lines = [line for file in (tmp_path / "store" / "segments").glob("*.jsonl") for line in file.open()]
    keys = [json.loads(line)["record"].get("key") for line in lines]
    assert len(keys) == len(set(keys)), "a crop was built twice"
    table = pd.read_csv(run / "predictions.csv", dtype={"patient_id": str})
    expected = [*data.patients("train")["patient_id"], *data.patients("val")["patient_id"]]
    assert sorted(table["patient_id"]) == sorted(expected)
    # The last epoch's figures, once more by one process from the last weights.
    module = AxillaryClassifier.load(run / "checkpoints" / "last.ckpt")
    with torch.no_grad():
        logit = torch.cat([module(batch) for batch in data.loader("val", alone=True)])
    label = torch.tensor(data.patients("val")["aln_status"].to_numpy(np.float32))
    last = pd.read_csv(run / "metrics.csv").iloc[-1]
    assert len(label) % 4, "the split must not divide evenly"
    assert last["val_auc"] == pytest.approx(auc(logit.numpy(), label.numpy()), abs=1e-6)
    assert last["val_loss"] == pytest.approx(float(binary_loss(logit, label, torch.ones(2), 0.0)), abs=1e-6)


def stop_after(step: int, cohort: Path, out: Path, store: Path) -> None:
    """Train with one process until a signal after a step."""
    recorded = RunRecorder.on_train_batch_end

    def record_and_ask(self, trainer, *rest) -> None:
        if trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGUSR1)
        recorded(self, trainer, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunRecorder, "on_train_batch_end", record_and_ask)
        with pytest.raises(Requeue):
            train_run(cohort, out, one_process(two_process_settings()), store=store)


def test_two_processes_refuse_to_go_on_with_what_one_began(phantom: Path, store: Path, tmp_path: Path) -> None:
    """In words, and with nothing written."""
    stop_after(1, phantom, tmp_path, store)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    refused = (
        r"saved on trainer\.devices = 1 x trainer\.num_nodes = 1, and cannot go on with 2 x 1: --trainer\.devices=1 "
    )
    with pytest.raises(InputError, match=refused):
        train_run(phantom, tmp_path, two_process_settings(), store=store)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_both_at_one_step(phantom: Path, store: Path, tmp_path: Path) -> None:
    train_run(
        phantom, tmp_path / "warm", replace(two_process_settings(1), trainer=tiny_settings().trainer), store=store
    )
    write_settings(tmp_path, two_process_settings(epochs=500))
    tasks = as_slurm_tasks(words(phantom, store, tmp_path / "runs"))
    while not list((tmp_path / "runs").glob("*/checkpoints/last.ckpt")) and tasks[0].poll() is None:
        time.sleep(0.05)
    tasks[1].send_signal(signal.SIGUSR1)
    told = [task.communicate(timeout=200)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [75, 75], told


def train_until(step: int, cohort: Path, out: Path, store: Path) -> None:
    """Train as one of two ranks that save after each step, and die after `step` steps; 0 does not die."""
    callbacks.STEPS_BETWEEN_TALKS = 1
    follow = callbacks.RunRecorder.on_train_batch_end

    def follow_and_die(self, trainer, *rest) -> None:
        follow(self, trainer, *rest)
        if trainer.global_step == step:
            self.checkpoints.wait()
            trainer.strategy.barrier()
            os.kill(os.getpid(), signal.SIGKILL)

    callbacks.RunRecorder.on_train_batch_end = follow_and_die
    settings = two_process_settings(epochs=2)
    train_run(cohort, out, replace(settings, trainer=replace(settings.trainer, save_every_s=0.0)), store=store)


@pytest.mark.slow
def test_two_ranks_that_die_within_an_epoch_go_on_from_the_step_saved_by_time(
    phantom: Path, store: Path, tmp_path: Path
) -> None:
    train_run(
        phantom, tmp_path / "warm", replace(two_process_settings(1), trainer=tiny_settings().trainer), store=store
    )
    code = "import sys; from pathlib import Path; from tests.training.test_ddp import train_until\n"
    code += "train_until(int(sys.argv[1]), *map(Path, sys.argv[2:]))"

    def ended(step: int, out: Path) -> list[int]:
        tasks = as_slurm_tasks(["-c", code, str(step), str(phantom), str(out), str(store)])
        told = [task.communicate(timeout=250)[1] for task in tasks]
        assert step or not any(task.returncode for task in tasks), told
        return [task.returncode for task in tasks]

    assert ended(0, tmp_path / "whole") == [0, 0]
    (whole,) = (tmp_path / "whole").iterdir()
    per_epoch = int(pd.read_csv(whole / "metrics.csv")["step"].iloc[0])
    assert per_epoch >= 2, "an epoch must have a middle"
    assert ended(per_epoch + 1, tmp_path / "died") == [-signal.SIGKILL] * 2
    died = tmp_path / "died" / whole.name
    last = torch.load(died / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["place"] == {"epoch": 1, "step": 1, "done": False}
    assert last["ranks"] == {"devices": 2, "num_nodes": 1}
    assert ended(0, tmp_path / "died") == [0, 0]
    resumed, undisturbed = (untimed(run / "metrics.csv") for run in (died, whole))
    # Each rank goes on with both ranks' mean of the epoch so far: its loss is summed in another order.
    pd.testing.assert_frame_equal(resumed[["train_loss"]], undisturbed[["train_loss"]], rtol=1e-6)
    without = [name for name in undisturbed if name != "train_loss"]
    pd.testing.assert_frame_equal(resumed[without], undisturbed[without], check_exact=True)
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (died, whole)]
    assert states[0].keys() == states[1].keys()
    own = [name for name in states[0] if not name.startswith("train_mean.")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in own)
    assert (died / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
