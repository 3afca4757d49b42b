"""The curves of the DICOM grayscale pipeline on arrays of values: modality LUT, VOI LUT and windows (PS3.3 sections
C.11.1, C.11.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Lut:
    """A lookup table of the modality or VOI module.

    Args:
        entries: output values, unsigned.
        first: input value that maps to the first entry.
        bits: bits of an entry, from the descriptor.
    """

    entries: np.ndarray
    first: int
    bits: int


@dataclass(frozen=True)
class VoiWindow:
    """Window of the VOI LUT module (PS3.3 section C.11.2): centre and width in modality units."""

    center: float
    width: float
    function: str


def _linear(values: np.ndarray, center: float, width: float) -> np.ndarray:
    if width == 1.0:
        return (values > center - 0.5).astype(np.float64)
    return (values - (center - 0.5)) / (width - 1.0) + 0.5


def _linear_exact(values: np.ndarray, center: float, width: float) -> np.ndarray:
    return (values - center) / width + 0.5


def _sigmoid(values: np.ndarray, center: float, width: float) -> np.ndarray:
    # tanh(x / 2) form of 1 / (1 + exp(-x)): no overflow far from the centre
    return 0.5 + 0.5 * np.tanh(2.0 * (values - center) / width)


WINDOW_FUNCTIONS = {"LINEAR": (_linear, 1.0), "LINEAR_EXACT": (_linear_exact, 0.0), "SIGMOID": (_sigmoid, 0.0)}
"""VOILUTFunction -> formula (PS3.3 C.11.2.1.2.1, C.11.2.1.3.2, C.11.2.1.3.1) and the width's lower bound (LINEAR
includes it)."""


def window_is_sound(window: VoiWindow) -> bool:
    """Test that the standard defines this window: function known, LINEAR's width at least 1, the others' above 0."""
    if window.function not in WINDOW_FUNCTIONS:
        return False
    bound = WINDOW_FUNCTIONS[window.function][1]
    return window.width >= bound if window.function == "LINEAR" else window.width > bound


def apply_window(values: np.ndarray, window: VoiWindow) -> np.ndarray:
    """Values through a sound window.

    Args:
        values: modality values, any shape.
        window: see `window_is_sound`.

    Returns:
        float64 in [0, 1].
    """
    return np.clip(WINDOW_FUNCTIONS[window.function][0](values, window.center, window.width), 0.0, 1.0)


def look_up(values: np.ndarray, lut: Lut) -> np.ndarray:
    """Entries of a LUT for values; below the first and above the last input the end entries hold.

    Args:
        values: any shape; rounded to whole numbers.
        lut: the table; a `first` above 32767 is read as signed where the values are.

    Returns:
        float64 entries.
    """
    first = lut.first - 65536 if lut.first > 32767 and values.min() < 0 else lut.first
    index = np.clip(np.rint(values) - first, 0, len(lut.entries) - 1).astype(np.int64)
    return lut.entries[index]


def to_range(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values with `low` as 0 and `high` as 1, clipped; all 0 where there is no range."""
    return np.clip((values - low) / (high - low), 0.0, 1.0) if high > low else np.zeros(values.shape)


def weighted_percentile(values: np.ndarray, counts: np.ndarray, percent: float) -> float:
    """Smallest value with at least `percent` % of the counts at or below it.

    Args:
        values: distinct values, any order.
        counts: how often each occurs; not all zero.
        percent: 0 to 100.
    """
    order = np.argsort(values)
    below = np.cumsum(counts[order])
    rank = int(np.searchsorted(below, percent / 100.0 * below[-1], side="left"))
    return float(values[order][min(rank, len(values) - 1)])


def air_and_otsu(values: np.ndarray, counts: np.ndarray, *, bins: int = 128) -> tuple[float, float]:
    """Air's value, and the threshold that splits a histogram with the largest variance between classes (Otsu 1979).

    Air is the commonest bin up to the threshold, not the commonest value: film's noisy fog outweighs a black patch.

    Args:
        values: distinct values, larger is brighter.
        counts: how often each occurs.
        bins: resolution between the 0.1 and 99.9 percentiles.
    """
    low, high = (weighted_percentile(values, counts, percent) for percent in (0.1, 99.9))
    if low == high:
        return low, low
    weights, edges = np.histogram(np.clip(values, low, high), bins=bins, range=(low, high), weights=counts)
    centers = (edges[:-1] + edges[1:]) / 2
    share = np.cumsum(weights) / weights.sum()
    mean = np.cumsum(weights * centers) / weights.sum()
    spread = share * (1.0 - share)
    between = np.divide((mean[-1] * share - mean) ** 2, spread, out=np.zeros_like(share), where=spread > 1e-12)
    best = np.flatnonzero(between == between.max())
    split = int(best[len(best) // 2])
    return float(centers[np.argmax(weights[: split + 1])]), float(edges[split + 1])
