"""One file, one millimetre: `index`, `check`, the crop and the report's acquisition table state the same spacing.

The file is calibrated (PixelSpacing 0.05 mm), while its detector's spacing over its magnification is 0.08 mm.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.cohort.acquisition import acquisition_of
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.crops.regions import source_images
from mammo_aln.settings import Settings
from tests.support.crop_cohort import mammogram, write_image

CALIBRATED = {
    "PixelSpacing": [0.05, 0.05],
    "ImagerPixelSpacing": [0.1, 0.1],
    "EstimatedRadiographicMagnificationFactor": 1.25,
    "PixelSpacingCalibrationType": "FIDUCIAL",
}


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two patients with a box; `b` also has a raw twin without one, of another spacing and polarity."""
    pixels = mammogram(1400, 1100, 0.05, 0.05)
    for patient in "ab":
        (tmp_path / "dicom" / patient).mkdir(parents=True)
    for number, (name, tags) in enumerate(
        {
            "a/cc": CALIBRATED,
            "b/cc": {"ImagerPixelSpacing": [0.1, 0.1], "EstimatedRadiographicMagnificationFactor": 1.25},
            "b/raw": {"ImagerPixelSpacing": [0.3, 0.3], "PresentationIntentType": "FOR PROCESSING"},
        }.items()
    ):
        write_image(
            tmp_path / f"dicom/{name}.dcm",
            pixels,
            inverted=name == "b/raw",
            SOPInstanceUID=f"1.2.{number + 3}",
            **tags,
        )
    root = tmp_path / "cohort"
    assert main(["index", str(tmp_path / "dicom"), "--out", str(root)]) == 0
    (root / "patients.csv").write_text("patient_id,center,aln_status\na,A,1\nb,A,0\n")
    images = pd.read_csv(root / "images.csv", dtype=str).set_index("path")["image_id"]
    boxes = [f"{images[path]},primary,300,600,500,800\n" for path in ("a/cc.dcm", "b/cc.dcm")]
    (root / "regions.csv").write_text("image_id,region,x_min,y_min,x_max,y_max\n" + "".join(boxes))
    return root


def test_crop_index_and_report_state_the_same_millimetres(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "export"
    assert main(["crop", str(cohort), "--export", str(out), "--crop.size_px=64", "--workers=1"]) == 0
    cards = {card["image_id"]: card for card in (json.loads(path.read_text()) for path in out.glob("*.json"))}
    indexed = pd.read_csv(cohort / "images.csv", dtype=str).set_index("image_id")
    read = read_cohort(cohort)
    acquired = acquisition_of(read, source_images(read, Settings().crop, ("primary",))).set_index("patient_id")
    for image, card in cards.items():
        row = indexed.loc[image]
        expected = {"a": 0.05, "b": 0.08}[row["patient_id"]]
        assert card["spacing_mm"] == pytest.approx([expected, expected])
        assert card["spacing_source"] == row["spacing_source"]
        assert float(row["breast_spacing_mm"]) == pytest.approx(expected)
        assert acquired.loc[row["patient_id"], "pixel spacing, mm"] == expected
    assert len(cards) == 2
    a = indexed[indexed["patient_id"] == "a"].iloc[0]
    assert (a["pixel_spacing_mm"], a["imager_pixel_spacing_mm"], a["magnification"]) == ("0.05", "0.1", "1.25")
    assert a["spacing_source"] == "pixel_spacing_calibrated"


def test_the_table_speaks_of_read_images_alone(cohort: Path) -> None:
    read = read_cohort(cohort)
    every, used = acquisition_of(read), acquisition_of(read, source_images(read, Settings().crop, ("primary",)))
    assert every.set_index("patient_id").loc["b", "pixel spacing, mm"] == pytest.approx((0.08 + 0.3) / 2)
    assert used.set_index("patient_id").loc["b", "pixel spacing, mm"] == 0.08
    assert set(used["polarity"]) == {"MONOCHROME2"}
    assert acquisition_of(read, []).empty
    assert source_images(read, Settings().crop, ("clinical",)) == []


def test_a_stated_spacing_wins_everywhere(cohort: Path) -> None:
    images = pd.read_csv(cohort / "images.csv", dtype={"image_id": str})
    images.assign(spacing_mm=np.where(images["patient_id"] == "a", 0.07, np.nan)).to_csv(
        cohort / "images.csv", index=False
    )
    read = read_cohort(cohort)
    assert acquisition_of(read).set_index("patient_id").loc["a", "pixel spacing, mm"] == 0.07
