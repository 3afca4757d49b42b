"""Operating point of a frozen threshold: counts, proportions with intervals, and single numbers made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from mammo_aln.evaluation.statistics.discrimination import Interval

PROPORTIONS = ("sensitivity", "specificity", "ppv", "npv", "accuracy")


@dataclass(frozen=True)
class Counts:
    """A 2x2 table; positive means `score >= threshold`."""

    tp: int
    fp: int
    fn: int
    tn: int

    def proportion(self, name: str) -> tuple[int, int]:
        """Numerator and denominator of one of `PROPORTIONS`."""
        n = self.tp + self.fp + self.fn + self.tn
        return {
            "sensitivity": (self.tp, self.tp + self.fn),
            "specificity": (self.tn, self.tn + self.fp),
            "ppv": (self.tp, self.tp + self.fp),
            "npv": (self.tn, self.tn + self.fn),
            "accuracy": (self.tp + self.tn, n),
        }[name]


def ratio(numerator: float, denominator: float) -> float:
    """Quotient as R computes it: x/0 is infinite, 0/0 is NaN."""
    if denominator == 0:
        return math.nan if numerator == 0 else math.inf
    return numerator / denominator


def count(scores: ArrayLike, labels: ArrayLike, threshold: float) -> Counts:
    """2x2 table of a frozen threshold; one class alone is fine."""
    called = np.asarray(scores, dtype=np.float64) >= threshold
    positive = np.asarray(labels, dtype=np.float64) == 1.0
    tp, fp = int((called & positive).sum()), int((called & ~positive).sum())
    return Counts(tp=tp, fp=fp, fn=int(positive.sum()) - tp, tn=int((~positive).sum()) - fp)


def wilson(x: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval without continuity correction (R's `prop.test(correct = FALSE)`), NaN for n = 0."""
    if n == 0:
        return math.nan, math.nan
    z = float(stats.norm.ppf(0.5 + level / 2))
    share = x / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return (0.0 if x == 0 else (centre - half) / scale), (1.0 if x == n else (centre + half) / scale)


def clopper_pearson(x: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact binomial interval (R's `binom.test`), NaN for n = 0."""
    if n == 0:
        return math.nan, math.nan
    tail = (1 - level) / 2
    low = 0.0 if x == 0 else float(stats.beta.ppf(tail, x, n - x + 1))
    high = 1.0 if x == n else float(stats.beta.ppf(1 - tail, x + 1, n - x))
    return low, high


def summary_numbers(table: Counts) -> dict[str, float]:
    """F1, balanced accuracy, Youden's J, Matthews' correlation, Cohen's kappa, likelihood ratios and odds ratio."""
    tp, fp, fn, tn = (float(x) for x in (table.tp, table.fp, table.fn, table.tn))
    n = tp + fp + fn + tn
    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    by_chance = ratio((tp + fp) * (tp + fn) + (fn + tn) * (fp + tn), n * n)
    return {
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "youden": sensitivity + specificity - 1,
        "mcc": ratio(tp * tn - fp * fn, math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
        "kappa": ratio(ratio(tp + tn, n) - by_chance, 1 - by_chance),
        "lr_positive": ratio(sensitivity, 1 - specificity if fp else 0.0),
        "lr_negative": ratio(1 - sensitivity if fn else 0.0, specificity),
        "diagnostic_odds_ratio": ratio(tp * tn, fp * fn),
    }


def ratio_intervals(table: Counts, level: float = 0.95) -> dict[str, Interval]:
    """Likelihood ratios and diagnostic odds ratio with limits from the delta method on the log scale (as epiR).

    A ratio that an empty cell makes 0, infinite or unknown has no limits (NaN).
    """
    tp, fp, fn, tn = (float(x) for x in (table.tp, table.fp, table.fn, table.tn))
    values = summary_numbers(table)
    with_disease, without = tp + fn, fp + tn
    variances = {
        "lr_positive": (tp, fp, lambda: 1 / tp - 1 / with_disease + 1 / fp - 1 / without),
        "lr_negative": (fn, tn, lambda: 1 / fn - 1 / with_disease + 1 / tn - 1 / without),
        "diagnostic_odds_ratio": (tp * tn, fp * fn, lambda: 1 / tp + 1 / fp + 1 / fn + 1 / tn),
    }
    z = float(stats.norm.ppf(0.5 + level / 2))
    intervals = {}
    for name, (above, below, variance) in variances.items():
        factor = math.exp(z * math.sqrt(variance())) if above and below else math.nan
        intervals[name] = Interval(
            values[name], values[name] / factor, values[name] * factor, "delta method, log scale"
        )
    return intervals
