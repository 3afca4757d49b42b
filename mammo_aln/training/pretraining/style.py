"""Style randomisation: other vendors' grey values for the same breast, stood in for by random monotone curves."""

from __future__ import annotations

import numpy as np

KNOTS = 6
LARGEST_LOG_GAMMA = 0.7
LARGEST_CUT = 0.15
LARGEST_EQUALISATION = 0.5
LARGEST_LUT_SHARE = 0.6
LEVELS = 256


def randomise_style(crop: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Bend the grey values of a crop: histogram, window, gamma, look-up table, one after another.

    Every step is a rising curve from 0 to 1, so that what is darker stays darker and air stays black; shapes and
    millimetres do not change.

    Args:
        crop: float32 (S, S) in [0, 1].
        strength: 0 leaves the crop as it is, 1 is the widest range.
        rng: draws the curve.

    Returns:
        float32 (S, S) in [0, 1].
    """
    curve = style_curve(crop, strength, rng)
    return np.interp(crop, np.linspace(0.0, 1.0, LEVELS), curve).astype(np.float32)


def style_curve(crop: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The curve that `randomise_style` applies: (256,), rising, output grey value at 256 even input values."""
    grey = np.linspace(0.0, 1.0, LEVELS)
    # Histogram: part of the way to a flat histogram of what is not air.
    share = rng.uniform(0.0, LARGEST_EQUALISATION * strength)
    counts = np.histogram(crop[crop > 0], bins=LEVELS - 1, range=(0.0, 1.0))[0]
    flat = np.concatenate([[0.0], np.cumsum(counts) / max(1, counts.sum())])
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
