"""What is told of cells: in a table that fits, once, with the command that can be typed, and what computed them."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.evaluation.report.environment import breakable
from mammo_aln.machine.locks import VARIABLE
from mammo_aln.machine.slurm import QueuedJob, StuckJobs
from mammo_aln.progress import counted
from mammo_aln.runs.identity import RunIdentity
from mammo_aln.settings import LogConfig
from mammo_aln.sweeps.collect import collect_sweep
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.orders import cells_named
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.plan_file import read_plan
from mammo_aln.sweeps.standing.arithmetic import differences
from mammo_aln.sweeps.standing.board import shown, status_table, write_board
from mammo_aln.sweeps.standing.pages import head_of
from mammo_aln.sweeps.standing.table import cells_table, completed_cells, read_rows
from mammo_aln.sweeps.withheld import withhold
from mammo_aln.training.trackers.loggers import mlflow_run
from mammo_aln.training.trackers.mirrored import Mirrored
from mammo_aln.training.trackers.outcome import Outcome
from tests.support.simulated_sweep import simulated_sweep
from tests.support.tiny_settings import tiny_settings


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A sweep in a folder whose name has a blank, its last cells not completed."""
    return freeze(replace(simulated_sweep(tmp_path / "my sweep", unfinished=5), cohort_name="Three Hospitals"))


def computed(plan: Plan, number: int, *words: str) -> None:
    """Write down what computed a cell, as its training does."""
    record = plan.runs / plan.cells[number].run_id / "environment.json"
    record.write_text(json.dumps({"threads": 1, "arithmetic": ["torch 2.9", *words]}))


def test_explanations_stand_below_the_table_once(plan: Plan) -> None:
    reason = "pruned at epoch 3 of 12: AUC 0.512 (median)"
    ids = [cell.run_id for cell in plan.cells[-5:]]
    withhold(plan.out, ids, reason, pruned={"epoch": 3, "auc": 0.5125, "pruner": {}})
    text = status_table(plan, read_rows(plan))
    table, below = text.split("19 of 24 cells completed")
    assert max(map(len, table.splitlines())) < 140
    assert reason not in table
    assert below.count(reason) == 1
    assert "pruned (pruned" not in text
    assert "pruned: pruned" not in text
    assert plan.cells[-1].name in below
    page = write_board(plan, read_rows(plan), live=False).read_text()
    assert page.count(reason.replace("pruned", "Pruned")) == 1
    assert f"<small>{reason}" not in page


def test_a_pruned_cell_has_its_epoch_and_auc_in_the_table_and_no_other_figure(plan: Plan) -> None:
    cell = plan.cells[-1]
    about = {"epoch": 3, "auc": 0.5125, "pruner": {"name": "median"}}
    withhold(plan.out, [cell.run_id], "pruned at epoch 3 of 12", pruned=about)
    table = cells_table(replace(plan, pruner={"name": "median"}), read_rows(plan)).set_index("run_id")
    assert (table.loc[cell.run_id, "pruned_epoch"], table.loc[cell.run_id, "pruned_auc"]) == (3, 0.5125)
    assert pd.isna(table.loc[cell.run_id, "val_auc"])
    assert table["pruned_auc"].drop(cell.run_id).isna().all()
    assert "pruned_epoch" not in cells_table(plan, read_rows(plan))


def test_cells_that_were_computed_otherwise_are_told_and_told_apart(plan: Plan) -> None:
    crops = "data.device_gb=auto (crops changed by loaders)"
    for number in range(19):
        computed(plan, number, "OMP_NUM_THREADS=1", crops)
    computed(plan, 0, "OMP_NUM_THREADS=1", crops.replace("auto", "3"))  # changes no digit
    cells = completed_cells(rows := read_rows(plan))
    assert differences(plan, cells) is None
    assert "arithmetic" not in cells_table(plan, rows)
    computed(plan, 4, "OMP_NUM_THREADS=2", crops)
    line = differences(plan, cells)
    assert line is not None
    assert "OMP_NUM_THREADS=2: 1 cell (" + plan.cells[4].name in line
    assert "OMP_NUM_THREADS=1: 18 cells" in line
    assert "torch" not in line
    assert line in status_table(plan, rows)
    column = cells_table(plan, rows).set_index("run_id")["arithmetic"]
    assert column[plan.cells[4].run_id] == "torch 2.9; OMP_NUM_THREADS=2; crops changed by loaders"
    assert (column[[cell.run_id for cell in plan.cells[19:]]] == "").all()


@pytest.mark.parametrize(
    ("reason", "helps"),
    [
        ("PartitionConfig", "cluster.cpus_per_task"),
        ("BadConstraints", "cluster.extra"),
        ("QOSMaxCpuPerJobLimit", "than a job may have"),
        ("AssocMaxWallDurationPerJobLimit", "cluster.time_min"),
        ("QOSMaxGRESPerNode", "than a job may have"),
        ("InvalidQOS", "qos in cluster.extra"),
        ("InvalidAccount", "cluster.account"),
        ("PartitionDown", "cluster.partition"),
        ("DependencyNeverSatisfied", "scancel"),
        ("PartitionTimeLimit", "cluster.time_min"),
    ],
)
def test_a_reason_that_does_not_pass_by_itself_is_told_once(
    reason: str, helps: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stuck, queue = StuckJobs(), {f"8_{number}": QueuedJob("PENDING", f"({reason})") for number in range(3)}
    for _ in range(2):
        stuck.tell(queue, queue)
    said = capsys.readouterr().err
    assert said.count(reason) == 1
    assert helps in said


@pytest.mark.parametrize("reason", ["Priority", "Resources", "QOSMaxJobsPerUserLimit", "AssocGrpCpuLimit", "BeginTime"])
def test_a_reason_that_passes_is_not_told(reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    StuckJobs().tell({"8": QueuedJob("PENDING", reason)}, ["8"])
    assert capsys.readouterr().err == ""


def test_a_command_in_a_message_can_be_typed_where_a_folder_has_a_blank(plan: Plan) -> None:
    def command(text: str) -> list[str]:
        return shlex.split(text.split("`")[1])

    with pytest.raises(InputError) as unknown:
        cells_named(plan, ["nobody"])
    assert command(str(unknown.value)) == ["mammo-aln", "sweep", "status", "--out", str(plan.out)]
    none = freeze(replace(plan, out=plan.out.parent / "not begun"))
    with pytest.raises(InputError, match="no configuration is completed") as nothing:
        collect_sweep(none.out, resamples=50)
    assert command(str(nothing.value)) == ["mammo-aln", "sweep", "status", "--out", str(none.out)]


def test_pages_name_the_cohort_as_it_calls_itself(plan: Plan) -> None:
    assert head_of(plan).cohort == "Three Hospitals (folder cohort)"
    assert head_of(read_plan(plan.out)).cohort == "Three Hospitals (folder cohort)"
    assert head_of(replace(plan, cohort_name="cohort")).cohort == "cohort"
    assert head_of(replace(plan, cohort_name="")).cohort == "cohort", "plans of earlier versions do not tell"
    assert "Three Hospitals (folder cohort)" in write_board(plan, read_rows(plan), live=False).read_text()


@pytest.mark.parametrize("number", ["0.003", "1e-05", "-0.5", "1.25e+10", "0.0011781448719376517"])
def test_a_number_is_never_broken_and_a_name_is(number: str) -> None:
    assert breakable(f"optim.lr={number}") == f"optim.\u200blr=\u200b{number}"
    assert breakable(number) == number
    assert breakable("fixed_5cm") == "fixed_\u200b5cm"


def test_a_page_shows_a_number_that_was_drawn_in_few_digits() -> None:
    labels = (0.0011781448719376517, 16, "lesion_box", None, True, 0.5)
    assert [shown("optim.lr", label) for label in labels] == ["0.001178", 16, "lesion_box", None, True, "0.5"]
    assert shown("trial", "#12 optim.lr=0.001178 model.embed_dim=16") == "#12"


@pytest.mark.parametrize(("number", "words"), [(0, "0 cells"), (1, "1 cell"), (2, "2 cells")])
def test_one_is_no_plural(number: int, words: str) -> None:
    assert counted(number, "cell") == words
    assert counted(number, "cell is", "cells are") == words + (" is" if number == 1 else " are")


def finding(capsys: pytest.CaptureFixture[str], about: str) -> str:
    """Lines of doctor from the one about something to the one behind it."""
    lines = capsys.readouterr().err.splitlines()
    at = next(number for number, line in enumerate(lines) if about in line)
    return "\n".join(lines[at : at + 2])


def test_doctor_names_the_variable_the_disk_and_a_folder_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out here"
    monkeypatch.setenv(VARIABLE, "foo")
    assert main(["doctor", "--out", str(out)]) == 1
    text = finding(capsys, f"{VARIABLE}=foo")
    assert f"fix: unset {VARIABLE}, or export {VARIABLE}=posix" in text
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr("shutil.disk_usage", usage_of(out))
    main(["doctor", "--out", str(out), "--cohort", str(tmp_path / "NIX")])
    said = capsys.readouterr().err
    assert f"WARN  3.00 MB free on the disk of {out}" in said
    assert "fix: give --cohort the folder that holds patients.csv" in said
    assert "mammo-aln check" not in said


def usage_of(small: Path) -> Any:
    """Stand for a machine whose one folder is on a small disk."""
    from shutil import _ntuple_diskusage

    def usage(path: object) -> Any:
        free = 3_000_000 if Path(str(path)) == small else 10**12
        return _ntuple_diskusage(10**12, 10**12 - free, free)

    return usage


@pytest.mark.slow  # MLflow makes its database, 10 s
def test_numbers_of_a_run_that_was_killed_behind_its_mirror_stand_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    settings = replace(tiny_settings(), log=LogConfig(tracker=("mlflow",)))
    (tmp_path / "abc").mkdir()
    identity = RunIdentity("0.1", 3, {}, "0123456789abcdef", "fedcba9876543210")
    rows = tuple({"epoch": float(epoch), "val_auc": 0.5 + epoch / 10} for epoch in range(3))
    outcome = Outcome(rows, {"val_auc": 0.7, "brier": 0.2})
    for _ in range(2):  # the second attempt finds the run as the first one left it
        run = mlflow_run(Mirrored(tmp_path / "abc", settings, identity))
        run.complete(outcome)
        run.close()
    client = MlflowClient(tracking_uri=uri)
    [there] = client.search_runs([client.get_experiment_by_name(settings.log.project).experiment_id])
    for name in ("final/val_auc", "final/brier"):
        assert len(client.get_metric_history(there.info.run_id, name)) == 1
    assert [metric.step for metric in client.get_metric_history(there.info.run_id, "epoch")] == [0, 1, 2]
