"""A run that reads no image: copies of its training's table are no test, and accepted leaks stand in every report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.inference.predict import predict_cohort
from mammo_aln.radiomics.signatures.fit import fit_signatures
from mammo_aln.settings import FitConfig
from mammo_aln.training.train import train_run
from tests.support.tiny_settings import tiny_settings

YAML = (
    "clinical:\n  age: {kind: continuous}\n  er: {kind: categorical}\n  ki67: {kind: continuous}\n"
    "  ct: {kind: ordinal, levels: ['1', '2', '3']}\n"
)
REASON = "the second reading of the same women is wanted here"


def people(count: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    columns = {
        "patient_id": [f"p{seed}_{number}" for number in range(count)],
        "center": "A",
        "aln_status": draw.integers(0, 2, count),
        "age": draw.normal(52, 11, count).round().astype(int),
        "er": draw.integers(0, 2, count),
        "ki67": 5 * draw.integers(0, 20, count),
        "ct": draw.choice([1, 2, 3], count, p=[0.2, 0.6, 0.2]),
    }
    return pd.DataFrame(columns)


def written(root: Path, table: pd.DataFrame, more: str = "") -> Path:
    root.mkdir()
    (root / "cohort.yaml").write_text(YAML + more)
    table.to_csv(root / "patients.csv", index=False)
    return root


def renamed(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(patient_id="new " + table["patient_id"])


@pytest.fixture(scope="module")
def learnt() -> pd.DataFrame:
    return people(80, 1).assign(split=["train"] * 50 + ["val"] * 30)


@pytest.fixture(scope="module")
def run(learnt: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clinical")
    cohort = written(folder / "c", pd.concat([learnt, people(40, 2).assign(split="external_test")]))
    return train_run(cohort, folder / "runs", tiny_settings(inputs=("clinical",), pretrained=False))


def test_a_copy_of_trainings_table_under_other_names_is_no_test(
    run: Path, learnt: pd.DataFrame, tmp_path: Path
) -> None:
    train = learnt[learnt["split"] == "train"]
    unlabelled = renamed(train).assign(aln_status="", split="external_test")
    called_val = renamed(train.tail(30)).assign(split="val")
    for nth, table in enumerate([unlabelled, called_val, renamed(train).drop(columns="split")]):
        cohort = written(tmp_path / f"c{nth}", table, "name: elsewhere\n")
        with pytest.raises(
            InputError, match=r"patients .* of the test were trained on \(equal in all 4 clinical values\)"
        ):
            predict_cohort(run, cohort, tmp_path / "p.csv")
        assert not (cohort / "openings.jsonl").exists()


def test_other_people_who_are_alike_are_scored(run: Path, tmp_path: Path) -> None:
    for seed in range(3, 8):
        cohort = written(tmp_path / f"c{seed}", people(40, seed), "name: elsewhere\n")
        assert predict_cohort(run, cohort, tmp_path / f"p{seed}.csv").is_file()


def test_a_training_whose_test_is_a_copy_is_refused_or_told_in_every_report(
    learnt: pd.DataFrame, tmp_path: Path
) -> None:
    table = pd.concat([learnt, renamed(learnt[learnt["split"] == "train"]).assign(split="external_test")])
    cohort = written(tmp_path / "c", table)
    settings = tiny_settings(inputs=("clinical",), pretrained=False)
    with pytest.raises(InputError, match="an exposure stands in several splits"):
        train_run(cohort, tmp_path / "runs", settings)
    with pytest.raises(InputError, match="an exposure stands in several splits"):
        fit_signatures(cohort, tmp_path / "fit", settings=FitConfig())
    assert not (tmp_path / "runs").exists()
    assert not (cohort / "openings.jsonl").exists()
    cohort = written(tmp_path / "accepted", table, f"leaks_accepted: {REASON}\n")
    run = train_run(cohort, tmp_path / "runs", settings)
    assert json.loads((run / "predictions.json").read_text())["leaks"]["reason"] == REASON
    words = ["evaluate", str(run / "predictions.csv"), "--out", str(tmp_path / "e"), "--resamples=20"]
    assert main(words) == 0
    assert REASON in (tmp_path / "e" / "report.html").read_text()
    test = ["predict", "--run", str(run), "--split", "external_test", "--out", str(tmp_path / "t.csv")]
    assert main([*test, "--cohort", str(cohort)]) == 0
    assert json.loads((tmp_path / "t.json").read_text())["leaks"]["reason"] == REASON
    without = written(tmp_path / "without", table)  # the reason is this cohort's, not the run's
    assert main([*test, "--cohort", str(without)]) == 2
