"""The choice among many: equal to the two-curve tests, unbiased about itself, blind to the order of rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics.discrimination import auc
from mammo_aln.evaluation.statistics.tests import holm, paired_bootstrap, paired_delong
from mammo_aln.inference.ensemble import ensemble_of, read_member
from mammo_aln.runs.record import write_state
from mammo_aln.sweeps.choice import Fold, aligned, rank
from mammo_aln.sweeps.collect import collect_sweep
from mammo_aln.sweeps.definition import points, read_definition
from mammo_aln.sweeps.plan import Plan, freeze
from mammo_aln.sweeps.preflight import plan_sweep
from mammo_aln.training.train import train_run
from tests.support.sweep_files import tiny_sweep


def sample(n: int, seed: int, effects: list[float]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 5 < 2
    common = rng.normal(size=n)
    return labels, np.stack([common + rng.normal(size=n) + effect * labels for effect in effects])


def test_one_seed_and_one_fold_are_the_paired_tests_of_two_curves() -> None:
    labels, scores = sample(150, 1, [1.0, 0.8, 0.0])
    found = rank([[row[None]] for row in scores], [Fold(labels, np.arange(150))])
    assert np.allclose(found.auc, [auc(row, labels) for row in scores])
    others = [index for index in range(3) if index != found.best]
    delong = [paired_delong(scores[index], scores[found.best], labels) for index in others]
    assert np.allclose([found.rivals[i].delong_p for i in others], [test.p_value for test in delong], rtol=1e-9)
    assert np.allclose([found.rivals[i].delong_p_holm for i in others], holm([test.p_value for test in delong]))
    for index in others:
        boot = paired_bootstrap(scores[index], scores[found.best], labels, resamples=4000)
        assert found.rivals[index].difference == pytest.approx(boot.difference)
        assert found.rivals[index].low == pytest.approx(boot.low, abs=0.02)
        assert found.rivals[index].bootstrap_p == pytest.approx(boot.p_value, abs=0.03)


def test_rows_of_one_patient_are_no_two_patients() -> None:
    labels, scores = sample(80, 2, [0.9, 0.5])
    twice, both = np.concatenate([labels, labels]), np.concatenate([scores, scores], axis=1)
    once = rank([[row[None]] for row in scores], [Fold(labels, np.arange(80))])
    clustered = rank([[row[None]] for row in both], [Fold(twice, np.tile(np.arange(80), 2))])
    other = 1 - once.best
    assert clustered.rivals[other].delong_p == pytest.approx(once.rivals[other].delong_p, rel=1e-6)
    naive = rank([[row[None]] for row in both], [Fold(twice, np.arange(160))])
    assert naive.rivals[other].delong_p < clustered.rivals[other].delong_p


def test_repeated_seeds_and_folds_add_no_information_that_is_not_there() -> None:
    labels, scores = sample(120, 3, [1.0, 0.6])
    fold = Fold(labels, np.arange(120))
    one = rank([[row[None]] for row in scores], [fold])
    copies = rank([[np.stack([row] * 5)] for row in scores], [fold])
    assert copies.rivals[1 - one.best].delong_p == pytest.approx(one.rivals[1 - one.best].delong_p)
    halves = [np.arange(120) % 2 == part for part in (0, 1)]
    folds = [Fold(labels[half], np.arange(60)) for half in halves]
    split = rank([[row[None, half] for half in halves] for row in scores], folds)
    means = [np.mean([auc(row[half], labels[half]) for half in halves]) for row in scores]
    assert np.allclose(split.auc, means)


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_optimism_of_the_best_of_twenty_is_what_a_simulation_finds(shared: float) -> None:
    """Twenty equal models: the best one's AUC minus the true one is known, and the estimate must meet it on average."""
    true, told = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels = np.arange(100) % 2 == 0
        scores = shared * rng.normal(size=100) + rng.normal(size=(20, 100)) + 0.8 * labels
        found = rank([[row[None]] for row in scores], [Fold(labels, np.arange(100))], resamples=200, seed=seed)
        true.append(found.auc.max() - found.auc.mean())
        told.append(found.optimism)
    assert np.mean(told) == pytest.approx(np.mean(true), rel=0.25)
    assert rank([[scores[0][None]]], [Fold(labels, np.arange(100))]).optimism == 0


def test_scores_are_put_in_one_order_and_other_patients_refused() -> None:
    table = pd.DataFrame({"patient_id": ["a", "b", "c"], "aln_status": [1, 0, 1], "score": [0.3, 0.2, 0.1]})
    fold, scores = aligned({0: [table], 1: [table.iloc[::-1]]})
    assert np.array_equal(scores[0], scores[1])
    assert fold.labels.tolist() == [True, False, True]
    # One cell could not read the crop of `c`: the others are compared without it.
    fold, scores = aligned({0: [table], 1: [table.iloc[:2]]})
    assert fold.labels.tolist() == [True, False]
    assert scores[0].tolist() == scores[1].tolist() == [[0.3, 0.2]]
    with pytest.raises(InputError, match="no validation patient in common"):
        aligned({0: [table.iloc[:1]], 1: [table.iloc[1:]]})
    with pytest.raises(InputError, match="one outcome alone"):
        rank([[np.ones((1, 3))]], [Fold(np.ones(3, bool), np.arange(3))])


@pytest.fixture(scope="module")
def trained(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Two steps with two seeds each, trained in this process; the cohort is a copy, for its ledger is written."""
    folder = tmp_path_factory.mktemp("trained")
    cohort = folder / "cohort"
    cohort.mkdir()
    for table in phantom.glob("*.csv"):
        shutil.copy(table, cohort)
    (cohort / "cohort.yaml").write_text((phantom / "cohort.yaml").read_text() + f"dicom_root: {phantom}\n")
    steps = {
        "clinical": {"model": {"inputs": ["clinical"]}},
        "+ primary": {"model": {"inputs": ["clinical", "primary"]}},
    }
    file = tiny_sweep(folder, epochs=1, grid={}, steps=steps, seeds=2, test=True)
    definition = read_definition(file)
    found = list(points(definition))
    plan = freeze(plan_sweep(definition, found, cohort, folder / "out", store=store, slots=1, check=False))
    for cell in plan.cells:
        train_run(cohort, plan.runs, cell.settings, store=store, planned=cell.run_id)
    return plan


def test_collect_chooses_by_validation_and_a_ladder_opens_its_tests_once(trained: Plan) -> None:
    from mammo_aln.sweeps.collect import declare, model_id
    from mammo_aln.sweeps.plan import announce

    plan = announce(trained, declare(trained))
    cells = collect_sweep(plan.out, resamples=200)
    table = pd.read_csv(cells)
    about = json.loads((plan.out / "choice.json").read_text())
    means = table.groupby("step")["val_auc"].mean()
    assert about["chosen"] == f"step={means.idxmax()}"
    assert about["val_auc"] == pytest.approx(means.max())
    assert {one["configuration"]: one["val_auc_sd"] for one in about["configurations"]} == pytest.approx(
        {f"step={name}": value for name, value in table.groupby("step")["val_auc"].std().items()}
    )
    ids = table.loc[table["step"] == "clinical", "run_id"].tolist()
    assert model_id(ids) == ensemble_of([read_member(plan.runs / one) for one in ids]).run_id
    ladder = pd.read_csv(plan.out / "test" / "ladder.csv")
    assert set(ladder["split"]) == {"train", "val", "internal_test", "external_test"}
    assert ladder.loc[ladder["before"].notna(), "delong_p"].between(0, 1).any()
    ledger = plan.cohort / "openings.jsonl"
    opened = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [one["kind"] for one in opened].count("plan") == 1
    openings = [one for one in opened if one["kind"] == "opening"]
    assert {one["plan"] for one in openings} == {plan.declared}
    collect_sweep(plan.out, resamples=200)
    assert len(ledger.read_text().splitlines()) == len(opened)


@pytest.mark.parametrize("state", [None, "running", "failed"])
def test_tests_stay_sealed_while_cells_wait_or_were_stopped(trained: Plan, tmp_path: Path, state: str | None) -> None:
    """Killed, a cell's record says `running`; stopped by Ctrl-C, `failed`; a sweep's next command trains both."""
    out = shutil.copytree(trained.out, tmp_path / "out")
    run = out / "runs" / trained.cells[-1].run_id
    shutil.rmtree(run)
    if state is not None:
        run.mkdir()
        write_state(run, state)
    shutil.rmtree(out / "test", ignore_errors=True)
    with pytest.raises(InputError, match="stay sealed while 1 cells"):
        collect_sweep(out, test=True, resamples=200)
    assert not (out / "test").exists()


def test_level_configurations_share_their_resamples_and_the_tie_is_said() -> None:
    labels, scores = sample(60, 3, [1.0, 0.2])
    fold = Fold(labels, np.arange(60))
    ranking = rank([[scores[0][None]], [scores[1][None]], [scores[0][None] * 2]], [fold])
    assert (ranking.best, ranking.level) == (0, (2,))
    assert ranking.wins[0] == pytest.approx(ranking.wins[2])
    assert ranking.wins.sum() == pytest.approx(1.0)
    assert rank([[scores[0][None]], [scores[1][None]]], [fold]).level == ()
