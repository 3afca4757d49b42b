"""Sweeps on a real SLURM with two partitions that goes through what clusters do; minutes each, run by name:

pytest -m slow -n 0 tests/sweeps/test_slurm_cluster.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.machine.slurm import jobs_in_queue
from mammo_aln.runs.record import read_state
from mammo_aln.sweeps.cell import failures
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.plan_file import read_plan
from mammo_aln.sweeps.slurm.ends import JOB_CANCELLED, NEVER_BEGAN
from mammo_aln.sweeps.withheld import reason_withheld
from tests.support.slurm_here import running_slurm, wait_for
from tests.support.sweep_files import sweep, tiny_sweep, untimed_cells, words

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """A SLURM of four CPUs, whose arrays have at most two jobs."""
    with running_slurm(cpus=4, max_array=2):
        yield


def on_slurm(file: Path, phantom: Path, store: Path, out: Path, *more: str) -> tuple[subprocess.Popen[str], Path]:
    """Begin a sweep's command; what it says goes to a file."""
    log = out.with_suffix(".log")
    command = words(
        "run", file, "--cohort", phantom, "--out", out, "--store", store, "--executor", "slurm",
        "--cluster.cpus_per_task=1", "--cluster.poll_s=1", *more,
    )  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log.open("w"), text=True, env=environment), log


def is_training(plan: Plan, cell: Cell) -> bool:
    run = plan.runs / cell.run_id
    return (run / "checkpoints" / "last.ckpt").is_file() and read_state(run).state == "running"


def job_of(plan: Plan, cell: Cell) -> str:
    import json

    record = plan.out / "slurm" / f"{cell.run_id}.json"
    return str(json.loads(record.read_text())["job"]) if record.is_file() else ""


def daemon(name: str) -> int:
    """Number of the process of one of SLURM's daemons that scripts/slurm_local.sh started."""
    return int((Path(os.environ.get("SLURM_LOCAL_DIR", "/var/lib/slurm-local")) / f"{name}.pid").read_text())


def test_pre_emption_a_dead_scheduler_and_a_cancelled_task_leave_the_local_table(
    slurm: None, phantom: Path, store: Path, tmp_path: Path
) -> None:
    file = tiny_sweep(tmp_path, epochs=80, seeds=2)
    out = tmp_path / "out"
    where = "{crop.strategy=fixed_5cm: {partition: high}}"
    process, log = on_slurm(
        file, phantom, store, out, "--cluster.time=02:00:00", f"--cluster.where={where}", "--cluster.max_jobs=3"
    )
    plan = wait_for(lambda: (out / "plan.json").is_file() and read_plan(out), 300)
    low = [cell for cell in plan.cells if cell.axes["crop.strategy"] == "lesion_box"]
    high = [cell for cell in plan.cells if cell.axes["crop.strategy"] == "fixed_5cm"]
    wait_for(lambda: any(is_training(plan, cell) for cell in low), 300)
    subprocess.run(["sbatch", "-p", "high", "-n", "4", "--wrap", "sleep 5", "-o", "/dev/null"], check=True)
    # One task of the other partition is taken out, and stays out until it is asked for.
    cancelled = wait_for(lambda: next((cell for cell in high if job_of(plan, cell)), None), 300)
    subprocess.run(["scancel", job_of(plan, cancelled)], check=True)
    wait_for(lambda: f"mammo-aln sweep retry {cancelled.run_id}" in log.read_text(), 120)
    assert "its SLURM job was cancelled (scancel)" in sweep("status", "--out", out).stderr
    time.sleep(10)  # until the controller has written down its queue: a killed one forgets what came later
    os.kill(daemon("slurmctld"), signal.SIGKILL)
    time.sleep(60)
    assert process.poll() is None
    subprocess.run(["slurmctld"], check=True)
    wait_for(lambda: "SLURM answers again" in log.read_text(), 120)
    assert sweep("retry", cancelled.run_id, "--out", out).returncode == 0
    told, _ = process.communicate(timeout=900)
    said = log.read_text()
    assert (process.returncode, told) == (0, f"{out}\n"), said
    assert "silent for 0 min, its jobs go on" in said
    assert [len(failures(plan, cell)) for cell in plan.cells] == [0, 0, 0, 0]
    assert max(read_state(plan.runs / cell.run_id).attempts for cell in low) > 1
    local = tmp_path / "local"
    done = sweep("run", file, "--cohort", phantom, "--out", local, "--store", store, "--slots=1")
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(untimed_cells(out), untimed_cells(local))


def test_jobs_that_are_cancelled_while_no_command_looks_stay_so_until_they_are_asked_for(
    slurm: None, phantom: Path, store: Path, tmp_path: Path
) -> None:
    """One runs and one waits, each a task of an array; the command that submitted them was killed."""
    file = tiny_sweep(tmp_path, epochs=80, seeds=2)
    out = tmp_path / "out"
    flags = ("--cluster.time_min=60", "--cluster.where={crop.strategy=fixed_5cm: {extra: {begin: now+2hours}}}")
    process, _ = on_slurm(file, phantom, store, out, *flags)
    plan = wait_for(lambda: (out / "plan.json").is_file() and read_plan(out), 300)
    running = [cell for cell in plan.cells if cell.axes["crop.strategy"] == "lesion_box"]
    waiting = [cell for cell in plan.cells if cell.axes["crop.strategy"] == "fixed_5cm"]
    wait_for(lambda: all(job_of(plan, cell) for cell in plan.cells) and is_training(plan, running[0]), 600)
    process.kill()
    process.wait()
    cancelled = [running[0], waiting[0]]
    jobs = [job_of(plan, cell) for cell in cancelled]
    subprocess.run(["scancel", *jobs], check=True)
    wait_for(lambda: not set(jobs) & jobs_in_queue().keys(), 120)
    assert sweep("status", "--out", out).stderr.count("has left the queue; the sweep's command tells how") == 2
    subprocess.run(["scontrol", "update", f"jobid={job_of(plan, waiting[1])}", "StartTime=now"], check=True)
    process, log = on_slurm(file, phantom, store, out, *flags)
    told, _ = process.communicate(timeout=900)
    said = log.read_text()
    assert (process.returncode, told) == (1, ""), said
    for cell in cancelled:
        assert f"it is left as is, until `mammo-aln sweep retry {cell.run_id} --out {out}`" in said
    assert "jobs submitted" not in said
    # Of a task that was cancelled while it waited SLURM keeps nothing.
    assert [reason_withheld(out, cell.run_id) for cell in cancelled] == [JOB_CANCELLED, NEVER_BEGAN]
    ends = {cell.run_id: read_state(plan.runs / cell.run_id).state for cell in plan.cells}
    assert [ends[cell.run_id] for cell in (running[1], waiting[1])] == ["completed"] * 2
    assert sweep("retry", *(cell.run_id for cell in cancelled), "--out", out).returncode == 0
    process, log = on_slurm(file, phantom, store, out, "--cluster.time_min=60")
    assert process.wait(900) == 0, log.read_text()
    assert [len(failures(plan, cell)) for cell in plan.cells] == [0, 0, 0, 0]


def test_a_cell_that_its_time_never_suffices_is_told_and_not_tried_for_ever(
    slurm: None, phantom: Path, store: Path, tmp_path: Path
) -> None:
    file = tiny_sweep(tmp_path, epochs=100_000, grid={"crop.strategy": ["lesion_box"]})
    out = tmp_path / "out"
    process, log = on_slurm(
        file, phantom, store, out,
        "--cluster.time=00:02:00", "--cluster.requeues=1", "--cluster.signal_lead_s=30", "--cluster.setup=[umask 077]",
        "--cluster.environment={NOTE: two words}",
    )  # fmt: skip
    process.communicate(timeout=1500)
    said = log.read_text()
    plan = read_plan(out)
    (cell,) = plan.cells
    assert process.returncode == 1
    (failure,) = failures(plan, cell)
    assert "has run into its time limit of 2 min 2 times (cluster.requeues=1)" in failure.error
    assert failure.again is False
    assert said.count("jobs submitted") == 1
    assert "fix: more time, by a greater --cluster.time_min" in said
    state = read_state(plan.runs / cell.run_id)
    assert (state.attempts, state.state) == (2, "stopped")


def test_short_cells_share_a_job_and_a_sweep_runs_in_a_job_of_its_own(
    slurm: None, phantom: Path, store: Path, tmp_path: Path
) -> None:
    file = tiny_sweep(tmp_path, epochs=1, seeds=2)
    out = tmp_path / "out"
    process, log = on_slurm(
        file, phantom, store, out, "--cluster.cells_per_job=4", "--plan_on_node=true", "--cluster.time_min=60"
    )
    told, _ = process.communicate(timeout=900)
    said = log.read_text()
    assert (process.returncode, told) == (0, f"{out}\n"), said
    plan = read_plan(out)
    jobs = {job_of(plan, cell) for cell in plan.cells}
    assert len(jobs) == 1
    assert all((out / "logs" / f"{cell.run_id}.log").is_file() for cell in plan.cells)
    assert list(pd.read_csv(out / "cells.csv")["state"]) == ["completed"] * 4
    assert "4 of 4 cells completed" in said
