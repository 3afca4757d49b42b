"""Dots planted at known millimetres of breast come out there, whatever the file's tags, side and coding."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import uid

from mammo_aln.crops.build import build_crops
from mammo_aln.crops.window import source_to_crop
from mammo_aln.settings import CropConfig, PixelConfig
from tests.support.crop_cohort import image, mammogram, patient, write_image, write_tables

ROWS, COLUMNS = 520, 400
DOTS_MM = ((0.0, 0.0), (-14.0, -11.0), (13.0, 17.0), (-9.0, 20.0))  # from the lesion's centre, stored axes
SIZE_PX = 256

# name: (breast-plane row and column mm, tags, spacing_mm of the table)
SPACINGS = {
    "calibrated": (0.2, 0.2, {"PixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": "FIDUCIAL"}, None),
    "magnified 1.0": (
        0.2,
        0.2,
        {"ImagerPixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": 1.0},
        None,
    ),
    "magnified 1.3": (
        0.2,
        0.2,
        {"ImagerPixelSpacing": [0.26, 0.26], "EstimatedRadiographicMagnificationFactor": 1.3},
        None,
    ),
    "magnified 1.8": (
        0.2,
        0.2,
        {"ImagerPixelSpacing": [0.36, 0.36], "EstimatedRadiographicMagnificationFactor": 1.8},
        None,
    ),
    "distances": (
        0.2,
        0.2,
        {"ImagerPixelSpacing": [0.25, 0.25], "DistanceSourceToPatient": 520, "DistanceSourceToDetector": 650},
        None,
    ),
    "imager alone": (0.25, 0.25, {"ImagerPixelSpacing": [0.25, 0.25]}, None),
    "table": (0.22, 0.22, {"ImagerPixelSpacing": [0.1, 0.1]}, 0.22),
    "oblong pixels": (0.16, 0.24, {"PixelSpacing": [0.16, 0.24], "PixelSpacingCalibrationType": "GEOMETRY"}, None),
    "oblong, magnified": (
        0.3,
        0.2,
        {"ImagerPixelSpacing": [0.45, 0.3], "EstimatedRadiographicMagnificationFactor": 1.5},
        None,
    ),
}
CODINGS = {
    "raw, MONOCHROME2": (uid.ExplicitVRLittleEndian, False),
    "raw, MONOCHROME1": (uid.ExplicitVRLittleEndian, True),
    "JPEG-LS, MONOCHROME1": (uid.JPEGLSLossless, True),
    "JPEG 2000": (uid.JPEG2000Lossless, False),
    "JPEG lossless": (uid.JPEGLosslessSV1, False),
    "RLE": (uid.RLELossless, False),
}


def found_dots(crop: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Centre of gravity (x, y) of what rises above its surroundings near each expected place."""
    places = []
    for x, y in expected:
        left, top = int(max(x - 10, 0)), int(max(y - 10, 0))
        patch = crop[top : int(y + 11), left : int(x + 11)].astype(float)
        patch = np.clip(patch - np.median(patch) - 0.3 * (patch.max() - np.median(patch)), 0, None)
        rows, columns = np.mgrid[0 : patch.shape[0], 0 : patch.shape[1]] + 0.5
        places.append((left + (patch * columns).sum() / patch.sum(), top + (patch * rows).sum() / patch.sum()))
    return np.array(places)


def built_crop(root, spacing, side, coding, *, centre_mm=None, view="CC"):
    row_mm, column_mm, tags, table_mm = SPACINGS[spacing]
    syntax, inverted = CODINGS[coding]
    wall_mm = 30.0 if centre_mm is None else centre_mm
    centre = (wall_mm if side == "L" else COLUMNS * column_mm - wall_mm, ROWS * row_mm / 2)
    dots = [(centre[0] + x, centre[1] + y) for x, y in DOTS_MM]
    pixels = mammogram(ROWS, COLUMNS, row_mm, column_mm, dots_mm=dots, side=side)
    root.mkdir(exist_ok=True)
    write_image(root / "i.dcm", pixels, side=side, view=view, inverted=inverted, syntax=syntax, **tags)
    x, y = centre[0] / column_mm, centre[1] / row_mm
    row = image("i", "p", side, view, **({"spacing_mm": table_mm} if table_mm else {}))
    cohort = write_tables(root, [patient("p")], [row], [("i", "primary", x - 12, y - 9, x + 12, y + 9)])
    crops = build_crops(cohort, PixelConfig(), CropConfig(auxiliary=()), workers=1)
    (row,) = crops.table.to_dict("records")
    store = crops.open_store()
    return store.read(row["key"]), row, store


def expected_places(side: str) -> np.ndarray:
    sign = 1.0 if side == "L" else -1.0
    return SIZE_PX / 2 + np.array([(sign * x, y) for x, y in DOTS_MM]) * SIZE_PX / 50.0


@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_dots_lie_where_their_millimetres_say(tmp_path, spacing, side):
    crop, row, _ = built_crop(tmp_path / "c", spacing, side, "raw, MONOCHROME2")
    expected = expected_places(side)
    np.testing.assert_allclose(found_dots(crop, expected), expected, atol=1.0)
    assert (row["spacing_row_mm"], row["spacing_column_mm"]) == pytest.approx(SPACINGS[spacing][:2])


@pytest.mark.parametrize("coding", CODINGS)
def test_coding_and_polarity_change_nothing(tmp_path, coding):
    """Every coding is lossless here, so the crop must be the same to within the rounding of one 12-bit inversion."""
    plain, _, _ = built_crop(tmp_path / "plain", "magnified 1.3", "R", "raw, MONOCHROME2")
    crop, _, _ = built_crop(tmp_path / "c", "magnified 1.3", "R", coding)
    assert np.abs(crop.astype(int) - plain.astype(int)).max() <= 65535 // 4095 + 1
    np.testing.assert_allclose(found_dots(crop, expected_places("R")), expected_places("R"), atol=1.0)


@pytest.mark.parametrize("side", ["L", "R"])
def test_a_box_at_the_edge_is_padded_on_the_chest_wall_side(tmp_path, side):
    crop, row, _ = built_crop(tmp_path / "c", "calibrated", side, "raw, MONOCHROME2", centre_mm=10.0)
    outside_px = (25.0 - 10.0) / 50.0 * SIZE_PX  # 76.8 columns lie behind the chest wall
    assert (crop[:, : int(outside_px)] == 0).all()
    assert (crop[100:156, int(outside_px) + 1] > 0).all()
    assert row["padding_share"] == pytest.approx(0.3)
    assert "padding_over_10_percent" in row["fallbacks"].split(";")
    expected = expected_places(side)
    expected = expected[expected[:, 0] > outside_px + 5]  # some dots lie outside
    assert 2 <= len(expected) < 4
    np.testing.assert_allclose(found_dots(crop, expected), expected, atol=1.0)


def test_the_journal_leads_back_from_the_crop_to_the_stored_matrix(tmp_path):
    crop, row, store = built_crop(tmp_path / "c", "oblong, magnified", "R", "JPEG-LS, MONOCHROME1")
    record = store.crop(row["key"])
    turned = store.image(record.image).orientation
    x_mm, y_mm = COLUMNS * 0.2 - 30.0 + DOTS_MM[2][0], ROWS * 0.3 / 2 + DOTS_MM[2][1]
    place = source_to_crop(np.array([[x_mm / 0.2, y_mm / 0.3]]), record.window, SIZE_PX, turned)
    np.testing.assert_allclose(place, expected_places("R")[2:3], atol=1e-6)
    np.testing.assert_allclose(found_dots(crop, place), place, atol=1.0)


def test_the_journal_names_no_patient(tmp_path):
    built_crop(tmp_path / "c", "calibrated", "L", "raw, MONOCHROME2")
    told = "".join(path.read_text() for path in (tmp_path / "c" / ".crops" / "segments").glob("*.jsonl"))
    assert str(tmp_path) not in told
    assert '"p"' not in told
