"""Draws that vary each training crop: a pure function of seed, epoch, unit and crop, for many crops at once."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.window import surround_px
from mammo_aln.settings import DataConfig

PHILOX_ROUNDS = 10
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
WORD = np.uint64(0xFFFFFFFF)
WORD_BITS = np.uint64(32)

CROP_BLOCKS = 3
"""Blocks of four numbers that the draws of one crop take."""
OF_UNIT = 0xFFFFFFFF
"""Crop number under which a unit draws what all its crops share."""
OF_HIDING = 0xFFFFFFFE
"""Crop number under which a unit draws which of its inputs modality dropout hides."""
SURROUND_SHARE = 0.25
"""The stored block reaches at least this share of the crop's side beyond each of its edges."""


@dataclass(frozen=True)
class Ranges:
    """Ranges within which one crop may vary, and shares of the draws that each change is in.

    Scale stays within 5 %, the same along both axes: the crop's millimetres are what the network must learn to read.

    Args:
        shift_mm: largest shift along each axis, in millimetres.
        degrees: largest turn.
        scale: smallest and largest magnification.
        brightness: largest addition to the grey value.
        contrast: largest change of the factor 1.
        gamma_percent: smallest and largest exponent, in hundredths.
        flip_horizontal_share: share of the units whose crops are mirrored left to right; `flip_vertical_share` likewise
            top to bottom.
    """

    shift_mm: float
    degrees: float
    scale: tuple[float, float]
    brightness: float
    contrast: float
    gamma_percent: tuple[float, float]
    flip_horizontal_share: float = 0.5
    flip_vertical_share: float = 0.5
    move_share: float = 0.8
    grey_share: float = 0.6
    gamma_share: float = 0.4

    @classmethod
    def of(cls, data: DataConfig) -> Ranges:
        """The ranges that the settings describe."""
        strength = data.augment_strength
        return cls(
            shift_mm=strength * data.max_shift_mm,
            degrees=20 * strength,
            scale=(0.95, 1.05),
            brightness=0.1 * strength,
            contrast=0.2 * strength,
            gamma_percent=(100 - 20 * strength, 100 + 25 * strength),
            flip_horizontal_share=0.5 * data.flip_horizontal,
            flip_vertical_share=0.5 * data.flip_vertical,
        )

    def grown(self, share: float) -> Ranges:
        """Limits a share of the way from no change (0) to these (1); flips keep their shares."""

        def limits(low: float, high: float, neutral: float) -> tuple[float, float]:
            return neutral + share * (low - neutral), neutral + share * (high - neutral)

        return replace(
            self,
            shift_mm=share * self.shift_mm,
            degrees=share * self.degrees,
            scale=limits(*self.scale, 1.0),
            brightness=share * self.brightness,
            contrast=share * self.contrast,
            gamma_percent=limits(*self.gamma_percent, 100.0),
        )


@dataclass(frozen=True)
class Draws:
    """The changes of N crops, float32 (N,) each; a neutral value where nothing was drawn.

    The block is shifted, then flipped, magnified and turned about the crop's centre; then come contrast, brightness,
    limits at 0 and 1, and gamma.

    Attributes:
        flip_horizontal: 1 where left and right are exchanged, else 0; the same for all crops of a unit.
        flip_vertical: likewise of up and down.
        degrees: turn of the content, positive from the x axis (right) to the y axis (down).
        shift_right: shift of the content as a share of the crop's side, in the block as it is stored.
        shift_down: likewise downwards.
        scale: magnification, the same along both axes.
        contrast: factor of the grey values.
        brightness: what is added to them.
        gamma: exponent of them.
    """

    flip_horizontal: NDArray[np.float32]
    flip_vertical: NDArray[np.float32]
    degrees: NDArray[np.float32]
    shift_right: NDArray[np.float32]
    shift_down: NDArray[np.float32]
    scale: NDArray[np.float32]
    contrast: NDArray[np.float32]
    brightness: NDArray[np.float32]
    gamma: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scale)

    def of(self, rows: slice | NDArray[np.int64]) -> Draws:
        """Select the draws of some crops."""
        return Draws(*(getattr(self, field.name)[rows] for field in fields(self)))


def draw(
    ranges: Ranges,
    seed: int,
    epoch: int,
    unit: NDArray[np.int64],
    nth: NDArray[np.int64],
    size_mm: NDArray[np.float64] | float,
) -> Draws:
    """Draw the changes of N crops.

    A shift goes no farther than the crop's stored surround reaches under the turn and scale that were drawn with it, so
    that no pixel comes from beyond the block.

    Args:
        ranges: how far they may go.
        seed: of the run.
        epoch: from 0.
        unit: (N,), the treated axilla of each crop; flips are drawn once for all crops of one.
        nth: (N,), which crop of its unit.
        size_mm: (N,) or one for all, side of the crops in millimetres, of which `ranges.shift_mm` is a share.
    """
    count = len(unit)
    numbers = uniform(
        seed,
        epoch,
        np.tile(unit, CROP_BLOCKS + 1),
        np.concatenate([*[nth] * CROP_BLOCKS, np.full(count, OF_UNIT)]),
        np.repeat([*range(CROP_BLOCKS), 0], count),
    )
    own, shared = np.concatenate(np.split(numbers, CROP_BLOCKS + 1, axis=1)[:-1]), numbers[:, -count:]
    moved, grey, bent = own[0] < ranges.move_share, own[1] < ranges.grey_share, own[2] < ranges.gamma_share

    def between(row: int, low: float, high: float) -> NDArray[np.float64]:
        return low + (high - low) * own[row]

    degrees = np.where(moved, between(3, -ranges.degrees, ranges.degrees), 0.0)
    scale = np.where(moved, between(6, *ranges.scale), 1.0)
    limit = np.where(moved, np.minimum(ranges.shift_mm / np.asarray(size_mm), shift_room(degrees, scale)), 0.0)
    columns = (
        shared[0] < ranges.flip_horizontal_share,
        shared[1] < ranges.flip_vertical_share,
        degrees,
        limit * between(4, -1.0, 1.0),
        limit * between(5, -1.0, 1.0),
        scale,
        np.where(grey, between(7, 1 - ranges.contrast, 1 + ranges.contrast), 1.0),
        np.where(grey, between(8, -ranges.brightness, ranges.brightness), 0.0),
        np.where(bent, between(9, *ranges.gamma_percent) / 100, 1.0),
    )
    return Draws(*(np.asarray(column, np.float32) for column in columns))


def hiding_draws(seed: int, epoch: int, unit: NDArray[np.int64], columns: int) -> NDArray[np.float32]:
    """Draw what modality dropout asks for (see `fusion.draw_hidden`): float32 (N, columns) in [0, 1]."""
    blocks = -(-columns // 4)
    numbers = uniform(
        seed,
        epoch,
        np.repeat(unit, blocks),
        np.full(blocks * len(unit), OF_HIDING),
        np.tile(np.arange(blocks), len(unit)),
    )
    return numbers.T.reshape(len(unit), 4 * blocks)[:, :columns].astype(np.float32)


def shift_room(degrees: NDArray[np.floating], scale: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the largest shift, as a share of the side, at which a turned and scaled crop stays within its block.

    The box around a square turned by a is |cos a| + |sin a| times as wide; a crop magnified by s covers 1 / s of it.
    """
    radians = np.deg2rad(degrees)
    width = (np.abs(np.cos(radians)) + np.abs(np.sin(radians))) / scale
    return np.clip(0.5 + SURROUND_SHARE - 0.5 * np.maximum(width, 1.0), 0.0, None)


def theta(draws: Draws, size_px: int) -> NDArray[np.float32]:
    """Compute where each pixel of a changed crop comes from.

    Args:
        draws: of N crops.
        size_px: side of the crop, before and after.

    Returns:
        float32 (N, 2, 3): times a column (x, y, 1) of the changed crop, pixel 0 being centred at 0, it is a point
        (x, y) of the block, which begins `surround_px(size_px)` before the crop.
    """
    centre = (size_px - 1) / 2
    sign = 1.0 - 2.0 * np.stack((draws.flip_horizontal, draws.flip_vertical), axis=1, dtype=np.float64)
    radians = np.deg2rad(draws.degrees, dtype=np.float64)
    cosine, sine = np.cos(radians), np.sin(radians)
    back = np.stack((np.stack((cosine, sine), 1), np.stack((-sine, cosine), 1)), 1)
    linear = sign[:, :, None] * back / draws.scale[:, None, None]
    shift = np.stack((draws.shift_right, draws.shift_down), axis=1, dtype=np.float64)
    offset = surround_px(size_px) + centre - size_px * shift - centre * linear.sum(axis=2)
    return np.concatenate((linear, offset[:, :, None]), axis=2).astype(np.float32)


def grey_values(draws: Draws) -> NDArray[np.float32]:
    """Contrast, brightness and gamma as rows: float32 (3, N)."""
    return np.stack((draws.contrast, draws.brightness, draws.gamma))


def philox(counter: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Compute blocks of Philox4x32-10, a generator without state: a block's numbers follow from counter and key alone.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3.

    Args:
        counter: (4, N), each below 2**32.
        key: two numbers below 2**32.

    Returns:
        (4, N), each below 2**32.
    """
    a, b, c, d = counter
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(PHILOX_ROUNDS):
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = (second >> WORD_BITS) ^ b ^ k0, second & WORD, (first >> WORD_BITS) ^ d ^ k1, first & WORD
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return np.stack((a, b, c, d))


def uniform(
    seed: int, epoch: int, unit: NDArray[np.int64], nth: NDArray[np.int64], block: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Draw four numbers in [0, 1) for each (unit, crop number, block): (4, N), under a key and counter of their own.

    The key is the seed's low 64 bits; the counter is (epoch, unit, crop number, block).
    """
    counter = np.stack(np.broadcast_arrays(epoch, unit, nth, block)).astype(np.uint64)
    return philox(counter, (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)) / 2.0**32
