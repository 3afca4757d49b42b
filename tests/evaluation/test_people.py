"""The patients behind the figures: development against evaluation, several cohorts, declared features, both sides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.errors import InputError
from mammo_aln.evaluation.cohorts import CohortTable
from mammo_aln.evaluation.evaluate import evaluate_files
from mammo_aln.evaluation.people import Development


@pytest.fixture(scope="module")
def patients(files) -> pd.DataFrame:
    rows = pd.read_csv(files["all"], dtype={"patient_id": str})
    rng = np.random.default_rng(5)
    table = rows[["patient_id", "center", "split", "aln_status"]].copy()
    table["age"] = rng.normal(52, 10, len(table)).round()
    table["er"] = rng.choice(["negative", "positive"], len(table))
    table["pcr_breast"] = rng.choice(["yes", "no"], len(table))
    return table


@pytest.fixture
def run(files, patients, tmp_path) -> Path:
    """The run with the baseline of the patients that it learnt from."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in files["run"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    learnt_from = patients[patients["split"].isin(["train", "val"])]
    vendor = learnt_from[["patient_id"]].assign(vendor="one", VOI="none")
    Development.of(CohortTable("a", learnt_from, ["age", "er"], vendor)).write(folder)
    return folder


def of_split(patients: pd.DataFrame, *names: str) -> pd.DataFrame:
    return patients[patients["split"].isin(names)]


def test_a_run_carries_its_baseline_and_no_patient(run, patients):
    text = (run / "baseline.json").read_text()
    assert json.loads(text)["by_split"]["sizes"]["train"] == [140, 140]
    assert not any(patient in text for patient in patients["patient_id"])
    again = Development.read(run)
    again.write(run)
    assert (run / "baseline.json").read_text() == text


def test_development_stands_beside_an_external_cohort(run, files, patients, tmp_path, capsys):
    """What the run stored gives the same cells as the development's own table does."""
    external = of_split(patients, "external_test")
    table = CohortTable("c", external, ["age", "er"], external[["patient_id"]].assign(vendor="two", VOI="none"))
    test = pd.read_csv(files["test"], dtype=str)
    test[test["split"] == "external_test"].to_csv(tmp_path / "external.csv", index=False)
    page = evaluate_files([tmp_path / "external.csv"], tmp_path / "stored", run=run, cohorts=[table], resamples=20)
    assert "left out" not in capsys.readouterr().err
    whole = CohortTable(
        "all",
        patients,
        ["age", "er"],
        patients[["patient_id"]].assign(vendor=np.where(patients["center"] == "center_c", "two", "one")),
    )
    evaluate_files([tmp_path / "external.csv"], tmp_path / "whole", run=run, cohorts=[whole], resamples=20)
    stored, own = (pd.read_csv(tmp_path / name / "baseline_by_split.csv") for name in ("stored", "whole"))
    pd.testing.assert_frame_equal(stored, own)
    assert list(stored)[2:5] == ["training", "validation", "external test"]
    ages = of_split(patients, "train")["age"]
    cell = stored.set_index("feature").loc["age", "training"]
    assert cell == f"{ages.mean():.1f} (SD {ages.std():.1f})"
    centres = pd.read_csv(tmp_path / "stored" / "centre_profile.csv")
    assert list(centres)[2:5] == ["center_a (development)", "center_b (development)", "center_c"]
    assert "baseline table by split, section Patients" in page.read_text()


def test_without_development_the_checklist_claims_no_comparison(files, patients, tmp_path):
    table = CohortTable("c", of_split(patients, "external_test"), ["age", "er"])
    page = evaluate_files([files["test"]], tmp_path / "out", cohorts=[table], resamples=20)
    assert "baseline table by split, section Patients" not in page.read_text()


def test_only_features_declared_as_known_at_baseline_are_shown(files, patients, tmp_path):
    declared = CohortTable("all", patients, ["age", "er"])
    page = evaluate_files([files["all"]], tmp_path / "declared", cohorts=[declared], resamples=20)
    metrics = json.loads((tmp_path / "declared" / "metrics.json").read_text())
    assert {row["feature"] for row in metrics["subgroups"]["external_test"]} == {"age", "er"}
    assert "pcr_breast" not in {row["feature"] for row in metrics["baseline"]}
    assert "declares no clinical features" not in page.read_text()
    page = evaluate_files([files["all"]], tmp_path / "none", cohorts=[CohortTable("all", patients)], resamples=20)
    assert "declares no clinical features" in page.read_text()


def test_two_cohorts_that_use_one_number_keep_their_patients_apart(tmp_path):
    rng = np.random.default_rng(0)
    rows, tables = [], []
    for center, split, age in (("a", "internal_test", 40), ("b", "external_test", 70)):
        numbers = [str(number) for number in range(40)]
        status = np.arange(40) % 2
        frame = {"patient_id": numbers, "center": center, "split": split, "aln_status": status}
        rows.append(pd.DataFrame(frame | {"score": rng.random(40).round(3)}))
        patients = pd.DataFrame({"patient_id": numbers, "center": center, "aln_status": status.astype(float)})
        tables.append(CohortTable(center, patients.assign(age=age + np.arange(40) % 9), ["age"]))
    pd.concat(rows).to_csv(tmp_path / "p.csv", index=False)
    evaluate_files([tmp_path / "p.csv"], tmp_path / "out", cohorts=tables, resamples=20)
    table = pd.read_csv(tmp_path / "out" / "baseline_by_split.csv").set_index("feature")
    means = [float(table.loc["age", split].split()[0]) for split in ("internal test", "external test")]
    assert means == pytest.approx([40 + (np.arange(40) % 9).mean(), 70 + (np.arange(40) % 9).mean()], abs=0.06)
    with pytest.raises(InputError, match="two of the cohorts"):
        evaluate_files([tmp_path / "p.csv"], tmp_path / "twice", cohorts=[tables[0], tables[0]], resamples=20)
    assert not (tmp_path / "twice").exists()


def test_both_sides_of_a_patient_are_two_axillae_of_one_patient(files, patients, tmp_path):
    rows = pd.read_csv(files["test"], dtype=str).query("split == 'external_test'")
    sides = pd.concat([rows.assign(side="L"), rows.head(7).assign(side="R")])
    sides.to_csv(tmp_path / "p.csv", index=False)
    page = evaluate_files([tmp_path / "p.csv"], tmp_path / "out", cohorts=[CohortTable("all", patients)], resamples=20)
    known = sides["aln_status"].fillna("") != ""
    n, persons = int(known.sum()), sides.loc[known, "patient_id"].nunique()
    assert f"{n} axillae of {persons} patients" in page.read_text()
    by_split = pd.read_csv(tmp_path / "out" / "baseline_by_split.csv")
    assert by_split["feature"].iloc[0] == "axillae (patients)"
    assert by_split["external test"].iloc[0] == f"{len(sides)} ({rows['patient_id'].nunique()})"


def test_a_spoilt_baseline_is_named(run, files, tmp_path):
    (run / "baseline.json").write_text("[1]")
    with pytest.raises(InputError, match=r"baseline\.json: not the baseline that this version writes"):
        evaluate_files([files["test"]], tmp_path / "out", run=run, resamples=20)
