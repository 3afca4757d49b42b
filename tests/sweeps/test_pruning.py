"""Pruning judges as Optuna does, keeps what it has stopped stopped, and is told in states, tables and the choice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.errors import InputError
from mammo_aln.runs.record import read_state, write_state
from mammo_aln.settings import Settings
from mammo_aln.settings.parse import settings_from
from mammo_aln.sweeps.collect import collect_sweep
from mammo_aln.sweeps.engines.write import write_jobs
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.orders import retry_cells
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.plan_file import read_plan
from mammo_aln.sweeps.planning.definition import read_definition
from mammo_aln.sweeps.planning.pruner import LEAST, Pruner, read_pruner
from mammo_aln.sweeps.planning.wandb_file import write_wandb_sweep
from mammo_aln.sweeps.run import run_sweep
from mammo_aln.sweeps.searching.pruning import Pruning, begin_pruning, lane_by_lane
from mammo_aln.sweeps.searching.rungs import Rungs
from mammo_aln.sweeps.standing.states import standing
from mammo_aln.sweeps.withheld import pruned_at
from tests.support.sweep_files import tiny_sweep, untimed_cells

optuna = pytest.importorskip("optuna")
EPOCHS = 16
MEDIAN = Pruner("median", {"n_startup_trials": 2, "n_warmup_steps": 3})


def curves(count: int, seed: int = 0) -> np.ndarray:
    """Best AUC so far of trainings that differ in what they reach, (count, epochs)."""
    rng = np.random.default_rng(seed)
    reach = rng.uniform(0.5, 0.9, size=(count, 1))
    rise = 1 - np.exp(-np.arange(1, EPOCHS + 1) / 5)
    return np.maximum.accumulate(0.5 + (reach - 0.5) * rise + rng.normal(0, 0.02, size=(count, EPOCHS)), axis=1)


@pytest.mark.parametrize("name", LEAST)
def test_a_lane_is_judged_as_a_study_of_optuna(name: str) -> None:
    pruner = Pruner(name)
    aucs = curves(30)

    def objective(trial: optuna.Trial) -> float:
        for epoch, auc in enumerate(aucs[trial.number], start=1):
            trial.report(auc, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(aucs[trial.number, -1])

    own = {
        "median": optuna.pruners.MedianPruner(n_warmup_steps=EPOCHS // 10),
        "percentile": optuna.pruners.PercentilePruner(50, n_warmup_steps=EPOCHS // 10),
        "successive_halving": optuna.pruners.SuccessiveHalvingPruner(min_resource=EPOCHS // 8, reduction_factor=2),
        "hyperband": optuna.pruners.HyperbandPruner(min_resource=EPOCHS // 8, max_resource=EPOCHS),
    }
    study = optuna.create_study(direction="maximize", pruner=own[name], study_name="lane 0")
    study.optimize(objective, n_trials=30)
    expected = [trial.last_step if trial.state.name == "PRUNED" else None for trial in study.trials]
    rungs = Rungs(pruner, EPOCHS)
    stopped: list[int | None] = []
    for number, row in enumerate(aucs):
        fell = (epoch for epoch, auc in enumerate(row, start=1) if rungs.judge(0, str(number), epoch, float(auc)))
        stopped.append(next(fell, None))
        rungs.end(0, str(number), None if stopped[-1] else float(row[-1]))
    assert stopped == expected
    assert 5 <= sum(epoch is not None for epoch in stopped) < 30


@pytest.mark.parametrize(("name", "low", "high"), [("successive_halving", 24, 40), ("median", 0, 0)])
def test_of_equals_halving_keeps_about_half_and_the_median_all(name: str, low: int, high: int) -> None:
    """Twenty validation patients give many configurations one AUC; of 64 equals 32 fall, with an SD of about 4."""
    rungs = Rungs(Pruner(name), EPOCHS)
    if name == "median":
        for number in range(5):
            rungs.judge(0, f"completed {number}", EPOCHS, 0.76)
            rungs.end(0, f"completed {number}", 0.76)
    fallen = sum(rungs.judge(0, str(number), EPOCHS // 8, 0.76) for number in range(64))
    assert low <= fallen <= high


@pytest.fixture
def sweep(tmp_path: Path):
    """A sweep's folder with cells whose epochs a test writes."""

    def planned(configurations: int, seeds: int = 1) -> Plan:
        def cell(number: int, seed: int) -> Cell:
            settings = settings_from(Settings, {"trainer": {"max_epochs": EPOCHS}, "seed": seed}, "test")
            axes = {"optim.lr": number}
            return Cell(f"{number:08d}{seed:04d}", axes, axes, seed, None, settings)

        cells = [cell(number, seed) for number in range(configurations) for seed in range(seeds)]
        return freeze(Plan(tmp_path / "out", tmp_path, None, "content", tuple(cells)))

    return planned


def train_until(plan: Plan, cell: Cell, aucs: Sequence[float], *, completed: bool = False) -> None:
    """Leave what a training of so many epochs leaves."""
    run = plan.runs / cell.run_id
    run.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"epoch": range(len(aucs)), "val_auc": aucs, "train_s": 1.0}).to_csv(run / "metrics.csv", index=False)
    write_state(run, "completed" if completed else "running", run_id=cell.run_id)


def test_what_falls_below_the_median_is_stopped_and_nothing_else(sweep) -> None:
    plan = sweep(4)
    for cell, auc in zip(plan.cells, (0.6, 0.7, 0.65, 0.64), strict=True):
        train_until(plan, cell, [auc] * (EPOCHS if cell in plan.cells[:2] else 3), completed=cell in plan.cells[:2])
    pruning = Pruning(MEDIAN)
    pruning.judge(plan)
    # 0.65 is the median of 0.6 and 0.7, and not below it.
    assert [standing(plan, cell).state for cell in plan.cells] == ["completed", "completed", "stopped", "pruned"]
    assert pruned_at(plan.out, plan.cells[3].run_id) == {"epoch": 3, "auc": 0.64, "pruner": MEDIAN.to_json()}
    pruned = standing(plan, plan.cells[3])
    assert (pruned.state, pruned.pruned_epoch, pruned.is_unfinished) == ("pruned", 3, False)
    assert pruned.note == f"pruned at epoch 3 of {EPOCHS}: AUC 0.640 (median)"


def test_a_configuration_is_judged_by_its_mean_over_seeds_against_others_of_as_many(sweep) -> None:
    """0.80 in its first seed and 0.60 in its second are 0.70, below the median 0.725 of the others' two seeds."""
    plan = sweep(3, seeds=2)
    one, two, third = (plan.cells[start : start + 2] for start in (0, 2, 4))
    for cells, aucs in ((one, (0.70, 0.70)), (two, (0.70, 0.80))):
        for cell, auc in zip(cells, aucs, strict=True):
            train_until(plan, cell, [auc] * EPOCHS, completed=True)
    train_until(plan, third[0], [0.80] * EPOCHS, completed=True)
    train_until(plan, third[1], [0.50, 0.55, 0.60])
    pruning = Pruning(MEDIAN)
    pruning.judge(plan)
    stop = pruned_at(plan.out, third[1].run_id)
    assert stop is not None
    assert (stop["epoch"], stop["auc"]) == (3, pytest.approx(0.70))
    assert pruned_at(plan.out, third[0].run_id) is None


def test_the_other_seeds_of_what_is_stopped_are_spared_their_training(sweep) -> None:
    plan = sweep(3, seeds=3)
    for cell in lane_by_lane(plan.cells)[:2]:
        train_until(plan, cell, [0.8] * EPOCHS, completed=True)
    bad = plan.cells[6]
    train_until(plan, bad, [0.5] * 4)
    Pruning(MEDIAN).judge(plan)
    assert [standing(plan, cell).state for cell in plan.cells[6:]] == ["pruned"] * 3
    assert standing(plan, plan.cells[7]).note.startswith("its configuration was pruned at epoch 3 of 16: AUC 0.500")
    assert [cell.seed for cell in lane_by_lane(plan.cells)] == [0] * 3 + [1] * 3 + [2] * 3


def test_a_later_command_judges_as_if_it_had_looked_all_the_time(sweep) -> None:
    plan = sweep(8)
    rows = curves(8, seed=3)
    watching = Pruning(Pruner("successive_halving", {"min_resource": 2, "reduction_factor": 2}))
    for number, cell in enumerate(plan.cells[:6]):
        for epoch in range(1, EPOCHS + 1):
            train_until(plan, cell, list(rows[number, :epoch]), completed=epoch == EPOCHS)
            watching.judge(plan)
            if pruned_at(plan.out, cell.run_id):
                break
    verdicts = []
    for pruning in (watching, Pruning(watching.pruner)):
        for cell, row in zip(plan.cells[6:], rows[6:], strict=True):
            train_until(plan, cell, list(row[:9]))
        pruning.judge(plan)
        stops = [pruned_at(plan.out, cell.run_id) for cell in plan.cells[6:]]
        verdicts.append([stop and stop["epoch"] for stop in stops])
        for file in (plan.out / "withheld").glob("0000000[67]*.json"):
            file.unlink()
    assert verdicts[0] == verdicts[1]
    assert any(verdicts[0])


def test_another_pruner_lets_go_on_what_the_former_one_stopped(sweep, capsys: pytest.CaptureFixture[str]) -> None:
    plan = sweep(3)
    for cell, auc in zip(plan.cells, (0.8, 0.8, 0.5), strict=True):
        train_until(plan, cell, [auc] * (EPOCHS if auc == 0.8 else 5), completed=auc == 0.8)
    Pruning(MEDIAN).judge(plan)
    bad = plan.cells[2]
    begin_pruning(plan, MEDIAN)
    assert standing(plan, bad).state == "pruned"
    assert capsys.readouterr().err.count("go on") == 0
    begin_pruning(plan, None)
    assert "1 cell that was pruned by the former one goes on" in capsys.readouterr().err
    assert standing(plan, bad).state == "stopped"


def test_a_pruned_cell_that_is_tried_again_is_trained_to_its_end(sweep) -> None:
    plan = sweep(3)
    for cell, auc in zip(plan.cells, (0.8, 0.8, 0.5), strict=True):
        train_until(plan, cell, [auc] * (EPOCHS if auc == 0.8 else 5), completed=auc == 0.8)
    Pruning(MEDIAN).judge(plan)
    bad = plan.cells[2]
    retry_cells(plan.out, [bad.run_id])
    train_until(plan, bad, [0.5] * 9)
    Pruning(MEDIAN).judge(plan)
    assert standing(plan, bad).state == "stopped"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("medium", "pruner: medium: expected one of median, percentile, successive_halving, hyperband"),
        (3, "pruner: expected one of"),
        ({"n_startup_trials": 3}, "pruner: expected one of"),
        ({"name": "median", "min_resource": 3}, "pruner: min_resource: unknown option of median; allowed: n_startup_"),
        ({"name": "hyperband", "reduction_factor": 1}, "reduction_factor: expected a whole number, 2 or more, got 1"),
        ({"name": "percentile", "percentile": 100}, "percentile: expected a whole number, 1 or more, below 100"),
        ({"name": "median", "n_warmup_steps": True}, "n_warmup_steps: expected a whole number"),
    ],
)
def test_a_pruner_that_makes_no_sense_is_refused_when_the_file_is_read(
    block: object, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        read_definition(tiny_sweep(tmp_path, pruner=block))
    assert expected in str(refused.value)
    assert str(refused.value).startswith("sweep.yaml: pruner: ")


def test_the_pruner_stands_beside_the_search_or_in_it(tmp_path: Path) -> None:
    block = {"space": {"optim.lr": {"low": 1e-4, "high": 1e-2}}}
    beside = read_definition(tiny_sweep(tmp_path, search=block, pruner="median", grid={}))
    inside = read_definition(tiny_sweep(tmp_path, search={**block, "pruner": "median"}, grid={}))
    assert beside == inside
    assert beside.pruner == read_pruner({"name": "median"})
    with pytest.raises(InputError, match="stands there twice, beside search: and in it"):
        read_definition(tiny_sweep(tmp_path, search={**block, "pruner": "median"}, pruner="median", grid={}))


def test_cells_of_other_numbers_of_epochs_are_not_compared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected one trainer\.max_epochs for all"):
        read_definition(tiny_sweep(tmp_path, grid={"trainer.max_epochs": [2, 4]}, pruner="median"))
    block = {"space": {"trainer.max_epochs": {"low": 2, "high": 4}}}
    with pytest.raises(InputError, match=r"expected one trainer\.max_epochs for all"):
        read_definition(tiny_sweep(tmp_path, grid={}, search=block, pruner="median"))
    with pytest.raises(InputError, match="processes do not see one another's epochs"):
        write_jobs(tiny_sweep(tmp_path, pruner="median"), tmp_path, tmp_path / "o", "ray", image=None, volumes=[])
    with pytest.raises(InputError, match="agents know no median; expected hyperband or successive_halving"):
        write_wandb_sweep(read_definition(tiny_sweep(tmp_path, pruner="median")), tmp_path, tmp_path, tmp_path / "w")


@pytest.mark.slow
def test_a_sweep_with_a_pruner_ends_well_and_stays_as_it_ended(
    phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"optim.lr": [0.01, 1.0e-9]}
    pruner = {"name": "median", "n_startup_trials": 1, "n_warmup_steps": 2}
    data = {"batch_size": 8, "num_workers": 0, "folds": 2}  # more validation patients than the three of the split
    more = {"model": {"inputs": ["clinical"]}, "data": data, "grid": grid, "epochs": 40}
    out = tmp_path / "out"

    def run(**own: object) -> int | Path:
        return run_sweep(tiny_sweep(tmp_path, **more, **own), phantom, out, store=store, slots=1)

    assert run(pruner=pruner) == out
    table = untimed_cells(out)
    assert list(table["state"]) == ["completed", "pruned"]
    bad = read_plan(out).cells[1]
    stop = pruned_at(out, bad.run_id)
    assert stop is not None
    assert 2 <= stop["epoch"] <= int(table["epochs"].iloc[1]) < 40
    before = read_state(out / "runs" / bad.run_id)
    assert run(pruner=pruner) == out
    assert read_state(out / "runs" / bad.run_id) == before
    assert untimed_cells(out).equals(table)
    collect_sweep(out, resamples=50)
    choice = json.loads((out / "choice.json").read_text())
    assert (choice["configurations_ranked"], choice["pruned_at_epochs"]) == (1, [stop["epoch"]])
    told = capsys.readouterr().err
    assert f"1 of 2 configurations were pruned at epoch {stop['epoch']}, on these same validation patients" in told
    assert "1 of 2 cells completed, 1 pruned" in told
    ids = [cell.run_id for cell in read_plan(out).cells]
    assert run() == out, "without a pruner all are trained to the end"
    assert [cell.run_id for cell in read_plan(out).cells] == ids
    assert list(untimed_cells(out)["state"]) == ["completed"] * 2
