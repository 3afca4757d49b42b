"""The local pool survives what happens to its slots and to itself, and shares its cells with other commands."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mammo_aln.machine.cores import usable_cores
from mammo_aln.machine.locks import take_lock
from mammo_aln.settings import TrainerConfig
from mammo_aln.sweeps.cell import claim_of
from mammo_aln.sweeps.local import Pool, Slot, slots_here
from mammo_aln.sweeps.plan_file import read_plan
from mammo_aln.sweeps.run import Watch, run_sweep
from mammo_aln.sweeps.standing.board import resume_command
from mammo_aln.sweeps.standing.table import read_rows
from mammo_aln.training.train import train_run
from tests.support.processes import started
from tests.support.sweep_files import on_threads, sweep, tiny_sweep, untimed_cells, words


@pytest.fixture(scope="module")
def undisturbed(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    file = tiny_sweep(folder, epochs=4)
    assert run_sweep(file, phantom, folder / "out", store=store, slots=1) == folder / "out"
    return folder / "out"


def children(pid: int) -> list[int]:
    """Slots that a process has started and that live."""
    found = []
    for task in Path("/proc").glob("[0-9]*"):
        try:
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
            is_slot = b"mammo_aln.sweeps.worker" in (task / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z" and is_slot:
            found.append(int(task.name))
    return found


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what, process: subprocess.Popen | None = None, seconds: float = 240.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        assert process is None or process.poll() is None, "the sweep ended before that happened"
        time.sleep(0.02)
    raise AssertionError("that never happened")


def test_a_warm_process_trains_what_a_fresh_one_does(
    undisturbed: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    plan = read_plan(undisturbed)
    last = plan.cells[-1]
    with on_threads(usable_cores()):  # the one slot had all cores
        run = train_run(phantom, tmp_path, last.settings, store=store)
    assert (run / "predictions.csv").read_bytes() == (plan.runs / last.run_id / "predictions.csv").read_bytes()


def test_cells_csv_holds_what_the_design_says(undisturbed: Path) -> None:
    table = untimed_cells(undisturbed)
    assert list(table["state"]) == ["completed"] * 2
    assert {"run_id", "state", "crop.strategy", "seed", "fold", "val_auc"} <= set(table)
    assert sorted(table["run_id"]) == sorted(path.name for path in (undisturbed / "runs").iterdir())
    page = (undisturbed / "board.html").read_text()
    assert 'http-equiv="refresh"' not in page
    assert "2 of 2 cells completed" in page


def test_threads_of_a_slot_do_not_depend_on_what_is_left_to_do() -> None:
    def threads(asked: int | None, cells: int, free_gb: float = 100.0) -> set[str]:
        slots = slots_here(TrainerConfig(accelerator="cpu"), asked, cells, 1.0, free_gb, cores=8)
        return {slot.environment["OMP_NUM_THREADS"] for slot in slots}

    assert threads(2, 20) == threads(2, 1) == {"4"}
    assert threads(None, 20) == threads(None, 1) == threads(None, 20, free_gb=2.5) == {"1"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there, hidden or not")
@pytest.mark.parametrize("hidden", ["-1", "NoDevFiles", ""])
def test_hidden_gpus_make_no_slot(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    slots = slots_here(TrainerConfig(), None, 4, 1.0, 100.0, cores=4)
    assert [slot.environment for slot in slots] == [{"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}] * 4


def test_the_command_that_resumes_a_cell_keeps_its_threads(undisturbed: Path) -> None:
    plan = read_plan(undisturbed)
    row = read_rows(plan)[0]
    told = json.loads((plan.runs / row.cell.run_id / "environment.json").read_text())
    assert resume_command(plan, row).startswith(f"OMP_NUM_THREADS={told['threads']} mammo-aln train ")


def test_the_board_lets_go_of_no_claim(undisturbed: Path) -> None:
    """A process that opens and closes a lock's file loses the lock, so the pool must not look at its own cells'."""
    done = read_plan(undisturbed)
    cell = replace(done.cells[0], run_id="0123456789ab")
    plan = replace(done, cells=(done.cells[0], cell))
    slot = Slot({}, cell=cell, claim=take_lock(claim_of(plan, cell)))
    pool = Pool(plan, [slot], 0, Watch(plan, 2))
    look = "import sys; from pathlib import Path; from mammo_aln.machine.locks import is_locked\n"
    look += "print(is_locked(Path(sys.argv[1])))"

    def is_claimed() -> bool:
        words = [sys.executable, "-c", look, str(claim_of(plan, cell))]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout == "True\n"

    assert is_claimed()
    assert pool.is_over(done.cells[0])  # draws the board
    assert is_claimed()
    slot.free()


@pytest.mark.slow
def test_a_killed_slot_costs_no_other_cell_and_no_epoch(
    undisturbed: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    def kill() -> None:
        wait_for(lambda: list(out.glob("runs/*/checkpoints/last.ckpt")))
        for slot in children(os.getpid()):
            os.kill(slot, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert run_sweep(tiny_sweep(tmp_path, epochs=4), phantom, out, store=store, slots=1) == out
    killer.join()
    assert "killed (signal 9)" in capsys.readouterr().err
    (record,) = out.glob("failures/*/*.json")
    failure = json.loads(record.read_text())
    assert failure["again"] is True
    assert failure["lines"]
    assert untimed_cells(out).equals(untimed_cells(undisturbed))


def test_a_bad_weights_file_stops_its_own_cell_alone(
    phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no weights")
    file = tiny_sweep(tmp_path, epochs=1, grid={"model.pretrained": [False, str(bad)]})
    assert run_sweep(file, phantom, tmp_path / "out", store=store, slots=1) == 1
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith("FAILED")]
    assert len(told) == 1
    assert f"model.pretrained={bad}" in told[0]
    assert "can't be read as weights" in told[0]
    assert any("fix: correct the file or the setting" in line for line in lines)
    assert list(untimed_cells(tmp_path / "out")["state"]) == ["completed", "failed"]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_kill_9_of_the_sweep_ten_times_loses_nothing(
    undisturbed: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    out, rng = tmp_path / "out", random.Random(0)
    command = words(tiny_sweep(tmp_path, epochs=4), "--cohort", phantom, "--out", out, "--store", store, "--slots=2")
    for _ in range(10):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(5.0, 15.0))
        slots = children(process.pid)
        process.kill()
        process.wait()
        wait_for(lambda gone=slots: not any(map(lives, gone)))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert untimed_cells(out).equals(untimed_cells(undisturbed))


@pytest.mark.slow
def test_two_commands_on_one_folder_train_no_cell_twice(
    undisturbed: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = words(tiny_sweep(tmp_path, epochs=4), "--cohort", phantom, "--out", out, "--store", store, "--slots=1")
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(200) for process in both] == [0, 0]
    states = [json.loads(path.read_text()) for path in out.glob("runs/*/state.json")]
    assert [state["attempts"] for state in states] == [1, 1]
    assert not list(out.glob("failures/*/*"))
    assert untimed_cells(out).equals(untimed_cells(undisturbed))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGUSR2, 75)]
)
def test_a_stopped_sweep_says_how_to_go_on(
    sent: signal.Signals, code: int, phantom: Path, store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = words(tiny_sweep(tmp_path, epochs=500), "--cohort", phantom, "--out", out, "--store", store, "--slots=1")
    process = started(command)
    wait_for(lambda: list(out.glob("runs/*/checkpoints/last.ckpt")), process)
    shown = sweep("status", "--out", out)
    assert "running" in shown.stderr
    assert 'http-equiv="refresh"' in (out / "board.html").read_text()
    process.send_signal(sent)
    _, told = process.communicate(timeout=120)
    assert process.returncode == code
    assert "the same command goes on: mammo-aln sweep" in told
    assert "Traceback" not in told
    assert not list(out.glob("failures/*/*"))
    shown = sweep("status", "--out", out)
    assert shown.stdout == f"{out / 'board.html'}\n"
    assert "stopped before its end" in shown.stderr
    assert "stopped cells go on by: mammo-aln sweep" in shown.stderr
