"""Calibration, so that a score of 0.3 means 30 of 100: its measures, and the fit that repairs it on validation data.

Measures take `scores` that are probabilities and `labels` (1 = with the outcome); fits take `logits`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from scipy.special import expit, log_expit, logit

from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics.discrimination import Floats, Interval, checked

TEMPERATURE_LIMITS = (0.05, 20.0)  # a small validation set that separates the classes would drive the temperature to 0
CalibrationMethod = Literal["temperature", "platt"]


class NotEstimable(Exception):
    """A quantity that these data cannot give; the message is the reason that the report prints."""


def brier(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared distance between probability and outcome."""
    return float(np.mean((np.asarray(scores, dtype=float) - np.asarray(labels, dtype=float)) ** 2))


def brier_interval(scores: ArrayLike, labels: ArrayLike, clusters: ArrayLike | None = None) -> Interval:
    """Brier score with normal limits from the spread of the squared distances between patients, cut at 0.

    Rows of one patient (`clusters`) are added up before the spread is taken; NaN limits for fewer than two patients.
    """
    error = (np.asarray(scores, dtype=float) - np.asarray(labels, dtype=float)) ** 2
    member = np.arange(error.size) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    sums = np.bincount(member, weights=error - error.mean())
    se = math.sqrt(sums.size / (sums.size - 1) * float(sums @ sums)) / error.size if sums.size > 1 else math.nan
    half = stats.norm.ppf(0.975) * se
    value = float(error.mean())
    return Interval(value, max(0.0, value - half), value + half, "normal, over patients", se)


def brier_scaled(scores: ArrayLike, labels: ArrayLike) -> float:
    """1 - Brier / Brier of the prevalence: 0 = no better than the prevalence, 1 = perfect."""
    prevalence = float(np.mean(np.asarray(labels, dtype=float)))
    return 1.0 - brier(scores, labels) / (prevalence * (1.0 - prevalence))


def log_loss(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean negative log-likelihood; infinite where a prediction of 0 or 1 is wrong (nothing is clipped)."""
    score, label = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    with np.errstate(divide="ignore"):
        return float(-np.log(np.where(label == 1.0, score, 1.0 - score)).mean())


def _newton_logistic(design: Floats, labels: Floats, offset: Floats) -> tuple[Floats, Floats]:
    """Maximum-likelihood logistic regression: coefficients (k,) and covariance (k, k).

    Raises:
        NotEstimable: the classes are separated, or a column is constant.
    """
    beta = np.zeros(design.shape[1])
    for _ in range(60):
        mean = expit(design @ beta + offset)
        information = design.T @ (design * (mean * (1 - mean))[:, None])
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e14:
            raise NotEstimable(
                "the logistic fit has no finite solution (scores separate the outcomes, or are all equal)"
            )
        step = np.linalg.solve(information, design.T @ (labels - mean))
        beta = beta + step
        if np.abs(beta).max() > 1e4:
            break
        if np.abs(step).max() < 1e-11 * max(1.0, float(np.abs(beta).max())):
            return beta, np.linalg.inv(information)
    raise NotEstimable("the logistic fit does not converge (the scores separate the outcomes)")


def _inside(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Logits and labels of predictions strictly between 0 and 1, as rms::val.prob: the others have no logit."""
    score, label = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    keep = (score > 0.0) & (score < 1.0)
    if np.unique(label[keep]).size < 2:
        raise NotEstimable("one outcome only among predictions strictly between 0 and 1")
    return logit(score[keep]), label[keep]


def _wald(value: float, variance: float, method: str) -> Interval:
    se = math.sqrt(variance)
    half = stats.norm.ppf(0.975) * se
    return Interval(value, value - half, value + half, method, se)


def slope_and_intercept(scores: ArrayLike, labels: ArrayLike) -> tuple[Interval, Interval]:
    """Slope and intercept of one logistic fit on the logit of the score (ideal 1 and 0), Wald intervals."""
    x, y = _inside(scores, labels)
    if np.ptp(x) == 0:
        raise NotEstimable("all scores are equal: a slope needs at least two different scores")
    beta, covariance = _newton_logistic(np.column_stack([np.ones_like(x), x]), y, np.zeros_like(x))
    wald = "Wald, logistic fit on the logit"
    return _wald(float(beta[1]), float(covariance[1, 1]), wald), _wald(float(beta[0]), float(covariance[0, 0]), wald)


def in_the_large(scores: ArrayLike, labels: ArrayLike) -> Interval:
    """Intercept with the slope held at 1 (ideal 0; above 0 = risk underestimated on average), Wald interval."""
    x, y = _inside(scores, labels)
    beta, covariance = _newton_logistic(np.ones((x.size, 1)), y, x)
    return _wald(float(beta[0]), float(covariance[0, 0]), "Wald, logistic fit with the logit as offset")


def quantile_type7(values: Floats, shares: Floats) -> Floats:
    """R's default quantile with R's rounding, so that a score that is itself a quantile falls into R's group."""
    ordered = np.sort(values)
    index = (ordered.size - 1) * shares
    low, high = np.floor(index).astype(int), np.ceil(index).astype(int)
    weight = index - low
    return np.where(ordered[low] == ordered[high], ordered[low], (1 - weight) * ordered[low] + weight * ordered[high])


@dataclass(frozen=True)
class Bins:
    """Groups of predictions: limits `(low, high]`, number of patients, mean score, observed share."""

    low: Floats
    high: Floats
    n: NDArray[np.int64]
    mean_score: Floats
    observed: Floats


def bin_scores(
    scores: ArrayLike, labels: ArrayLike, bins: int = 10, by: Literal["width", "quantile"] = "width"
) -> Bins:
    """Group predictions into bins of equal width or equal size; equal quantiles are merged and empty bins left out."""
    score, label = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    shares = np.linspace(0.0, 1.0, bins + 1)
    edges = shares if by == "width" else np.unique(quantile_type7(score, np.arange(bins + 1) / bins))
    if edges.size == 1:
        edges = np.repeat(edges, 2)
    group = np.clip(np.searchsorted(edges, score, side="left") - 1, 0, edges.size - 2)
    n = np.bincount(group, minlength=edges.size - 1)
    used = n > 0
    mean_score = np.bincount(group, weights=score, minlength=n.size)[used] / n[used]
    observed = np.bincount(group, weights=label, minlength=n.size)[used] / n[used]
    return Bins(edges[:-1][used], edges[1:][used], n[used], mean_score, observed)


def calibration_errors(
    scores: ArrayLike, labels: ArrayLike, bins: int = 10, by: Literal["width", "quantile"] = "width"
) -> tuple[float, float]:
    """Expected and maximum calibration error (ECE, MCE) over bins `(low, high]`."""
    groups = bin_scores(scores, labels, bins, by)
    gap = np.abs(groups.observed - groups.mean_score)
    return float((groups.n / groups.n.sum() * gap).sum()), float(gap.max())


@dataclass(frozen=True)
class HosmerLemeshow:
    """Statistic, degrees of freedom, p-value and the number of groups left after equal quantiles were merged."""

    statistic: float
    df: int
    p_value: float
    groups: int


def hosmer_lemeshow(scores: ArrayLike, labels: ArrayLike, groups: int = 10, *, seen: bool = False) -> HosmerLemeshow:
    """Hosmer-Lemeshow test over quantile groups.

    Args:
        scores: probabilities, shape (n,).
        labels: outcomes, shape (n,).
        groups: quantile groups asked for; equal quantiles are merged, which lowers the degrees of freedom.
        seen: the model was fitted on these data: two degrees of freedom less.

    Raises:
        NotEstimable: too few different scores for the test.
    """
    table = bin_scores(scores, labels, groups, "quantile")
    left = table.n.size
    df = left - 2 if seen else left
    if left < 2 or df < 1:
        raise NotEstimable(f"only {left} group(s) of different scores; the test needs {3 if seen else 2}")
    expected = np.concatenate([table.n * table.mean_score, table.n * (1 - table.mean_score)])
    observed = np.concatenate([table.n * table.observed, table.n * (1 - table.observed)])
    off = observed - expected
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(np.abs(off) < 1e-12, 0.0, off * off / expected)
    statistic = float(terms.sum())
    return HosmerLemeshow(statistic, df, float(stats.chi2.sf(statistic, df)), left)


def fit_temperature(
    logits: ArrayLike, labels: ArrayLike, method: CalibrationMethod = "temperature"
) -> dict[str, float | str]:
    """Calibration fitted on validation data, as plain values for `apply_calibration` (and for JSON).

    `temperature` divides the logit by a positive number (the order of patients and the AUC stay), `platt` adds an
    intercept (the mean risk is matched too). Both maximise the likelihood; the temperature stays within
    `TEMPERATURE_LIMITS`, and `at_limit` says when it met one.

    Raises:
        InputError: a logit is not finite, a label is not 0/1, or one outcome only.
    """
    x, positive = checked(logits, labels)
    y = positive.astype(float)
    sign = np.where(positive, 1.0, -1.0)
    if method not in get_args(CalibrationMethod):
        raise InputError(f"unknown calibration method {method!r}; allowed: {', '.join(get_args(CalibrationMethod))}")

    def best_intercept(temperature: float) -> float:
        if method == "temperature":
            return 0.0
        centre = float(np.log(y.mean() / (1 - y.mean()))) - float(np.mean(x)) / temperature
        reach = float(np.ptp(x)) / temperature + 1.0
        return float(
            optimize.brentq(lambda b: float(np.sum(expit(x / temperature + b) - y)), centre - reach, centre + reach)
        )

    def loss(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        return -float(np.mean(log_expit(sign * (x / temperature + best_intercept(temperature)))))

    low, high = (math.log(limit) for limit in TEMPERATURE_LIMITS)
    grid = np.linspace(low, high, 41)
    start = int(np.argmin([loss(float(point)) for point in grid]))
    around = (float(grid[max(0, start - 1)]), float(grid[min(grid.size - 1, start + 1)]))
    least = optimize.minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-10})
    temperature = math.exp(float(least.x))
    return {
        "method": method,
        "temperature": temperature,
        "intercept": best_intercept(temperature),
        "n": int(y.size),
        "at_limit": bool(min(abs(least.x - low), abs(least.x - high)) < 1e-6),
    }


def apply_calibration(logits: ArrayLike, calibration: Mapping[str, Any]) -> Floats:
    """Probabilities of logits under a calibration from `fit_temperature`: `expit(logit / temperature + intercept)`."""
    x = np.asarray(logits, dtype=np.float64)
    return np.asarray(expit(x / float(calibration["temperature"]) + float(calibration["intercept"])), dtype=np.float64)
