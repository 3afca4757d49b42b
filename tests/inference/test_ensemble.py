"""Several runs as one model: means of logits, threshold and calibration from validation, nothing from a test."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics.calibration import apply_calibration, fit_temperature
from mammo_aln.inference.predict import predict_cohort
from mammo_aln.training.train import train_run
from tests.support.tiny_settings import tiny_settings


def rows(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"patient_id": str, "run_id": str}).sort_values("patient_id", ignore_index=True)


@pytest.fixture(scope="module")
def seeds(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("seeds")
    return [train_run(phantom, out, replace(tiny_settings(epochs=2), seed=seed), store=store) for seed in (1, 2)]


@pytest.fixture(scope="module")
def folds(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out, tiny = tmp_path_factory.mktemp("folds"), tiny_settings(epochs=2)
    return [
        train_run(phantom, out, replace(tiny, data=replace(tiny.data, folds=2, fold=fold)), store=store)
        for fold in (0, 1)
    ]


def test_many_seeds_are_the_mean_of_their_logits(seeds: list[Path], phantom: Path, store: Path, tmp_path: Path) -> None:
    alone = [rows(predict_cohort(run, phantom, tmp_path / f"{run.name}.csv", store=store)) for run in seeds]
    both = rows(predict_cohort(seeds, phantom, tmp_path / "both.csv", store=store))
    assert np.allclose(both["logit"], (alone[0]["logit"] + alone[1]["logit"]) / 2, atol=1e-5)
    about = json.loads((tmp_path / "both.json").read_text())
    val = both[both["split"] == "val"]
    # The truth: the ensemble's own validation logits, fitted here once more.
    fitted = fit_temperature(val["logit"].to_numpy(), val["aln_status"].to_numpy())
    assert np.isclose(about["calibration"]["temperature"], fitted["temperature"], rtol=1e-3)
    assert about["threshold"]["split"] == about["calibration"]["split"] == "val"
    assert np.allclose(both["score"], apply_calibration(both["logit"], about["calibration"]))
    assert about["settings"]["seed"] == [1, 2]
    assert about["members"] == [run.name for run in seeds]
    assert set(both["run_id"]) == {about["run_id"]} != {seeds[0].name}
    other_order = predict_cohort(seeds[::-1], phantom, tmp_path / "r.csv", split="val", store=store)
    assert json.loads(other_order.with_suffix(".json").read_text())["run_id"] == about["run_id"]


def test_a_test_label_changes_nothing_that_is_frozen(
    seeds: list[Path], phantom: Path, store: Path, tmp_path: Path
) -> None:
    from tests.support.run_folders import linked_copy

    cohort = linked_copy(phantom, tmp_path / "c")
    patients = pd.read_csv(cohort / "patients.csv", dtype=str)
    test = patients["split"].str.endswith("test")
    patients.loc[test, "aln_status"] = patients.loc[test, "aln_status"].map({"0": "1", "1": "0"})
    patients.to_csv(cohort / "patients.csv", index=False)
    told = []
    for number, folder in enumerate((phantom, cohort)):
        out = predict_cohort(seeds, folder, tmp_path / f"{number}.csv", split="external_test", store=store)
        told.append({k: v for k, v in json.loads(out.with_suffix(".json").read_text()).items() if k in FROZEN})
    assert told[0] == told[1]


FROZEN = ("run_id", "threshold", "calibration", "settings", "members")


def test_folds_give_every_validation_patient_the_score_of_the_run_that_did_not_train_on_it(
    folds: list[Path], phantom: Path, store: Path, tmp_path: Path
) -> None:
    own = pd.concat([rows(run / "predictions.csv").query("split == 'val'") for run in folds])
    whole = rows(predict_cohort(folds, phantom, tmp_path / "all.csv", store=store))
    assert whole["patient_id"].is_unique
    patients = pd.read_csv(phantom / "patients.csv", dtype=str)
    assert sorted(whole["patient_id"]) == sorted(patients["patient_id"])
    val = whole[whole["split"] == "val"].set_index("patient_id")
    assert "train" not in set(whole["split"])
    expected = own.set_index("patient_id")["logit"].reindex(val.index)
    assert np.array_equal(val["logit"], expected)
    about = json.loads((tmp_path / "all.json").read_text())
    fitted = fit_temperature(expected.to_numpy(), val["aln_status"].to_numpy())
    assert about["calibration"]["temperature"] == fitted["temperature"]
    assert about["out_of_fold"] is True
    test = [
        rows(predict_cohort(run, phantom, tmp_path / f"{run.name}.csv", split="external_test", store=store))
        for run in folds
    ]
    mean = (test[0]["logit"] + test[1]["logit"]) / 2
    assert np.allclose(whole[whole["split"] == "external_test"]["logit"], mean, atol=1e-5)
    only = rows(predict_cohort(folds, phantom, tmp_path / "val.csv", split="val", store=store))
    assert np.array_equal(only["logit"], val.sort_index()["logit"])
    with pytest.raises(InputError, match="split train"):
        predict_cohort(folds, phantom, tmp_path / "t.csv", split="train", store=store)


def test_runs_that_do_not_go_together_are_refused(
    seeds: list[Path], folds: list[Path], phantom: Path, store: Path, tmp_path: Path
) -> None:
    tiny = tiny_settings()
    others = {
        "crop": replace(tiny, crop=replace(tiny.crop, strategy="lesion_box")),
        "model.inputs": replace(tiny, model=replace(tiny.model, inputs=("primary",))),
        "validation patients": replace(tiny, data=replace(tiny.data, folds=3)),
    }
    for expected, settings in others.items():
        other = train_run(phantom, tmp_path / "runs", settings, store=store)
        first = folds[0] if expected == "validation patients" else seeds[0]
        with pytest.raises(InputError, match=expected):
            predict_cohort([first, other], phantom, tmp_path / "p.csv", store=store)
    with pytest.raises(InputError, match="twice"):
        predict_cohort([seeds[0], seeds[0]], phantom, tmp_path / "p.csv", store=store)
    with pytest.raises(InputError, match="validation patients"):
        predict_cohort([seeds[0], folds[0]], phantom, tmp_path / "p.csv", store=store)
    third = train_run(phantom, tmp_path / "runs", replace(read_fold(folds[0]), seed=5), store=store)
    with pytest.raises(InputError, match="as many members"):
        predict_cohort([*folds, third], phantom, tmp_path / "p.csv", store=store)
    elsewhere = shutil.copytree(seeds[1], tmp_path / "elsewhere" / seeds[1].name)
    environment = json.loads((elsewhere / "environment.json").read_text())
    environment["identity"]["cohort"] = "0" * 64
    (elsewhere / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(InputError, match="different cohorts"):
        predict_cohort([seeds[0], elsewhere], phantom, tmp_path / "p.csv", store=store)
    assert not (tmp_path / "p.csv").exists()


def read_fold(run: Path):
    from mammo_aln.runs.record import read_settings

    return read_settings(run)


@pytest.mark.parametrize("form", ["words", "equals", "cohort last"])
def test_the_command_line_takes_several_runs(
    form: str, seeds: list[Path], phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = map(str, seeds)
    runs = {
        "words": ["--cohort", str(phantom), "--run", one, two],
        "equals": [f"--run={one}", f"--run={two}", str(phantom)],
        "cohort last": ["--run", one, two, str(phantom)],
    }[form]
    out = tmp_path / "p.csv"
    assert main(["predict", *runs, "--split", "val", "--store", str(store), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert json.loads(out.with_suffix(".json").read_text())["members"] == [run.name for run in seeds]
