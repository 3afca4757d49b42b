"""Contact sheets: the windows, the scale bar and the mark are where they belong, the worst patient comes first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mammo_aln.crops.build import build_crops
from mammo_aln.crops.proof import proof
from mammo_aln.crops.proof import sheet as proof_sheet
from mammo_aln.crops.proof.proof import rank_patients, write_proof
from mammo_aln.crops.proof.sheet import COLOURS
from mammo_aln.settings import CropConfig, PixelConfig
from tests.support.crop_cohort import image, mammogram, patient, write_image, write_tables

MM = 0.3
ROWS, COLUMNS = 560, 400


@pytest.fixture
def cohort(tmp_path):
    """Patient `good` (left CC, lesion in the breast), `off` (right MLO, box on air), `bare` (left CC, no spacing)."""
    left = mammogram(ROWS, COLUMNS, MM, MM, dots_mm=[(45.0, 84.0)])
    write_image(tmp_path / "good.dcm", left, ImagerPixelSpacing=[MM, MM])
    right = mammogram(ROWS, COLUMNS, MM, MM, side="R")
    write_image(
        tmp_path / "off.dcm", right, side="R", view="MLO", PatientOrientation=["P", "FL"], ImagerPixelSpacing=[MM, MM]
    )
    write_image(tmp_path / "bare.dcm", left, ImagerPixelSpacing=None, PatientName="Doe^Jane")
    rows = [image("good", "a"), image("off", "b", "R", "MLO"), image("bare", "c")]
    regions = [
        ("good", "primary", 130, 260, 170, 300),
        ("off", "primary", 5, 10, 45, 50),
        ("bare", "primary", 130, 260, 170, 300),
    ]
    return write_tables(tmp_path, [patient("a"), patient("b"), patient("c")], rows, regions)


def test_sheet_is_written_worst_first(cohort, tmp_path):
    crop = CropConfig(strategy="lesion_margin", size_px=64)
    crops = build_crops(cohort, PixelConfig(), crop, workers=1)
    assert rank_patients(crops.table)[0] == "b"
    out = write_proof(cohort, crops, tmp_path / "proof")
    assert sorted(path.name for path in out.iterdir()) == ["exclusions.csv", "proof_001.png"]
    sheet = np.asarray(Image.open(out / "proof_001.png").convert("RGB"))
    assert sheet.shape[1] > 1500
    for name in ("whole_breast", "lesion_box", "lesion_margin", "fixed_5cm", "auxiliary"):
        assert (sheet == COLOURS[name]).all(axis=2).sum() > 200, name


def test_rows_tell_what_is_wrong_in_words(cohort, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        proof, "draw_sheet", lambda rows, title: drawn.extend(rows) or proof_sheet.draw_sheet(rows, title)
    )
    crop = CropConfig(strategy="lesion_margin", size_px=64)
    crops = build_crops(cohort, PixelConfig(), crop, workers=1)
    write_proof(cohort, crops, tmp_path / "proof")
    by_image = {row.lines[0][1]: row for row in drawn}
    assert next(iter(by_image)) == "off"
    told = {name: " / ".join(words for _, words in row.lines) for name, row in by_image.items()}
    assert "less than half of the box lies on the breast" in told["off"]
    assert "no crop: fixed 5cm" in told["bare"]
    assert by_image["off"].lines[1] == ("plain", "patient 1, R MLO")
    assert "Doe" not in " ".join(told.values())
    good = by_image["good"]
    assert good.view.mark == "L CC"
    assert by_image["off"].view.mark == "R MLO"
    # 5 cm of a 560 x 0.3 mm tall image drawn 420 pixels tall
    assert good.view.five_cm_px == pytest.approx(50 / (560 * 0.3) * 420)
    assert by_image["bare"].view.five_cm_px is None
    (fixed,) = [good.view.place(tile.window) for tile in good.tiles if tile.colour == "fixed_5cm"]
    centre = np.array([150, 280]) * 420 / 560
    np.testing.assert_allclose([(fixed[0] + fixed[2]) / 2, (fixed[1] + fixed[3]) / 2], centre, atol=1)
    assert fixed[2] - fixed[0] == pytest.approx(good.view.five_cm_px, abs=1)
    sides = {tile.title: tile.side_mm for tile in good.tiles}
    assert sides["fixed 5cm"] == pytest.approx(50)
    assert sides["lesion box"] == pytest.approx(12)
    assert sides["lesion margin"] == pytest.approx(18)
    # the right breast is shown turned, its box at stored (25, 30) now at the far side of the chest wall
    (off,) = [by_image["off"].view.place(tile.window) for tile in by_image["off"].tiles if tile.colour == "lesion_box"]
    assert (off[0] + off[2]) / 2 == pytest.approx((COLUMNS - 25) * 420 / 560, abs=1)


def test_only_the_worst_patients_are_drawn(cohort, tmp_path, capsys):
    crop = CropConfig(strategy="lesion_box", auxiliary=(), size_px=64)
    crops = build_crops(cohort, PixelConfig(), crop, workers=1)
    write_proof(cohort, crops, tmp_path / "proof", patients=1)
    assert "the 1 worst of 3 patients" in capsys.readouterr().err


def test_ranking():
    base = {"patient_id": "x", "fallbacks": "", "padding_share": 0.0, "confidence": 1.0, "strategy": "fixed_5cm"}
    table = pd.DataFrame(
        [
            base | {"patient_id": "clean"},
            base | {"patient_id": "off", "fallbacks": "no_voi;box_off_breast"},
            base | {"patient_id": "unsure", "confidence": 0.6},
            base | {"patient_id": "padded", "padding_share": 0.09},
            base | {"patient_id": "whole", "padding_share": 0.4, "strategy": "whole_breast"},
        ]
    )
    assert rank_patients(table) == ["off", "unsure", "padded", "clean", "whole"]


def test_images_without_a_primary_crop_are_shown_first_with_the_reason(cohort, tmp_path, monkeypatch):
    drawn, titles = [], []

    def draw(rows, title):
        drawn.extend(rows)
        titles.append(title)
        return proof_sheet.draw_sheet(rows, title)

    monkeypatch.setattr(proof, "draw_sheet", draw)
    (tmp_path / "off.dcm").unlink()
    images = cohort.images.assign(study=["s1", "s2", ""])
    more = pd.concat([images, images.tail(1).assign(image_id="unboxed", view="MLO")], ignore_index=True)
    more = replace(cohort, images=more)
    crops = build_crops(more, PixelConfig(), CropConfig(size_px=64, auxiliary=()), workers=1)
    write_proof(more, crops, tmp_path / "proof")
    assert [row.lines[0][1] for row in drawn] == ["off", "bare", "good"]
    assert [row.lines[1][1] for row in drawn] == [
        "patient 1, R MLO, study s2",
        "patient 2, L CC",
        "patient 3, L CC, study s1",
    ]
    told = [" / ".join(words for weight, words in row.lines if weight == "flag") for row in drawn]
    assert "no primary crop: cannot be read" in told[0]
    assert "no primary crop: a crop of 50 mm needs the pixel spacing" in told[1]
    assert "no primary crop" not in told[2]
    assert "not used: 1 of the 4 images in images.csv: 1 without a box" in titles[0]
    assert drawn[2].view.outline is not None
    assert drawn[2].view.outline.sum() > 300


def test_a_long_title_is_broken_into_lines_that_the_sheet_holds():
    title = "Crop proof, sheet 1 of 18, worst first; " + "not used: many of the images, each with its reason; " * 6
    lines = proof_sheet.wrapped(title, 900)
    assert " ".join(lines) == " ".join(title.split())
    assert len(lines) > 2
    assert all(proof_sheet.typeface(20, bold=True).getlength(line) <= 900 for line in lines)
