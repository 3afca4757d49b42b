"""Discrimination: ROC curve, AUC with its variance and intervals, average precision, thresholds.

Every function takes `scores` first and `labels` second (1 = with the outcome, 0 = without); a higher score means
more likely positive. Nothing here needs scores to be probabilities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from mammo_aln.errors import InputError

Floats = NDArray[np.float64]
ThresholdRule = Literal["youden", "target_sensitivity"]
SLACK = 1e-12  # a target such as 0.9 counts as reached by 0.8999999999999999


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits, and in words how they were made."""

    value: float
    low: float
    high: float
    method: str
    se: float = math.nan


@dataclass(frozen=True)
class RocPoints:
    """All operating points, from "call everyone positive" (-inf) to "call no one" (inf): arrays of equal length.

    Thresholds are mid-points between neighbouring scores, as pROC gives them; positive means `score >= threshold`.
    """

    threshold: Floats
    sensitivity: Floats
    specificity: Floats


def checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """Scores as floats and labels as booleans, or an `InputError` that says what is wrong with them.

    Raises:
        InputError: lengths differ, a score is not finite, a label is not 0 or 1, or one class is missing.
    """
    score = np.asarray(scores, dtype=np.float64)
    label = np.asarray(labels, dtype=np.float64)
    if score.ndim != 1 or score.shape != label.shape:
        raise InputError(
            f"scores and labels must be two lists of one length, got shapes {score.shape} and {label.shape}"
        )
    if not np.isfinite(score).all():
        raise InputError(f"{int((~np.isfinite(score)).sum())} of {score.size} scores are not finite numbers")
    if not np.isin(label, (0.0, 1.0)).all():
        raise InputError("labels must be 0 or 1")
    n_positive = int(label.sum())
    if n_positive in (0, label.size):
        raise InputError(f"both outcomes are needed, got {n_positive} positive of {label.size} patients")
    return score, label == 1.0


def placements(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """DeLong's structural components in O(n log n), by mid-ranks (Sun & Xu 2014, doi 10.1109/LSP.2014.2337313).

    For each positive the share of negatives below it, for each negative that of positives above it; ties count half.
    """
    positives, negatives = scores[positive], scores[~positive]
    m, n = positives.size, negatives.size
    among_all = stats.rankdata(np.concatenate([positives, negatives]))
    v10 = (among_all[:m] - stats.rankdata(positives)) / n
    v01 = 1.0 - (among_all[m:] - stats.rankdata(negatives)) / m
    return v10, v01


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve (Mann-Whitney), ties counted half."""
    score, positive = checked(scores, labels)
    return float(placements(score, positive)[0].mean())


def _variance(component: Floats) -> float:
    """Sample variance that is exactly 0 for equal values, so that 0/0 is told from small/small."""
    return float((component - component[0]).var(ddof=1)) if component.size > 1 else math.nan


def variance_of_components(
    v10: Floats, v01: Floats, positive: NDArray[np.bool_], clusters: ArrayLike | None = None
) -> float:
    """Variance of the mean of structural components (of an AUC, or of the difference of two AUCs).

    Args:
        v10: components of the positives, in the order of the rows.
        v01: components of the negatives.
        positive: outcomes of all rows, shape (n,).
        clusters: the patient of each row, shape (n,), where patients have several.
    """
    if clusters is None:
        return _variance(v10) / v10.size + _variance(v01) / v01.size
    _, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    count = int(cluster.max()) + 1
    m, n = v10.size, v01.size
    above = np.bincount(cluster[positive], weights=v10 - v10.mean(), minlength=count)
    below = np.bincount(cluster[~positive], weights=v01 - v01.mean(), minlength=count)
    with_positive = np.unique(cluster[positive]).size
    with_negative = np.unique(cluster[~positive]).size
    if min(with_positive, with_negative) < 2:
        return math.nan
    s10 = with_positive / ((with_positive - 1) * m) * float(above @ above)
    s01 = with_negative / ((with_negative - 1) * n) * float(below @ below)
    s11 = count / (count - 1) * float(above @ below)
    return max(0.0, s10 / m + s01 / n + 2.0 * s11 / (m * n))


def auc_variance(scores: ArrayLike, labels: ArrayLike, clusters: ArrayLike | None = None) -> float:
    """DeLong's variance of the AUC, or Obuchowski's where patients have several rows."""
    score, positive = checked(scores, labels)
    return variance_of_components(*placements(score, positive), positive, repeated(clusters))


def repeated(clusters: ArrayLike | None) -> NDArray[Any] | None:
    """The clusters, or None where every patient has one row and nothing depends on anything."""
    if clusters is None:
        return None
    member = np.asarray(clusters)
    return member if np.unique(member).size < member.size else None


def wald_interval(value: float, variance: float, level: float = 0.95) -> tuple[float, float]:
    """Normal limits cut to [0, 1], as pROC's `ci.auc` prints them."""
    half = stats.norm.ppf(0.5 + level / 2) * math.sqrt(variance)
    return max(0.0, value - half), min(1.0, value + half)


def logit_interval(value: float, variance: float, level: float = 0.95) -> tuple[float, float]:
    """Limits on the logit scale (delta method): never outside (0, 1), and nearer to 95 % in small samples.

    Raises:
        InputError: an AUC of 0 or 1 has no logit; see `exact_interval`.
    """
    if not 0.0 < value < 1.0:
        raise InputError(f"an AUC of {value:g} has no interval on the logit scale")
    half = stats.norm.ppf(0.5 + level / 2) * math.sqrt(variance) / (value * (1.0 - value))
    centre = math.log(value / (1.0 - value))
    low, high = 1.0 / (1.0 + np.exp(-(centre + half * np.array([-1.0, 1.0]))))
    return float(low), float(high)


def exact_interval(value: float, n_positive: int, n_negative: int, level: float = 0.95) -> tuple[float, float]:
    """Bound for an AUC of exactly 0 or 1, where DeLong's variance is 0 and says nothing.

    The sample holds k = min(n_positive, n_negative) disjoint, independent pairs, all ordered the same way; Clopper and
    Pearson's limit for k of k is a valid, conservative bound for the probability that a pair is ordered so.
    """
    limit = ((1.0 - level) / 2.0) ** (1.0 / min(n_positive, n_negative))
    return (limit, 1.0) if value == 1.0 else (0.0, 1.0 - limit)


def roc_points(scores: ArrayLike, labels: ArrayLike) -> RocPoints:
    """Every operating point of the empirical ROC curve, thresholds ascending."""
    score, positive = checked(scores, labels)
    levels, group = np.unique(score, return_inverse=True)
    positives = np.bincount(group[positive], minlength=levels.size)
    negatives = np.bincount(group[~positive], minlength=levels.size)
    middle = levels[:-1] + (levels[1:] - levels[:-1]) / 2.0
    middle = np.where(middle <= levels[:-1], levels[1:], middle)  # neighbours one bit apart have no number between
    missed = np.concatenate([[0], np.cumsum(positives)])
    spared = np.concatenate([[0], np.cumsum(negatives)])
    return RocPoints(
        threshold=np.concatenate([[-np.inf], middle, [np.inf]]),
        sensitivity=1.0 - missed / positives.sum(),
        specificity=spared / negatives.sum(),
    )


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Sum over distinct scores of precision times the step in recall (no interpolation; as scikit-learn)."""
    score, positive = checked(scores, labels)
    levels, group = np.unique(score, return_inverse=True)
    positives = np.bincount(group[positive], minlength=levels.size)[::-1]
    called = np.cumsum(np.bincount(group, minlength=levels.size)[::-1])
    return float((positives / positive.sum() * np.cumsum(positives) / called).sum())


def partial_auc(scores: ArrayLike, labels: ArrayLike, *, specificity: float) -> tuple[float, float]:
    """Area from a specificity to 1, raw and after McClish's correction (0.5 = chance, 1 = perfect).

    The correction is NaN for an area below the diagonal's, for which it is not defined (pROC gives NA).
    """
    points = roc_points(scores, labels)
    x, y = 1.0 - points.specificity, points.sensitivity
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    width = 1.0 - specificity
    inside = x < width
    below, above = np.flatnonzero(inside)[-1], np.flatnonzero(~inside)[0]
    edge = y[below] + (y[above] - y[below]) * (width - x[below]) / (x[above] - x[below])
    area = float(np.trapezoid(np.append(y[inside], edge), np.append(x[inside], width)))
    chance = width * width / 2.0
    return area, 0.5 * (1.0 + (area - chance) / (width - chance)) if area >= chance - SLACK else math.nan


def choose_threshold(
    scores: ArrayLike, labels: ArrayLike, rule: ThresholdRule = "youden", target: float | None = None
) -> dict[str, float | str]:
    """Threshold of validation scores by a rule, to be frozen: `value`, `rule`, its `target`, and what it reaches.

    `youden` maximises sensitivity + specificity, `target_sensitivity` takes the highest threshold that reaches
    `target`. Of tied thresholds the highest is taken (highest specificity). Positive means `score >= value`.

    Raises:
        InputError: one class only, a target is missing, or an unknown rule.
    """
    points = roc_points(scores, labels)
    if rule == "youden":
        gain = points.sensitivity + points.specificity
        allowed = gain >= gain.max() - SLACK
    elif rule == "target_sensitivity":
        if target is None or not 0.0 < target <= 1.0:
            raise InputError(f"the threshold rule {rule} needs a target between 0 and 1, got {target}")
        allowed = points.sensitivity >= target - SLACK
    else:
        raise InputError(f"unknown threshold rule {rule!r}; allowed: {', '.join(get_args(ThresholdRule))}")
    best = int(np.flatnonzero(allowed)[-1])
    stated: dict[str, float | str] = {"value": float(points.threshold[best]), "rule": rule}
    if target is not None and rule == "target_sensitivity":
        stated["target"] = target
    return {**stated, "sensitivity": float(points.sensitivity[best]), "specificity": float(points.specificity[best])}
