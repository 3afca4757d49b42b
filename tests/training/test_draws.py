"""Draws of augmentation: known answers of the generator, purity, ranges, and matrices in closed form."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from mammo_aln.crops.window import surround_px
from mammo_aln.settings import DataConfig
from mammo_aln.training.data.draws import Draws, Ranges, draw, philox, theta

RANGES = Ranges.of(DataConfig())
NEUTRAL = Draws(*(np.full(1, value, np.float32) for value in (0, 0, 0, 0, 0, 1, 1, 0, 1)))


def changed(**values: float) -> Draws:
    """One crop's draws, neutral but for these."""
    return replace(NEUTRAL, **{name: np.full(1, value, np.float32) for name, value in values.items()})


def drawn(count: int, ranges: Ranges = RANGES, *, seed: int = 3, epoch: int = 0, size_mm: float = 50.0) -> Draws:
    """Draws of three crops of each unit."""
    unit = np.repeat(np.arange(-(-count // 3)), 3)[:count]
    return draw(ranges, seed, epoch, unit, np.arange(count) % 3, size_mm)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0, 0, 0, 0], (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter: list[int], key: tuple[int, int], expected: str) -> None:
    assert [f"{word:08x}" for word in philox(np.array([counter], np.uint64).T, key)[:, 0]] == expected.split()


MULTIPLIERS = {32: (0xD2511F53, 0xCD9E8D57), 64: (0xD2E7470EE14C6C93, 0xCA5A826395121157)}
WEYL = {32: (0x9E3779B9, 0xBB67AE85), 64: (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)}


def philox_by_hand(counter: list[int], key: list[int], bits: int) -> list[int]:
    """Philox4x32-10 or Philox4x64-10 in Python's own integers."""
    limit = 1 << bits
    for _ in range(10):
        high0, low0 = divmod(counter[0] * MULTIPLIERS[bits][0], limit)
        high1, low1 = divmod(counter[2] * MULTIPLIERS[bits][1], limit)
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
        key = [(key[0] + WEYL[bits][0]) % limit, (key[1] + WEYL[bits][1]) % limit]
    return counter


def test_philox_is_numpys_own_in_words_of_half_the_width() -> None:
    """The loop in Python's integers is numpy's Philox at 64 bits, and ours at 32."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        counter, key = rng.integers(1, 2**63, 4, np.uint64), rng.integers(0, 2**63, 2, np.uint64)
        numpys = np.random.Philox(counter=counter - np.uint64([1, 0, 0, 0]), key=key)  # counts on before each block
        assert philox_by_hand(counter.tolist(), key.tolist(), 64) == numpys.random_raw(4).tolist()
    counters, key = rng.integers(0, 2**32, (4, 50), np.uint64), rng.integers(0, 2**32, 2).tolist()
    ours = philox(counters, tuple(key))
    for column in range(50):
        assert philox_by_hand(counters[:, column].tolist(), key, 32) == ours[:, column].tolist()


def test_a_draw_depends_on_seed_epoch_unit_and_crop_and_on_nothing_else() -> None:
    whole = drawn(300)
    some = np.array([200, 7, 8, 299])
    alone = draw(RANGES, 3, 0, some // 3, some % 3, 50.0)
    for field in fields(Draws):
        assert np.array_equal(getattr(alone, field.name), getattr(whole, field.name)[some])
        assert getattr(whole, field.name).dtype == np.float32
    for other in (drawn(300, seed=4), drawn(300, epoch=1), drawn(300, seed=3 + (1 << 32))):
        assert (other.degrees != whole.degrees).mean() > 0.6
    assert len(np.unique(whole.degrees)) > 200


def test_all_crops_of_a_unit_are_mirrored_alike_and_moved_apart() -> None:
    draws = drawn(3000)
    for flips in (draws.flip_horizontal, draws.flip_vertical):
        by_unit = flips.reshape(-1, 3)
        assert (by_unit == by_unit[:, :1]).all()
        assert 0.45 < by_unit[:, 0].mean() < 0.55
    both = draws.flip_horizontal * draws.flip_vertical
    assert 0.2 < both.mean() < 0.3
    assert (np.ptp(draws.degrees.reshape(-1, 3), axis=1) > 0).mean() > 0.9


def test_shares_and_ranges_are_those_of_the_settings() -> None:
    draws = drawn(60_000)
    moved, grey, bent = draws.scale != 1, draws.contrast != 1, draws.gamma != 1
    for share, expected in ((moved, 0.8), (grey, 0.6), (bent, 0.4)):
        assert share.mean() == pytest.approx(expected, abs=0.01)
    for values, low, high in (
        (draws.degrees[moved], -20, 20),
        (draws.scale[moved], 0.95, 1.05),
        (draws.contrast[grey], 0.8, 1.2),
        (draws.brightness[grey], -0.1, 0.1),
        (draws.gamma[bent], 0.8, 1.25),
        (draws.shift_right[moved], -0.08, 0.08),
        (draws.shift_down[moved], -0.08, 0.08),
    ):
        assert values.min() >= np.float32(low)
        assert values.max() <= np.float32(high)
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.01 * (high - low))
        assert values.std() == pytest.approx((high - low) / 12**0.5, rel=0.02)
    assert (draws.degrees[~moved] == 0).all()
    assert (draws.shift_right[~moved] == 0).all()
    correlations = np.corrcoef(
        [draws.degrees[moved], draws.scale[moved], draws.shift_right[moved], draws.shift_down[moved]]
    )
    assert np.abs(correlations - np.eye(4)).max() < 0.02


def test_a_shift_is_so_many_millimetres_of_each_crop() -> None:
    unit, nth = np.arange(500), np.zeros(500, int)
    mixed = draw(RANGES, 0, 0, unit, nth, np.where(unit % 2, 50.0, 80.0))
    for odd, size_mm in ((1, 50.0), (0, 80.0)):
        alone = draw(RANGES, 0, 0, unit, nth, size_mm)
        assert np.array_equal(mixed.shift_right[unit % 2 == odd], alone.shift_right[unit % 2 == odd])
        assert 3.8 < np.abs(alone.shift_right).max() * size_mm <= 4.0


@pytest.mark.parametrize("strength", [1.0, 3.0])
@pytest.mark.parametrize("size_px", [9, 48, 256])
def test_no_pixel_of_a_changed_crop_comes_from_beyond_its_block(strength: float, size_px: int) -> None:
    draws = drawn(30_000, Ranges.of(DataConfig(augment_strength=strength)))
    last = size_px - 1
    corners = np.array([(x, y, 1.0) for x in (0, last) for y in (0, last)])
    points = np.einsum("nij,cj->nci", theta(draws, size_px), corners)
    assert points.min() > -1e-3
    assert points.max() < size_px + 2 * surround_px(size_px) - 1 + 1e-3


@pytest.mark.parametrize("size_px", [8, 9, 31, 256])
def test_a_neutral_draw_is_the_crop_in_its_block(size_px: int) -> None:
    margin = surround_px(size_px)
    assert np.array_equal(theta(NEUTRAL, size_px)[0], np.float32([[1, 0, margin], [0, 1, margin]]))
    last = size_px + 2 * margin - 1
    mirrored = theta(changed(flip_horizontal=1, flip_vertical=1), size_px)[0]
    assert np.array_equal(mirrored, np.float32([[-1, 0, last - margin], [0, -1, last - margin]]))


def test_content_turns_from_right_to_down_and_shifts_right_and_down() -> None:
    """With S = 9 and a surround of 3 the crop's centre is (4, 4), and (7, 7) in the block."""

    def source(draws: Draws, x: float, y: float) -> list[float]:
        return (theta(draws, 9)[0] @ np.array([x, y, 1.0])).tolist()

    assert source(changed(degrees=90), 4, 6) == pytest.approx([9, 7], abs=1e-5)  # below the centre stood to its right
    assert source(changed(shift_right=1 / 9, shift_down=2 / 9), 5, 6) == pytest.approx([7, 7], abs=1e-5)
    assert source(changed(scale=2), 6, 4) == pytest.approx([8, 7], abs=1e-5)
    assert source(changed(scale=2, degrees=90, flip_horizontal=1), 4, 6) == pytest.approx([6, 7], abs=1e-5)
