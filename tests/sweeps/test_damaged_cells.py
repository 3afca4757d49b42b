"""One damaged record of a run takes no listing with it: its line says so, and all others stand as they did."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.runs.listing import listed_runs
from mammo_aln.runs.record import read_state
from mammo_aln.sweeps.collect import collect_sweep
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.standing.table import read_rows
from tests.support.simulated_sweep import simulated_sweep


def no_file(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "random": lambda path: path.write_bytes(bytes(range(128, 256))),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 1]),
    "a pipe": no_file,
    "other values": lambda path: path.write_text('{"state": 5, "started": [], "training_s": "x"}'),
}
LISTED = ("state.json", "metrics.csv", "config.yaml")
OF_CELLS = ("state.json", "metrics.csv", "predictions.csv")


def kinds(files: Sequence[str]) -> list[tuple[str, str]]:
    """Every file with every damage; half a table, or half of YAML's lines, may say what they say."""
    return [(file, damage) for file in files for damage in DAMAGE if damage != "half" or file == "state.json"]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    plan = simulated_sweep(tmp_path / "sweep", seeds=1, n=40)
    freeze(plan)
    return plan


@pytest.mark.parametrize(("file", "damage"), kinds(LISTED))
def test_a_damaged_run_stands_in_its_line_alone(
    file: str, damage: str, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {run.run_id: run for run in listed_runs(plan.out)}
    bad = plan.cells[3].run_id
    DAMAGE[damage](plan.runs / bad / file)
    after = {run.run_id: run for run in listed_runs(plan.out)}
    assert (after.pop(bad).state, before.pop(bad).state) == ("damaged", "completed")
    assert after == before
    assert main(["runs", str(plan.out)]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith(f"{bad}: damaged: ")
    assert str(plan.runs / bad) in last
    assert file in last
    assert main(["runs", str(plan.out), "--format", "csv"]) == 0


@pytest.mark.parametrize(("file", "damage"), kinds(OF_CELLS))
def test_a_damaged_cell_stands_in_its_line_alone(
    file: str, damage: str, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {row.cell.run_id: repr(row) for row in read_rows(plan)}
    bad = plan.cells[3]
    DAMAGE[damage](plan.runs / bad.run_id / file)
    rows = {row.cell.run_id: row for row in read_rows(plan)}
    state = rows.pop(bad.run_id).standing
    assert (state.state, str(plan.runs / bad.run_id / file) in state.note) == ("damaged", True)
    assert {run_id: repr(row) for run_id, row in rows.items()} == {
        run_id: text for run_id, text in before.items() if run_id != bad.run_id
    }
    assert main(["sweep", "status", "--out", str(plan.out)]) == 0
    said = capsys.readouterr().err
    assert f"{len(rows)} of {len(plan.cells)} cells completed, 1 damaged" in said
    assert file in said
    assert main(["sweep", "prune", "--out", str(plan.out)]) == 0


def test_a_damaged_cell_is_left_out_of_the_choice_and_keeps_the_test_sealed(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = plan.cells[3]
    (plan.runs / bad.run_id / "state.json").write_bytes(b"{")
    cells = pd.read_csv(collect_sweep(plan.out, resamples=20), dtype=str).set_index("run_id")
    assert cells["state"].value_counts().to_dict() == {"completed": len(plan.cells) - 1, "damaged": 1}
    assert "state.json" in cells.loc[bad.run_id, "error"]
    said = capsys.readouterr().err
    assert f"{bad.name}: damaged: " in said
    assert "1 cell left out" in said
    choice = json.loads((plan.out / "choice.json").read_text())
    assert bad.run_id not in json.dumps(choice)
    with pytest.raises(InputError, match="stay sealed while a cell cannot be read"):
        collect_sweep(plan.out, test=True, resamples=20)


@pytest.mark.parametrize("file", ["predictions.csv", "validation_scores.npz"])
def test_scores_that_cannot_be_ranked_are_left_out(file: str, plan: Plan) -> None:
    bad = plan.runs / plan.cells[3].run_id
    if file == "predictions.csv":
        pd.read_csv(bad / file).assign(score="high").to_csv(bad / file, index=False)
    else:
        (bad / file).write_bytes(b"no archive")
    cells = pd.read_csv(collect_sweep(plan.out, resamples=20), dtype=str).set_index("run_id")
    assert cells.loc[plan.cells[3].run_id, "state"] == "damaged"
    assert file in cells.loc[plan.cells[3].run_id, "error"]


def test_a_prune_leaves_a_damaged_run_as_it_is(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    for cell in plan.cells:
        last = plan.runs / cell.run_id / "checkpoints" / "last.ckpt"
        last.parent.mkdir()
        last.write_bytes(b"0" * 100)
    bad, good = (plan.runs / cell.run_id for cell in plan.cells[3:5])
    (bad / "state.json").write_bytes(b"{")
    assert main(["sweep", "prune", "--out", str(plan.out), "--remove"]) == 0
    assert f"runs/{bad.name}: stays: damaged: " in capsys.readouterr().err
    assert (bad / "checkpoints" / "last.ckpt").is_file()
    assert not (good / "checkpoints" / "last.ckpt").exists()


def test_a_state_of_other_values_is_no_state(tmp_path: Path) -> None:
    for content in ({"state": "done"}, {"state": "completed", "training_s": "long"}, {"state": "failed", "error": []}):
        (tmp_path / "state.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="holds no state of a run"):
            read_state(tmp_path)
