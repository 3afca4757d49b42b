"""Features of mammography lesions: the annotated box on its crop in millimetres, whatever the vendor's pixels."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mammo_aln.radiomics.extraction.cases import crop_cases
from mammo_aln.radiomics.extraction.extract import extract_features
from mammo_aln.radiomics.extraction.table import feature_table
from mammo_aln.radiomics.signatures.feature_table import read_features
from mammo_aln.settings import CropConfig, PixelConfig, RadiomicsConfig

SETTINGS = RadiomicsConfig(families=("stat", "morph", "cm"), filters=("original",), rings_mm=(3.0,))


@pytest.fixture(scope="module")
def features(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mammograms") / "features.csv"
    return extract_features(phantom, out, SETTINGS, crop=CropConfig(auxiliary=()), store=store, workers=1)


def test_each_treated_axilla_has_a_row_of_its_own_breast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patients = pd.DataFrame(
        {"unit_id": ["p1/L", "p1/R", "p2/L"], "patient_id": ["p1", "p1", "p2"], "side": ["L", "R", "L"]}
    )
    crops = pd.DataFrame(
        {
            "unit_id": ["p1/L", "p1/R", "p2/L"],
            "patient_id": ["p1", "p1", "p2"],
            "image_id": ["l", "r", "x"],
            "region": "primary",
            "key": ["kl", "kr", "kx"],
            "view": "CC",
            "laterality": ["L", "R", "L"],
            "estimated": False,
        }
    )
    cohort = SimpleNamespace(patients=patients.assign(eligible=True))
    built = SimpleNamespace(table=crops, store_path=tmp_path)
    monkeypatch.setattr("mammo_aln.crops.build.build_crops", lambda *_, **__: built)
    cases = crop_cases(cohort, PixelConfig(), CropConfig(), None, 1)
    files = []
    for value, case in zip((10.0, 90.0, 5.0), cases, strict=True):
        files.append(tmp_path / f"{case.key(SETTINGS)}.json")
        files[-1].write_text(json.dumps({"features": {"radiomics_CC_primary_x": value}, "provenance": []}))
    table = feature_table(cohort, cases, files, delta=False)
    assert table.columns.tolist() == ["patient_id", "side", "radiomics_CC_primary_x"]
    assert table["radiomics_CC_primary_x"].to_dict() == {"p1/L": 10.0, "p1/R": 90.0, "p2/L": 5.0}
    table.to_csv(tmp_path / "f.csv", index=False)
    assert read_features(tmp_path / "f.csv", patients)["radiomics_CC_primary_x"].tolist() == [10.0, 90.0, 5.0]


def test_both_breasts_without_a_side_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    patients = pd.DataFrame({"unit_id": ["p1"], "patient_id": ["p1"], "side": [None], "eligible": [True]})
    crops = pd.DataFrame({"unit_id": "p1", "patient_id": "p1", "image_id": ["l", "r"], "region": "primary"})
    crops = crops.assign(key=["kl", "kr"], view="CC", laterality=["L", "R"], estimated=False)
    built = SimpleNamespace(table=crops, store_path=tmp_path)
    monkeypatch.setattr("mammo_aln.crops.build.build_crops", lambda *_, **__: built)
    crop_cases(SimpleNamespace(patients=patients), PixelConfig(), CropConfig(), None, 1)
    assert "1 patients without a side" in capsys.readouterr().err


def test_every_view_and_ring(features: Path, phantom: Path) -> None:
    table = pd.read_csv(features, dtype={"patient_id": str})
    assert set(table["patient_id"]) == set(pd.read_csv(phantom / "patients.csv", dtype=str)["patient_id"])
    for view in ("CC", "MLO"):
        for region in ("primary", "primary-ring3mm"):
            assert f"radiomics_{view}_{region}_original_cm_contrast" in table


def test_sizes_are_millimetres_of_breast(features: Path, phantom: Path) -> None:
    """The box's area in the plane of the breast, from regions.csv and the spacing in the crop table's own words."""
    table = pd.read_csv(features, dtype={"patient_id": str}).set_index("patient_id")
    images = pd.read_csv(phantom / "images.csv", dtype=str)
    boxes = pd.read_csv(phantom / "regions.csv")
    boxes = boxes[boxes["region"] == "primary"].set_index("image_id")
    truth = pd.read_csv(phantom / "truth.csv", dtype={"patient_id": str}).set_index("patient_id")
    ratios = []
    for row in images[images["view"] == "CC"].to_dict("records"):
        if row["image_id"] not in boxes.index:
            continue
        side_mm = np.sqrt(table.at[row["patient_id"], "radiomics_CC_primary_shape_morph_2d_area"])
        ratios.append(side_mm / truth.at[row["patient_id"], "size_mm"])
    # boxes are drawn around the lesion with one and the same rule in every centre
    assert len(ratios) > 25
    assert np.std(ratios) / np.mean(ratios) < 0.15
    centers = truth.loc[
        [
            row["patient_id"]
            for row in images[images["view"] == "CC"].to_dict("records")
            if row["image_id"] in boxes.index
        ],
        "center",
    ]
    means = pd.Series(ratios, index=centers.index).groupby(centers).mean()
    assert means.max() / means.min() < 1.08
