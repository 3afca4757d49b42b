"""Patients of another centre who lack what the run was trained with are counted, told, recorded and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import pytorch_lightning as pl
from pydicom.uid import JPEG2000Lossless, generate_uid

import mammo_aln
from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.explain.run import explain_run
from mammo_aln.inference.predict import predict_cohort
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.progress import say_once
from mammo_aln.runs.record import write_state
from mammo_aln.runs.seal import frozen_digests
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.train import train_run
from tests.support.other_centre import external, other_centre
from tests.support.run_folders import linked_copy
from tests.support.tiny_settings import tiny_settings


@pytest.fixture(scope="module")
def run(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(phantom, tmp_path_factory.mktemp("runs"), tiny_settings(), store=store)


def counts(out: Path, kind: str) -> dict[str, int]:
    told = json.loads(out.with_suffix(".json").read_text())["inputs"]["counts"]
    return {count["input"]: count["n"] for count in told if count["kind"] == kind and count["n"]}


def test_a_centre_without_regions_and_with_empty_columns_is_refused_by_name_and_scored_on_demand(
    run: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = external(phantom).assign(er="", her2="", ct="")
    table["age"] = (table["age"].astype(float) * 12).astype(str)
    cohort = other_centre(phantom, tmp_path / "c", table, regions=False)
    out = tmp_path / "p.csv"
    words = ["predict", "--run", str(run), "--cohort", str(cohort), "--out", str(out)]
    assert main(words) == 2
    told = capsys.readouterr().err
    n = len(table)
    assert f"{n} of {n} patients are scored without a crop of the lesion (primary); of the 16 training" in told
    for name in ("er", "her2", "ct"):
        assert f"{n} of {n} patients are scored without a value of {name}" in told
    assert f"age: {n} of {n} values lie outside of training's range" in told
    assert "months in place of years" in told
    assert "--allow_missing" in told
    assert not (cohort / ".crops").exists()
    assert not out.exists()
    assert not (cohort / "openings.jsonl").exists()

    assert main([*words, "--allow_missing", "--store", str(store)]) == 0
    assert f"{n} of {n} patients are scored without a crop of the lesion" in capsys.readouterr().err
    assert counts(out, "missing") == {"primary": n, "clinical er": n, "clinical her2": n, "clinical ct": n} | {
        name: count for name, count in counts(out, "missing").items() if name == "axilla"
    }
    assert counts(out, "outside_training") == {"clinical age": n}
    assert json.loads(out.with_suffix(".json").read_text())["inputs"]["allow_missing"] is True
    scored = pd.read_csv(out)
    assert set(scored["inputs_seen"]) <= {
        "axilla;clinical 1/4 without er, her2, ct",
        "clinical 1/4 without er, her2, ct",
    }
    (line,) = (cohort / "openings.jsonl").read_text().splitlines()
    assert json.loads(line)["missing"]["primary"] == n
    evaluation = tmp_path / "e"
    words = ["evaluate", str(out), "--run", str(run), "--out", str(evaluation), "--resamples=20"]
    capsys.readouterr()
    assert main(words) == 0
    sentence = f"external test: {n} of {n} patients were scored without primary crop."
    assert sentence in capsys.readouterr().err
    page = (evaluation / "report.html").read_text()
    assert sentence in page
    assert f"external test: {n} of {n} patients were scored without her2." in page
    assert f"external test: {n} of {n} patients were scored with age outside of training" in page
    judged = json.loads((evaluation / "metrics.json").read_text())["inputs"]["counts"]
    assert {count["split"] for count in judged} == {"train", "val", "external_test"}
    # without its JSON a file states what each patient had, and nobody counts it: that is said
    out.with_suffix(".json").unlink()
    assert main(["evaluate", str(out), "--out", str(evaluation), "--resamples=20"]) == 0
    sentence = f"{out.name}: how many patients were scored without an input is not known"
    assert sentence in capsys.readouterr().err
    page = (evaluation / "report.html").read_text()
    assert sentence in page
    assert "the outcome (aln_status = 1)" in page
    assert "What the model did not see" not in page


def test_other_units_alone_are_told_and_scored(
    run: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = external(phantom)
    table["age"] = (table["age"].astype(float) * 12).astype(str)
    cohort = other_centre(phantom, tmp_path / "c", table)
    out = predict_cohort(run, cohort, tmp_path / "p.csv", store=store)
    told = capsys.readouterr().err
    assert "months in place of years" in told
    assert f"{len(table)} of {len(table)} patients are scored with age outside of training's range" in told
    assert counts(out, "outside_training") == {"clinical age": len(table)}


def test_unknown_levels_are_counted_and_refused_with_the_map_to_type(
    run: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = external(phantom)
    table["her2"] = table["her2"].map({"negative": "neg", "positive": "pos", "low": "low"})
    cohort = other_centre(phantom, tmp_path / "c", table)
    text = (cohort / "cohort.yaml").read_text()
    levels = "    levels:\n    - negative\n    - low\n    - positive\n"
    assert levels in text
    (cohort / "cohort.yaml").write_text(text.replace(levels, ""))
    unknown = int(table["her2"].isin(["neg", "pos"]).sum())
    with pytest.raises(InputError, match=f"{unknown} of {len(table)} patients are scored with a level of her2"):
        predict_cohort(run, cohort, tmp_path / "p.csv", store=store)
    told = capsys.readouterr().err
    assert "neg: negative" in told
    assert "pos: positive" in told
    out = predict_cohort(run, cohort, tmp_path / "p.csv", store=store, allow_missing=True)
    assert counts(out, "unknown_level") == {"clinical her2": unknown}


def test_all_absent_columns_are_listed_at_once_before_any_crop(run: Path, phantom: Path, tmp_path: Path) -> None:
    table = external(phantom).rename(columns={"age": "Age_years", "er": "ER_status"}).drop(columns="ct")
    cohort = other_centre(phantom, tmp_path / "c", table)
    (cohort / "cohort.yaml").write_text(f"name: other\ndicom_root: {phantom}\n")
    with pytest.raises(InputError) as refused:
        predict_cohort(run, cohort, tmp_path / "p.csv")
    told = str(refused.value)
    assert "no column age (continuous, years); did you mean Age_years?" in told
    assert "`clinical: {age: {column: Age_years, kind: continuous}}`" in told
    assert "no column er (categorical); did you mean ER_status?" in told
    assert "no column ct (ordinal)" in told
    assert not (cohort / ".crops").exists()


def test_check_with_a_run_tells_all_that_predict_refuses_and_decodes_nothing(
    run: Path, phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fine = other_centre(phantom, tmp_path / "fine")
    assert main(["check", str(fine), "--run", str(run)]) == 0
    assert "this cohort gives what it needs" in capsys.readouterr().err
    table = external(phantom).assign(her2="").rename(columns={"age": "Age_years"})
    cohort = other_centre(phantom, tmp_path / "c", table, regions=False)
    (cohort / "cohort.yaml").write_text(f"name: other\ndicom_root: {phantom}\n")
    assert main(["check", str(cohort)]) == 0
    capsys.readouterr()
    assert main(["check", str(cohort), "--run", str(run)]) == 1
    told = capsys.readouterr().err
    for words in ("without a crop of the lesion (primary)", "without a value of her2", "column: Age_years"):
        assert words in told
    # what a run needs is told before any decode; the rest of `check` keeps fingerprints alone
    assert {path.name for path in (cohort / ".crops").iterdir()} == {"fingerprints.jsonl"}


def test_python_and_ensembles_refuse_the_same(
    run: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = train_run(phantom, tmp_path / "runs", replace(tiny_settings(), seed=2), store=store)
    cohort = other_centre(phantom, tmp_path / "c", regions=False)
    for model in (run, [run, second]):
        with pytest.raises(InputError, match="without a crop of the lesion"):
            mammo_aln.load(model).predict(cohort, store=store)
        table = mammo_aln.load(model).predict(cohort, store=store, allow_missing=True)
        assert not table["inputs_seen"].str.contains("primary").any()


def quiet_trainer() -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def test_a_labelled_test_split_is_not_scored_in_a_users_own_trainer(run: Path, phantom: Path, store: Path) -> None:
    crop = tiny_settings().crop
    data = MammoDataModule(phantom, crop, store=store, splits=("val", "internal_test"))
    model = AxillaryClassifier.for_data(data, backbone="resnet50", backbone_args={"layers": [1, 1, 1, 1]}, embed_dim=8)
    with pytest.raises(InputError, match=r"internal_test have an outcome.*mammo-aln predict"):
        quiet_trainer().predict(model, data)
    with pytest.raises(InputError, match="internal_test have an outcome"):
        data.loader("internal_test")
    assert len(data.loader("val")) > 0


def test_a_users_own_trainer_is_told_and_refused_what_unlabelled_patients_lack(
    phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = external(phantom).assign(aln_status="")
    learnt = pd.read_csv(phantom / "patients.csv", dtype=str)
    learnt = learnt[learnt["split"].isin(["train", "val"])]
    cohort = other_centre(phantom, tmp_path / "c", pd.concat([learnt, table.assign(split="external_test", er="")]))
    crop = tiny_settings().crop
    data = MammoDataModule(cohort, crop, store=store, splits=("external_test",))
    model = AxillaryClassifier.for_data(data, backbone="resnet50", backbone_args={"layers": [1, 1, 1, 1]}, embed_dim=8)
    with pytest.raises(InputError, match="without a value of er"):
        quiet_trainer().predict(model, data)


def test_evaluate_names_the_runs_that_are_near(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(run / "predictions.csv"), "--run", str(run.parent / "nosuch"), "--out", str(tmp_path)]
    assert main(words) == 2
    assert f"nosuch: no such run; {run.parent} holds: {run.name}" in capsys.readouterr().err


PUBLIC = "label: {column: malignant, meaning: '1 = malignant, 0 = benign'}"


@pytest.mark.parametrize(
    ("label", "code"), [(PUBLIC, 2), ("label: {column: aln_status, meaning: '1 = ypN0, 0 = residual'}", 0)]
)
def test_another_outcome_judges_no_run_in_silence(
    run: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], label: str, code: int
) -> None:
    cohort = other_centre(phantom, tmp_path / "c", external(phantom).assign(malignant=1))
    head, _, rest = (cohort / "cohort.yaml").read_text().partition("label:")
    (cohort / "cohort.yaml").write_text(f"{head}{label}\nclinical:{rest.partition('clinical:')[2]}")
    words = ["--run", str(run), "--cohort", str(cohort), "--out", str(tmp_path / "p.csv"), "--store", str(store)]
    assert main(["predict", *words]) == code
    assert "by this cohort.yaml, the run learnt aln_status: '1 = residual" in capsys.readouterr().err
    assert (cohort / "openings.jsonl").exists() is (code == 0)


def test_train_of_another_cohort_is_a_test_and_is_not_judged_with_the_runs_own(
    run: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    table = external(phantom)
    cohort = other_centre(phantom, tmp_path / "c", table.assign(split=["train", "val"] * (len(table) // 2)))
    out = predict_cohort(run, cohort, tmp_path / "p.csv", store=store)
    assert {json.loads(line)["split"] for line in (cohort / "openings.jsonl").read_text().splitlines()} == {
        "train",
        "val",
    }
    words = ["evaluate", str(out), "--run", str(run), "--cohort", str(cohort), "--out", str(tmp_path / "e")]
    assert main([*words, "--resamples=20"]) == 0
    judged = json.loads((tmp_path / "e" / "metrics.json").read_text())
    own = pd.read_csv(run / "predictions.csv")["split"].value_counts()
    half = len(table) // 2
    sizes = {name: figures["n"]["value"] for name, figures in judged["splits"].items()}
    assert sizes == {"train": own["train"], "val": own["val"], "external_train": half, "external_val": half}
    page = (tmp_path / "e" / "report.html").read_text()
    assert "The labelled split external train has been opened 1 time" in page
    assert {count["split"] for count in judged["inputs"]["counts"]} == set(sizes)


def test_a_training_patient_under_another_name_is_no_test_patient(
    run: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    whole = pd.read_csv(phantom / "patients.csv", dtype=str)
    learnt = whole[whole["split"] == "train"].head(3).drop(columns="split")
    cohort = other_centre(phantom, tmp_path / "c", learnt)
    (cohort / "cohort.yaml").write_text((cohort / "cohort.yaml").read_text().replace("name: phantom", "name: other"))
    with pytest.raises(
        InputError, match=r"3 patients \(.*\) of the test were trained on \(same StudyInstanceUID or SOPInstanceUID\)"
    ):
        predict_cohort(run, cohort, tmp_path / "p.csv", store=store)
    assert not (tmp_path / "p.csv").exists()
    assert not (cohort / "openings.jsonl").exists()


def resent(phantom: Path, folder: Path, change: Callable[[np.ndarray], np.ndarray] | None) -> Path:
    """Two training patients as another hospital's: new names, identifiers and files; no outcome, or called `train`."""
    whole = pd.read_csv(phantom / "patients.csv", dtype=str)
    table = whole[whole["split"] == "train"].head(2).assign(age="44", er="", her2="", ct="")
    table = table.assign(aln_status="", split="external_test") if change is None else table
    cohort = other_centre(phantom, folder, table)
    (cohort / "cohort.yaml").write_text((cohort / "cohort.yaml").read_text().replace("name: phantom", "name: other"))
    images = pd.read_csv(cohort / "images.csv", dtype=str)
    for number, path in enumerate(images["path"]):
        dataset = pydicom.dcmread(phantom / path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID, dataset.PatientID = generate_uid(), f"X{number}"
        if change is None:
            dataset.compress(JPEG2000Lossless)
        else:
            values = np.ascontiguousarray(change(dataset.pixel_array))
            dataset.set_pixel_data(values, "MONOCHROME2", 8 * values.dtype.itemsize)
        dataset.save_as(cohort / f"{number}.dcm")
    images["path"] = [str(cohort / f"{number}.dcm") for number in range(len(images))]
    for name in ("patients", "images"):
        rows = images if name == "images" else table
        rows.assign(patient_id="new " + rows["patient_id"]).to_csv(cohort / f"{name}.csv", index=False)
    return cohort


@pytest.mark.parametrize(
    ("change", "reason"),
    [(None, "same decoded pixels"), (lambda values: (values.max() - values)[:, ::-1], "a copy by its texture")],
)
def test_an_image_written_anew_is_known_as_trained_on(
    run: Path, phantom: Path, store: Path, tmp_path: Path, change: Callable[..., np.ndarray] | None, reason: str
) -> None:
    cohort = resent(phantom, tmp_path / "c", change)
    for command in (
        lambda: predict_cohort(run, cohort, tmp_path / "p.csv", store=tmp_path / "store", allow_missing=True),
        lambda: explain_run(run, cohort, tmp_path / "e", store=tmp_path / "store", drawn=0),
    ):
        with pytest.raises(InputError, match=rf"images .* of test patients were trained on \({reason}\)"):
            command()
    assert not (tmp_path / "p.csv").exists()
    assert not (cohort / "openings.jsonl").exists()


def test_a_corrected_label_makes_another_cohort_whose_tests_alone_are_scored(
    run: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say_once.cache_clear()  # an earlier test may have had the line said
    cohort = linked_copy(phantom, tmp_path / "c")
    table = pd.read_csv(cohort / "patients.csv", dtype=str)
    row = table.index[table["split"] == "external_test"][0]
    table.loc[row, "aln_status"] = "1" if table.loc[row, "aln_status"] == "0" else "0"
    table.to_csv(cohort / "patients.csv", index=False)
    with pytest.raises(InputError, match=r"were trained on .* score the tests alone, e\.g\. --split external_test"):
        predict_cohort(run, cohort, tmp_path / "p.csv", store=store)
    out = predict_cohort(run, cohort, tmp_path / "p.csv", split="external_test", store=store)
    assert "the tables have changed since the run was trained on them" in capsys.readouterr().err
    assert main(["evaluate", str(out), "--out", str(tmp_path / "e"), "--resamples=20"]) == 0
    assert "the tables have changed since the run was trained" in (tmp_path / "e" / "report.html").read_text()


def test_those_who_chose_the_threshold_are_no_test(run: Path, phantom: Path, store: Path, tmp_path: Path) -> None:
    table = pd.read_csv(phantom / "patients.csv", dtype=str)
    chosen = table[table["split"] == "val"].head(2).drop(columns="split")
    cohort = other_centre(phantom, tmp_path / "c", chosen)
    with pytest.raises(InputError, match=r"2 patients .* were those that chose the run's checkpoint and threshold"):
        predict_cohort(run, cohort, tmp_path / "p.csv", store=store)


def test_a_place_that_cannot_be_written_is_told_before_a_test_is_opened(run: Path, phantom: Path, store: Path) -> None:
    before = (phantom / "openings.jsonl").read_bytes() if (phantom / "openings.jsonl").exists() else b""
    with pytest.raises(InputError, match="cannot be"):
        predict_cohort(run, phantom, Path("/proc/nowhere/p.csv"), split="external_test", store=store)
    after = (phantom / "openings.jsonl").read_bytes() if (phantom / "openings.jsonl").exists() else b""
    assert after == before


def test_a_threshold_that_was_edited_with_its_digest_is_found_by_the_validation_rows(
    run: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    edited = Path(shutil.copytree(run, tmp_path / run.name))
    facts = json.loads((edited / "predictions.json").read_text())
    facts["threshold"]["value"] = 0.9 if facts["threshold"]["value"] < 0.5 else 0.1
    (edited / "predictions.json").write_text(json.dumps(facts))
    write_state(edited, "completed", frozen=frozen_digests(edited))
    with pytest.raises(InputError, match=r"threshold \(the validation rows of predictions\.csv give another\)"):
        predict_cohort(edited, phantom, tmp_path / "p.csv", split="external_test", store=store)
    facts["threshold"] = json.loads((run / "predictions.json").read_text())["threshold"]
    facts["recipe"]["crop"] = {"size_px": 65}
    (edited / "predictions.json").write_text(json.dumps(facts))
    write_state(edited, "completed", frozen=frozen_digests(edited))
    with pytest.raises(InputError, match=r"recipe \(best\.ckpt holds another\)"):
        predict_cohort(edited, phantom, tmp_path / "p.csv", split="external_test", store=store)
