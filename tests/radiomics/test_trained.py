"""Deep features of trained runs: out of fold for those who trained, the network's own numbers for the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.cohort.tables import read_cohort
from mammo_aln.errors import InputError
from mammo_aln.inference.predict import predict_cohort
from mammo_aln.radiomics.extraction.trained import run_features
from mammo_aln.training.train import train_run
from tests.support.tiny_settings import tiny_settings


@pytest.fixture(scope="module")
def folds(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out, tiny = tmp_path_factory.mktemp("folds"), tiny_settings(epochs=1)
    return [
        train_run(phantom, out, replace(tiny, data=replace(tiny.data, folds=2, fold=fold)), store=store)
        for fold in (0, 1)
    ]


def rows(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"patient_id": str}).set_index("patient_id")


def test_folds_give_each_patient_the_network_that_left_it_out(
    folds: list[Path], phantom: Path, store: Path, tmp_path: Path
) -> None:
    found = run_features(folds, read_cohort(phantom), store)
    found.index = found.index.str.replace(r"/[LR]$", "", regex=True)  # every patient of the phantom has one side
    assert list(found.columns) == ["deep_run_logit"]
    for run in folds:
        own = rows(run / "predictions.csv")
        out_of_fold = own.loc[own["split"] == "val", "logit"]
        np.testing.assert_allclose(found.loc[out_of_fold.index, "deep_run_logit"], out_of_fold, atol=1e-4)
    external = rows(predict_cohort(folds, phantom, tmp_path / "p.csv", split="external_test", store=store))["logit"]
    np.testing.assert_allclose(found.loc[external.index, "deep_run_logit"], external, atol=1e-4)


def test_a_run_is_refused_for_those_who_trained_it(folds: list[Path], phantom: Path, store: Path) -> None:
    with pytest.raises(InputError, match=r"patients of .* trained every run given .* give the runs of all folds"):
        run_features(folds[:1], read_cohort(phantom), store)


def test_one_run_gives_others_what_its_fusion_reads(
    folds: list[Path], phantom: Path, store: Path, tmp_path: Path
) -> None:
    cohort = read_cohort(phantom)
    own = rows(folds[0] / "predictions.csv")
    others = cohort.patients[~cohort.patients["patient_id"].isin(own.index[own["split"] == "train"])]
    images = cohort.images[cohort.images["patient_id"].isin(others["patient_id"])]
    regions = cohort.regions[cohort.regions["image_id"].isin(images["image_id"])]
    part = replace(cohort, patients=others.drop(columns="split"), images=images, regions=regions)
    found = run_features(folds[:1], part, store)
    found.index = found.index.str.replace(r"/[LR]$", "", regex=True)  # every patient of the phantom has one side
    assert set(found.index) == set(others["patient_id"])
    assert len(found.columns) > 2
    validated = own.loc[own["split"] == "val", "logit"]
    np.testing.assert_allclose(found.loc[validated.index, "deep_run_logit"], validated, atol=1e-4)
