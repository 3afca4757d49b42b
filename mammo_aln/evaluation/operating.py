"""What a frozen threshold does to patients: counts, proportions with intervals, and single numbers made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

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
        return {
            "sensitivity": (self.tp, self.tp + self.fn),
            "specificity": (self.tn, self.tn + self.fp),
            "ppv": (self.tp, self.tp + self.fp),
            "npv": (self.tn, self.tn + self.fn),
            "accuracy": (self.tp + self.tn, self.tp + self.fp + self.fn + self.tn),
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
