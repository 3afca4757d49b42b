"""Landmarks against places that were drawn, or that a human reads off real mammograms; none taken from the code."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammo_aln.crops.anatomy import LOW_CONFIDENCE, Anatomy, find_anatomy
from mammo_aln.dicom.orientation import Orientation
from mammo_aln.dicom.read import read_image
from mammo_aln.dicom.spacing import Spacing
from mammo_aln.settings import PixelConfig

MM = 0.2
ROWS, COLUMNS = 1150, 900  # 230 x 180 mm
LEFT, RIGHT = Orientation(False, False), Orientation(True, False)


@cache
def oblique() -> np.ndarray:
    """Left MLO: breast with its tip at (130, 140) mm; muscle from (60, 0) on top to (0, 120) on the chest wall."""
    y, x = (np.mgrid[0:ROWS, 0:COLUMNS] + 0.5) * MM
    breast = ((x / 130) ** 2 + ((y - 140) / 85) ** 2 < 1) | ((x < 75) & (y < 140))
    muscle = y < 120 * (1 - x / 60)
    grain = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (ROWS, COLUMNS)), (0, 0), 4)
    return np.where(breast, 0.35 + 0.25 * muscle + 0.3 * grain, 0.02).clip(0, 1).astype(np.float32)


def with_clutter(picture: np.ndarray) -> np.ndarray:
    """The same with what is no breast: letters, a skin marker, a paddle's edge, film borders, a scratch."""
    drawn = np.zeros(picture.shape, np.uint8)
    cv2.putText(drawn, "L MLO", (600, 200), cv2.FONT_HERSHEY_SIMPLEX, 3.0, 255, 18)
    cv2.circle(drawn, (800, 500), 12, 255, -1)
    cv2.line(drawn, (500, 1100), (880, 900), 180, 3)
    picture = np.maximum(picture, drawn.astype(np.float32) / 255)
    picture[:, 845:850] = 0.5
    picture[500:510, 400:] = 0.5  # joins the breast and the border
    picture[:25] = 1.0
    picture[-50:] = 1.0  # 10 mm, over the breast's lower end
    picture[:, -15:] = 1.0
    return picture


def distance_mm(one, other) -> float:
    return float(np.hypot(*(np.array(one) - np.array(other)))) * MM


def check_oblique(found: Anatomy, mirror=lambda x: x) -> None:
    assert found.breast_confidence > 0.8
    x_min, y_min, x_max, y_max = (edge * MM for edge in found.breast_box)
    across = sorted((mirror(x_min), mirror(x_max)))
    assert across == pytest.approx([0, 130], abs=3)
    assert (y_min, y_max) == pytest.approx((0, 225), abs=6)
    muscle = found.pectoral
    assert muscle is not None
    assert (mirror(muscle[0] * MM), muscle[3] * MM) == pytest.approx((60, 120), abs=8)
    assert found.pectoral_confidence > LOW_CONFIDENCE
    assert found.nipple is not None
    assert mirror(found.nipple[0] * MM) == pytest.approx(130, abs=8)
    axilla = found.axilla_box
    assert axilla is not None
    centre = (mirror((axilla[0] + axilla[2]) / 2 * MM), (axilla[1] + axilla[3]) / 2 * MM)
    assert 20 < centre[0] < 45
    assert 20 < centre[1] < 35


def test_landmarks_of_a_drawn_oblique_view():
    check_oblique(find_anatomy(oblique(), Spacing(MM, MM, "user"), LEFT, "MLO"))


def test_labels_markers_paddles_and_film_borders_are_no_breast():
    found = find_anatomy(with_clutter(oblique()), Spacing(MM, MM, "user"), LEFT, "MLO")
    check_oblique(found)
    plain = find_anatomy(oblique(), Spacing(MM, MM, "user"), LEFT, "MLO").mask
    assert (found.mask[6:215] ^ plain[6:215]).sum() < 0.01 * plain.sum()


def test_the_mirrored_image_has_the_mirrored_landmarks():
    right = np.ascontiguousarray(oblique()[:, ::-1])
    found = find_anatomy(right, Spacing(MM, MM, "user"), RIGHT, "MLO")
    check_oblique(found, mirror=lambda x: COLUMNS * MM - x)
    assert found.breast_share((COLUMNS - 200, 600, COLUMNS - 100, 700), (ROWS, COLUMNS)) > 0.99
    assert found.breast_share((100, 100, 200, 200), (ROWS, COLUMNS)) < 0.01


def test_sizes_are_in_millimetres_not_in_pixels():
    """The same breast at a fifth of the resolution, and with oblong pixels, gives the same millimetres."""
    reference = find_anatomy(oblique(), Spacing(MM, MM, "user"), LEFT, "MLO")
    for rows, columns in ((230, 180), (575, 180)):
        coarse = cv2.resize(oblique(), (columns, rows), interpolation=cv2.INTER_AREA)
        found = find_anatomy(coarse, Spacing(230 / rows, 180 / columns, "user"), LEFT, "MLO")
        scale = np.array([180 / columns, 230 / rows])
        assert found.breast_box is not None
        assert reference.breast_box is not None
        corners = np.array(found.breast_box).reshape(2, 2) * scale
        np.testing.assert_allclose(corners, np.array(reference.breast_box).reshape(2, 2) * MM, atol=3)
        np.testing.assert_allclose(np.array(found.nipple) * scale, np.array(reference.nipple) * MM, atol=5)


def test_without_spacing_the_scale_is_assumed_and_told():
    found = find_anatomy(oblique(), None, LEFT, "MLO")
    assert "scale_assumed" in found.reasons
    check_oblique(found)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (np.zeros((600, 500), np.float32), "no_breast"),
        (np.full((600, 500), 0.5, np.float32), "no_breast"),
        (np.pad(np.ones((150, 150), np.float32), ((200, 250), (300, 50))), "breast_not_at_chest_wall"),
        (np.pad(np.ones((150, 100), np.float32), ((200, 250), (0, 400))), "breast_too_small"),
    ],
)
def test_what_is_no_breast_gets_a_low_confidence_with_a_reason(picture, reason):
    found = find_anatomy(picture, Spacing(MM, MM, "user"), LEFT, "CC")
    assert found.breast_confidence < LOW_CONFIDENCE
    assert reason in found.reasons


def test_a_breast_without_muscle_does_not_get_one_with_confidence():
    y, x = (np.mgrid[0:ROWS, 0:COLUMNS] + 0.5) * MM
    flat = np.where((x / 120) ** 2 + ((y - 115) / 100) ** 2 < 1, 0.5, 0.0).astype(np.float32)
    found = find_anatomy(flat, Spacing(MM, MM, "user"), LEFT, "MLO")
    assert found.pectoral_confidence < LOW_CONFIDENCE
    assert "pectoral_unclear" in found.reasons


def test_record_and_back():
    found = find_anatomy(oblique(), Spacing(MM, MM, "user"), LEFT, "MLO")
    assert Anatomy.from_json(found.to_json()) == found


def test_share_of_a_box_on_the_breast():
    found = find_anatomy(oblique(), Spacing(MM, MM, "user"), LEFT, "MLO")
    assert found.breast_share((100, 600, 200, 700), (ROWS, COLUMNS)) == pytest.approx(1.0, abs=0.01)
    assert found.breast_share((750, 100, 850, 200), (ROWS, COLUMNS)) == pytest.approx(0.0, abs=0.01)


# Read off the pictures by eye, in pixels: nipple (P_00041: a metal ball marks it), and points that are breast or not.
CBIS = {
    "Calc-Test_P_00041_LEFT_CC": (LEFT, (652, 505), [(300, 500)], [(800, 40), (20, 1100), (880, 600)]),
    "Calc-Test_P_00041_LEFT_MLO": (LEFT, (655, 695), [(100, 100), (400, 800)], [(760, 130), (10, 850), (880, 1100)]),
    "Calc-Test_P_00127_RIGHT_CC": (LEFT, (700, 655), [(300, 500)], [(850, 400), (600, 1140)]),
    "Calc-Test_P_00127_RIGHT_MLO": (LEFT, (655, 800), [(300, 500), (100, 700)], [(800, 500), (600, 1145)]),
    "Calc-Test_P_00202_RIGHT_CC": (RIGHT, (195, 530), [(600, 600)], [(120, 220), (20, 1000)]),
    "Calc-Test_P_00202_RIGHT_MLO": (RIGHT, (215, 890), [(600, 500), (800, 200)], [(100, 300), (400, 1140)]),
}


@pytest.mark.parametrize("name", CBIS)
def test_real_film_mammograms(shared, name):
    orientation, nipple, breast, no_breast = CBIS[name]
    picture = cv2.imread(str(shared / "data" / "mg_png" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
    found = find_anatomy(picture.astype(np.float32) / 65535, None, orientation, "MLO" if "MLO" in name else "CC")
    for x, y in breast:
        assert found.breast_share((x - 8, y - 8, x + 8, y + 8), picture.shape) > 0.95, (x, y)
    for x, y in no_breast:
        assert found.breast_share((x - 8, y - 8, x + 8, y + 8), picture.shape) < 0.05, (x, y)
    assert found.breast_confidence > 0.8
    film_mm = 240 / picture.shape[0]
    assert found.nipple is not None
    assert np.hypot(found.nipple[0] - nipple[0], found.nipple[1] - nipple[1]) * film_mm < 20


def test_real_film_mammogram_in_dicom(shared):
    """MG1: nipple near (2010, 3230), muscle's edge from about (1150, 0) towards (600, 1400), letters at (2600, 480)."""
    path = Path(shared) / "data" / "mg_dicom" / "MG1_J2KI"
    display = read_image(path, PixelConfig(), spacing_mm=0.05, laterality="L", view="MLO")
    found = find_anatomy(display.pixels, display.spacing, display.orientation, "MLO")
    shape = display.pixels.shape
    assert found.breast_share((2400, 250, 2800, 700), shape) < 0.02
    assert found.breast_share((2750, 1600, 3000, 2500), shape) < 0.02
    assert found.breast_share((300, 300, 1200, 3500), shape) > 0.99
    assert np.hypot(found.nipple[0] - 2010, found.nipple[1] - 3230) * 0.05 < 12
    top_x, _, _, side_y = found.pectoral
    at_1400 = top_x * (1 - 1400 / side_y)
    assert top_x * 0.05 == pytest.approx(1150 * 0.05, abs=8)
    assert at_1400 * 0.05 == pytest.approx(600 * 0.05, abs=8)
