"""What an engine's processes run, run here: one cell by its index, or whichever is free; its exit codes are kept."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mammo_aln.cli import main
from mammo_aln.cohort.likeness.guard import refuse_leaks
from mammo_aln.cohort.likeness.twins import COMPARED_FILE
from mammo_aln.errors import ExitCode, InputError
from mammo_aln.runs.record import read_state
from mammo_aln.sweeps.cell import failures, log_of
from mammo_aln.sweeps.engines import work as room
from mammo_aln.sweeps.engines.jobs import Resources, read_list
from mammo_aln.sweeps.engines.ray_tasks import RayTask, require_gpus
from mammo_aln.sweeps.engines.write import write_jobs
from mammo_aln.sweeps.plan_file import read_plan
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.train import train_run
from tests.support.processes import started
from tests.support.sweep_files import on_threads, tiny_sweep, words


@pytest.fixture
def written(phantom: Path, store: Path, tmp_path: Path) -> Path:
    """Job file of a sweep of two tiny cells."""
    return write_jobs(
        tiny_sweep(tmp_path), phantom, tmp_path / "out", "ray", image=None, volumes=[], store=store, retries=1
    )


def list_of(job: Path) -> Path:
    (file,) = job.parent.glob("*.cells")
    return file


def states(out: Path) -> list[str]:
    plan = read_plan(out)
    return [read_state(plan.runs / cell.run_id).state for cell in plan.cells]


def test_each_index_trains_its_cell_which_is_the_run_that_train_makes(
    written: Path, phantom: Path, store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, out = list_of(written), tmp_path / "out"
    with on_threads(1):
        assert main(["sweep", "work", str(file), "--index", "1"]) == 0
        plan, cells = read_list(file)
        alone = train_run(phantom, tmp_path / "alone", cells[1].settings, store=store)
    assert states(out).count("completed") == 1
    assert alone.name == cells[1].run_id
    ours, theirs = (
        torch.load(run / "checkpoints" / "best.ckpt", weights_only=False)["state_dict"]
        for run in (plan.runs / cells[1].run_id, alone)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert cells[1].name in capfd.readouterr().err
    assert log_of(plan, cells[1]).is_file()
    # Once more: nothing to do, and said so to the engine.
    assert main(["sweep", "work", str(file), "--index", "1"]) == 0
    assert main(["sweep", "work", str(file), "--index", "2"]) == 2


def test_wrong_input_ends_an_index_and_nothing_is_tried_again(
    phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mammo_aln.sweeps.freezing import freeze
    from mammo_aln.sweeps.plan import Plan

    job = write_jobs(tiny_sweep(tmp_path), phantom, tmp_path / "out", "ray", image=None, volumes=[], store=store)
    plan, cells = read_list(list_of(job))
    moved = tmp_path / "moved"
    freeze(Plan(plan.out, moved, store, plan.content, plan.cells))  # the node does not see the cohort
    assert main(["sweep", "work", str(list_of(job)), "--index", "0"]) == ExitCode.WRONG_INPUT
    assert len(failures(plan, cells[0])) == 1
    assert main(["sweep", "work", str(list_of(job)), "--retries", "5"]) == ExitCode.PROBLEMS
    assert [len(failures(plan, cell)) for cell in cells] == [2, 1]
    assert "FAILED" in capsys.readouterr().err


@pytest.mark.slow
def test_two_workers_share_a_list_and_train_each_cell_once(written: Path, tmp_path: Path) -> None:
    command = words("work", list_of(written))
    workers = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    plan = read_plan(tmp_path / "out")
    assert states(plan.out) == ["completed", "completed"]
    assert [read_state(plan.runs / cell.run_id).attempts for cell in plan.cells] == [1, 1]


@pytest.mark.slow
def test_a_signal_saves_the_step_and_asks_for_another_pod(
    phantom: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAMMO_ALN_LOCKS", "lease")
    job = write_jobs(
        tiny_sweep(tmp_path, epochs=500), phantom, tmp_path / "out", "ray", image=None, volumes=[], store=store
    )
    plan, cells = read_list(list_of(job))
    process = started(words("work", list_of(job), "--index", "0"))
    last = plan.runs / cells[0].run_id / "checkpoints" / "last.ckpt"
    end = time.monotonic() + 120
    while not last.is_file() and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == ExitCode.AGAIN, process.communicate()
    assert read_state(plan.runs / cells[0].run_id).state == "stopped"
    assert failures(plan, cells[0]) == []


def test_a_cell_that_another_process_holds_for_long_is_left_to_the_engine(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mammo_aln.machine.locks import take_lock
    from mammo_aln.sweeps.cell import claim_of

    plan, cells = read_list(list_of(written))
    (plan.out / "claims").mkdir()
    claim = take_lock(claim_of(plan, cells[0]))
    assert claim is not None
    monkeypatch.setattr(room, "POLL_S", 0.01)
    monkeypatch.setattr(room, "HELD_S", 0.05)
    assert main(["sweep", "work", str(list_of(written)), "--index", "0"]) == ExitCode.AGAIN
    claim.close()


@pytest.mark.slow
def test_ray_trains_every_cell_on_a_ray_of_this_machine(written: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "mammo_aln.sweeps.engines.ray_tasks", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert states(tmp_path / "out") == ["completed", "completed"]


def test_cells_that_no_gpu_waits_for_are_refused_and_not_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [RayTask(tmp_path, 0, Resources(1, 1, 0, None)), RayTask(tmp_path, 1, Resources(9, 1, 2, None))]
    require_gpus(tasks[:1], 0, cluster=False)
    require_gpus(tasks, 2, cluster=False)
    with pytest.raises(InputError, match=r"asks for 2 GPUs, and this Ray has 1; .*--trainer.accelerator=cpu"):
        require_gpus(tasks, 1, cluster=False)
    assert capsys.readouterr().err == ""
    require_gpus(tasks, 1, cluster=True)
    assert "wait until a node with GPUs joins" in capsys.readouterr().err


def test_a_cell_finds_the_comparison_of_exposures_that_its_plan_made(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = write_jobs(
        tiny_sweep(tmp_path), phantom, tmp_path / "out", "ray", image=None, volumes=[], store=tmp_path / "store"
    )
    assert capsys.readouterr().err.count("fingerprints:") == 1
    assert (tmp_path / "store" / COMPARED_FILE).is_file()
    plan, cells = read_list(list_of(job))
    data = MammoDataModule.from_settings(cells[0].settings, plan.cohort, plan.store)
    refuse_leaks(data.whole_cohort, "split", data.store)
    assert "fingerprints:" not in capsys.readouterr().err


@pytest.mark.slow
def test_ray_tries_again_what_may_help_and_tells_what_failed(written: Path, tmp_path: Path) -> None:
    """A file where a run's folder of checkpoints belongs: each try fails, and no cell hides another."""
    pytest.importorskip("ray")
    plan, cells = read_list(list_of(written))
    run = plan.runs / cells[0].run_id
    run.mkdir(parents=True)
    (run / "checkpoints").write_text("a file where a folder belongs")
    command = [sys.executable, "-m", "mammo_aln.sweeps.engines.ray_tasks", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert states(tmp_path / "out")[1] == "completed", done.stderr
    assert f"FAILED {list_of(written)} --index 0" in done.stderr
    again = failures(plan, cells[0])
    assert len(again) == (2 if again[-1].again else 1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--engine", "kubernetes"], "--image: kubernetes needs a container image"),
        (["--engine", "kubernetes", "--image", "aln:1"], "on no volume of --volumes"),
        (["--engine", "ray", "--image", "aln:1"], "Ray's nodes run what is installed on them"),
        (["--engine", "slurm"], "slurm"),
        (["--engine", "ray", "--cluster.setup=[module load cuda]"], "cluster.setup: SLURM's alone"),
    ],
)
def test_what_no_engine_could_run_is_refused_before_anything_is_read(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "write", str(tiny_sweep(tmp_path)), "--cohort", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*command, *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
