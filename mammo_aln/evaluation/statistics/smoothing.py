"""Smooth calibration curves: Cleveland's lowess as in R, and local regression as R's `loess(surface = "direct")`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from mammo_aln.evaluation.statistics.discrimination import Floats


@dataclass(frozen=True)
class Curve:
    """A smoothed curve with a pointwise 95 % band, cut to [0, 1]."""

    x: Floats
    y: Floats
    low: Floats
    high: Floats


def _local_line(x: Floats, y: Floats, at: float, left: int, right: int) -> float:
    """One lowess value: tricube-weighted line through the window [left, right], ties of the edge included."""
    reach = max(at - x[left], x[right] - at)
    distance = np.abs(x[left:] - at)
    stop = int(np.searchsorted(x[left:], at + 0.999 * reach, side="right"))
    stop = max(stop, 1)
    near, distance, outcome = x[left : left + stop], distance[:stop], y[left : left + stop]
    weight = np.where(distance <= 0.001 * reach, 1.0, (1.0 - (distance / reach if reach > 0 else distance) ** 3) ** 3)
    weight = np.where(distance <= 0.999 * reach, weight, 0.0)
    if weight.sum() <= 0:
        return float(outcome[np.argmin(distance)])
    weight = weight / weight.sum()
    if reach > 0:
        centre = float(weight @ near)
        spread = float(weight @ (near - centre) ** 2)
        if np.sqrt(spread) > 0.001 * (x[-1] - x[0]):
            weight = weight * ((at - centre) / spread * (near - centre) + 1.0)
    return float(weight @ outcome)


def lowess(x: ArrayLike, y: ArrayLike, *, f: float = 2 / 3, delta_share: float = 0.01) -> tuple[Floats, Floats]:
    """R's `lowess(x, y, f, iter = 0, delta = delta_share * range)`: sorted x and the smooth at each."""
    order = np.lexsort((np.arange(np.size(x)), np.asarray(x, dtype=float)))
    xs, ys = np.asarray(x, dtype=float)[order], np.asarray(y, dtype=float)[order]
    n = xs.size
    window = max(2, min(n, int(f * n + 1e-7)))
    delta = delta_share * (xs[-1] - xs[0])
    smooth = np.zeros(n)
    left, right, last, i = 0, window - 1, -1, 0
    while True:
        while right < n - 1 and xs[i] - xs[left] > xs[right + 1] - xs[i]:
            left, right = left + 1, right + 1
        smooth[i] = _local_line(xs, ys, float(xs[i]), left, right)
        if last < i - 1:
            share = (xs[last + 1 : i] - xs[last]) / (xs[i] - xs[last])
            smooth[last + 1 : i] = share * smooth[i] + (1 - share) * smooth[last]
        last = i
        cut = xs[last] + delta
        i = last + 1
        while i < n and xs[i] <= cut:
            if xs[i] == xs[last]:
                smooth[i] = smooth[last]
                last = i
            i += 1
        i = max(last + 1, i - 1)
        if last >= n - 1:
            return xs, smooth


def smoothed_errors(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float, float]:
    """Integrated calibration index, its 90th percentile and its maximum (Eavg, E90, Emax of rms::val.prob): distances
    between each prediction and the lowess curve at it."""
    score = np.asarray(scores, dtype=float)
    x, smooth = lowess(score, labels)
    distinct, first = np.unique(x, return_index=True)
    error = np.abs(score - np.interp(score, distinct, smooth[first]))
    return float(error.mean()), float(np.quantile(error, 0.9)), float(error.max())


def loess(x: ArrayLike, y: ArrayLike, at: ArrayLike, *, span: float = 0.75, degree: int = 2) -> tuple[Floats, Floats]:
    """R's `loess(y ~ x, surface = "direct")` at given points, and the rows of the smoother: (k,) and (k, n)."""
    xs, ys, points = (np.asarray(values, dtype=float) for values in (x, y, at))
    nearest = min(xs.size, int(np.floor(xs.size * span + 1e-5)))
    distance = np.abs(points[:, None] - xs[None, :])
    reach = np.partition(distance, nearest - 1, axis=1)[:, nearest - 1][:, None]
    reach = np.where(reach > 0, reach, 1.0)
    weight = np.clip(1.0 - (distance / reach) ** 3, 0.0, None) ** 3
    powers = np.stack([((xs[None, :] - points[:, None]) / reach) ** k for k in range(degree + 1)], axis=2)
    gram = np.einsum("kn,kni,knj->kij", weight, powers, powers)
    rows = np.einsum("ki,kni,kn->kn", np.linalg.pinv(gram, hermitian=True)[:, 0, :], powers, weight)
    return rows @ ys, rows


def calibration_curve(scores: ArrayLike, labels: ArrayLike, points: int = 60, *, span: float = 0.75) -> Curve:
    """Smoothed observed share over the score: local lines; band from the smoother's rows and binomial variance."""
    score, label = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    low, high = np.quantile(score, [0.01, 0.99])
    at = np.linspace(low, high, points) if high > low else np.array([low])
    smooth, rows = loess(score, label, at, span=span, degree=1)
    fitted = np.clip(np.interp(score, at, smooth), 0.01, 0.99)
    half = stats.norm.ppf(0.975) * np.sqrt(rows**2 @ (fitted * (1 - fitted)))
    return Curve(at, np.clip(smooth, 0, 1), np.clip(smooth - half, 0, 1), np.clip(smooth + half, 0, 1))
