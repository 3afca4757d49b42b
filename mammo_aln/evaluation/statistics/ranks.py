"""Rank statistics of many features at once, as R makes them: Mann-Whitney U, Spearman's rho, false discovery rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


def rank_sum_tests(features: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """U, corrected and plain normal two-sided p of every column of (n, k) features at once; NaN where constant.

    The continuity correction moves U by half a pair towards its mean, as in R, also where it is nearer than that.
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.float64) == 1.0
    m, n = int(y.sum()), int((~y).sum())
    ranks = stats.rankdata(x, axis=0)
    u = ranks[y].sum(axis=0) - m * (m + 1) / 2.0
    # the sum of squared mid-ranks falls by sum(t^3 - t) / 12 for ties of t values
    total = (m + n) * (m + n + 1) * (2 * (m + n) + 1) / 6.0
    ties = 12.0 * (total - np.einsum("ij,ij->j", ranks, ranks))
    variance = m * n / 12.0 * ((m + n + 1) - ties / ((m + n) * (m + n - 1.0)))
    sd = np.sqrt(np.where(variance > 1e-9, variance, np.nan))
    off = u - m * n / 2.0
    corrected, plain = (2.0 * stats.norm.sf(np.abs(z)) for z in ((off - 0.5 * np.sign(off)) / sd, off / sd))
    return u, corrected, plain


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """p-values adjusted for the false discovery rate (R's `p.adjust(method = "BH")`); NaN stays NaN, uncounted."""
    p = np.asarray(p_values, dtype=np.float64)
    result = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    raised = known.size / np.arange(1, known.size + 1, dtype=np.float64) * p[order]
    result[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return result


def spearman_matrix(features: ArrayLike) -> Floats:
    """Spearman's rho between all columns of (n, k) features; NaN beside a constant column, 1 on the diagonal."""
    ranks = stats.rankdata(np.asarray(features, dtype=np.float64), axis=0)
    centred = ranks - ranks.mean(axis=0)
    length = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    scaled = centred / np.where(length > 0, length, np.nan)
    rho = np.clip(scaled.T @ scaled, -1.0, 1.0)
    np.fill_diagonal(rho, 1.0)
    return rho
