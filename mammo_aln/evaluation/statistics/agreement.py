"""Agreement of readers or repeated measurements: ICC in its six forms, Bland and Altman's limits, Cohen's kappa."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from mammo_aln.errors import InputError

Floats = NDArray[np.float64]
FORMS = ("ICC1", "ICC2", "ICC3", "ICC1k", "ICC2k", "ICC3k")
"""Shrout and Fleiss 1979: one-way random, two-way random, two-way mixed; of one rating or of the mean of k."""


@dataclass(frozen=True)
class Icc:
    """One form of the intraclass correlation with its F test of 0 and its confidence limits."""

    form: str
    value: float
    f: float
    df1: float
    df2: float
    p_value: float
    low: float
    high: float


@dataclass(frozen=True)
class Limits:
    """Bland and Altman: mean and SD of the differences, and limits of agreement (bias -/+ 1.96 SD)."""

    bias: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa, its large-sample variance (Fleiss, Cohen and Everitt 1969), and kappa with quadratic weights."""

    value: float
    variance: float
    weighted: float


def _ratings(ratings: ArrayLike) -> Floats:
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise InputError("ratings: expected finite numbers, at least two subjects (rows) and two raters (columns)")
    return table


def _mean_squares(table: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean squares between subjects, within subjects, between raters and of the residual; last axes (n, k)."""
    n, k = table.shape[-2:]
    grand = table.mean(axis=(-2, -1), keepdims=True)
    by_subject = table.mean(axis=-1, keepdims=True) - grand
    by_rater = table.mean(axis=-2, keepdims=True) - grand
    residual = table - grand - by_subject - by_rater
    between = k * np.sum(by_subject**2, axis=(-2, -1)) / (n - 1)
    raters = n * np.sum(by_rater**2, axis=(-2, -1)) / (k - 1)
    left = np.sum(residual**2, axis=(-2, -1))
    within = (left + raters * (k - 1)) / (n * (k - 1))
    return between, within, raters, left / ((n - 1) * (k - 1))


def icc_agreement(ratings: ArrayLike) -> Floats:
    """ICC(2,1), absolute agreement of single measurements, of many features at once: shape (..., n, k) -> (...).

    NaN where all values of a feature are equal.
    """
    table = np.asarray(ratings, dtype=np.float64)
    n, k = table.shape[-2:]
    between, _, raters, left = _mean_squares(table)
    whole = between + (k - 1) * left + k * (raters - left) / n
    return np.asarray((between - left) / np.where(whole > 0, whole, np.nan))


def icc(ratings: ArrayLike, level: float = 0.95) -> dict[str, Icc]:
    """All six forms of the intraclass correlation, with limits as in psych::ICC (Shrout and Fleiss 1979).

    Args:
        ratings: shape (subjects, raters).
        level: of the confidence limits.

    Raises:
        InputError: fewer than two subjects or raters, or a missing value.
    """
    table = _ratings(ratings)
    n, k = table.shape
    between, within, raters, left = (float(found) for found in _mean_squares(table))
    upper = 0.5 + level / 2
    one_way, two_way = (n - 1, n * (k - 1)), (n - 1, (n - 1) * (k - 1))

    def ratio(a: float, b: float) -> float:
        return a / b if b else (math.inf if a else math.nan)

    f1, f3 = ratio(between, within), ratio(between, left)
    values = {
        "ICC1": ratio(between - within, between + (k - 1) * within),
        "ICC2": ratio(between - left, between + (k - 1) * left + k * (raters - left) / n),
        "ICC3": ratio(between - left, between + (k - 1) * left),
        "ICC1k": ratio(between - within, between),
        "ICC2k": ratio(between - left, between + (raters - left) / n),
        "ICC3k": ratio(between - left, between),
    }
    single = {
        name: ((low - 1) / (low + k - 1) if math.isfinite(low) else 1.0, (high - 1) / (high + k - 1))
        for name, f, df in (("ICC1", f1, one_way), ("ICC3", f3, two_way))
        for low, high in [(f / stats.f.ppf(upper, *df), f * stats.f.ppf(upper, *df[::-1]))]
        if math.isfinite(f)
    }
    single["ICC2"] = _two_way_random_limits(values["ICC2"], between, raters, left, n, k, upper)
    found = {}
    for form in FORMS:
        df, f = (one_way, f1) if form.startswith("ICC1") else (two_way, f3)
        low, high = single.get(form[:4], (math.nan, math.nan))
        if form.endswith("k"):
            low, high = (k * limit / (1 + (k - 1) * limit) for limit in (low, high))
        found[form] = Icc(form, values[form], f, df[0], df[1], float(stats.f.sf(f, *df)), float(low), float(high))
    return found


def _two_way_random_limits(
    value: float, between: float, raters: float, left: float, n: int, k: int, upper: float
) -> tuple[float, float]:
    if not left:
        return math.nan, math.nan
    fj = raters / left
    load = n * (1 + (k - 1) * value) - k * value
    df = (k - 1) * (n - 1) * (k * value * fj + load) ** 2 / ((n - 1) * k**2 * value**2 * fj**2 + load**2)
    f_low, f_high = stats.f.ppf(upper, n - 1, df), stats.f.ppf(upper, df, n - 1)
    rest = k * raters + (k * n - k - n) * left
    low = n * (between - f_low * left) / (f_low * rest + n * between)
    return float(low), float(n * (f_high * between - left) / (rest + n * f_high * between))


def bland_altman(first: ArrayLike, second: ArrayLike) -> Limits:
    """Bias and limits of agreement of two measurements of the same subjects (first minus second)."""
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    return Limits(bias, sd, bias - 1.96 * sd, bias + 1.96 * sd)


def cohen_kappa(first: ArrayLike, second: ArrayLike) -> Kappa:
    """Agreement of two readers on categories in order beyond chance, plain and with quadratic weights.

    The categories are all values that either reader gave; their places, not their distances, make the weights.
    """
    levels, codes = np.unique(np.concatenate([np.ravel(first), np.ravel(second)]), return_inverse=True)
    a, b = codes.reshape(2, -1)
    n, size = a.size, levels.size
    share = np.zeros((size, size))
    np.add.at(share, (a, b), 1.0 / n)
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    chance = np.outer(rows, columns)
    observed, expected = float(np.trace(share)), float(np.trace(chance))
    if size < 2:
        return Kappa(math.nan, math.nan, math.nan)
    place = np.arange(size)
    distance = (place[:, None] - place[None, :]) ** 2
    kappa = (observed - expected) / (1 - expected)
    agree = np.eye(size, dtype=bool)
    margins = columns[:, None] + rows[None, :]
    diagonal = float(np.sum(np.diag(share) * ((1 - expected) - np.diag(margins) * (1 - observed)) ** 2))
    others = (1 - observed) ** 2 * float(np.sum((share * margins**2)[~agree]))
    last = (observed * expected - 2 * expected + observed) ** 2
    variance = (diagonal + others - last) / (n * (1 - expected) ** 4)
    return Kappa(kappa, max(0.0, variance), 1.0 - float(np.sum(distance * share) / np.sum(distance * chance)))
