"""Crops outside the breast: real films with markers read off by eye, planted letters, boxes, doubt, and a phantom."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammo_aln.cohort.tables import read_cohort
from mammo_aln.crops.anatomy import find_anatomy
from mammo_aln.crops.build import build_crops
from mammo_aln.crops.derive import cut_levels
from mammo_aln.crops.export import export_crops
from mammo_aln.crops.outside import shown
from mammo_aln.crops.regions import plan_crops
from mammo_aln.crops.window import Window
from mammo_aln.dicom.orientation import Orientation
from mammo_aln.dicom.spacing import Spacing
from mammo_aln.phantom.breast import draw_appearance, draw_view
from mammo_aln.phantom.findings import draw_marker
from mammo_aln.phantom.texture import Plane
from mammo_aln.settings import CropConfig, PixelConfig
from tests.support.crop_cohort import image, mammogram, patient, write_image, write_tables

LEFT, RIGHT = Orientation(False, False), Orientation(True, False)

# Read off the pictures by eye, in stored pixels: letters, labels and tape.
FILMS = {
    "cbis_P_00173_L_MLO.dcm": ("L", "MLO", [(2060, 460, 2620, 1160)]),
    "cbis_P_00173_R_CC.dcm": ("R", "CC", [(0, 390, 490, 820), (0, 60, 170, 240)]),
    "MG1_J2KI": ("L", "MLO", [(2300, 200, 2860, 750), (2750, 1600, 3000, 2500), (1000, 4620, 3064, 4664)]),
}
PICTURES = {
    "Calc-Test_P_00041_LEFT_CC": (LEFT, [(755, 0, 845, 80), (885, 0, 896, 1152), (0, 1130, 896, 1152)]),
    "Calc-Test_P_00041_LEFT_MLO": (LEFT, [(730, 60, 840, 190), (885, 0, 896, 1152), (0, 822, 28, 860)]),
    "Calc-Test_P_00127_RIGHT_CC": (LEFT, [(0, 0, 8, 1152), (0, 1125, 896, 1152)]),
    "Calc-Test_P_00127_RIGHT_MLO": (LEFT, [(0, 400, 8, 1152), (0, 1125, 896, 1152)]),
    "Calc-Test_P_00202_RIGHT_CC": (RIGHT, [(55, 170, 155, 265), (894, 0, 896, 1152)]),
    "Calc-Test_P_00202_RIGHT_MLO": (RIGHT, [(125, 195, 172, 255), (0, 1145, 896, 1152)]),
}


@pytest.mark.parametrize("name", FILMS)
def test_whole_breasts_of_real_films_show_no_marker_and_begin_at_the_chest_wall(shared, tmp_path, name):
    side, view, markers = FILMS[name]
    cohort = write_tables(
        tmp_path,
        [patient("a")],
        [image("film", "a", side, view, path=str(shared / "data" / "mg_dicom" / name), spacing_mm=0.05)],
        [("film", "node", 1400, 2000, 1500, 2100)],
    )
    crop = CropConfig(strategy="whole_breast", auxiliary=(), size_px=256)
    crops = build_crops(cohort, PixelConfig(), crop, workers=1)
    store = crops.open_store()
    key = crops.table["key"].iloc[0]
    record, levels = store.crop(key), store.read(key)
    turned = levels[:, ::-1] if side == "R" else levels  # as stored
    window = record.window
    assert record.outside == "background"
    for left, top, right, bottom in markers:
        columns = np.clip((np.array([left, right]) - window.x_min) / window.width * 256, 0, 256).astype(int)
        rows = np.clip((np.array([top, bottom]) - window.y_min) / window.height * 256, 0, 256).astype(int)
        assert not turned[rows[0] : rows[1], columns[0] : columns[1]].any(), (left, top)
    shape = store.image(record.image).shape
    wall = window.x_min if side == "L" else shape[1] - window.x_max
    assert 0 <= wall < 0.01 * shape[1]
    # Chest wall left: from the first row to the last that shows breast, the first column does.
    shown = np.flatnonzero(levels.any(axis=1))
    assert (levels[shown[0] : shown[-1] + 1, 0] > 0).mean() > 0.9


@pytest.mark.parametrize("name", PICTURES)
def test_no_marker_or_border_of_a_real_film_is_kept(shared, name):
    orientation, markers = PICTURES[name]
    picture = cv2.imread(str(shared / "data" / "mg_png" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
    values = picture.astype(np.float32) / 65535
    found = find_anatomy(values, None, orientation, "MLO" if "MLO" in name else "CC")
    assert found.is_sure
    kept = cv2.resize(found.kept.astype(np.uint8), picture.shape[::-1], interpolation=cv2.INTER_NEAREST)
    for left, top, right, bottom in markers:
        assert not kept[top:bottom, left:right].any(), (left, top)


MM = 0.4
LETTERS = (slice(100, 116), slice(150, 190))  # 60 to 76 mm from the chest wall; the breast's skin is at 53 mm there
LESION = (90, 130, 120, 160)


def lettered() -> np.ndarray:
    pixels = mammogram(300, 200, MM, MM)
    pixels[LETTERS] = 4000
    return pixels


def crops_of(root: Path, box: tuple, outside: str = "mask", workers: int = 1, **crop):
    cohort = write_tables(root, [patient("a")], [image("cc", "a")], [("cc", "primary", *box), ("cc", "node", *box)])
    settings = CropConfig(strategy="all", size_px=64, auxiliary=("node",), outside_breast=outside, **crop)
    return build_crops(cohort, PixelConfig(), settings, workers=workers)


@pytest.mark.parametrize("inverted", [False, True])
def test_letters_are_background_in_crops_of_every_strategy(tmp_path, inverted):
    write_image(tmp_path / "cc.dcm", lettered(), ImagerPixelSpacing=[MM, MM], inverted=inverted)
    masked, kept = crops_of(tmp_path, LESION), crops_of(tmp_path, LESION, outside="keep")
    assert not set(masked.table["key"]) & set(kept.table["key"])
    store = masked.open_store()
    seen = 0
    for one, other in zip(masked.table.itertuples(), kept.table.itertuples(), strict=True):
        levels, before = store.read(one.key), store.read(other.key)
        changed = levels != before
        seen += int(before[changed].max(initial=0) > 50_000)
        assert not levels[changed].any()
        assert levels.max() < 45_000
        assert store.crop(one.key).outside == "background"
        assert store.crop(other.key).outside == "kept"
    assert seen >= 4  # 5 cm and whole breast, primary and auxiliary


def test_letters_are_background_in_the_surround_too(tmp_path):
    write_image(tmp_path / "cc.dcm", lettered(), ImagerPixelSpacing=[MM, MM])
    masked, kept = crops_of(tmp_path, LESION), crops_of(tmp_path, LESION, outside="keep")
    store, seen = masked.open_store(), 0
    for one, other in zip(masked.table.itertuples(), kept.table.itertuples(), strict=True):
        block, before = store.read_surround(one.key), store.read_surround(other.key)
        assert block.shape == (96, 96)
        seen += int(before.max() > 50_000)
        assert block.max() < 45_000
        changed = block != before
        assert not block[changed].any()
    assert seen >= 4


@pytest.mark.parametrize("box", [LESION, (120, 95, 160, 125)])
@pytest.mark.parametrize("side", ["L", "R"])
def test_the_middle_of_a_stored_block_is_the_crop_cut_alone(tmp_path, box, side):
    """For every strategy, with and without a mask, whatever the mask takes of the surround."""
    pixels = lettered()
    write_image(tmp_path / "cc.dcm", pixels if side == "L" else pixels[:, ::-1], ImagerPixelSpacing=[MM, MM])
    for outside in ("mask", "keep"):
        crops = crops_of(tmp_path, box, outside=outside)
        store = crops.open_store()
        plan = next(iter(plan_crops(read_cohort(tmp_path), crops.job.crop).images))
        display = plan.read(PixelConfig())
        for row in crops.table.itertuples():
            record = store.crop(row.key)
            alone = cut_levels(display, record, store.image(record.image).anatomy)
            np.testing.assert_array_equal(store.read(row.key), alone)
            assert store.read_surround(row.key).any()


def test_a_box_that_the_outline_would_cut_is_shown_whole_and_flagged(tmp_path):
    write_image(tmp_path / "cc.dcm", lettered(), ImagerPixelSpacing=[MM, MM])
    box = (120, 95, 160, 125)  # reaches the letters
    masked, kept = crops_of(tmp_path, box), crops_of(tmp_path, box, outside="keep")
    store = masked.open_store()
    for one, other in zip(masked.table.itertuples(), kept.table.itertuples(), strict=True):
        record = store.crop(one.key)
        levels, before = store.read(one.key), store.read(other.key)
        if one.strategy == "whole_breast" and one.region == "primary":
            assert record.outside == "background"
            continue
        window = record.window
        if record.box is None:
            continue
        assert record.outside == "background_beside_box"
        assert "box_beyond_breast" in one.fallbacks
        edges = (np.array(box) - np.tile((window.x_min, window.y_min), 2)) / window.width * 64
        left, top, right, bottom = np.clip([edges[0], edges[1], edges[2], edges[3]], 0, 64)
        inner = slice(int(np.ceil(top)), int(bottom)), slice(int(np.ceil(left)), int(right))
        np.testing.assert_array_equal(levels[inner], before[inner])
    fixed = masked.table[(masked.table["strategy"] == "fixed_5cm") & (masked.table["region"] == "primary")]
    levels = store.read(fixed["key"].iloc[0])
    assert (levels > 50_000).sum() < (store.read(kept.table.loc[fixed.index[0], "key"]) > 50_000).sum()


def test_an_image_with_an_unsure_outline_is_kept_whole_and_flagged(tmp_path):
    noise = np.random.default_rng(0).integers(0, 4096, (300, 200)).astype(np.uint16)
    write_image(tmp_path / "cc.dcm", noise, ImagerPixelSpacing=[MM, MM])
    masked, kept = crops_of(tmp_path, LESION), crops_of(tmp_path, LESION, outside="keep")
    store = masked.open_store()
    for one, other in zip(masked.table.itertuples(), kept.table.itertuples(), strict=True):
        np.testing.assert_array_equal(store.read(one.key), store.read(other.key))
        assert "breast_outline_unsure" in one.fallbacks
        assert "breast_outline_unsure" not in other.fallbacks
        if one.strategy == "whole_breast":
            assert store.crop(one.key).window.box == (-50, 0, 250, 300)


def test_the_recipe_and_the_card_name_the_rule(tmp_path):
    write_image(tmp_path / "cc.dcm", lettered(), ImagerPixelSpacing=[MM, MM])
    for rule, outside in (("mask", "background"), ("keep", "kept")):
        crops = crops_of(tmp_path, LESION, outside=rule)
        assert crops.recipe["crop"]["outside_breast"] == rule
        (card,) = crops.recipe["cards"]
        last = {"name": "outside_breast", "parameters": {"applied": outside, "rule": rule}}
        assert card["steps"][-1] == last
        folder = export_crops(crops, tmp_path / rule)
        exported = json.loads((folder / "cc.primary.fixed_5cm.json").read_text())
        assert exported["outside_breast"] == outside
        assert exported["recipe"]["steps"][-1] == last
        assert exported["recipe"]["digest"] == crops.table["recipe"].iloc[0]


@pytest.mark.parametrize("view", ["CC", "MLO"])
@pytest.mark.parametrize("patient_number", range(4))
def test_a_phantoms_tissue_is_kept_and_its_marker_is_not(view, patient_number):
    mm = 0.4
    plane = Plane(round(240 / mm), round(180 / mm), mm)
    look = draw_appearance(20.0, np.random.default_rng(patient_number))
    noisy = draw_view(view, plane, look, None, np.random.default_rng(patient_number)).brightness
    plain = replace(look, noise=0.0, blur_mm=0.01)
    tissue = draw_view(view, plane, plain, None, np.random.default_rng(patient_number)).brightness > 0.03
    lettering = np.zeros(noisy.shape, np.float32)
    draw_marker(lettering, f"L {view}", plane.columns, round(4 / mm), round(5 / mm))
    found = find_anatomy(np.maximum(noisy, lettering), Spacing(mm, mm, "user"), LEFT, view)
    kept = cv2.resize(found.kept.astype(np.uint8), noisy.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
    assert found.is_sure
    assert not (kept & (lettering > 0)).any()
    assert (tissue & ~kept).sum() / tissue.sum() < 0.002


def test_a_crop_shows_the_breast_up_to_the_images_own_edge() -> None:
    pixels = shown(np.ones((24, 20), bool), Window(-50, 0, 150, 240), 50, (240, 200))
    assert pixels[:, 13:].all()
    assert not pixels[:, :12].any()
