"""The LASSO path as glmnet defines it, by warm-started active sets with exact Newton steps.

Objective: `-(1/n) log-likelihood + lambda * sum |beta_j|` (half the mean squared error for the Gaussian family) over
columns scaled to mean 0 and population SD 1, the intercept free. Coefficients come back on the columns' own scale.
Friedman, Hastie and Tibshirani 2010 (J Stat Softw 33:1); strong rules: Tibshirani et al. 2012 (JRSS B 74:245).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics.discrimination import auc
from mammo_aln.radiomics.signatures.lasso_problem import Family, Floats, Problem

Measure = Literal["deviance", "auc"]
TOLERANCE = 1e-9  # of the gradient, in units of lambda_max
MOST_EXPLAINED = 0.999  # glmnet ends a path where this share of the deviance is explained,
LEAST_GAIN = 1e-5  # or where a step explains no more than this,
LEAST_STEPS = 5  # but not before this many steps
NO_SLOPE = 1e-10  # a largest slope below this, in SDs of the outcome, is rounding alone
LEAST_PER_FOLD = 10  # fewer patients per fold have no AUC of their own: glmnet then measures deviance


@dataclass(frozen=True)
class Path:
    """Solutions along decreasing penalties.

    Args:
        penalties: lambda, shape (s,), decreasing.
        intercepts: shape (s,).
        coefficients: shape (s, k), on the scale of the columns given.
        explained: share of the null deviance explained at each step, shape (s,).
        family: of the outcome.
    """

    penalties: Floats
    intercepts: Floats
    coefficients: Floats
    explained: Floats
    family: Family

    @property
    def selected(self) -> NDArray[np.int64]:
        """Number of non-zero coefficients at each step."""
        return np.count_nonzero(self.coefficients, axis=1)

    def linear_predictor(self, features: ArrayLike) -> Floats:
        """Shape (n, s)."""
        return np.asarray(features, dtype=np.float64) @ self.coefficients.T + self.intercepts


def largest_penalty(features: ArrayLike, outcome: ArrayLike) -> float:
    """Smallest lambda at which no column enters; exactly 0 where none varies with the outcome."""
    x, y = np.asarray(features, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    problem = Problem(x, y, "gaussian")
    found = float(np.abs(problem.x.T @ (y - y.mean())).max(initial=0.0) / len(y))
    return found if found > NO_SLOPE * float(y.std()) else 0.0


def default_ladder(largest: float, lowest: float, steps: int) -> Floats:
    """Lambdas from `largest` down to the share `lowest` of it; from 1 where nothing enters at any (largest 0)."""
    return (largest or 1.0) * np.geomspace(1.0, lowest, steps)


def lasso_path(
    features: ArrayLike,
    outcome: ArrayLike,
    *,
    family: Family = "binomial",
    penalties: Sequence[float] | Floats | None = None,
    steps: int = 100,
    tolerance: float = TOLERANCE,
) -> Path:
    """The LASSO path of glmnet (`alpha = 1`, `standardize = TRUE`).

    Args:
        features: shape (n, k), on any scale.
        outcome: 0 or 1 (binomial), or numbers (gaussian), shape (n,).
        family: of the outcome.
        penalties: lambdas, decreasing; by default `steps` from the largest useful one down to 0.01 of it (0.0001 where
            n > k), on a log scale, ended early where the fit no longer improves, as glmnet does. Where no column varies
            with the outcome nothing enters at any lambda, and the default path begins at 1.
        steps: length of the default path.
        tolerance: of the gradient, relative to the largest useful lambda.

    Raises:
        InputError: a value is not finite, or one outcome only.
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    if x.ndim != 2 or x.shape[0] != y.size or not np.isfinite(x).all() or not np.isfinite(y).all():
        raise InputError("LASSO: expected one row of finite features per outcome")
    if family == "binomial" and (not np.isin(y, (0.0, 1.0)).all() or not 0 < y.sum() < y.size):
        raise InputError("LASSO: expected outcomes of 0 and 1, both of them present")
    largest = largest_penalty(x, y)
    given = penalties is not None
    smallest = 1e-4 if x.shape[0] > x.shape[1] else 1e-2
    ladder = np.asarray(penalties, float) if penalties is not None else default_ladder(largest, smallest, steps)
    problem = Problem(x, y, family)
    slopes = problem.slopes(problem.eta())
    found: list[tuple[float, Floats, float]] = []
    before = max(largest, float(ladder[0]))
    for place, penalty in enumerate(ladder):
        if largest and penalty < largest * (1 - 1e-12):
            slopes = problem.solve(float(penalty), before, slopes, tolerance * largest)
        before = float(penalty)
        explained = 1.0 - problem.loss(problem.eta()) / problem.null if largest else 0.0
        coefficients = problem.beta / problem.scale
        found.append((problem.intercept - float(coefficients @ problem.mean), coefficients, explained))
        if not given and place + 1 >= LEAST_STEPS:
            gain = explained - found[-2][2]
            enough = LEAST_GAIN * (explained if family == "gaussian" else 1.0)
            if explained > MOST_EXPLAINED or gain < enough:
                break
    intercepts, matrix, shares = zip(*found, strict=True)
    return Path(ladder[: len(found)], np.array(intercepts), np.array(matrix), np.array(shares), family)


@dataclass(frozen=True)
class CrossValidated:
    """A path judged by cross-validation.

    Args:
        path: fitted on all rows.
        mean: cross-validated measure at each penalty (mean deviance per patient, or AUC).
        se: its standard error over folds.
        at_min: index of the best penalty.
        at_1se: index of the largest penalty within one standard error of the best.
        measure: what was measured.
    """

    path: Path
    mean: Floats
    se: Floats
    at_min: int
    at_1se: int
    measure: Measure


def cross_validate(
    features: ArrayLike,
    outcome: ArrayLike,
    folds: ArrayLike,
    *,
    measure: Measure = "deviance",
    penalties: Sequence[float] | Floats | None = None,
    steps: int = 100,
    own_paths: bool = False,
    tolerance: float = TOLERANCE,
) -> CrossValidated:
    """cv.glmnet for the binomial family with given folds.

    Each fold is standardised anew on its training part. By default every fold is fitted at the penalties of the whole
    path; with `own_paths` each fits its own path and its predictions are interpolated in lambda between those, which is
    what cv.glmnet does where it is given no lambda. The mean weighs folds by their size; with fewer than three patients
    per fold, each patient counts as a fold.

    Args:
        features: shape (n, k).
        outcome: 0 or 1.
        folds: name of each row's fold.
        measure: `auc` falls back to `deviance`, as in glmnet, where folds hold fewer than 10 patients on average.
        penalties: see `lasso_path`.
        steps: see `lasso_path`.
        own_paths: see above.
        tolerance: see `lasso_path`.
    """
    x, y, fold = np.asarray(features, float), np.asarray(outcome, float), np.asarray(folds)
    path = lasso_path(x, y, penalties=penalties, steps=steps, tolerance=tolerance)
    eta = np.empty((y.size, path.penalties.size))
    names = np.unique(fold)
    for name in names:
        out = fold == name
        ladder = None if own_paths else path.penalties
        part = lasso_path(x[~out], y[~out], penalties=ladder, steps=steps, tolerance=tolerance)
        eta[out] = _interpolated(part, path.penalties, x[out]) if own_paths else part.linear_predictor(x[out])
    if measure == "auc" and y.size / names.size < LEAST_PER_FOLD:
        measure = "deviance"
    if measure == "deviance":
        p = np.clip(expit(eta), 1e-5, 1 - 1e-5)
        raw = -2.0 * np.where(y[:, None] == 1.0, np.log(p), np.log1p(-p))
        groups = np.arange(y.size) if y.size / names.size < 3 else fold
        parts = np.array([raw[groups == name].mean(axis=0) for name in np.unique(groups)])
        weights = np.array([np.sum(groups == name) for name in np.unique(groups)], float)
    else:
        usable = [name for name in names if 0 < y[fold == name].sum() < np.sum(fold == name)]
        parts = np.array([[auc(e, y[fold == name]) for e in eta[fold == name].T] for name in usable])
        weights = np.array([np.sum(fold == name) for name in usable], float)
    mean = np.average(parts, axis=0, weights=weights)
    se = np.sqrt(np.average((parts - mean) ** 2, axis=0, weights=weights) / (len(parts) - 1))
    loss = mean if measure == "deviance" else -mean
    at_min = int(np.flatnonzero(loss <= loss.min())[0])  # penalties fall, so the first is the largest
    at_1se = int(np.flatnonzero(loss <= loss[at_min] + se[at_min])[0])
    return CrossValidated(path, mean, se, at_min, at_1se, measure)


def _interpolated(path: Path, penalties: Floats, features: Floats) -> Floats:
    """Linear predictors at other penalties, coefficients interpolated in lambda and held beyond the ends."""
    rising = path.penalties[::-1]
    at = np.clip(penalties, rising[0], rising[-1])
    upper = np.clip(np.searchsorted(rising, at), 1, rising.size - 1)
    share = ((at - rising[upper - 1]) / (rising[upper] - rising[upper - 1]))[None, :]
    eta = path.linear_predictor(features)[:, ::-1]
    return eta[:, upper - 1] * (1 - share) + eta[:, upper] * share
