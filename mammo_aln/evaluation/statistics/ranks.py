"""Tests between two groups as R makes them: Mann-Whitney U, Spearman's rho, adjustment for many tests, 2x2 tables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from mammo_aln.errors import InputError

Floats = NDArray[np.float64]
Adjustment = Literal["holm", "hochberg", "BH", "BY", "bonferroni"]
EXACT_BELOW = 50
"""`wilcox.test` is exact where both groups have fewer members than this and no value is tied."""


@dataclass(frozen=True)
class MannWhitney:
    """Wilcoxon's rank sum test of one feature.

    Args:
        u: U of the positive group (R's `W`): pairs in which the positive is higher, ties counted half.
        p_value: two-sided p as `wilcox.test` gives it by default.
        p_corrected: normal approximation with continuity correction.
        p_plain: the same without.
        exact: `p_value` is exact.
        tied: at least one value occurs twice.
    """

    u: float
    p_value: float
    p_corrected: float
    p_plain: float
    exact: bool
    tied: bool


def _groups(values: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    x, y = np.asarray(values, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not np.isfinite(x).all() or not np.isin(y, (0.0, 1.0)).all():
        raise InputError("expected as many finite values as labels, and labels of 0 or 1")
    if not 0 < y.sum() < y.size:
        raise InputError(f"both outcomes are needed, got {int(y.sum())} positive of {y.size}")
    return x, y == 1.0


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


def exact_rank_sum_p(values: ArrayLike, labels: ArrayLike) -> float:
    """Two-sided exact p of the rank sum, ties allowed: the share of all relabellings at least as far from the mean.

    Counts the subsets of every size and sum of (doubled) mid-ranks by dynamic programming.
    """
    x, y = _groups(values, labels)
    doubled = np.rint(2.0 * stats.rankdata(x)).astype(int)
    step = int(np.gcd.reduce(doubled))
    ranks = np.sort(doubled // step)
    chosen = y if y.sum() <= (~y).sum() else ~y
    size = int(chosen.sum())
    largest = int(ranks[-size:].sum())
    # share[k, s]: probability that k of the ranks seen so far are drawn and sum to s, under a fair coin per rank;
    # conditioning on k = size at the end gives the permutation distribution without overflow
    share = np.zeros((size + 1, largest + 1))
    share[0, 0] = 1.0
    for rank in ranks:
        share[1:, rank:] = 0.5 * (share[1:, rank:] + share[:-1, : share.shape[1] - rank])
        share[1:, :rank] *= 0.5
        share[0] *= 0.5
    law = share[size] / share[size].sum()
    sums = np.arange(law.size)
    mean = size * ranks.sum() / ranks.size
    observed = (doubled // step)[chosen].sum()
    return float(min(1.0, law[np.abs(sums - mean) >= abs(observed - mean) - 1e-9 * mean].sum()))


def mann_whitney(values: ArrayLike, labels: ArrayLike) -> MannWhitney:
    """Rank sum test of one feature between positives and negatives, with `wilcox.test`'s choice of p.

    Exact for fewer than 50 patients per group without ties, else the normal approximation with continuity correction.

    Raises:
        InputError: a value is not finite, a label not 0 or 1, or one group is empty.
    """
    x, positive = _groups(values, labels)
    u, corrected, plain = (float(found[0]) for found in rank_sum_tests(x[:, None], positive))
    tied = bool(np.unique(x).size < x.size)
    exact = not tied and max(int(positive.sum()), int((~positive).sum())) < EXACT_BELOW
    p_value = exact_rank_sum_p(x, positive) if exact else corrected
    return MannWhitney(u, p_value, corrected, plain, exact, tied)


def adjusted(p_values: ArrayLike, method: Adjustment) -> Floats:
    """p-values adjusted for many tests, as R's `p.adjust`; NaN stays NaN and does not count.

    Raises:
        InputError: an unknown method.
    """
    p = np.asarray(p_values, dtype=np.float64)
    result = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    k = known.size
    order = known[np.argsort(p[known], kind="stable")]
    place = np.arange(1, k + 1, dtype=np.float64)
    stepwise: Floats = k - place + 1.0
    factors: dict[str, Floats] = {
        "holm": stepwise,
        "hochberg": stepwise,
        "BH": k / place,
        "BY": k / place * np.sum(1.0 / place),
        "bonferroni": np.full(k, float(k)),
    }
    if method not in factors:
        raise InputError(f"unknown adjustment {method!r}; allowed: {', '.join(factors)}")
    raised = factors[method] * p[order]
    if method == "holm":
        raised = np.maximum.accumulate(raised)
    elif method != "bonferroni":
        raised = np.minimum.accumulate(raised[::-1])[::-1]
    result[order] = np.minimum(raised, 1.0)
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


def spearman_test(first: ArrayLike, second: ArrayLike) -> tuple[float, float]:
    """Spearman's rho and its two-sided p by Student's t (`cor.test(method = "spearman", exact = FALSE)`)."""
    rho = float(spearman_matrix(np.column_stack([first, second]))[0, 1])
    n = np.asarray(first).size
    if abs(rho) >= 1.0:
        return rho, 0.0
    t = rho * math.sqrt((n - 2) / (1.0 - rho * rho))
    return rho, float(2.0 * stats.t.sf(abs(t), n - 2))


@dataclass(frozen=True)
class TwoByTwo:
    """Association of two yes/no variables.

    Args:
        table: counts, rows = first variable (no, yes), columns = outcome (0, 1).
        fisher_p: Fisher's exact test, two-sided.
        odds_ratio: conditional maximum-likelihood odds ratio (R's `fisher.test`).
        chi2_corrected_p: Pearson's chi-squared with Yates' correction.
        chi2_p: the same without.
    """

    table: NDArray[np.int64]
    fisher_p: float
    odds_ratio: float
    chi2_corrected_p: float
    chi2_p: float


def two_by_two(first: ArrayLike, labels: ArrayLike) -> TwoByTwo:
    """Fisher's and chi-squared tests of a yes/no variable against the outcome; NaN where a margin is empty."""
    x, y = np.asarray(first, dtype=bool), np.asarray(labels, dtype=np.float64) == 1.0
    table = np.array([[np.sum((x == a) & (y == b)) for b in (False, True)] for a in (False, True)], dtype=np.int64)
    if (table.sum(axis=0) == 0).any() or (table.sum(axis=1) == 0).any():
        return TwoByTwo(table, 1.0, math.nan, math.nan, math.nan)
    return TwoByTwo(
        table,
        float(stats.fisher_exact(table)[1]),
        float(stats.contingency.odds_ratio(table, kind="conditional").statistic),
        float(stats.chi2_contingency(table, correction=True)[1]),
        float(stats.chi2_contingency(table, correction=False)[1]),
    )
