"""One orientation: tags, laterality and pixels as witnesses, films with white borders and labels, exact inverses."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo_aln.dicom.orientation import Orientation, chest_wall_side, find_orientation
from mammo_aln.dicom.read import read_image
from tests.support.dicom_writer import breast, write_dicom
from tests.support.stored_pixels import read_stored_pixels

LEFT, RIGHT, UNCLEAR = ("left", 0.9), ("right", 0.9), (None, 0.0)
FROM_PIXELS, FROM_SIDE, UP = "orientation_from_pixels", "orientation_from_laterality", "upright_assumed"

ODD_SIDE = "laterality_unlikely"

WITNESSES = [
    # PatientOrientation, laterality, pixels -> flip horizontal, flip vertical, source, codes
    (("A", "R"), "L", LEFT, False, False, "patient_orientation", set()),
    (("P", "L"), "R", RIGHT, True, False, "patient_orientation", set()),
    (("A", "FR"), "L", LEFT, False, False, "patient_orientation", set()),
    (("P", "FL"), "R", RIGHT, True, False, "patient_orientation", set()),
    (("P", "HR"), "R", RIGHT, True, True, "patient_orientation", set()),
    (("A", "H"), "L", LEFT, False, True, "patient_orientation", set()),
    (("A", "L"), "L", LEFT, False, True, "patient_orientation", {ODD_SIDE}),  # CC with lateral down
    (("A", "R"), "R", LEFT, False, True, "patient_orientation", {ODD_SIDE}),  # a left CC that says it is a right one
    (("A", "FR"), "R", LEFT, False, False, "patient_orientation", {ODD_SIDE}),
    (("A", "F"), "R", LEFT, False, False, "patient_orientation", {ODD_SIDE}),
    (("A", "FL"), "R", LEFT, False, False, "patient_orientation", set()),  # a stated mirror image of a right MLO
    (("A", "L"), "R", LEFT, False, False, "patient_orientation", set()),  # a stated mirror image of a right CC
    (("AL", "F"), "L", UNCLEAR, False, False, "patient_orientation", set()),
    (("P", "L"), "R", LEFT, False, False, "pixels", {"orientation_disagrees", FROM_PIXELS}),
    (("A", "R"), "L", RIGHT, True, False, "pixels", {"orientation_disagrees", FROM_PIXELS}),
    (("A", "R"), "L", ("right", 0.1), False, False, "patient_orientation", set()),  # pixels too unsure to speak
    (None, "L", LEFT, False, False, "pixels", {FROM_PIXELS, UP}),
    (None, "R", LEFT, False, False, "pixels", {FROM_PIXELS, UP, "orientation_disagrees"}),
    (None, "R", UNCLEAR, True, False, "laterality", {FROM_SIDE, UP}),
    (None, None, RIGHT, True, False, "pixels", {FROM_PIXELS, UP}),
    (None, None, UNCLEAR, False, False, "unknown", {"orientation_from_unknown", UP}),
    (("F", "P"), "L", LEFT, False, False, "pixels", {"patient_orientation_unusable", FROM_PIXELS, UP}),
]


@pytest.mark.parametrize("row", range(len(WITNESSES)))
def test_who_wins_and_when_it_is_flagged(row: int) -> None:
    patient_orientation, laterality, side, horizontal, vertical, source, codes = WITNESSES[row]
    found, said = find_orientation(patient_orientation, laterality, side)
    assert (found.flip_horizontal, found.flip_vertical, found.source) == (horizontal, vertical, source)
    assert set(said) == codes


def film(name: str, shared: Path) -> np.ndarray:
    if name == "MG1_J2KI":
        return read_stored_pixels(shared / "data" / "mg_dicom" / name).astype(np.float32) / 4095
    return cv2.imread(str(shared / "data" / "mg_png" / name), cv2.IMREAD_UNCHANGED).astype(np.float32) / 65535


FILMS = {  # looked at by eye; the two of P_00127 are right breasts shown mirrored
    "MG1_J2KI": "left",
    "Calc-Test_P_00041_LEFT_CC.png": "left",
    "Calc-Test_P_00041_LEFT_MLO.png": "left",
    "Calc-Test_P_00127_RIGHT_CC.png": "left",
    "Calc-Test_P_00127_RIGHT_MLO.png": "left",
    "Calc-Test_P_00202_RIGHT_CC.png": "right",
    "Calc-Test_P_00202_RIGHT_MLO.png": "right",
}
OTHER = {"left": "right", "right": "left"}


@pytest.mark.parametrize("name", FILMS)
def test_real_films_with_borders_and_labels(shared: Path, name: str) -> None:
    pixels = film(name, shared)
    side, confidence = chest_wall_side(pixels)
    assert side == FILMS[name]
    assert confidence > 0.7
    assert chest_wall_side(pixels[:, ::-1])[0] == OTHER[side]
    assert chest_wall_side(pixels[::-1])[0] == side


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("border", [0.0, 1.0])
@pytest.mark.parametrize("label", [False, True])
@pytest.mark.parametrize("fog", [0.0, 0.15])
def test_drawn_films(side: str, border: float, label: bool, fog: float) -> None:
    pixels = breast(900, 700, side=side).astype(np.float32) / 6000 + fog
    if label:
        away = slice(560, 660) if side == "left" else slice(40, 140)
        pixels[60:220, away] = 1.0
        pixels[800:840, 300:420] = 1.0
    pixels[:12], pixels[-12:], pixels[:, :12], pixels[:, -12:] = border, border, border, border
    found, confidence = chest_wall_side(pixels)
    assert found == side
    assert confidence > 0.7


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 500), (500, 5), (40, 30)])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_empty_and_tiny_images_have_no_side(shape: tuple[int, int], value: float) -> None:
    assert chest_wall_side(np.full(shape, value, np.float32))[1] < 0.25


def test_in_files(tmp_path: Path) -> None:
    for side, tags, code in (
        ("left", ["A", "R"], set()),
        ("right", ["A", "R"], {"orientation_disagrees", "orientation_from_pixels"}),
        ("right", ["P", "R"], set()),
    ):
        path = write_dicom(
            tmp_path / "a.dcm", breast(side=side), PatientOrientation=tags, EstimatedRadiographicMagnificationFactor=1.0
        )
        image = read_image(path)
        assert {c for c in image.fallbacks if c.startswith("orientation")} == code
        assert image.orientation.flip_horizontal == (side == "right")
        oriented = image.orientation.apply(image.pixels)
        assert oriented[:, :20].mean() > 2 * oriented[:, -20:].mean()


def test_laterality_is_taken_from_the_pixels_only_where_nothing_else_says_it(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", breast(side="right"), ImageLaterality=None, PatientOrientation=None)
    image = read_image(path)
    assert image.laterality == "R"
    assert "laterality_from_pixels" in image.fallbacks
    assert read_image(path, laterality="L").laterality == "L"
    blank = read_image(
        write_dicom(tmp_path / "b.dcm", np.zeros((40, 30), "u2"), ImageLaterality=None, PatientOrientation=None)
    )
    assert blank.laterality is None
    assert "no_laterality" in blank.fallbacks


@settings(derandomize=True)
@given(
    horizontal=st.booleans(),
    vertical=st.booleans(),
    rows=st.integers(1, 5000),
    columns=st.integers(1, 5000),
    box=st.tuples(*[st.integers(-8_000_000, 8_000_000)] * 4),
)
def test_boxes_come_back_exactly(
    horizontal: bool, vertical: bool, rows: int, columns: int, box: tuple[int, ...]
) -> None:
    orientation = Orientation(horizontal, vertical)
    stored = tuple(value / 1024 for value in box)  # exact in binary, so the inverse has to be exact too
    oriented = orientation.box_to_oriented(stored, (rows, columns))
    assert orientation.box_to_stored(oriented, (rows, columns)) == stored


@pytest.mark.parametrize("horizontal", [False, True])
@pytest.mark.parametrize("vertical", [False, True])
def test_a_box_and_its_pixels_move_together(horizontal: bool, vertical: bool) -> None:
    pixels = np.zeros((30, 20))
    pixels[4:9, 2:5] = 1
    orientation = Orientation(horizontal, vertical)
    x0, y0, x1, y1 = map(int, orientation.box_to_oriented((2, 4, 5, 9), pixels.shape))
    oriented = orientation.apply(pixels)
    assert oriented[y0:y1, x0:x1].sum() == pixels.sum() == (x1 - x0) * (y1 - y0)
    np.testing.assert_array_equal(orientation.apply(oriented), pixels)


def small_breast() -> np.ndarray:
    y, x = np.mgrid[0:900, 0:700]
    return np.where(((y - 450) / 180) ** 2 + (x / 250) ** 2 < 1, 0.5, 0.0).astype(np.float32)


def test_a_white_frame_larger_than_the_breast_is_no_breast() -> None:
    pixels = small_breast()
    pixels[:30], pixels[-30:], pixels[:, :30], pixels[:, -30:] = 1.0, 1.0, 1.0, 1.0
    assert chest_wall_side(pixels) == ("left", 1.0)


def test_a_scratch_does_not_tie_a_label_to_the_breast() -> None:
    pixels = small_breast()
    pixels[380:530, 400:660] = 0.5
    pixels[448:454, 200:500] = 0.5
    assert chest_wall_side(pixels) == ("left", 1.0)
