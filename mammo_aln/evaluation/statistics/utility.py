"""Usefulness of acting on a score: decision curves, and operations spared at each limit of missed disease.

Acting = treating a patient as having residual nodal disease (axillary dissection); its threshold probability is `pt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from mammo_aln.evaluation.statistics.discrimination import Floats, choose_threshold
from mammo_aln.evaluation.statistics.operating import count, wilson

PERCENTS = tuple(range(1, 100))
MISSED_LIMITS = (0.02, 0.05, 0.10, 0.15, 0.20)


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit per patient at each threshold probability; `low`/`high` are normal 95 % limits of the model's."""

    threshold: Floats
    model: Floats
    low: Floats
    high: Floats
    treat_all: Floats

    @property
    def treat_none(self) -> Floats:
        """Doing nothing has no benefit and no harm."""
        return np.zeros_like(self.threshold)


def decision_curve(scores: ArrayLike, labels: ArrayLike, *, clusters: ArrayLike | None = None) -> DecisionCurve:
    """Net benefit TP/n - FP/n * pt/(1 - pt), positive if `score >= pt` (Vickers & Elkin 2006).

    Args:
        scores: probabilities, shape (n,).
        labels: outcomes, shape (n,).
        clusters: patient of each row, shape (n,), where patients have several: a patient's rows are added up.
    """
    score, label = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    # i / 100 is the number that a score written as 0.3 equals; a sum of steps is not
    threshold = np.array([percent / 100 for percent in PERCENTS])
    odds = threshold / (1.0 - threshold)
    worth = np.where(label[None, :] == 1.0, 1.0, -odds[:, None])
    each = worth * (score[None, :] >= threshold[:, None])
    net = each.mean(axis=1)
    half = stats.norm.ppf(0.975) * _se_of_mean(each, clusters)
    return DecisionCurve(threshold, net, net - half, net + half, worth.mean(axis=1))


def _se_of_mean(each: Floats, clusters: ArrayLike | None) -> Floats:
    """Standard error of each row's mean over patients, shape (thresholds,); NaN for fewer than two patients."""
    rows = each.shape[1]
    member = np.arange(rows) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    count = int(member.max(initial=-1)) + 1
    if count < 2:
        return np.full(len(each), np.nan)
    sums = np.zeros((count, len(each)))
    np.add.at(sums, member, (each - each.mean(axis=1, keepdims=True)).T)
    return np.sqrt(count / (count - 1) * (sums**2).sum(axis=0)) / rows


@dataclass(frozen=True)
class BenefitDifference:
    """Net benefit per patient of one model minus another's at each threshold, with normal 95 % limits, pointwise.

    Limits are NaN where no patient is called otherwise, or there are fewer than two.
    """

    threshold: Floats
    difference: Floats
    low: Floats
    high: Floats
    p_value: Floats


def net_benefit_difference(
    first: ArrayLike, second: ArrayLike, labels: ArrayLike, *, clusters: ArrayLike | None = None
) -> BenefitDifference:
    """Net benefit of `second` minus that of `first` on the same patients, from the spread of patients' own differences.

    Args:
        first: probabilities, shape (n,).
        second: probabilities, shape (n,).
        labels: outcomes, shape (n,).
        clusters: patient of each row, shape (n,), where patients have several: a patient's rows are added up.
    """
    threshold = np.array([percent / 100 for percent in PERCENTS])
    label = np.asarray(labels, dtype=float)
    worth = np.where(label[None, :] == 1.0, 1.0, -(threshold / (1.0 - threshold))[:, None])
    calls = [np.asarray(scores, dtype=float)[None, :] >= threshold[:, None] for scores in (first, second)]
    each = worth * (calls[1].astype(float) - calls[0])
    mean, se = each.mean(axis=1), _se_of_mean(each, clusters)
    se = np.where((each != 0).any(axis=1) & (se > 0), se, np.nan)
    half = float(stats.norm.ppf(0.975)) * se
    return BenefitDifference(threshold, mean, mean - half, mean + half, 2 * stats.norm.sf(np.abs(mean / se)))


@dataclass(frozen=True)
class SparedRow:
    """One limit of missed disease: the threshold frozen elsewhere, and what it does here (value, low, high)."""

    limit: float
    threshold: float
    spared_per_1000: tuple[float, float, float]
    missed_per_1000: tuple[float, float, float]
    missed_share: tuple[float, float, float]


def operations_spared(
    fit_scores: ArrayLike,
    fit_labels: ArrayLike,
    scores: ArrayLike,
    labels: ArrayLike,
    limits: Sequence[float] = MISSED_LIMITS,
) -> list[SparedRow]:
    """Dissections avoided and disease missed when patients below a threshold are spared the operation.

    For each limit the threshold is the highest that misses at most that share of diseased patients in the fitting data
    (validation), and is then applied, frozen, to `scores`. Intervals are Wilson's.
    """
    result = []
    label = np.asarray(labels, dtype=float)
    for limit in limits:
        threshold = float(choose_threshold(fit_scores, fit_labels, "target_sensitivity", 1.0 - limit)["value"])
        table = count(scores, label, threshold)
        n, spared = label.size, table.fn + table.tn

        def per(x: int, total: int, scale: float) -> tuple[float, float, float]:
            low, high = wilson(x, total)
            return (scale * x / total if total else float("nan")), scale * low, scale * high

        missed = per(table.fn, table.fn + table.tp, 1.0)
        result.append(SparedRow(limit, threshold, per(spared, n, 1000.0), per(table.fn, n, 1000.0), missed))
    return result
