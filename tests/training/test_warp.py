"""The warp of training crops on the CPU and on a device: against a bare loop, against each other, in millimetres."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from mammo_aln.crops.window import surround_px
from mammo_aln.settings import DataConfig
from mammo_aln.training.data.device_crops import warp
from mammo_aln.training.data.draws import Draws, Ranges, grey_values, theta
from mammo_aln.training.data.warp_engine import warp_blocks, whole_pixels
from tests.training.test_draws import NEUTRAL, changed, drawn


def tissue(count: int, size_px: int, seed: int = 0) -> list[np.ndarray]:
    """Smooth random blocks, nowhere dark."""
    rng, side = np.random.default_rng(seed), size_px + 2 * surround_px(size_px)
    noise = [cv2.GaussianBlur(rng.random((side, side)), (0, 0), 3) for _ in range(count)]
    return [((block - block.min()) / np.ptp(block) * 50_000 + 10_000).astype(np.uint16) for block in noise]


def on_device(blocks: list[np.ndarray], draws: Draws, size_px: int) -> np.ndarray:
    matrices, grey = torch.from_numpy(theta(draws, size_px)), torch.from_numpy(grey_values(draws))
    return warp(torch.from_numpy(np.stack(blocks)), matrices, grey, size_px)[:, 0].numpy()


def by_loop(block: np.ndarray, draws: Draws, size_px: int) -> np.ndarray:
    """One crop pixel by pixel in float64, bilinear, 0 beyond the block."""
    matrix, crop = theta(draws, size_px)[0].astype(np.float64), np.zeros((size_px, size_px))
    side = len(block)
    for y in range(size_px):
        for x in range(size_px):
            column, row = matrix @ (x, y, 1.0)
            left, top = int(np.floor(column)), int(np.floor(row))
            for j in (top, top + 1):
                for i in (left, left + 1):
                    if 0 <= i < side and 0 <= j < side:
                        crop[y, x] += (1 - abs(column - i)) * (1 - abs(row - j)) * block[j, i] / 65535
    grey = np.clip(crop * float(draws.contrast[0]) + float(draws.brightness[0]), 0, 1)
    return grey ** float(draws.gamma[0])


@pytest.mark.parametrize("nth", range(6))
def test_both_engines_do_what_a_bare_loop_does(nth: int) -> None:
    size_px = 24
    block = tissue(1, size_px, seed=nth)
    draws = drawn(60).of(slice(7 * nth, 7 * nth + 1))
    expected = by_loop(block[0], draws, size_px)
    assert np.abs(on_device(block, draws, size_px)[0] - expected).max() < 1e-4
    # OpenCV rounds to whole levels, and a source point to a 32nd of a pixel.
    assert np.abs(warp_blocks(block, draws, size_px)[0] - expected).max() < 4e-3


@pytest.mark.parametrize(("across", "up"), [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_a_crop_of_whole_pixels_is_what_an_interpolation_would_give(across: int, up: int) -> None:
    """OpenCV's warp as the second implementation; a half pixel, a turn or an edge beyond the block are left to it."""
    block, size_px = np.random.default_rng(0).integers(0, 65536, (12, 12)).astype(np.uint16), 6
    for left, top in ((2, 3), (0, 0), (6, 6)):
        first = [left if across > 0 else left + 5, top if up > 0 else top + 5]
        matrix = np.float32([[across, 0, first[0]], [0, up, first[1]]])
        warped = cv2.warpAffine(block.astype(np.float32), matrix, (6, 6), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        pixels = whole_pixels(matrix, size_px, 12)
        assert pixels is not None
        assert np.array_equal(block[pixels], warped)
    for row, column, value in ((0, 2, 1.5), (1, 2, 20), (0, 2, -2), (0, 1, 0.1), (1, 1, 0.9)):
        other = np.float32([[1, 0, 3], [0, 1, 3]])
        other[row, column] = value
        assert whole_pixels(other, size_px, 12) is None


def test_both_engines_agree_on_the_mean_of_many_crops() -> None:
    size_px = 32
    blocks, draws = tissue(1000, size_px), drawn(1000)
    ours, others = warp_blocks(blocks, draws, size_px), on_device(blocks, draws, size_px)
    assert ours.dtype == others.dtype == np.float32
    assert np.abs(ours.mean(axis=0) - others.mean(axis=0)).max() * 255 < 0.1
    assert np.abs(ours - others).max() * 255 < 2.0


@pytest.mark.parametrize("size_px", [9, 32])
def test_a_neutral_draw_gives_the_stored_crop(size_px: int) -> None:
    block, margin = tissue(1, size_px), surround_px(size_px)
    crop = block[0][margin:-margin, margin:-margin]
    expected = crop / np.float32(65535)
    assert np.allclose(warp_blocks(block, NEUTRAL, size_px)[0], expected, atol=1e-6)
    assert np.allclose(on_device(block, NEUTRAL, size_px)[0], expected, atol=1e-5)
    mirrored = changed(flip_horizontal=1, flip_vertical=1)
    assert np.allclose(warp_blocks(block, mirrored, size_px)[0], expected[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_where_tissue_goes_on_nothing_is_black(strength: float) -> None:
    size_px = 48
    draws = drawn(3000, Ranges.of(DataConfig(augment_strength=strength)))
    grey = {name: getattr(NEUTRAL, name).repeat(len(draws)) for name in ("contrast", "brightness", "gamma")}
    draws = replace(draws, **grey)
    white = [np.full((72, 72), 65535, np.uint16)] * len(draws)
    assert warp_blocks(white, draws, size_px).min() > 0.999
    assert on_device(white, draws, size_px).min() > 0.999


@pytest.mark.parametrize("scale", [0.95, 1.0, 1.05])
def test_a_planted_square_keeps_its_millimetres_but_for_the_scale_along_both_axes(scale: float) -> None:
    size_px, side = 256, 384
    block = np.zeros((side, side), np.uint16)
    block[142:242, 142:242] = 65535  # 100 pixels, about the block's centre
    for degrees in (0.0, 17.0):
        draws = changed(scale=scale, degrees=degrees, shift_right=0.05, shift_down=-0.03)
        crop = warp_blocks([block], draws, size_px)[0]
        assert np.sqrt(crop.sum()) == pytest.approx(100 * scale, abs=0.5)
        if not degrees:
            assert crop.max(axis=0).sum() == pytest.approx(100 * scale, abs=1)
            assert crop.max(axis=1).sum() == pytest.approx(100 * scale, abs=1)


@pytest.mark.parametrize("gamma", [0.4, 0.8, 1.25, 1.75])
def test_gamma_is_a_power_and_leaves_air_black(gamma: float) -> None:
    block = np.zeros((72, 72), np.uint16)
    block[30:40, 12:60] = np.arange(48) ** 2 * 29
    (crop,) = warp_blocks([block], changed(gamma=gamma), 48)
    expected = (block[12:60, 12:60] / 65535) ** gamma
    assert np.allclose(crop, expected, rtol=1e-4, atol=1e-9)
    assert (crop[expected == 0] == 0).all()
