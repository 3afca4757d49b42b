"""Cells on a real SLURM of this one machine: killed, requeued, finished, equal to those trained without one."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.crops.crop import crop_cohort
from mammo_aln.crops.store.store import CropStore
from mammo_aln.machine.slurm import queued
from mammo_aln.runs.record import read_state
from mammo_aln.settings import ClusterConfig, CropConfig, PixelConfig
from mammo_aln.sweeps.plan import read_plan
from mammo_aln.training.train import train_run
from tests.support.sweep_files import on_threads, tiny_sweep, words

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm_local.sh"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def slurm():
    """A running SLURM for one test process at a time, or a skip that says why there is none."""
    with (Path(tempfile.gettempdir()) / "slurm_local.lock").open("w") as lock:
        # Its queue is the machine's: tests of two workers would see, and requeue, one another's jobs.
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = _has_sinfo() and subprocess.run(["sinfo", "-h"], capture_output=True, check=False).returncode == 0
        done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=False)
        if done.returncode == 3:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stderr
        yield
        if not before:
            subprocess.run(["bash", str(SCRIPT), "stop"], check=True)


def _has_sinfo() -> bool:
    return subprocess.run(["bash", "-c", "command -v sinfo"], capture_output=True, check=False).returncode == 0


def wait_for(what, seconds: float = 600.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError("that never happened")


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
    subprocess.run(
        ["scancel", "--signal=KILL", "--full", _job_of(out, second)], check=True
    )  # a lost node, out of memory
    told, _ = process.communicate(timeout=900)
    assert read_state(plan.runs / first).attempts == 2
    assert not list((out / "failures").glob(f"{first}/*"))
    assert process.returncode == 0, (tmp_path / "log").read_text()
    assert told == f"{out}\n"
    assert "ended without a word" in (tmp_path / "log").read_text()
    assert list(pd.read_csv(out / "cells.csv")["state"]) == ["completed"] * 2
    for cell in plan.cells:
        with on_threads(1):  # the job's cpus_per_task
            undisturbed = train_run(phantom, tmp_path / "runs", cell.settings, store=store)
        trained = plan.runs / cell.run_id / "predictions.csv"
        assert (undisturbed / "predictions.csv").read_bytes() == trained.read_bytes()


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
    assert not [job for job in queued() if job]
    plain = crop_cohort(phantom, PixelConfig(), crop, store=tmp_path / "two")
    stores = [CropStore(path) for path in (made, plain)]
    tables = [pd.read_csv(path / "exclusions.csv") for path in (made, plain)]
    pd.testing.assert_frame_equal(*tables)
    assert len(list((tmp_path / "one" / "slurm").glob("*_result.pkl"))) == 2
    assert len(stores[0]) == len(stores[1])
