"""Features of mammography lesions: the annotated box on its crop in millimetres, whatever the vendor's pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.config import CropConfig, RadiomicsConfig
from mammo_aln.radiomics.extract import extract_features

SETTINGS = RadiomicsConfig(families=("stat", "morph", "cm"), filters=("original",), rings_mm=(3.0,))


@pytest.fixture(scope="module")
def features(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mammograms") / "features.csv"
    return extract_features(phantom, out, SETTINGS, crop=CropConfig(auxiliary=()), store=store, workers=1)


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
