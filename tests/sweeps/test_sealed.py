"""The sealed test of a sweep: bound to what validation chose, told when it was no longer sealed, kept for good."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.evaluation.predictions import read_facts
from mammo_aln.evaluation.report.words import openings
from mammo_aln.machine.locks import take_lock
from mammo_aln.runs.ledger import LEDGER
from mammo_aln.settings import Settings
from mammo_aln.settings.stored import plain_settings
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.plan_file import read_plan
from mammo_aln.sweeps.planning.definition import points, read_definition
from mammo_aln.sweeps.planning.preflight import plan_sweep
from mammo_aln.sweeps.sealed import file_names
from mammo_aln.training.train import train_run
from tests.support.run_folders import linked_copy, without_images
from tests.support.sweep_files import tiny_sweep, words

RATES = [0.05, 0.001, 1e-6]
CLINICAL = {"model": {"inputs": ["clinical"]}}


@pytest.fixture(scope="module")
def three(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort of its own, and runs of three learning rates."""
    folder = tmp_path_factory.mktemp("three")
    cohort = without_images(linked_copy(phantom, folder / "cohort"))
    (cohort / LEDGER).unlink(missing_ok=True)
    definition = read_definition(rates(folder, RATES))
    plan = plan_sweep(definition, list(points(definition)), cohort, folder / "out", store=None, slots=1, check=False)
    plan = freeze(plan)
    for cell in plan.cells:
        train_run(cohort, plan.runs, cell.settings, planned=cell.run_id)
    (plan.out / "plan.json").unlink()
    return folder


@pytest.fixture
def folder(three: Path, tmp_path: Path) -> Path:
    return shutil.copytree(three, tmp_path / "folder")


def rates(folder: Path, values: list[float], **more: object) -> Path:
    return tiny_sweep(folder, epochs=1, **{**CLINICAL, "grid": {"optim.lr": values}, **more})


def run(folder: Path, values: list[float], **more: object) -> int:
    """Plan a sweep whose cells are trained already."""
    line = ["sweep", "run", rates(folder, values, **more), "--cohort", folder / "cohort", "--out", folder / "out"]
    return main([str(word) for word in line])


def collect(folder: Path, *more: str) -> int:
    return main(["sweep", "collect", "--out", str(folder / "out"), "--resamples=50", *more])


def by_hand(folder: Path, run_id: str) -> str:
    """Predict with one run; returns what a report says of its openings."""
    scores = folder / f"{run_id}.csv"
    line = ["predict", "--run", folder / "out" / "runs" / run_id, folder / "cohort", "--out", scores]
    assert main([str(word) for word in line]) == 0
    return " ".join(openings(read_facts(scores)))


def cells(folder: Path) -> tuple[str, list[str]]:
    """Run id of the chosen cell, and of the others."""
    table = pd.read_csv(folder / "out" / "cells.csv", dtype={"run_id": str}).sort_values("val_auc", ascending=False)
    chosen = json.loads((folder / "out" / "choice.json").read_text())["chosen"]
    is_chosen = ("optim.lr=" + table["optim.lr"].astype(str)) == chosen
    return table["run_id"][is_chosen].item(), table["run_id"][~is_chosen].tolist()


def lines(folder: Path, kind: str) -> list[dict[str, object]]:
    entries = [json.loads(line) for line in (folder / "cohort" / LEDGER).read_text().splitlines()]
    return [entry for entry in entries if entry["kind"] == kind]


def test_a_prediction_by_hand_with_an_unchosen_cell_is_not_certified_and_the_chosen_one_is(folder: Path) -> None:
    assert run(folder, RATES) == 0
    assert collect(folder) == 0
    chosen, others = cells(folder)
    assert [choice["runs"] for choice in lines(folder, "choice")] == [[chosen]]
    page = by_hand(folder, others[0])
    assert "It belongs to no plan declared beforehand: plan " in page
    assert f"validation chose {chosen}" in page
    assert collect(folder, "--test") == 0
    report = (folder / "out" / "test" / "report.html").read_text()
    assert "It was declared beforehand, on " in report
    assert "before its first opening: sweep of 3 cells in 3 configurations" in report
    assert "Validation chose this model among 3, on " in report
    assert "1 other run had opened it before" in report
    assert len(lines(folder, "choice")) == len(lines(folder, "plan")) == 1


def test_the_choice_stands_in_the_ledger_before_the_chosen_cell_is_predicted_by_hand(folder: Path) -> None:
    assert run(folder, RATES) == 0
    assert collect(folder) == 0
    chosen, _ = cells(folder)
    assert "It was declared beforehand, on " in by_hand(folder, chosen)


@pytest.mark.slow
def test_cells_added_to_a_tested_sweep_are_warned_of_and_told_and_the_former_report_stays(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, RATES[2:]) == 0
    assert collect(folder, "--test") == 0
    former = {path: path.read_bytes() for path in (folder / "out" / "test").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert collect(folder, "--test") == 0
    assert "were opened with these models before" in capsys.readouterr().err
    assert run(folder, RATES) == 0
    first, second = lines(folder, "plan")
    warned = capsys.readouterr().err
    assert "external_test: opened 1 time(s) already" in warned
    assert f"1 of them under this sweep's former plan {first['plan']}" in warned
    assert read_plan(folder / "out").declared == second["plan"]
    assert collect(folder, "--test") == 0
    assert "it is no longer sealed" in capsys.readouterr().err
    assert former == {path: path.read_bytes() for path in former}
    report = (folder / "out" / "test-2" / "report.html").read_text()
    (opening,) = [one for one in lines(folder, "opening") if one["split"] == "external_test"][:1]
    moments = [str(time)[:19].replace("T", " ") for time in (second["time"], opening["time"])]
    assert (
        f"It was not declared beforehand: its plan is of {moments[0]} UTC, after this split had been opened 1 time,"
        f" last on {moments[1]} UTC: sweep of 3 cells"
    ) in report


@pytest.mark.slow
def test_a_cell_that_left_the_sweep_is_told_by_a_plan_of_its_own(folder: Path) -> None:
    """A seed or a rival that was dropped by hand after the declaration makes another plan, before the test opens."""
    assert run(folder, RATES) == 0
    assert main(["sweep", "drop", "optim.lr=1e-06", "--out", str(folder / "out")]) == 0
    assert collect(folder, "--test") == 0
    assert [str(plan["what"])[:35] for plan in lines(folder, "plan")] == [
        "sweep of 3 cells in 3 configurations"[:35],
        "sweep of 2 cells in 2 configurations"[:35],
    ]
    assert "before its first opening: sweep of 2 cells" in (folder / "out" / "test" / "report.html").read_text()


def test_a_changed_label_is_told_and_keeps_the_test_sealed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To the cells' runs the changed cohort is another one, whose training patients would be scored as a test."""
    assert run(folder, RATES[:1]) == 0
    capsys.readouterr()
    assert collect(folder) == 0
    assert "have changed since" not in capsys.readouterr().err
    path = folder / "cohort" / "patients.csv"
    patients = pd.read_csv(path, dtype=str)
    patients.loc[0, "aln_status"] = {"0": "1", "1": "0"}[patients.loc[0, "aln_status"]]
    patients.to_csv(path, index=False)
    os.utime(path, (2**31, 2**31))
    for action in ("status", "collect"):
        assert main(["sweep", action, "--out", str(folder / "out")]) == 0
        assert (
            f"the tables of {folder / 'cohort'} have changed since these cells were planned" in capsys.readouterr().err
        )
    assert collect(folder, "--test") == 2
    assert "the test splits stay sealed: the tables of" in capsys.readouterr().err
    assert lines(folder, "opening") == []


@pytest.mark.slow
def test_a_report_of_other_resamples_opens_nothing_anew(folder: Path) -> None:
    assert run(folder, RATES[:1]) == 0
    assert collect(folder, "--test") == 0
    opened = (folder / "cohort" / LEDGER).read_text()
    assert collect(folder, "--test", "--resamples=60") == 0
    assert (folder / "cohort" / LEDGER).read_text() == opened
    names = {path.name for path in (folder / "out").glob("test*")}
    assert names == {"test", "test-2"}


@pytest.mark.slow
def test_of_two_commands_that_open_the_test_at_once_one_waits_and_opens_nothing_more(folder: Path) -> None:
    assert run(folder, RATES) == 0
    line = words("collect", "--out", folder / "out", "--resamples=50", "--test")
    processes = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    openings = [(one["split"], one["run_id"]) for one in lines(folder, "opening")]
    assert len(openings) == len(set(openings)) > 0
    assert {path.name for path in (folder / "out").glob("test*")} == {"test"}
    assert sum("were opened with these models before" in each for each in said) == 1
    page = (folder / "out" / "choice.html").read_text()
    assert page.count('<a href="test/report.html">') == 1


def test_collect_waits_for_another_command_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, RATES) == 0
    capsys.readouterr()
    lock = take_lock(folder / "out" / ".collect.lock")
    assert lock is not None
    threading.Timer(0.5, lock.close).start()
    begun = time.monotonic()
    assert collect(folder) == 0
    assert time.monotonic() - begun > 0.5
    assert "another command collects this sweep now" in capsys.readouterr().err


@pytest.mark.slow
def test_every_configuration_of_a_declared_test_is_told_on_the_page_of_all(folder: Path) -> None:
    assert run(folder, RATES[1:], test=True) == 0
    page = (folder / "out" / "test" / "comparisons.html").read_text()
    assert page.count("before its first opening: sweep of 2 cells in 2 configurations; every configuration") == 4
    assert lines(folder, "choice") == []


def test_no_two_models_share_a_file_of_predictions_nor_one_of_a_report() -> None:
    """A file of the same name would be taken for the other's, or written over by the report."""
    names = ["clinical", "+ primary", "a/b", "a b", "A_b", "opened", "Ladder", "x" * 300, "x" * 299 + "y", "!", "?"]
    files = file_names(names)
    assert files[:2] == ["clinical", "+_primary"]
    assert len({name.casefold() for name in files}) == len(names)
    assert not {"opened", "ladder"} & {name.casefold() for name in files}
    assert max(len(name.encode()) for name in files) <= 200
    assert file_names(names) == files
    assert file_names(["optim.lr=1e-06, model.backbone=resnet50"]) == ["optim.lr=1e-06_model.backbone=resnet50"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("opened.json", "[1", "cannot be read as the record of a test report"),
        ("optim.lr=1e-06.csv", "", "optim.lr=1e-06.csv"),
        ("optim.lr=1e-06.csv", "a,b\n1,2\n", "lacks the column(s)"),
    ],
)
def test_a_report_that_was_changed_by_hand_opens_nothing_anew(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str
) -> None:
    assert run(folder, RATES[2:]) == 0
    assert collect(folder, "--test") == 0
    opened = (folder / "cohort" / LEDGER).read_text()
    (folder / "out" / "test" / name).write_text(content)
    if name.endswith(".csv"):
        (folder / "out" / "test" / "opened.json").unlink()
        (folder / "out" / "test" / "report.html").unlink()
    capsys.readouterr()
    assert collect(folder, "--test") == 2
    assert message in capsys.readouterr().err
    assert (folder / "cohort" / LEDGER).read_text() == opened


def test_a_plan_that_was_changed_by_hand_is_read_or_refused_in_one_message(tmp_path: Path) -> None:
    cell = {"run_id": "a", "axes": {"optim.lr": 1}, "shown": {"optim.lr": 1}, "seed": 0, "fold": None}
    cell |= {"settings": plain_settings(Settings()), "fault": None, "cost": 0.0, "dropped": None}
    plain = {"package_version": "1", "cohort": "c", "store": None, "content": "d", "cells": [cell], "touched": []}
    plain |= {"opens_test": False, "search": None, "command": "m", "declared": None, "created": "2026"}
    plain |= {"learning": "l", "dropped": [], "superseded": [], "pruner": None}
    kinds = (None, 1, "x", [1], {"a": 1}, {}, [], True, 1.5)
    texts = ["", "[", "[]", "3", "null", "[" * 100_000]
    texts += [json.dumps({**plain, name: value}) for name in plain for value in kinds]
    texts += [json.dumps({**plain, "cells": [{**cell, name: value}]}) for name in cell for value in kinds]
    messages = []
    for text in texts:
        (tmp_path / "plan.json").write_text(text)
        try:
            read_plan(tmp_path)
        except InputError as error:
            messages.append(str(error))
    assert all(message.startswith(str(tmp_path / "plan.json")) for message in messages)
    assert len(messages) > len(texts) / 2
    (tmp_path / "plan.json").write_text(json.dumps(plain))
    assert [cell.run_id for cell in read_plan(tmp_path).cells] == ["a"]


@pytest.mark.slow
def test_predictions_that_lack_a_column_are_one_message(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, RATES[2:]) == 0
    scores = folder / "out" / "runs" / read_plan(folder / "out").cells[0].run_id / "predictions.csv"
    whole = pd.read_csv(scores, dtype=str)
    for column in ("score", "split", "aln_status"):
        whole.drop(columns=column).to_csv(scores, index=False)
        assert collect(folder) == 2
        assert column in capsys.readouterr().err


def test_a_search_is_declared_before_its_first_trial_and_bound_by_its_choice(folder: Path) -> None:
    pytest.importorskip("optuna")
    search = {"trials": 1, "space": {"optim.lr": {"low": 0.001, "high": 0.01}}}
    assert run(folder, RATES[:1], grid={}, search=search) == 0
    (plan,) = lines(folder, "plan")
    assert str(plan["what"]).startswith("search of 1 trials over optim.lr 0.001 to 0.01, study ")
    assert (plan["runs"], plan["openings"]) == ([], 1)
    assert read_plan(folder / "out").declared == plan["plan"]
    assert collect(folder, "--test") == 0
    report = (folder / "out" / "test" / "report.html").read_text()
    assert "before its first opening: search of 1 trials" in report
    assert "Validation chose this model among 1, on " in report
