"""Style randomisation: other vendors' grey values for the same breast, stood in for by random monotone curves."""

from __future__ import annotations

import numpy as np

KNOTS = 6
LARGEST_LOG_GAMMA = 0.7
LARGEST_CUT = 0.15
LARGEST_EQUALISATION = 0.5
LARGEST_LUT_SHARE = 0.6
POINTS = 256
"""Points of a curve, evenly over the grey values; straight lines between them."""

LEVELS = 65535
PER_STEP = LEVELS // (POINTS - 1)


def randomise_style(crop: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Bend the grey values of a crop: histogram, window, gamma, look-up table, one after another.

    Every step is a rising curve from 0 to 1, so that what is darker stays darker and air stays black; shapes and
    millimetres do not change.

    Args:
        crop: float32 (S, S) in [0, 1]; read at the levels of 1 / 65535 that the crop store holds.
        strength: 0 leaves the crop as it is, 1 is the widest range.
        rng: draws the curve.

    Returns:
        float32 (S, S) in [0, 1].
    """
    scaled = crop * np.float32(LEVELS)
    scaled += np.float32(0.5)
    levels = scaled.astype(np.uint16)
    curve = style_curve(levels, strength, rng).astype(np.float32)
    # 65535 is 255 times 257: from one point of the curve to the next it is 257 levels.
    rise = (curve[1:] - curve[:-1]) / np.float32(PER_STEP)
    table = curve[:-1, None] + rise[:, None] * np.arange(PER_STEP, dtype=np.float32)
    return np.append(table.ravel(), curve[-1]).take(levels)


def style_curve(levels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the curve that `randomise_style` applies.

    Args:
        levels: the crop, uint16 (S, S), 65535 = 1.
        strength: as above.
        rng: draws the curve.

    Returns:
        (256,), rising: the output grey value at 256 even input values.
    """
    grey = np.linspace(0.0, 1.0, POINTS)
    # Histogram: part of the way to a flat histogram of what is not air.
    share = rng.uniform(0.0, LARGEST_EQUALISATION * strength)
    counts = np.bincount((levels // np.uint16(PER_STEP)).astype(np.uint8).ravel(), minlength=POINTS)
    counts[0] -= levels.size - np.count_nonzero(levels)
    counts[-2] += counts[-1]  # the brightest level belongs to the last of 255 bins
    flat = np.concatenate([[0.0], np.cumsum(counts[:-1]) / max(1, counts[:-1].sum())])
    curve = (1.0 - share) * grey + share * flat
    # Window: a narrower range of grey values takes the whole scale.
    low, high = rng.uniform(0.0, LARGEST_CUT * strength), 1.0 - rng.uniform(0.0, LARGEST_CUT * strength)
    curve = np.clip((curve - low) / (high - low), 0.0, 1.0)
    curve = curve ** np.exp(rng.uniform(-LARGEST_LOG_GAMMA, LARGEST_LOG_GAMMA) * strength)
    # Look-up table: a rising line through random knots.
    steps = rng.dirichlet(np.full(KNOTS, 2.0))
    knots = np.concatenate([[0.0], np.cumsum(steps)])
    table = np.interp(curve, np.linspace(0.0, 1.0, KNOTS + 1), knots)
    lut_share = rng.uniform(0.0, LARGEST_LUT_SHARE * strength)
    return np.clip((1.0 - lut_share) * curve + lut_share * table, 0.0, 1.0)
