"""Identities are frozen before the first cell trains, and are those of `train`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from mammo_aln.errors import ExitCode, InputError
from mammo_aln.machine.slurm_jobs import Terms
from mammo_aln.model.backbones import Backbone
from mammo_aln.runs.lock import is_held
from mammo_aln.runs.record import write_state
from mammo_aln.sweeps.cell import Failure, failures, log_of, record_failure, train_cell
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.plan_file import read_plan
from mammo_aln.sweeps.planning.definition import points, read_definition
from mammo_aln.sweeps.planning.preflight import Planner, plan_sweep, settings_of
from mammo_aln.sweeps.planning.room import Network, disk_gb, require_room
from mammo_aln.sweeps.slurm import jobs
from mammo_aln.sweeps.standing.board import status_table
from mammo_aln.sweeps.standing.states import STOPPED, standing
from mammo_aln.sweeps.standing.table import read_rows
from mammo_aln.training.stopping import STOP
from mammo_aln.training.train import train_run
from tests.support.sweep_files import backbone_axis, tiny_sweep


@pytest.fixture
def planned(phantom: Path, store: Path, tmp_path: Path):
    def make(cohort: Path = phantom, over: dict | None = None, **more: object) -> Plan:
        file = tiny_sweep(tmp_path, **more)
        definition = read_definition(file, over)
        found = list(points(definition))
        plan = plan_sweep(definition, found, cohort, tmp_path / "out", store=store, slots=1, check=False)
        return freeze(plan)

    return make


def test_a_cell_is_the_run_that_train_makes_of_its_settings(planned, phantom: Path, store: Path) -> None:
    plan = planned(epochs=1, folds=2, grid={"model.inputs": [["primary"], ["clinical"]]})
    assert len({cell.run_id for cell in plan.cells}) == 4
    for cell in (plan.cells[0], plan.cells[-1]):
        run = train_run(phantom, plan.runs, cell.settings, store=store)
        assert run.name == cell.run_id
        assert standing(plan, cell).state == "completed"


def test_an_added_backbone_is_the_only_new_cell(planned) -> None:
    first = planned(grid={"model": backbone_axis("resnet50")})
    both = planned(grid={"model": backbone_axis("resnet50", "densenet121")})
    assert len(both.cells) == 2
    assert first.cells[0].run_id in {cell.run_id for cell in both.cells}
    assert read_plan(both.out) == both


def as_other_code_planned(plan: Plan) -> Plan:
    """The plan as a version left it that knew neither a number of its learning nor the loss of each input."""
    plain = json.loads((plan.out / "plan.json").read_text())
    del plain["learning"]
    for cell in plain["cells"]:
        del cell["settings"]["optim"]["unimodal_weight"]
    (plan.out / "plan.json").write_text(json.dumps(plain))
    return read_plan(plan.out)


def test_seeds_of_other_code_do_not_stand_beside_those_of_this_code(planned, capsys: pytest.CaptureFixture) -> None:
    """Their mean would be of two trainings."""
    first = planned(seeds=[0])
    assert len(planned(seeds=[0, 1]).cells) == 4
    former = as_other_code_planned(first)
    assert len(former.cells) == 4
    capsys.readouterr()
    plan = planned(seeds=[2])
    assert [cell.seed for cell in plan.cells] == [2, 2]
    assert "the former plan's 4 cells are of other code (version 0.1.0, before its" in capsys.readouterr().err
    plan = planned(seeds=[3])
    assert [[cell.seed for cell in cells] for cells in (plan.cells, plan.dropped)] == [[3, 3], [2, 2]]


def test_a_former_versions_sweep_is_told_as_what_it_was(planned) -> None:
    plan = planned(grid={})
    (cell,) = plan.cells
    write_state(plan.runs / cell.run_id, "stopped", run_id=cell.run_id, attempts=1)
    assert f"stopped cells go on by: {plan.command}" in status_table(plan, read_rows(plan))
    write_state(plan.runs / cell.run_id, "failed", error="ValueError: broken")
    (plan.runs / cell.run_id / "config.yaml").write_text("{}")
    assert "  resume: mammo-aln train" in status_table(plan, read_rows(plan))
    former = as_other_code_planned(plan)
    text = status_table(former, read_rows(former))
    assert "mammo-aln train" not in text  # makes another run than the table's, with this code
    assert text.endswith(f"this code plans and trains all of them anew: {plan.command}")
    assert former.cells[0].settings.optim.unimodal_weight == 0.0
    assert plan.cells[0].settings.optim.unimodal_weight == 1.0


def test_a_changed_label_or_length_makes_new_cells_and_the_old_leave_the_table(
    planned, phantom: Path, tmp_path: Path
) -> None:
    first = {cell.run_id for cell in planned().cells}
    longer = {cell.run_id for cell in planned(over={"trainer": {"max_epochs": 5}}).cells}
    assert len(longer) == 2
    assert not longer & first
    moved = tmp_path / "moved"
    moved.mkdir()
    for table in phantom.glob("*.csv"):
        shutil.copy(table, moved)
    (moved / "cohort.yaml").write_text((phantom / "cohort.yaml").read_text() + f"dicom_root: {phantom}\n")
    assert {cell.run_id for cell in planned(moved).cells} == first
    patients = pd.read_csv(moved / "patients.csv", dtype=str)
    row = patients.index[patients["split"] == "train"][0]
    patients.loc[row, "aln_status"] = "0" if patients.loc[row, "aln_status"] == "1" else "1"
    patients.to_csv(moved / "patients.csv", index=False)
    relabelled = {cell.run_id for cell in planned(moved).cells}
    assert len(relabelled) == 2
    assert not relabelled & first


def test_a_configuration_planned_anew_supersedes_its_former_cells(
    planned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """New weights under the same label are no second seed of the old ones, nor is a mended file a second cell."""
    file = tmp_path / "weights.safetensors"
    settings = read_definition(tiny_sweep(tmp_path)).base["model"]
    network = Backbone("resnet50", {**settings["backbone_args"]}, 64)

    def plan(path: Path, seeds: int = 1) -> Plan:
        steps = {"scratch": {}, "+ pre-training": {"model": {"pretrained": str(path)}}}
        return planned(grid={}, steps=steps, seeds=seeds)

    file.write_bytes(b"no weights")
    bad, scratch = sorted(plan(file).cells, key=lambda cell: str(cell.axes["step"]))
    assert bad.fault
    weights = {name: value.contiguous() for name, value in network.body.state_dict().items()}
    save_file(weights, file)
    first = plan(file, seeds=2)
    assert len(first.cells) == 4
    assert not any(cell.fault for cell in first.cells)
    assert scratch.run_id in {cell.run_id for cell in first.cells}
    other = tmp_path / "other.safetensors"
    # Two seeds were planned with the former file, one is with this one: none of the former two may stay beside it.
    save_file({name: value + 1 for name, value in weights.items()}, other)
    capsys.readouterr()
    again = plan(other)
    words = "2 of the former plan's 4 cells are other trainings now"
    assert words in capsys.readouterr().err
    plan(other)
    assert "former plan" not in capsys.readouterr().err
    names = [cell.axes["step"] for cell in again.cells]
    assert sorted(names) == ["+ pre-training", "scratch"]
    assert [(cell.axes["step"], cell.seed) for cell in again.dropped] == [("scratch", 1)]
    stale = {cell.run_id for cell in first.cells if cell.axes["step"] != "scratch"}
    assert not stale & {cell.run_id for cell in again.cells}


def test_a_cohort_changed_behind_the_plan_is_noticed(planned, phantom: Path, store: Path, tmp_path: Path) -> None:
    plan = planned(epochs=1)
    with pytest.raises(InputError, match="planned as run"):
        train_run(phantom, plan.runs, plan.cells[0].settings, store=store, planned=plan.cells[1].run_id)


def test_a_login_node_plans_cells_that_need_gpus(
    phantom: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    def plan(slots: int, **trainer: object) -> Plan:
        definition = read_definition(tiny_sweep(tmp_path), {"trainer": {"accelerator": "gpu", **trainer}})
        out, grid = tmp_path / "out", list(points(definition))
        return plan_sweep(definition, grid, phantom, out, store=store, slots=slots, check=False)

    with pytest.raises(InputError, match="this machine has 0 CUDA devices"):
        plan(1, devices=2, precision="bf16-mixed")
    with pytest.raises(InputError, match=r"no GPU.*expected --trainer\.precision=bf16-mixed"):
        plan(0, devices=2)
    with pytest.raises(InputError, match="3 patients for 4 devices"):
        plan(0, devices=4, precision="bf16-mixed")
    assert not any(cell.fault for cell in plan(0, devices=2, precision="bf16-mixed").cells)


def test_the_same_training_twice_is_refused(planned) -> None:
    with pytest.raises(InputError, match="two cells are the same training"):
        planned(steps={"a": {}, "b": {"optim": {"lr": 1e-3}}}, grid={})


def test_the_same_training_twice_is_refused_before_its_crops_are_made(phantom: Path, tmp_path: Path) -> None:
    asked = list(points(read_definition(tiny_sweep(tmp_path, steps={"a": {}, "b": {"optim": {"lr": 1e-3}}}))))
    store = tmp_path / "store"
    with pytest.raises(InputError, match=r"two cells are the same training; .*step=a.*; step=b"):
        Planner(phantom, store).plan(asked, [settings_of(point) for point in asked], tmp_path / "runs")
    assert not list(store.rglob("*.u16"))


def test_weights_that_do_not_load_are_one_cells_fault_and_all_cells_faults_stop_the_sweep(
    planned, tmp_path: Path
) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    missing, bad = str(tmp_path / "missing.ckpt"), str(tmp_path / "bad.safetensors")
    plan = planned(grid={"model.pretrained": [False, missing, bad]})
    faults = [cell.fault or "" for cell in plan.cells]
    assert faults[0] == ""
    assert "missing.ckpt" in faults[1]
    assert "bad.safetensors" in faults[2]
    assert [standing(plan, cell).state for cell in plan.cells] == ["not_started", "failed", "failed"]
    with pytest.raises(InputError, match="no cell can be trained"):
        planned(grid={"model.pretrained": [missing, bad]})


def test_a_network_that_cannot_be_built_ends_the_plan_before_the_first_crop(phantom: Path, tmp_path: Path) -> None:
    definition = read_definition(tiny_sweep(tmp_path), {"model": {"backbone": "resnet51"}})
    empty = tmp_path / "empty_store"
    with pytest.raises(InputError, match=r"no cell can be trained: .*resnet51.*did you mean resnet50"):
        plan_sweep(definition, list(points(definition)), phantom, tmp_path / "out", store=empty, slots=1, check=False)
    assert not empty.exists()


def test_what_state_json_says_of_running_counts_only_while_a_process_holds_the_run(planned) -> None:
    plan = planned()
    run = plan.runs / plan.cells[0].run_id
    run.mkdir()
    write_state(run, "running", attempts=1)
    assert not is_held(run)
    found = standing(plan, plan.cells[0])
    assert (found.state, found.note, found.failure) == ("stopped", STOPPED, None)


def test_a_job_of_several_tasks_fails_once(planned, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned()
    for task in range(4):
        monkeypatch.setenv("SLURM_PROCID", str(task))
        record_failure(plan, plan.cells[0], Failure("out of memory"))
    assert len(failures(plan, plan.cells[0])) == 1


def test_a_job_that_is_warned_saves_first_and_requeues_then(planned, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning reaches the training; submitit's own handler, which ends the process, comes after it."""
    plan = planned()
    told: list[str] = []

    def trained(*_: object) -> str:
        with STOP.watched(), STOP.at_steps():
            os.kill(os.getpid(), signal.SIGUSR2)
            told.append("saved")
        STOP.leave()
        return "completed"

    monkeypatch.setattr(jobs, "train_cell", trained)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    job = jobs.CellsJob(plan.out, [plan.cells[0].run_id])
    (plan.out / "slurm").mkdir()
    job.terms = Terms(plan.out / "slurm", 60, 90, 2)
    with pytest.raises(SystemExit, match="75"):
        job()
    assert told == ["saved"]
    assert (plan.out / "slurm" / "requeue.5").read_text() == "stopped by SIGUSR2\n"
    assert jobs.begun_cells(plan, "5") == {plan.cells[0].run_id}
    assert "SLURM job 5" in log_of(plan, plan.cells[0]).read_text()


@pytest.mark.parametrize(("code", "result"), [(0, "completed"), (2, "failed"), (3, "held"), (1, "broken")])
def test_a_training_apart_is_understood_by_its_exit_code(
    planned, monkeypatch: pytest.MonkeyPatch, code: int, result: str
) -> None:
    plan = planned(over={"trainer": {"devices": 2}})
    started = subprocess.Popen
    told: list[list[str]] = []

    def start(words: list[str], **more: object) -> subprocess.Popen:
        told.append(words)
        return started([sys.executable, "-c", f"raise SystemExit({code})"], **more)

    monkeypatch.setattr(subprocess, "Popen", start)
    assert train_cell(plan, plan.cells[0], {}) == result
    assert told[0][-1] == plan.cells[0].run_id
    assert len(failures(plan, plan.cells[0])) == (result in ("failed", "broken"))


def test_a_training_apart_that_saved_its_step_is_to_be_started_again(planned, monkeypatch: pytest.MonkeyPatch) -> None:
    from mammo_aln.errors import Requeue
    from mammo_aln.sweeps import apart
    from mammo_aln.training import train

    def stopped(*_: object, **__: object) -> None:
        raise Requeue("stopped by SIGTERM")

    plan = planned()
    monkeypatch.setattr(train, "train_run", stopped)
    assert apart.main(plan.out, plan.cells[0].run_id) == ExitCode.AGAIN
    started = subprocess.Popen
    again = [sys.executable, "-c", f"raise SystemExit({ExitCode.AGAIN})"]
    monkeypatch.setattr(subprocess, "Popen", lambda words, **more: started(again, **more))
    plan = planned(over={"trainer": {"devices": 2}})
    with pytest.raises(Requeue):
        train_cell(plan, plan.cells[0], {})
    assert failures(plan, plan.cells[0]) == []


def test_a_training_apart_dies_with_its_slot(tmp_path: Path) -> None:
    code = "import os, subprocess, sys; from mammo_aln.machine.signals import die_with_parent\n"
    code += "child = subprocess.Popen(['sleep', '60'], preexec_fn=die_with_parent, stdout=subprocess.DEVNULL)\n"
    code += "print(child.pid, flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    stat = Path(f"/proc/{int(done.stdout)}/stat")
    end = time.monotonic() + 10
    while stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < end, "it outlived its parent"
        time.sleep(0.02)


def test_disk_and_memory_are_looked_at_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"--out .* GB are free"):
        require_room([(Network(None, 10**12), False)] * 100, tmp_path, 1)
    with pytest.raises(InputError, match="--slots 9999"):
        require_room([(Network(None, 1000), False)] * 2, tmp_path / "not" / "there", 9999)
    capsys.readouterr()
    require_room([(Network(None, 10**6), False)], tmp_path, 1)
    assert "checkpoints of 1 cell: about 0.012 GB when all are completed" in capsys.readouterr().err
    # On a cluster as many train at once as `cluster.max_jobs` says: 8 of 80 MB beside 92 that have left 24 MB.
    require_room([(Network(None, 2 * 10**6), False)] * 100, tmp_path, 0, elsewhere=8)
    assert "at most 2.8 GB meanwhile" in capsys.readouterr().err


def test_the_plan_is_plain_json(planned) -> None:
    plan = planned()
    plain = json.loads((plan.out / "plan.json").read_text())
    assert [cell["run_id"] for cell in plain["cells"]] == [cell.run_id for cell in plan.cells]
    with pytest.raises(InputError, match="no sweep was planned"):
        read_plan(plan.out / "nowhere")


def test_the_disk_that_cells_need_is_that_of_their_files() -> None:
    large, small = Network(None, 10**9), Network(None, 10**8)  # 4 GB and 0.4 GB of weights
    assert disk_gb([(large, False)] * 3, 1) == pytest.approx(40 + 2 * 12)
    assert disk_gb([(large, True)] * 3, 1) == pytest.approx(40 + 2 * 4)
    assert disk_gb([(large, False), (large, True)], 2) == pytest.approx(80)
    assert disk_gb([(small, False), (large, False), (small, False)], 1) == pytest.approx(40 + 2 * 1.2)
    assert disk_gb([(replace(large, keeps_optimiser=True), False)] * 3, 1) == pytest.approx(40 + 2 * 20)
    assert disk_gb([], 0) == 0
