"""The sweep's file, and orders for single cells, decide what is trained and ranked."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.errors import InputError, Requeue
from mammo_aln.machine.locks import take_lock
from mammo_aln.machine.slurm import QueuedJob, jobs_in_queue
from mammo_aln.runs.identity import run_identity
from mammo_aln.runs.lock import held_alone
from mammo_aln.runs.record import write_settings, write_state
from mammo_aln.settings import DataConfig, ModelConfig, Settings
from mammo_aln.sweeps import cell as cells_of
from mammo_aln.sweeps.cell import Failure, claim_of, failures, record_failure, train_cell
from mammo_aln.sweeps.collect import collect_sweep
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.local import Pool, Slot
from mammo_aln.sweeps.orders import cancel_cells, cells_named, drop_cells, log_lines, retry_cells
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.plan_file import read_plan
from mammo_aln.sweeps.run import run_sweep
from mammo_aln.sweeps.standing.board import resume_command, status_table
from mammo_aln.sweeps.standing.causes import fix_in_words
from mammo_aln.sweeps.standing.states import BEHIND, STOPPED, queue_of, standing
from mammo_aln.sweeps.standing.table import read_rows, seconds_left
from mammo_aln.sweeps.withheld import BY_FILE, BY_HAND, CANCELLED, reason_withheld, withheld, withhold
from tests.support.slurm_programs import slurm_programs
from tests.support.sweep_files import sweep, tiny_sweep


def planned(out: Path, names: str = "abc", content: str = "cohort", digit: str = "") -> Plan:
    """A sweep of one cell a letter, whose ids are the letter twelve times, or begin with it."""
    cells = [
        Cell(f"{name * 12}"[: 12 - len(digit)] + digit, {"config": f"net_{name}"}, {}, 0, None, Settings())
        for name in names
    ]
    return freeze(Plan(out, out / "cohort", None, content, tuple(cells), command="mammo-aln sweep FILE"))


def names_of(cells: tuple[Cell, ...]) -> str:
    return "".join(cell.run_id[0] for cell in cells)


def test_a_cell_that_the_file_no_longer_names_is_dropped_and_comes_back_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(tmp_path, "abc")
    plan = planned(tmp_path, "ac")
    assert (names_of(plan.cells), names_of(plan.dropped)) == ("ac", "b")
    assert "1 cell is no longer in the sweep's file: dropped, neither trained nor ranked" in capsys.readouterr().err
    assert read_plan(tmp_path) == plan
    assert standing(plan, plan.dropped[0]).state == "dropped"
    assert withheld(tmp_path) == {"b" * 12}
    plan = planned(tmp_path, "ac")
    assert names_of(plan.dropped) == "b"
    assert "no longer" not in capsys.readouterr().err
    plan = planned(tmp_path, "abcd")
    assert (names_of(plan.cells), plan.dropped, withheld(tmp_path)) == ("abcd", (), frozenset())


def test_a_cell_dropped_by_hand_stays_so_until_it_is_retried(tmp_path: Path) -> None:
    planned(tmp_path, "abc")
    drop_cells(tmp_path, ["net_b"])
    for names in ("abc", "ac", "abc"):
        plan = planned(tmp_path, names)
        assert (names_of(plan.cells), names_of(plan.dropped)) == ("ac", "b")
        assert reason_withheld(tmp_path, "b" * 12) == BY_HAND
    # Other labels make another training of the same cell, which nobody asked for either.
    other = planned(tmp_path, "abc", content="other labels", digit="1")
    assert (names_of(other.cells), other.dropped[0].run_id) == ("ac", "b" * 11 + "1")
    planned(tmp_path, "abc")
    retry_cells(tmp_path, ["b" * 12])
    plan = read_plan(tmp_path)
    assert (set(names_of(plan.cells)), plan.dropped, withheld(tmp_path)) == (set("abc"), (), frozenset())
    planned(tmp_path, "ac")
    with pytest.raises(InputError, match="no longer in the sweep's file; write it back there"):
        retry_cells(tmp_path, ["net_b"])


def test_a_completed_cell_that_was_dropped_counts_again_without_a_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path, "ab")
    (plan.runs / plan.cells[1].run_id).mkdir()
    write_state(plan.runs / plan.cells[1].run_id, "completed")
    drop_cells(tmp_path, ["net_b"])
    retry_cells(tmp_path, ["net_b"])
    assert "net_b, seed=0: completed; it counts again, without a training" in capsys.readouterr().err
    plan = read_plan(tmp_path)
    assert (set(names_of(plan.cells)), plan.dropped) == (set("ab"), ())
    assert standing(plan, plan.cell("b" * 12)).state == "completed"


def test_a_sweep_without_any_cell_left_is_refused(tmp_path: Path) -> None:
    planned(tmp_path, "a")
    drop_cells(tmp_path, ["a" * 12])
    with pytest.raises(InputError, match="every cell of the sweep's file was dropped by hand"):
        planned(tmp_path, "a")


def test_other_settings_or_labels_supersede_cells_and_do_not_drop_them(tmp_path: Path) -> None:
    planned(tmp_path, "ab")
    plan = planned(tmp_path, "cd", content="other labels")
    assert (names_of(plan.cells), plan.dropped, plan.superseded) == ("cd", (), ("a" * 12, "b" * 12))
    plan = planned(tmp_path, "ad", content="cohort")
    assert plan.superseded == ("b" * 12, "c" * 12)


def test_a_cell_is_named_by_its_id_or_by_a_part_that_it_alone_has(tmp_path: Path) -> None:
    plan = planned(tmp_path, "abc")
    assert cells_named(plan, ["net_c", "aaaa", "config=net_a, seed=0"]) == [plan.cells[2], plan.cells[0]]
    with pytest.raises(InputError, match=r"CELL 'net_': 3 cells have this part: .*aaaaaaaaaaaa bbbbbbbbbbbb"):
        cells_named(plan, ["net_"])
    with pytest.raises(InputError, match=r"CELL 'net_z': no cell .*near: .*config=net_a, seed=0"):
        cells_named(plan, ["net_z"])
    long = (replace(plan.cells[0], axes={"crop.strategy": "lesion_box", "model.backbone": "convnextv2_small"}),)
    with pytest.raises(InputError, match=r"near: crop.strategy=lesion_box, model.backbone=convnextv2_small, seed=0\."):
        cells_named(replace(plan, cells=long), ["lesion_boxx"])
    seeds = (replace(plan.cells[0], seed=1), replace(plan.cells[0], run_id="f" * 12, seed=10))
    assert cells_named(replace(plan, cells=seeds), ["config=net_a, seed=1"])[0].seed == 1


@pytest.mark.parametrize("verb", ["drop", "retry", "cancel", "log"])
def test_an_unknown_cell_ends_the_verb_with_exit_code_2(verb: str, tmp_path: Path) -> None:
    planned(tmp_path / "out", "ab")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.json")}
    done = sweep(verb, "net_q", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "near: config=net_" in done.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.json")} == before


def test_states_tell_where_a_cell_stands(tmp_path: Path) -> None:
    plan = planned(tmp_path, "abcdefg")
    queued, starting, running, stopped, failed, completed, waits = plan.cells
    (tmp_path / "slurm").mkdir()
    for cell, job in ((queued, "7_0"), (starting, "7_1")):
        (tmp_path / "slurm" / f"{cell.run_id}.json").write_text(json.dumps({"job": job}))
    queue = {"7_0": QueuedJob("PENDING", "Resources"), "7_1": QueuedJob("RUNNING", "None")}
    for cell, state in ((running, "running"), (stopped, "stopped"), (completed, "completed")):
        (plan.runs / cell.run_id).mkdir()
        write_state(plan.runs / cell.run_id, state)
    (plan.runs / completed.run_id / "predictions.csv").write_text("patient_id,run_id,split,aln_status,score\n")
    record_failure(plan, failed, Failure("out of memory"))
    record_failure(plan, queued, Failure("its node was lost"))  # submitted again: it waits, and is no failure
    cancelled = replace(waits, run_id="0" * 12)
    withhold(tmp_path, [cancelled.run_id], CANCELLED)
    claimed = replace(waits, run_id="1" * 12)
    (tmp_path / "claims").mkdir()
    with held_alone(plan.runs / running.run_id), take_lock(claim_of(plan, claimed)):
        states = {cell.run_id[0]: standing(plan, cell, queue=queue) for cell in (*plan.cells, cancelled)}
        assert standing(plan, claimed, own=True).state == "starting"
    assert {name: each.state for name, each in states.items()} == {
        "a": "queued",
        "b": "starting",
        "c": "running",
        "d": "stopped",
        "e": "failed",
        "f": "completed",
        "g": "not_started",
        "0": "stopped",
    }
    assert states["a"].note == "job 7_0, Resources"
    assert states["d"].note == STOPPED
    assert states["0"].note == CANCELLED
    assert "queued (job 7_0, Resources)" in status_table(plan, read_rows(plan, queue=queue))


def test_a_cell_waits_behind_another_of_its_job_which_outlives_its_cancellation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(tmp_path / "out", "abc")
    records = tmp_path / "out" / "slurm"
    records.mkdir()
    for cell, job in zip(plan.cells, ("7", "7", "8"), strict=True):
        (records / f"{cell.run_id}.json").write_text(json.dumps({"job": job}))
    (records / "7.begun").write_text(f"{plan.cells[0].run_id}\n")
    queue = {"7": QueuedJob("RUNNING", "None"), "8": QueuedJob("PENDING", "Priority")}
    assert [standing(plan, cell, queue=queue).note for cell in plan.cells] == [
        "job 7",
        f"job 7, {BEHIND}",
        "job 8, Priority",
    ]
    with slurm_programs(tmp_path / "state", monkeypatch) as state:
        (state / "scancel").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/cancelled\n')
        (state / "scancel").chmod(0o755)
        (state / "queue").write_text("7|PENDING|Priority\n8|PENDING|Priority\n")
        cancel_cells(plan.out, ["net_b", "net_c"])
        assert (tmp_path / "cancelled").read_text() == "8\n"
        cancel_cells(plan.out, ["net_a", "net_b"])
        assert (tmp_path / "cancelled").read_text() == "8\n7\n"


def test_a_stop_after_a_failure_is_a_stop_and_a_kill_that_was_told_is_a_failure(tmp_path: Path) -> None:
    plan = planned(tmp_path, "a")
    cell, run = plan.cells[0], plan.runs / ("a" * 12)
    run.mkdir()
    write_state(run, "running")
    record_failure(plan, cell, Failure("its process was killed (signal 9)"))
    assert standing(plan, cell).state == "failed"
    write_state(run, "stopped")
    assert standing(plan, cell).state == "stopped"
    record_failure(plan, cell, Failure("its SLURM job 3 has run into its time limit", again=False))
    assert standing(plan, cell).state == "failed"


def test_a_training_that_failed_beside_the_sweep_tells_its_own_error(tmp_path: Path) -> None:
    plan = planned(tmp_path, "a")
    (plan.runs / ("a" * 12)).mkdir()
    write_state(plan.runs / ("a" * 12), "failed", error="ValueError: broken")
    failure = standing(plan, plan.cells[0]).failure
    assert failure is not None
    assert failure.error == "ValueError: broken"


def test_a_retried_cell_counts_its_failures_anew_and_keeps_them(tmp_path: Path) -> None:
    plan = planned(tmp_path, "ab")
    cell = plan.cells[0]
    pool = Pool(plan, [Slot({})], 0, lambda *_: None, before={cell.run_id: 0})
    record_failure(plan, cell, Failure("out of memory"))
    assert pool.is_over(cell)
    retry_cells(tmp_path, ["net_a"])
    assert not pool.is_over(cell)
    assert failures(plan, cell) == []
    assert len(list((tmp_path / "failures" / cell.run_id / "former").iterdir())) == 1
    record_failure(plan, cell, Failure("out of memory"))
    assert pool.is_over(cell)
    cancel_cells(tmp_path, ["net_b"])
    assert pool._waiting(plan.cells) == []
    retry_cells(tmp_path, ["net_b"])
    pool.before["b" * 12] = 0
    assert pool._waiting(plan.cells) == [plan.cells[1]]


def test_a_cell_cancelled_while_it_trains_leaves_in_good_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path, "a")
    monkeypatch.setattr(cells_of, "WATCHED_EVERY_S", 0.01)

    def train(*_: object) -> None:
        threading.Timer(0.05, withhold, (tmp_path, ["a" * 12], CANCELLED)).start()
        time.sleep(20)

    monkeypatch.setattr(cells_of, "_train_here", train)
    begun = time.monotonic()
    assert train_cell(plan, plan.cells[0], {}) == "withheld"
    assert time.monotonic() - begun < 10
    assert train_cell(plan, plan.cells[0], {}) == "withheld"  # it does not even begin
    assert failures(plan, plan.cells[0]) == []

    retry_cells(tmp_path, ["net_a"])
    monkeypatch.setattr(cells_of, "_train_here", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Requeue):  # any other signal means: again
        train_cell(plan, plan.cells[0], {})


def test_the_log_of_a_cell_is_its_own_or_its_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(tmp_path, "ab")
    with pytest.raises(InputError, match="no log yet"):
        log_lines(tmp_path, ["net_a"], 3)
    log = tmp_path / "logs" / f"{'a' * 12}.log"
    log.parent.mkdir()
    log.write_text("".join(f"line {number}\n" for number in range(50)))
    assert log_lines(tmp_path, ["net_a"], 3) == str(log)
    assert re.findall(r"line \d+", capsys.readouterr().err) == ["line 47", "line 48", "line 49"]
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / f"{'b' * 12}.json").write_text(json.dumps({"job": "9_1"}))
    (tmp_path / "slurm" / "9_1_0_log.err").write_text("CUDA error\n")
    assert log_lines(tmp_path, ["net_b"], 3).endswith("9_1_0_log.err")
    assert resume_command(plan, read_rows(plan)[1]) == plan.command


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        ("RuntimeError: CUDA out of memory", "less memory: "),
        ("its process was killed (signal 9), by hand or because the machine ran out of memory", "less memory: "),
        ("its process died: signal 7 (SIGBUS)", "more shared memory (/dev/shm), or --data.num_workers=0"),
        ("OSError: [Errno 28] No space left on device", "make room: mammo-aln sweep prune --out {out}"),
        ("last.ckpt: cannot be written (File too large); a file may have 9 GB", "let a file be larger, by what the "),
        ("the training diverged in step 3. What may help: less memory", "a lower optim.lr, "),
        ("its SLURM job 3 has run into its time limit of 60 min 3 times", "more time, by a greater --cluster.time_min"),
        ("its SLURM job 3 used more memory than it had asked for (cluster.mem_gb: 4 GB)", "more memory, by a greater "),
        ("KeyError: 'x'", "none is known: "),
    ],
)
def test_a_known_cause_has_its_fix_and_another_one_is_said_to_have_none(error: str, fix: str, tmp_path: Path) -> None:
    plan = planned(tmp_path, "a")
    assert fix_in_words(plan, plan.cells[0], Failure(error)).startswith(fix.format(out=tmp_path))


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize(
    ("model", "batch", "kept"),
    [
        ({"backbone": "convnextv2"}, 16, True),
        ({"backbone": "swinv2", "backbone_args": {"drop_path_rate": 0.0}}, 16, True),
        ({"backbone": "swinv2"}, 16, False),  # timm's drops branches by itself, for each part of a step
        ({"backbone": "resnet50"}, 16, False),  # batch statistics
        ({"backbone": "resnet50", "inputs": ("clinical",)}, 16, True),
        ({"backbone": "convnextv2"}, 1, None),
    ],
)
def test_less_memory_is_told_with_its_consequence_for_the_cells_identity(
    model: dict[str, object], batch: int, kept: bool | None, begun: bool, tmp_path: Path
) -> None:
    """What is said to leave the cell the same training has the very id, and what is not has another one."""
    settings = Settings(model=ModelConfig(**model), data=DataConfig(batch_size=batch))
    plan = planned(tmp_path, "a")
    cell = replace(plan.cells[0], settings=settings)
    if begun:
        write_settings(plan.runs / cell.run_id, settings)
    words = fix_in_words(plan, cell, Failure("RuntimeError: CUDA out of memory"))
    same, _, other = words.partition("with which it stays the same training")
    flag = re.search(r"data.micro_batch[=:] ?(\d+)", words)
    assert (flag is None) is (kept is None)
    if flag is not None:
        smaller = replace(settings, data=replace(settings.data, micro_batch=int(flag[1])))
        ids = {run_identity(each, "cohort", ["key"]).run_id for each in (settings, smaller)}
        assert (len(ids) == 1) is kept is (flag[0] in same)
        assert ("--data.micro_batch=" in words) is (begun and kept)
    checkpointed = replace(settings, model=replace(settings.model, grad_checkpointing=True))
    assert run_identity(checkpointed, "cohort", ["key"]) != run_identity(settings, "cohort", ["key"])
    assert "model.grad_checkpointing" in other
    assert "fewer --slots" in same


def test_the_queue_is_read_with_states_and_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\nprintf '3_0|PENDING|(PartitionTimeLimit)\\n3_1|RUNNING|None\\n4|PENDING|None\\n'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    queue = jobs_in_queue()
    assert {job: each.waits for job, each in queue.items()} == {"3_0": "PartitionTimeLimit", "3_1": "", "4": "None"}
    plan = planned(tmp_path / "out", "a")
    assert queue_of(plan) == {}
    (tmp_path / "out" / "slurm").mkdir()
    (tmp_path / "out" / "slurm" / "a.json").write_text("{}")
    assert queue_of(plan) == queue


def test_the_time_left_is_shared_by_the_cells_that_train_at_once(tmp_path: Path) -> None:
    """Six cells of 13 s wait for two slots, at the moment when one of them is free: 6 * 13 / 2."""
    plan = planned(tmp_path, "abcdefgh")
    rows = read_rows(plan)
    done = replace(rows[0].standing, state="completed", training_s=13.0)
    rows = [*(replace(row, standing=done) for row in rows[:2]), *rows[2:]]
    assert seconds_left(rows, 2) == pytest.approx(39)
    assert pd.isna(seconds_left(rows))


@pytest.mark.slow
def test_a_deleted_backbone_is_neither_trained_nor_ranked(phantom: Path, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    both = tiny_sweep(tmp_path, epochs=1)
    assert run_sweep(both, phantom, out, store=store, slots=1) == out
    assert read_plan(out).cells[1].axes == {"crop.strategy": "fixed_5cm"}
    one = tiny_sweep(tmp_path, epochs=1, grid={"crop.strategy": ["lesion_box"]}, seeds=2)
    assert run_sweep(one, phantom, out, store=store, slots=1) == out
    table = pd.read_csv(out / "cells.csv", dtype=str)
    assert list(table["state"]) == ["completed", "completed", "dropped"]
    assert table["val_auc"].isna().tolist() == [False, False, True]
    collect_sweep(out, resamples=10)
    choice = json.loads((out / "choice.json").read_text())
    assert [each["configuration"] for each in choice["configurations"]] == ["crop.strategy=lesion_box"]
    assert choice["configurations_planned"] == 1


@pytest.mark.slow
def test_a_running_cell_is_dropped_from_another_command(phantom: Path, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    file = tiny_sweep(tmp_path, epochs=400)
    words = ["run", file, "--cohort", phantom, "--out", out, "--store", store, "--slots", "1"]
    done: list[subprocess.CompletedProcess[str]] = []
    command = threading.Thread(target=lambda: done.append(sweep(*words)))
    command.start()
    end = time.monotonic() + 120
    while not list(out.glob("runs/*/metrics.csv")):
        assert time.monotonic() < end
        time.sleep(0.1)
    plan = read_plan(out)
    first = next(cell for cell in plan.cells if (plan.runs / cell.run_id / "metrics.csv").is_file())
    other = next(cell for cell in plan.cells if cell is not first)
    assert sweep("cancel", other.run_id, "--out", out).returncode == 0
    assert sweep("drop", first.run_id, "--out", out).returncode == 0
    command.join(60)
    assert done[0].returncode == 1
    assert f"STOPPED {other.name}" in done[0].stderr
    plan = read_plan(out)
    assert (plan.cells, names_of(plan.dropped)) == ((other,), first.run_id[0])
    assert json.loads((plan.runs / first.run_id / "state.json").read_text())["state"] == "stopped"
    assert (plan.runs / first.run_id / "checkpoints" / "last.ckpt").is_file()
    assert not (plan.runs / other.run_id).exists()
    assert reason_withheld(out, first.run_id) == BY_HAND
    assert BY_FILE not in done[0].stderr
