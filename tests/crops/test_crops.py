"""Windows and cutting: areas, interpolation, mirror and inverse, each against something the code did not make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from mammo_aln.crops.window import CropRefused, Window, crop_window, cut, source_to_crop, surround_px
from mammo_aln.dicom.orientation import Orientation
from mammo_aln.dicom.spacing import Spacing
from mammo_aln.settings import CropConfig

SQUARE = Spacing(0.1, 0.1, "user")
OBLONG = Spacing(0.2, 0.1, "user")  # pixels twice as tall as wide
BOX = (100.0, 200.0, 180.0, 240.0)

ends = st.floats(-500, 4000, allow_nan=False)
sides = st.floats(0.5, 3000, allow_nan=False)


@pytest.mark.parametrize(
    ("strategy", "spacing", "expected"),
    [
        # 80 x 40 px of 0.1 mm: 8 x 4 mm, so a square of 8 mm around (140, 220)
        ("lesion_box", SQUARE, (100, 180, 180, 260)),
        ("lesion_margin", SQUARE, (80, 160, 200, 280)),  # 8 mm x (1 + 2 x 0.25) = 12 mm
        ("fixed_5cm", SQUARE, (-110, -30, 390, 470)),
        # 80 px x 0.1 = 8 mm wide, 40 px x 0.2 = 8 mm tall: the square is the box itself
        ("lesion_box", OBLONG, (100, 200, 180, 240)),
        ("fixed_5cm", OBLONG, (-110, 95, 390, 345)),
        # 10..510 x 0.1 = 50 mm wide, 20..420 x 0.2 = 80 mm tall, padded to 80 mm
        ("whole_breast", OBLONG, (-140, 20, 660, 420)),
    ],
)
def test_windows_are_squares_in_millimetres(strategy, spacing, expected):
    window = crop_window(strategy, BOX, spacing, (10.0, 20.0, 510.0, 420.0), CropConfig())
    assert window.box == pytest.approx(expected)
    assert window.width * spacing.column_mm == pytest.approx(window.height * spacing.row_mm)


def test_scaled_window_keeps_the_lesion_in_the_middle():
    window = crop_window("fixed_5cm", BOX, OBLONG, None, CropConfig(), scale=1.6)
    assert window.width * 0.1 == pytest.approx(80.0)
    assert window.height * 0.2 == pytest.approx(80.0)
    assert ((window.x_min + window.x_max) / 2, (window.y_min + window.y_max) / 2) == pytest.approx((140, 220))


def test_without_spacing_pixels_count_as_square_and_millimetres_are_refused():
    assert crop_window("lesion_box", BOX, None, None, CropConfig()).box == (100, 180, 180, 260)
    with pytest.raises(CropRefused, match="spacing_mm"):
        crop_window("fixed_5cm", BOX, None, None, CropConfig())


def test_what_is_missing_is_refused_in_words():
    with pytest.raises(CropRefused, match="no breast"):
        crop_window("whole_breast", BOX, SQUARE, None, CropConfig())
    with pytest.raises(CropRefused, match="needs a box"):
        crop_window("lesion_box", None, SQUARE, (0, 0, 1, 1), CropConfig())


@given(numerator=st.integers(1, 40), offset=st.integers(-60, 60), size=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_shrinking_averages_exact_areas(numerator, offset, size, seed):
    """Every source pixel is split into 4 x 4 equal parts, so that windows on quarter pixels become block means."""
    pixels = np.random.default_rng(seed).random((17, 13), np.float32)
    part = numerator + 3  # quarter pixels a cell: at least one pixel, or it would interpolate
    fine = np.pad(np.kron(pixels, np.ones((4, 4))), 600)
    begin = 600 + offset
    side = part * size
    expected = fine[begin : begin + side, begin : begin + side].reshape(size, part, size, part).mean(axis=(1, 3))
    window = Window(offset / 4, offset / 4, (offset + side) / 4, (offset + side) / 4)
    np.testing.assert_allclose(cut(pixels, window, size), expected, atol=2e-6)


@given(x=st.floats(2, 9), y=st.floats(2, 9), side=st.floats(0.3, 3.9), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_magnifying_interpolates_linearly_between_pixel_centres(x, y, side, seed):
    pixels = np.random.default_rng(seed).random((16, 16), np.float32)
    size = 4
    centres = (np.arange(size) + 0.5) * side / size
    rows, columns = np.meshgrid(y + centres - 0.5, x + centres - 0.5, indexing="ij")
    expected = map_coordinates(pixels.astype(float), [rows, columns], order=1)
    np.testing.assert_allclose(cut(pixels, Window(x, y, x + side, y + side), size), expected, atol=1e-5)


def test_a_flat_image_stays_flat_and_outside_is_background():
    pixels = np.full((50, 40), 0.625, np.float32)
    assert cut(pixels, Window(3.3, 4.7, 38.9, 44.1), 7) == pytest.approx(np.full((7, 7), 0.625), abs=1e-6)
    half = cut(pixels, Window(-20, 10, 20, 40), 8)
    assert (half[:, :4] == 0).all()
    assert half[:, 4:] == pytest.approx(np.full((8, 4), 0.625), abs=1e-6)
    assert (cut(pixels, Window(200, 0, 240, 40), 8) == 0).all()


@given(
    x=st.floats(-60, 160),
    y=st.floats(-60, 160),
    width=st.floats(2, 300),
    height=st.floats(2, 300),
    size=st.sampled_from([8, 13, 24]),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_a_surround_changes_no_bit_of_the_crop_and_goes_on_where_it_ends(x, y, width, height, size, seed):
    """Above and below one pixel a cell, few and many taps, at and beyond the image's border."""
    pixels, margin = np.random.default_rng(seed).random((140, 120), np.float32), surround_px(size)
    window = Window(x, y, x + width, y + height)
    block = cut(pixels, window, size, margin)
    assert block.shape == (size + 2 * margin,) * 2
    assert np.array_equal(block[margin:-margin, margin:-margin], cut(pixels, window, size))
    wider = cut(pixels, window.grown(margin, size), size + 2 * margin)
    np.testing.assert_allclose(block, wider, atol=1e-4)


def test_no_aliasing():
    """A grid finer than a crop's pixel must come out grey; taking every nth pixel would show it black or white."""
    pixels = np.tile(np.array([[0, 1], [1, 0]], np.float32), (200, 200))
    assert cut(pixels, Window(0, 0, 400, 400), 20) == pytest.approx(np.full((20, 20), 0.5))


def crop_to_source(points, window, size_px, orientation):
    """Exact inverse of `source_to_crop`."""
    share = np.asarray(points, np.float64) / size_px
    share = np.where((orientation.flip_horizontal, orientation.flip_vertical), 1.0 - share, share)
    return share * (window.width, window.height) + (window.x_min, window.y_min)


@given(x=ends, y=ends, width=sides, height=sides, left=st.booleans(), up=st.booleans(), point=st.tuples(ends, ends))
def test_source_crop_source_is_the_identity(x, y, width, height, left, up, point):
    window, turned = Window(x, y, x + width, y + height), Orientation(left, up)
    points = np.array([point])
    there = source_to_crop(points, window, 256, turned)
    np.testing.assert_allclose(crop_to_source(there, window, 256, turned), points, rtol=0, atol=1e-6)
    corner = source_to_crop(np.array([[x, y]]), window, 256, turned)
    np.testing.assert_allclose(corner, [[256 if left else 0, 256 if up else 0]], atol=1e-6)


@given(x=st.floats(-8, 20), y=st.floats(-8, 20), side=st.floats(1, 30), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_mirrored_image_gives_the_mirrored_crop(x, y, side, seed):
    pixels = np.random.default_rng(seed).random((24, 31), np.float32)
    mirrored = Window(31 - x - side, y, 31 - x, y + side)
    expected = cut(pixels, Window(x, y, x + side, y + side), 8)[:, ::-1]
    np.testing.assert_allclose(cut(np.ascontiguousarray(pixels[:, ::-1]), mirrored, 8), expected, atol=1e-5)


def test_padding_share_is_the_share_of_area():
    assert Window(-25, 0, 75, 100).padding_share((100, 100)) == pytest.approx(0.25)
    assert Window(50, 50, 150, 150).padding_share((100, 100)) == pytest.approx(0.75)
    assert Window(10, 10, 20, 20).padding_share((100, 100)) == 0.0
