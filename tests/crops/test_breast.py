"""The breast's mask against shapes that were drawn, markers that were planted, and real films read off by eye."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo_aln.crops.anatomy import LOW_CONFIDENCE, find_anatomy
from mammo_aln.crops.breast import find_breast, packed, unpacked
from mammo_aln.dicom.orientation import Orientation

ROWS, COLUMNS = 240, 180
FINE = 2
LOST_SHARE = 0.005
"""Of the breast; nothing is lost but a row of cells in corners."""


def mesh() -> tuple[np.ndarray, np.ndarray]:
    y, x = (np.mgrid[0 : ROWS * FINE, 0 : COLUMNS * FINE] + 0.5) / FINE
    return x, y


def texture(spread_mm: float, seed: int = 1) -> np.ndarray:
    grain = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (ROWS * FINE, COLUMNS * FINE)), (0, 0), spread_mm)
    return grain / grain.std()


def craniocaudal(
    depth: float = 95, half: float = 75, level: float = 0.4, skin: float = 10.0
) -> tuple[np.ndarray, np.ndarray]:
    """A half ellipse in mm that darkens towards its skin, at twice the grid's resolution, and where it is."""
    x, y = mesh()
    radius = np.hypot(x / depth, (y - ROWS / 2) / half)
    inward = (1 - radius) * min(depth, half)
    thick = np.clip(0.25 + 0.75 * inward / skin, 0, 1)
    return np.where(radius < 1, level * (1 + 0.2 * texture(5)) * thick, 0.0), radius < 1


def oblique() -> tuple[np.ndarray, np.ndarray]:
    x, y = mesh()
    breast = ((x / 110) ** 2 + ((y - 140) / 70) ** 2 < 1) | ((x < 75) & (y < 140))
    muscle = y < 110 * (1 - x / 60)
    return np.where(breast, 0.3 + 0.3 * muscle + 0.05 * texture(6), 0.0), breast


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    x, y = mesh()
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)


def letters() -> np.ndarray:
    drawn = np.zeros((ROWS * FINE, COLUMNS * FINE), np.uint8)
    return cv2.putText(drawn, "L CC", (170, 110), cv2.FONT_HERSHEY_SIMPLEX, 2.5, 1, 10).astype(bool)


def grid(picture: np.ndarray) -> np.ndarray:
    clipped = np.clip(picture, 0, 1).astype(np.float32)
    return cv2.resize(clipped, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA)


def lost_share(kept: np.ndarray, breast: np.ndarray) -> float:
    whole = grid(breast) > 0.5
    return float((whole & ~kept).sum() / whole.sum())


PLANTED = {
    "on the border": (rectangle(130, 0, 180, 30), 1.0),
    "touches the breast": (rectangle(90, 60, 120, 75), 1.0),
    "1 mm beside the breast": (rectangle(93, 60, 120, 75), 1.0),
    "3 mm before the nipple": (rectangle(98, 110, 120, 125), 1.0),
    "over the nipple": (rectangle(84, 100, 110, 125), 1.0),
    "grey, touches the nipple": (rectangle(95, 105, 120, 125), 0.6),
    "letters": (letters(), 1.0),
    "edge of a paddle from border to border": (rectangle(125, 0, 129, 240), 0.5),
}


@pytest.mark.parametrize("name", PLANTED)
def test_no_cell_of_a_planted_marker_is_kept_and_no_tissue_is_lost(name):
    picture, breast = craniocaudal()
    marker, level = PLANTED[name]
    found = find_breast(grid(np.where(marker, level, picture)))
    assert found.confidence > 0.8
    assert not (found.kept & (grid(marker) > 0.01)).any()
    assert lost_share(found.kept, breast & ~marker) < LOST_SHARE


@pytest.mark.parametrize("box", [(76, 5, 100, 30), (75, 0, 100, 25)])
def test_a_label_beside_the_axilla_goes_and_the_axilla_stays(box):
    picture, breast = oblique()
    marker = rectangle(*box)
    found = find_breast(grid(np.where(marker, 1.0, picture)))
    assert not (found.kept & (grid(marker) > 0.01)).any()
    assert lost_share(found.kept, breast) < LOST_SHARE


@pytest.mark.parametrize(("air", "noise"), [(0.0, 0.0), (0.05, 0.02), (0.12, 0.03), (0.25, 0.05)])
def test_air_of_film_is_grey_and_noisy(air, noise):
    picture, breast = craniocaudal()
    film = picture + air + np.random.default_rng(0).normal(0, noise, picture.shape)
    found = find_breast(grid(film))
    assert found.confidence > 0.8
    assert lost_share(found.kept, breast) < LOST_SHARE
    assert (found.kept & (grid(breast) == 0)).sum() < 0.12 * grid(breast).sum()


@pytest.mark.parametrize(
    ("depth", "half", "level"), [(95, 75, 0.4), (20, 45, 0.3), (30, 60, 0.1), (95, 118, 0.4), (175, 150, 0.4)]
)
def test_breasts_small_thin_and_as_large_as_the_detector(depth, half, level):
    picture, breast = craniocaudal(depth, half, level, skin=6.0)
    found = find_breast(grid(picture))
    assert found.confidence > 0.8
    assert lost_share(found.kept, breast) < LOST_SHARE


def test_an_implant_does_not_hide_the_fat_before_it():
    picture, breast = craniocaudal(110, 80)
    x, y = mesh()
    implant = np.hypot((x - 40) / 50, (y - 120) / 55) < 1
    found = find_breast(grid(np.where(implant, 1.0, 0.5 * picture)))
    assert found.confidence > 0.8
    assert lost_share(found.kept, breast) < LOST_SHARE


@pytest.mark.parametrize(("level", "contrast"), [(0.5, 0.15), (0.75, 0.05), (0.4, 0.12)])
def test_a_view_filled_by_tissue_is_kept_whole_with_confidence(level, contrast):
    found = find_breast(grid(level + contrast * texture(12)))
    assert found.kept.all()
    assert found.confidence > 0.8
    assert found.reasons == ("no_air_beside_breast",)


def test_a_frame_on_four_sides_goes_and_nothing_else():
    picture, breast = craniocaudal()
    frame = ~rectangle(4, 6, COLUMNS - 8, ROWS - 6)
    found = find_breast(grid(np.where(frame, 1.0, picture)))
    assert not (found.kept & (grid(frame) > 0)).any()
    assert not found.kept[:, :4].any()
    assert lost_share(found.kept, breast & ~frame) < LOST_SHARE


def test_fog_along_the_films_chest_wall_side_is_no_breast():
    picture, breast = craniocaudal()
    x, _ = mesh()
    found = find_breast(grid(np.maximum(picture, 0.15 * np.clip(1 - x / 12, 0, None) ** 2)))
    assert lost_share(found.kept, breast) < LOST_SHARE
    rows = np.flatnonzero(found.kept.any(axis=1))
    assert rows[0] >= 45 - 5
    assert rows[-1] < 195 + 5


def test_a_faint_nipple_is_kept():
    picture, breast = craniocaudal()
    nipple = rectangle(90, 116, 103, 124) & ~breast
    found = find_breast(grid(np.where(nipple, 0.02, picture)))
    assert found.kept[118:122, 95:102].all()


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (np.zeros((ROWS, COLUMNS), np.float32), "no_breast"),
        (np.random.default_rng(0).uniform(0, 1, (ROWS, COLUMNS)).astype(np.float32), "no_structure"),
        (np.random.default_rng(0).normal(0.02, 0.005, (ROWS, COLUMNS)).astype(np.float32), "no_structure"),
        (grid(np.where(rectangle(0, 30, 150, 200), 0.5 + 0.1 * texture(10), 1.0)), "bright_surround"),
        (grid(np.where(rectangle(20, 30, 150, 200), 0.5 + 0.1 * texture(10), 0.0)), "breast_not_at_chest_wall"),
        (grid(np.where(rectangle(0, 70, 180, 79), 0.0, oblique()[0])), "breast_in_pieces"),
        (grid(np.where(rectangle(140, 20, 180, 60), 0.9, craniocaudal()[0]))[:, ::-1], "larger_piece_off_chest_wall"),
        (np.full((15, 200), 0.5, np.float32), "image_too_small"),
        (np.tile(np.pad(np.ones(14), 9).astype(np.float32), (40, 1)), "image_too_small"),
    ],
)
def test_what_shows_no_breast_beside_air_is_doubted(picture, reason):
    found = find_breast(picture)
    assert found.confidence < LOW_CONFIDENCE
    assert reason in found.reasons


@settings(max_examples=15, deadline=None)
@given(
    depth=st.floats(30, 150),
    half=st.floats(45, 110),
    level=st.floats(0.15, 0.8),
    at=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
)
def test_a_mirrored_image_has_the_mirrored_mask_and_keeps_its_breast(depth, half, level, at):
    picture, breast = craniocaudal(depth, half, level)
    left, top = depth + 6 + at[0] * (COLUMNS - depth - 6), at[1] * (ROWS - 12)
    marker = rectangle(left, top, left + 25, top + 12)
    film = np.where(marker, 1.0, picture).clip(0, 1).astype(np.float32)
    one = find_anatomy(film, None, Orientation(False, False), "CC")
    other = find_anatomy(np.ascontiguousarray(film[::-1, ::-1]), None, Orientation(True, True), "CC")
    np.testing.assert_array_equal(one.kept, other.kept[::-1, ::-1])
    assert lost_share(one.kept, breast) < LOST_SHARE
    assert not (one.kept & (grid(marker) > 0.01)).any()


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(0, 2**32 - 1))
def test_a_mask_is_packed_without_loss(shape, seed):
    mask = np.random.default_rng(seed).random(shape) < 0.5
    np.testing.assert_array_equal(unpacked(packed(mask)), mask)


@pytest.mark.parametrize(("level", "rim"), [(1.0, 0), (0.5, 0), (0.3, 0), (1.0, 8)])
def test_frames_of_any_grey_with_and_without_a_black_rim_go(level, rim):
    picture, breast = craniocaudal()
    frame = ~rectangle(rim + 4, rim + 4, COLUMNS - rim - 4, ROWS - rim - 4)
    outside = ~rectangle(rim, rim, COLUMNS - rim, ROWS - rim)
    found = find_breast(grid(np.where(outside, 0.0, np.where(frame, level, picture))))
    assert not (found.kept & (grid(frame) > 0)).any()
    assert found.kept[100:140, rim + 4].mean() > 0.9  # a row whose tissue is as bright as the frame may lose a cell
    assert lost_share(found.kept, breast & ~frame) < LOST_SHARE


def test_muscle_that_is_nearly_white_at_the_chest_wall_is_no_frame():
    picture, breast = oblique()
    x, y = mesh()
    muscle = breast & (y < 200 - 12 * x)
    found = find_breast(grid(np.where(muscle, 0.95, picture)))
    assert found.kept[:140, 0].all()
    assert lost_share(found.kept, breast) < LOST_SHARE


def circle(x_center: float, y_center: float, radius: float) -> np.ndarray:
    x, y = mesh()
    return np.hypot(x - x_center, y - y_center) < radius


def written(text: str, left: float, base: float) -> np.ndarray:
    drawn = np.zeros((ROWS * FINE, COLUMNS * FINE), np.uint8)
    corner = (int(left * FINE), int(base * FINE))
    return cv2.putText(drawn, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.8, 1, 3).astype(bool)


SMALL = {
    "letters across the skin": written("LCC", 84, 100),
    "letters at the chest wall above the breast": written("LCC", 1, 46),
    "letters at the chest wall below the breast": written("LCC", 1, 202),
    "a bead on the nipple": circle(96.5, 120, 1.5),
    "a marker on the nipple": circle(97, 120, 2.5),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_markers_that_touch_the_skin_are_outside(name: str) -> None:
    picture, breast = craniocaudal()
    marker = SMALL[name]

    kept = find_breast(grid(np.where(marker, 1.0, picture))).kept

    beside = (grid(marker & ~breast) > 0.3) & (grid(breast) == 0)
    assert beside.any()
    assert not (kept & beside).any()
    assert lost_share(kept, breast & ~cv2.dilate(marker.astype(np.uint8), np.ones((9, 9))).astype(bool)) <= LOST_SHARE


def test_two_millimetres_of_air_stay_around_the_skin() -> None:
    clean = find_breast(grid(craniocaudal()[0]))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    np.testing.assert_array_equal(clean.kept, cv2.dilate(clean.mask.astype(np.uint8), disk).astype(bool))


def test_the_edge_of_a_paddle_that_crosses_the_skin_ends_there() -> None:
    picture, breast = craniocaudal()
    edge = rectangle(60, 78, 180, 81)
    found = find_breast(grid(np.where(edge, 0.5, picture)))
    assert found.confidence > 0.8
    assert not (found.kept & (grid(edge) > 0))[:, 100:].any()
    assert lost_share(found.kept, breast & ~edge) < LOST_SHARE


def test_small_bright_muscle_at_the_upper_chest_wall_stays_and_a_label_below_it_goes() -> None:
    picture, breast = oblique()
    x, y = mesh()
    muscle = (x < 9) & (y < 9)
    kept = find_breast(grid(np.where(muscle, 1.0, np.where(y < 14, 0.0, picture)))).kept
    low = find_breast(grid(np.where(rectangle(0, 195, 20, 220), 1.0, picture))).kept
    assert kept[2:7, 2:7].all()
    assert not low[214:220, :20].any()
    assert lost_share(low, breast & (y < 190)) < LOST_SHARE


def test_a_ragged_outline_is_doubted() -> None:
    picture, _ = craniocaudal()
    x, y = mesh()
    found = find_breast(grid(np.where((np.abs(y - 120) < 30) & (x > 25), 0.0, picture)))
    assert "breast_outline_ragged" in found.reasons
    assert found.confidence < LOW_CONFIDENCE


def test_a_frame_thinner_than_a_cell_goes() -> None:
    picture, breast = craniocaudal()
    frame = ~rectangle(0.5, 0.5, COLUMNS - 0.5, ROWS - 0.5)
    found = find_breast(grid(np.where(frame, 1.0, picture)))
    assert not found.kept[:, 0].any()
    assert lost_share(found.kept, breast & rectangle(1, 0, COLUMNS, ROWS)) < LOST_SHARE
