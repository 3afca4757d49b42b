"""Agreement of readers or repeated measurements: intraclass correlation ICC(2,1) and Cohen's kappa."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from mammo_aln.evaluation.statistics.discrimination import Interval

Floats = NDArray[np.float64]


def _mean_squares(table: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean squares between subjects, between raters and of the residual; last axes (n, k)."""
    n, k = table.shape[-2:]
    grand = table.mean(axis=(-2, -1), keepdims=True)
    by_subject = table.mean(axis=-1, keepdims=True) - grand
    by_rater = table.mean(axis=-2, keepdims=True) - grand
    residual = table - grand - by_subject - by_rater
    between = k * np.sum(by_subject**2, axis=(-2, -1)) / (n - 1)
    raters = n * np.sum(by_rater**2, axis=(-2, -1)) / (k - 1)
    return between, raters, np.sum(residual**2, axis=(-2, -1)) / ((n - 1) * (k - 1))


def icc_agreement(ratings: ArrayLike) -> Floats:
    """ICC(2,1), absolute agreement of single measurements, of many features at once: shape (..., n, k) -> (...).

    NaN where all values of a feature are equal.
    """
    table = np.asarray(ratings, dtype=np.float64)
    n, k = table.shape[-2:]
    between, raters, residual = _mean_squares(table)
    whole = between + (k - 1) * residual + k * (raters - residual) / n
    return np.asarray((between - residual) / np.where(whole > 0, whole, np.nan))


def icc_interval(ratings: ArrayLike, level: float = 0.95) -> Interval:
    """ICC(2,1) of (subjects, raters) with the limits of Shrout and Fleiss 1979 (psych::ICC); NaN where unknown."""
    table = np.asarray(ratings, dtype=np.float64)
    n, k = table.shape
    value = float(icc_agreement(table))
    between, raters, residual = _mean_squares(table)
    if not residual:
        return Interval(value, math.nan, math.nan, "ICC(2,1)")
    upper, ratio = 0.5 + level / 2, raters / residual
    load = n * (1 + (k - 1) * value) - k * value
    df = (k - 1) * (n - 1) * (k * value * ratio + load) ** 2 / ((n - 1) * k**2 * value**2 * ratio**2 + load**2)
    f_low, f_high = stats.f.ppf(upper, n - 1, df), stats.f.ppf(upper, df, n - 1)
    rest = k * raters + (k * n - k - n) * residual
    with np.errstate(divide="ignore", invalid="ignore"):
        low = n * (between - f_low * residual) / (f_low * rest + n * between)
        high = n * (f_high * between - residual) / (rest + n * f_high * between)
    return Interval(value, float(low), float(high), "ICC(2,1)")


def cohen_kappa(first: ArrayLike, second: ArrayLike) -> Interval:
    """Cohen's kappa of two readers with the large-sample limits of Fleiss, Cohen and Everitt 1969.

    NaN where both readers always give one and the same category.
    """
    share = _table(first, second)
    n, size = np.size(first), len(share)
    method = "Fleiss, Cohen and Everitt"
    if size < 2:
        return Interval(math.nan, math.nan, math.nan, method)
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    observed, expected = float(np.trace(share)), float(np.outer(rows, columns).trace())
    kappa = (observed - expected) / (1 - expected)
    margins = columns[:, None] + rows[None, :]
    diagonal = float(np.sum(np.diag(share) * ((1 - expected) - np.diag(margins) * (1 - observed)) ** 2))
    others = (1 - observed) ** 2 * float(np.sum((share * margins**2)[~np.eye(size, dtype=bool)]))
    last = (observed * expected - 2 * expected + observed) ** 2
    se = math.sqrt(max(0.0, (diagonal + others - last) / (n * (1 - expected) ** 4)))
    half = float(stats.norm.ppf(0.975)) * se
    return Interval(kappa, kappa - half, kappa + half, method, se)


def weighted_kappa(first: ArrayLike, second: ArrayLike) -> float:
    """Kappa with quadratic weights: of categories in order, their ranks, not their distances, make the weights."""
    share = _table(first, second)
    if len(share) < 2:
        return math.nan
    rank = np.arange(len(share))
    distance = (rank[:, None] - rank[None, :]) ** 2
    chance = np.outer(share.sum(axis=1), share.sum(axis=0))
    return 1.0 - float(np.sum(distance * share) / np.sum(distance * chance))


def _table(first: ArrayLike, second: ArrayLike) -> Floats:
    """Shares of every pair of categories; the categories are all values that either reader gave."""
    levels, codes = np.unique(np.concatenate([np.ravel(first), np.ravel(second)]), return_inverse=True)
    share = np.zeros((levels.size, levels.size))
    np.add.at(share, tuple(codes.reshape(2, -1)), 1.0 / np.size(first))
    return share
