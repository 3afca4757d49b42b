"""Two models, or one model in two places: DeLong and bootstrap tests, reclassification, McNemar, and Holm's correction.

Differences are `second - first` unless a docstring says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from mammo_aln.evaluation.statistics.discrimination import (
    Floats,
    auc,
    auc_variance,
    checked,
    placements,
    repeated,
    variance_of_components,
)
from mammo_aln.evaluation.statistics.operating import ratio
from mammo_aln.evaluation.statistics.resampling import bootstrap_auc_joint, percentile_interval

Z = float(stats.norm.ppf(0.975))
FEWEST_RESAMPLES = 40


@dataclass(frozen=True)
class Test:
    """A difference, its 95 % limits, the statistic and two-sided p-value.

    `df` is NaN for a normal statistic; `p_percentile`, of a bootstrap alone, is the p-value that its limits go with.
    """

    difference: float
    low: float
    high: float
    statistic: float
    p_value: float
    se: float
    df: float = math.nan
    p_percentile: float = math.nan

    def t_limits(self) -> tuple[float, float]:
        """95 % limits by Student's t, which such a statistic's p-value goes with; NaN without a standard error."""
        half = self.se * float(stats.t.ppf(0.975, self.df)) if self.se > 0 else math.nan
        return self.difference - half, self.difference + half


def _statistic(difference: float, se: float) -> float:
    """difference / se, with 0/0 = 0 (two curves alike) and x/0 infinite (perfect against reversed)."""
    if se == 0:
        return 0.0 if difference == 0 else math.copysign(math.inf, difference)
    return difference / se


def paired_delong(first: ArrayLike, second: ArrayLike, labels: ArrayLike, *, clusters: ArrayLike | None = None) -> Test:
    """DeLong's test of AUC(first) - AUC(second) on the same patients; curves with equal placements: z = 0, p = 1.

    Where `clusters` names patients with several rows, the variance is Obuchowski's (1997).
    """
    a, positive = checked(first, labels)
    b, _ = checked(second, labels)
    v10, v01 = (u - v for u, v in zip(placements(a, positive), placements(b, positive), strict=True))
    difference = float(v10.mean())
    se = math.sqrt(variance_of_components(v10, v01, positive, repeated(clusters)))
    z = _statistic(difference, se)
    return Test(difference, difference - Z * se, difference + Z * se, z, float(2 * stats.norm.sf(abs(z))), se)


def unpaired_delong(
    scores1: ArrayLike,
    labels1: ArrayLike,
    scores2: ArrayLike,
    labels2: ArrayLike,
    *,
    clusters1: ArrayLike | None = None,
    clusters2: ArrayLike | None = None,
) -> Test:
    """AUC(1) - AUC(2) of different patients: Student's t with Welch's degrees of freedom, as pROC; normal limits.

    Where clusters name patients with several rows, variances are Obuchowski's and n counts patients.
    """
    difference = auc(scores1, labels1) - auc(scores2, labels2)
    v1, v2 = auc_variance(scores1, labels1, clusters1), auc_variance(scores2, labels2, clusters2)
    n1, n2 = (
        np.size(labels) if clusters is None else np.unique(np.asarray(clusters)).size
        for labels, clusters in ((labels1, clusters1), (labels2, clusters2))
    )
    se = math.sqrt(v1 + v2)
    t = _statistic(difference, se)
    df = ratio((v1 + v2) ** 2, v1**2 / (n1 - 1) + v2**2 / (n2 - 1))
    p = float(2 * stats.t.sf(abs(t), df)) if se > 0 else (1.0 if difference == 0 else 0.0)
    return Test(difference, difference - Z * se, difference + Z * se, t, p, se, df)


def percentile_p(drawn: Floats) -> float:
    """Two-sided p of no difference, by the percentile interval turned round: below 0.05 where its limits leave out 0.

    Twice the smaller share of resamples beyond 0, read off the same interpolated quantiles as the limits and never
    below 2 / (resamples + 1). NaN for fewer than 40 resamples, which have no 2.5 % tail.
    """
    if drawn.size < FEWEST_RESAMPLES:
        return math.nan
    ordered = np.sort(drawn)
    below, above = (_share_beyond(side) for side in (ordered, -ordered[::-1]))
    return float(min(1.0, max(2.0 * min(below, above), 2.0 / (drawn.size + 1))))


def _share_beyond(ordered: Floats) -> float:
    """Largest share whose quantile (type 7) is not above 0."""
    last = int(np.searchsorted(ordered, 0.0, side="right")) - 1
    if last < 0:
        return 0.0
    if last == ordered.size - 1:
        return 1.0
    step = ordered[last + 1] - ordered[last]
    return float((last - ordered[last] / step) / (ordered.size - 1))


def _bootstrap_test(difference: float, drawn: Floats) -> Test:
    """Statistic and p of pROC's rule (D = difference / SD of the resampled ones, p = 2 Phi(-|D|)); percentile limits.

    That p may contradict those limits; `p_percentile` does not.
    """
    sd = float((drawn - drawn[0]).std(ddof=1))
    d = _statistic(difference, sd)
    low, high = percentile_interval(drawn)
    return Test(difference, low, high, d, float(2 * stats.norm.sf(abs(d))), sd, p_percentile=percentile_p(drawn))


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    labels: ArrayLike,
    *,
    resamples: int = 2000,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> Test:
    """Stratified bootstrap test of AUC(first) - AUC(second), the same resamples for both."""
    table = np.stack([np.asarray(first, dtype=float), np.asarray(second, dtype=float)])
    drawn = bootstrap_auc_joint(table, labels, resamples=resamples, seed=seed, clusters=clusters)
    return _bootstrap_test(auc(first, labels) - auc(second, labels), drawn[0] - drawn[1])


def unpaired_bootstrap(
    scores1: ArrayLike,
    labels1: ArrayLike,
    scores2: ArrayLike,
    labels2: ArrayLike,
    *,
    resamples: int = 2000,
    seeds: tuple[int, int] = (0, 1),
    clusters1: ArrayLike | None = None,
    clusters2: ArrayLike | None = None,
) -> Test:
    """Stratified bootstrap test of AUC(1) - AUC(2) of different patients, independent resamples (of whole patients).

    The rule is pROC's, as for `paired_bootstrap`; each sample has its own seed, so that it is drawn alike beside any
    other.
    """
    first, second = (
        bootstrap_auc_joint(scores, labels, resamples=resamples, seed=seed, clusters=clusters)[0]
        for scores, labels, clusters, seed in (
            (scores1, labels1, clusters1, seeds[0]),
            (scores2, labels2, clusters2, seeds[1]),
        )
    )
    return _bootstrap_test(auc(scores1, labels1) - auc(scores2, labels2), first - second)


@dataclass(frozen=True)
class Reclassification:
    """Net reclassification by the second model: total, among events and among non-events."""

    total: Test
    events: Test
    nonevents: Test


def _test(value: float, se: float) -> Test:
    z = _statistic(value, se)
    return Test(value, value - Z * se, value + Z * se, z, float(2 * stats.norm.sf(abs(z))), se)


def categories(scores: ArrayLike, cutoffs: Sequence[float]) -> np.ndarray:
    """Risk category of each score, `[low, high)`: a score equal to a cut-off belongs to the higher category."""
    return np.searchsorted(np.sort(np.asarray(cutoffs, dtype=float)), np.asarray(scores, dtype=float), side="right")


def net_reclassification(
    first: ArrayLike, second: ArrayLike, labels: ArrayLike, cutoffs: Sequence[float] | None = None
) -> Reclassification:
    """NRI of `second` over `first`, continuous or over risk categories (Hmisc::improveProb; unpooled errors)."""
    a, positive = checked(first, labels)
    b, _ = checked(second, labels)
    moved = np.sign(b - a) if cutoffs is None else np.sign(categories(b, cutoffs) - categories(a, cutoffs))
    changes = []
    for group, sign in ((positive, 1.0), (~positive, -1.0)):
        n = int(group.sum())
        up, down = int((moved[group] > 0).sum()), int((moved[group] < 0).sum())
        variance = (up + down) / n**2 - (up - down) ** 2 / n**3
        changes.append((sign * (up - down) / n, max(0.0, variance)))
    (events, v1), (nonevents, v0) = changes
    total = _test(events + nonevents, math.sqrt(v1 + v0))
    return Reclassification(total, _test(events, math.sqrt(v1)), _test(nonevents, math.sqrt(v0)))


def integrated_discrimination(first: ArrayLike, second: ArrayLike, labels: ArrayLike) -> Test:
    """IDI: how much further the second model draws the mean scores of the two outcomes apart (Pencina 2008)."""
    a, positive = checked(first, labels)
    b, _ = checked(second, labels)
    change = b - a
    value = float(change[positive].mean() - change[~positive].mean())
    return _test(value, math.sqrt(sum(float(change[g].var(ddof=1)) / int(g.sum()) for g in (positive, ~positive))))


@dataclass(frozen=True)
class McNemar:
    """p-values of McNemar's test: with R's continuity correction, plain, and exact."""

    p_corrected: float
    p_plain: float
    p_exact: float


def mcnemar(b: int, c: int) -> McNemar:
    """McNemar's test of discordant counts b (only the first right) and c (only the second right), as R.

    There is no correction where b = c, and b = c = 0 gives NaN.
    """
    total = b + c
    if total == 0:
        return McNemar(math.nan, math.nan, math.nan)
    corrected, plain = (abs(b - c) - (1 if b != c else 0)) ** 2 / total, (b - c) ** 2 / total
    exact = float(stats.binomtest(b, total).pvalue)
    return McNemar(float(stats.chi2.sf(corrected, 1)), float(stats.chi2.sf(plain, 1)), exact)


def mcnemar_counts(
    first: ArrayLike, second: ArrayLike, labels: ArrayLike, threshold1: float, threshold2: float
) -> tuple[int, int]:
    """Patients that only the first, and only the second model classifies rightly at its own frozen threshold."""
    positive = np.asarray(labels, dtype=float) == 1.0
    right1 = (np.asarray(first, dtype=float) >= threshold1) == positive
    right2 = (np.asarray(second, dtype=float) >= threshold2) == positive
    return int((right1 & ~right2).sum()), int((~right1 & right2).sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (R's `p.adjust(method = "holm")`); NaN stays NaN and does not count."""
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(p.size, math.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted.tolist()
