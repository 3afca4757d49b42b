"""Cells on a real SLURM of this one machine: killed, requeued, finished, equal to those trained without one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.crops.crop import crop_cohort
from mammo_aln.crops.store.store import CropStore
from mammo_aln.machine.slurm import jobs_in_queue
from mammo_aln.runs.record import read_state
from mammo_aln.settings import ClusterConfig, CropConfig, PixelConfig
from mammo_aln.sweeps.plan_file import read_plan
from mammo_aln.training.train import train_run
from tests.support.slurm_here import running_slurm, wait_for
from tests.support.sweep_files import on_threads, tiny_sweep, words

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """A running SLURM."""
    with running_slurm():
        yield


def test_a_requeued_and_a_killed_job_end_as_if_nothing_had_happened(
    slurm, phantom: Path, store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = words(
        "run", tiny_sweep(tmp_path, epochs=30), "--cohort", phantom, "--out", out, "--store", store,
        "--executor", "slurm", "--cluster.time_min=60", "--cluster.cpus_per_task=1", "--cluster.max_jobs=1",
    )  # fmt: skip
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    plan = wait_for(lambda: (out / "plan.json").is_file() and read_plan(out))

    def training() -> list[str]:
        begun = [
            cell.run_id for cell in plan.cells if (plan.runs / cell.run_id / "checkpoints" / "last.ckpt").is_file()
        ]
        return [one for one in begun if read_state(plan.runs / one).state == "running"]

    first = wait_for(training)[0]
    job = wait_for(lambda: _job_of(out, first))
    subprocess.run(["scontrol", "requeue", job], check=True)  # what pre-emption does
    # SLURM begins a requeued job some seconds later: the other cell may train first.
    second = next(cell.run_id for cell in plan.cells if cell.run_id != first)
    wait_for(lambda: second in training())
    for pid in training_processes(_job_of(out, second)):
        os.kill(pid, signal.SIGKILL)  # out of memory; `scancel` would be an order
    told, _ = process.communicate(timeout=900)
    assert read_state(plan.runs / first).attempts == 2
    assert not list((out / "failures").glob(f"{first}/*"))
    assert process.returncode == 0, (tmp_path / "log").read_text()
    assert told == f"{out}\n"
    assert "ended by signal 9" in (tmp_path / "log").read_text()
    assert list(pd.read_csv(out / "cells.csv")["state"]) == ["completed"] * 2
    for cell in plan.cells:
        with on_threads(1):  # the job's cpus_per_task
            undisturbed = train_run(phantom, tmp_path / "runs", cell.settings, store=store)
        trained = plan.runs / cell.run_id / "predictions.csv"
        assert (undisturbed / "predictions.csv").read_bytes() == trained.read_bytes()


def training_processes(job: str) -> list[int]:
    """Numbers of the processes of a job that train."""
    listed = subprocess.run(["scontrol", "listpids", job], capture_output=True, text=True, check=True).stdout
    pids = [int(line.split()[0]) for line in listed.splitlines()[1:]]
    commands = {pid: Path(f"/proc/{pid}/cmdline") for pid in pids if pid > 0}
    return [pid for pid, path in commands.items() if path.is_file() and b"python" in path.read_bytes().split(b"\0")[0]]


def _job_of(out: Path, run_id: str) -> str:
    import json

    record = out / "slurm" / f"{run_id}.json"
    return json.loads(record.read_text())["job"] if record.is_file() else ""


def test_crops_are_built_by_a_job_array(slurm, phantom: Path, tmp_path: Path) -> None:
    crop = CropConfig(size_px=32, auxiliary=())
    made = crop_cohort(
        phantom, PixelConfig(), crop, store=tmp_path / "one", slurm=2, cluster=ClusterConfig(time_min=30)
    )
    assert made == tmp_path / "one"
    assert not jobs_in_queue()
    plain = crop_cohort(phantom, PixelConfig(), crop, store=tmp_path / "two")
    stores = [CropStore(path) for path in (made, plain)]
    tables = [pd.read_csv(path / "exclusions.csv") for path in (made, plain)]
    pd.testing.assert_frame_equal(*tables)
    assert len(list((tmp_path / "one" / "slurm").glob("*_result.pkl"))) == 2
    assert len(stores[0]) == len(stores[1])
