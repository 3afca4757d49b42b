"""A run loaded in Python gives the rows that the command line writes, and says what it saw of each patient."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import mammo_aln
from mammo_aln.errors import InputError
from mammo_aln.inference.predict import predict_cohort
from mammo_aln.training.train import train_run
from tests.support.run_folders import linked_copy
from tests.support.tiny_settings import tiny_settings


@pytest.fixture(scope="module")
def run(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(phantom, tmp_path_factory.mktemp("runs"), tiny_settings(), store=store)


def test_its_table_is_predictions_csv_with_call_and_inputs(
    run: Path, phantom: Path, store: Path, tmp_path: Path
) -> None:
    cohort = linked_copy(phantom, tmp_path / "cohort")
    written = pd.read_csv(predict_cohort(run, cohort, tmp_path / "p.csv", split="external_test", store=store))
    table = mammo_aln.load(run).predict(cohort, split="external_test", store=store)
    assert list(table) == list(written)
    assert list(table)[-2:] == ["call", "inputs_seen"]
    assert table["score"].tolist() == written["score"].tolist()
    threshold = json.loads((run / "predictions.json").read_text())["threshold"]["value"]
    assert table["call"].tolist() == [int(score >= threshold) for score in written["score"]]
    assert len((cohort / "openings.jsonl").read_text().splitlines()) == 2


def test_a_patient_without_lesion_box_node_or_clinical_value_is_told_apart(
    run: Path, phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = linked_copy(phantom, tmp_path / "cohort")
    patients = pd.read_csv(cohort / "patients.csv", dtype=str)
    external = patients.loc[patients["split"] == "external_test", "patient_id"].unique()
    boxless, unknown, whole = external[:3]
    images = pd.read_csv(cohort / "images.csv", dtype=str)
    regions = pd.read_csv(cohort / "regions.csv", dtype=str)
    lost = images.loc[images["patient_id"] == boxless, "image_id"]
    regions[~(regions["image_id"].isin(lost) & (regions["region"] == "primary"))].to_csv(
        cohort / "regions.csv", index=False
    )
    features = [name for name in ("age", "er", "her2", "clinical_t_stage") if name in patients]
    assert features
    patients.loc[patients["patient_id"] == unknown, features[0]] = ""
    patients.to_csv(cohort / "patients.csv", index=False)

    loaded = mammo_aln.load(run)
    table = loaded.predict(cohort, patients=[boxless, unknown, whole], store=store).set_index("patient_id")
    assert "1 of 3 patients are scored without a crop of the lesion" in capsys.readouterr().err
    assert sorted(table.index.unique()) == sorted([boxless, unknown, whole])
    seen = {patient: set(table.loc[[patient], "inputs_seen"].iloc[0].split(";")) for patient in table.index}
    assert "primary" not in seen[boxless]
    assert {"primary", "clinical"} <= seen[whole]
    assert not any(name == "clinical" for name in seen[unknown])
    assert any(name.startswith("clinical ") for name in seen[unknown])
    alone = loaded.predict(cohort, patients=whole, store=store)
    assert alone["patient_id"].unique().tolist() == [whole]
    pd.testing.assert_series_equal(
        alone["logit"], table.loc[[whole], "logit"].reset_index(drop=True), check_exact=False, rtol=1e-5
    )


def test_an_unknown_patient_and_a_folder_without_run_are_refused(run: Path, phantom: Path, store: Path) -> None:
    with pytest.raises(InputError, match="nobody"):
        mammo_aln.load(run).predict(phantom, patients="nobody", store=store)
    with pytest.raises(InputError, match="no such run"):
        mammo_aln.load(run.parent / "none")


def test_the_surface_is_listed_and_imports_nothing_heavy() -> None:
    names = {"AxillaryClassifier", "MammoDataModule", "CropConfig", "Settings", "load", "index", "evaluate"}
    assert names <= set(dir(mammo_aln))
    for name in dir(mammo_aln):
        assert getattr(mammo_aln, name) is not None
    heavy = "('torch', 'pandas', 'matplotlib')"
    code = f"import sys, mammo_aln; dir(mammo_aln); print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
