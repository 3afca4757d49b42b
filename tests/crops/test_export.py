"""Exported crops are the store's, lead back to the image, and name no patient; fallbacks are counted by image."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mammo_aln.crops.build import build_crops
from mammo_aln.crops.export import export_crops, export_name
from mammo_aln.crops.provenance import CROP_CODES, FALLBACK_CODES, fallback_ledger, in_words
from mammo_aln.errors import InputError
from mammo_aln.settings import CropConfig, PixelConfig
from tests.support.crop_cohort import image, mammogram, patient, write_image, write_tables

MM = 0.25


@pytest.fixture
def crops(tmp_path):
    """Two right CC images of two centres, two lesions in the first, the second at the edge and without VOI."""
    tags = {"ImagerPixelSpacing": [MM * 1.2, MM * 1.2], "EstimatedRadiographicMagnificationFactor": 1.2}
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    pixels = mammogram(520, 400, MM, MM, side="R", dots_mm=[(50.0, 60.0)])
    write_image(tmp_path / "one.dcm", pixels, side="R", PatientName="Doe^Jane", PatientID="4711", **tags, **window)
    write_image(tmp_path / "two.dcm", pixels, side="R", **tags)
    regions = [
        ("one", "primary", 180, 220, 220, 260),
        ("one", "primary", 250, 300, 270, 310),
        ("two", "primary", 360, 220, 400, 260),
    ]
    patients = [patient("p1", center="north"), patient("p2", center="south")]
    cohort = write_tables(tmp_path, patients, [image("one", "p1", "R"), image("two", "p2", "R")], regions)
    crop = CropConfig(strategy="all", auxiliary=(), size_px=64)
    return build_crops(cohort, PixelConfig(), crop, workers=1)


def test_names():
    assert export_name("i", "primary", 1, "fixed_5cm") == "i.primary.fixed_5cm"
    assert export_name("i", "axilla", 2, "lesion_box") == "i.axilla.2.lesion_box"


def test_export_reads_back_what_training_reads(crops, tmp_path):
    out = export_crops(crops, tmp_path / "out")
    names = {path.stem for path in out.glob("*.npy")}
    assert names == {path.stem for path in out.glob("*.json")}
    assert {"one.primary.2.lesion_margin", "two.primary.fixed_5cm", "one.primary.whole_breast"} <= names
    assert len(names) == 4 + 4 + 4
    store = crops.open_store()
    for row in crops.table.to_dict("records"):
        name = export_name(row["image_id"], row["region"], row["ordinal"], row["strategy"])
        saved = np.load(out / f"{name}.npy")
        assert saved.dtype == np.uint16
        assert saved.shape == (64, 64)
        np.testing.assert_array_equal(saved, store.read(row["key"]))
    card = json.loads((out / "one.primary.fixed_5cm.json").read_text())
    side = 50 / MM
    expected = {"x_min": 200 - side / 2, "y_min": 240 - side / 2, "x_max": 200 + side / 2, "y_max": 240 + side / 2}
    assert card["window"] == pytest.approx(expected)
    assert card["spacing_mm"] == pytest.approx([MM, MM])
    assert card["spacing_source"] == "imager_spacing_magnification"
    assert card["mm_per_crop_px"] == pytest.approx(50 / 64)
    assert card["orientation"]["flip_horizontal"] is True
    assert [step["name"] for step in card["recipe"]["steps"]][:1] == ["decode"]
    assert json.loads((out / "one.primary.2.fixed_5cm.json").read_text())["box"] == [250, 300, 270, 310]
    told = "".join(path.read_text() for path in out.glob("*.json"))
    for secret in ("Doe", "4711", str(tmp_path)):
        assert secret not in told


def test_the_ledger_counts_images_by_centre(crops):
    ledger = fallback_ledger(crops)
    assert ledger["north"]["images"] == ledger["south"]["images"] == 1
    assert ledger["south"]["no_voi"] == 1
    assert "no_voi" not in ledger["north"]
    assert ledger["south"]["padding_over_10_percent"] == 1  # several crops, one image


def test_recipe_cards_count_their_images(crops):
    cards = crops.recipe["cards"]
    assert sum(card["images"] for card in cards) == 2
    assert {step["name"] for card in cards for step in card["steps"]} >= {"decode", "voi_window", "voi_full_range"}
    assert crops.recipe["crop"]["size_px"] == 64
    json.dumps(crops.recipe)


def test_every_code_has_words():
    assert not set(CROP_CODES) & set(FALLBACK_CODES)
    for code in (*CROP_CODES, *FALLBACK_CODES):
        assert in_words(code) != code


def test_names_that_would_overwrite_each_other_are_refused_before_anything_is_written(tmp_path):
    write_image(tmp_path / "one.dcm", mammogram(260, 200, 0.5, 0.5), ImagerPixelSpacing=[0.5, 0.5])
    boxes = [("axilla", 60, 100, 80, 120), ("axilla", 90, 130, 110, 150), ("axilla.2", 40, 60, 70, 90)]
    regions = [("one", "primary", 60, 100, 80, 120), *(("one", *box) for box in boxes)]
    cohort = write_tables(tmp_path, [patient("p1")], [image("one", "p1")], regions)
    crops = build_crops(cohort, PixelConfig(), CropConfig(auxiliary=("annotated",), size_px=16), workers=1)
    with pytest.raises(InputError, match=r"one\.axilla\.2\.fixed_5cm"):
        export_crops(crops, tmp_path / "out")
    assert not (tmp_path / "out").exists()
