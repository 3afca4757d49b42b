"""The LASSO path of a logistic model as glmnet defines it, by warm-started active sets with exact Newton steps.

Objective: `-(1/n) log-likelihood + lambda * sum |beta_j|` over columns scaled to mean 0 and population SD 1, the
intercept free. Coefficients come back on the columns' own scale. Friedman, Hastie and Tibshirani 2010 (J Stat Softw
33:1); strong rules: Tibshirani et al. 2012 (JRSS B 74:245). `python -m benchmarks lasso` measures it against
scikit-learn's solvers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import expit, log_expit

from mammo_aln.errors import InputError

Floats = NDArray[np.float64]
TOLERANCE = 1e-9  # of the gradient, in units of lambda_max
NO_SLOPE = 1e-10  # a largest slope below this, in SDs of the outcome, is rounding alone
SMALLEST_WEIGHT = 1e-9
LEAST_PER_FOLD = 3  # with fewer patients a fold, each patient counts as a fold of its own


@dataclass(frozen=True)
class Path:
    """Solutions along decreasing penalties.

    Args:
        penalties: lambda, shape (s,), decreasing.
        intercepts: shape (s,).
        coefficients: shape (s, k), on the scale of the columns given.
    """

    penalties: Floats
    intercepts: Floats
    coefficients: Floats

    @property
    def selected(self) -> NDArray[np.int64]:
        """Number of non-zero coefficients at each step."""
        return np.count_nonzero(self.coefficients, axis=1)

    def linear_predictor(self, features: ArrayLike) -> Floats:
        """Log-odds of each row at each penalty, shape (n, s)."""
        return np.asarray(features, dtype=np.float64) @ self.coefficients.T + self.intercepts


def largest_penalty(features: ArrayLike, outcome: ArrayLike) -> float:
    """Smallest lambda at which no column enters; exactly 0 where none varies with the outcome."""
    x, y = np.asarray(features, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    slope = float(np.abs(_standardised(x)[0].T @ (y - y.mean())).max(initial=0.0) / len(y))
    return slope if slope > NO_SLOPE * float(y.std()) else 0.0


def default_ladder(largest: float, lowest: float, steps: int) -> Floats:
    """Lambdas from `largest` down to the share `lowest` of it; from 1 where nothing enters at any (largest 0)."""
    return (largest or 1.0) * np.geomspace(1.0, lowest, steps)


def lasso_path(
    features: ArrayLike, outcome: ArrayLike, penalties: Sequence[float] | Floats, *, tolerance: float = TOLERANCE
) -> Path:
    """Solve the LASSO at one penalty after another (glmnet's `alpha = 1`, `standardize = TRUE`).

    Args:
        features: shape (n, k), on any scale.
        outcome: 0 or 1, shape (n,).
        penalties: lambdas, decreasing; see `default_ladder`.
        tolerance: of the gradient, relative to the largest useful lambda.

    Raises:
        InputError: a value is not finite, or one outcome only.
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    if x.ndim != 2 or x.shape[0] != y.size or not np.isfinite(x).all():
        raise InputError("LASSO: expected one row of finite features per outcome")
    if not np.isin(y, (0.0, 1.0)).all() or not 0 < y.sum() < y.size:
        raise InputError("LASSO: expected outcomes of 0 and 1, both of them present")
    largest, ladder = largest_penalty(x, y), np.asarray(penalties, float)
    problem = _Problem(x, y, tolerance * largest)
    slopes = problem.slopes(problem.eta())
    before = max(largest, float(ladder[0]))
    intercepts, coefficients = np.empty(len(ladder)), np.empty((len(ladder), x.shape[1]))
    for step, penalty in enumerate(ladder):
        if largest and penalty < largest * (1 - 1e-12):
            slopes = problem.solve(float(penalty), before, slopes)
        before = float(penalty)
        coefficients[step] = problem.beta / problem.scale
        intercepts[step] = problem.intercept - float(coefficients[step] @ problem.mean)
    return Path(ladder, intercepts, coefficients)


@dataclass(frozen=True)
class CrossValidated:
    """A path judged by cross-validation.

    Args:
        path: fitted on all rows.
        mean: cross-validated mean deviance per patient at each penalty.
        se: its standard error over folds.
        at_min: index of the penalty of least deviance.
        at_1se: index of the largest penalty within one standard error of it.
    """

    path: Path
    mean: Floats
    se: Floats
    at_min: int
    at_1se: int


def cross_validate(
    features: ArrayLike,
    outcome: ArrayLike,
    folds: ArrayLike,
    penalties: Sequence[float] | Floats,
    *,
    tolerance: float = TOLERANCE,
) -> CrossValidated:
    """Judge a path by the deviance of held-out patients, as cv.glmnet does with given folds and penalties.

    Each fold is standardised anew on its training rows. The mean weighs folds by their size; with fewer than three
    patients per fold, each patient counts as a fold.

    `folds` names each row's fold; for the others see `lasso_path`.
    """
    x, y, fold = np.asarray(features, float), np.asarray(outcome, float), np.asarray(folds)
    path = lasso_path(x, y, penalties, tolerance=tolerance)
    eta = np.empty((y.size, path.penalties.size))
    names = np.unique(fold)
    for name in names:
        out = fold == name
        eta[out] = lasso_path(x[~out], y[~out], path.penalties, tolerance=tolerance).linear_predictor(x[out])
    p = np.clip(expit(eta), 1e-5, 1 - 1e-5)
    deviance = -2.0 * np.where(y[:, None] == 1.0, np.log(p), np.log1p(-p))
    groups = np.arange(y.size) if y.size / names.size < LEAST_PER_FOLD else fold
    by_group = np.array([deviance[groups == name].mean(axis=0) for name in np.unique(groups)])
    weights = np.array([np.sum(groups == name) for name in np.unique(groups)], float)
    mean = np.average(by_group, axis=0, weights=weights)
    se = np.sqrt(np.average((by_group - mean) ** 2, axis=0, weights=weights) / (len(by_group) - 1))
    at_min = int(np.flatnonzero(mean <= mean.min())[0])  # penalties fall, so the first is the largest
    at_1se = int(np.flatnonzero(mean <= mean[at_min] + se[at_min])[0])
    return CrossValidated(path, mean, se, at_min, at_1se)


def _standardised(features: Floats) -> tuple[Floats, Floats, Floats]:
    """Columns of mean 0 and SD 1 (constant ones 0), their means and SDs."""
    mean, sd = features.mean(axis=0), features.std(axis=0)
    constant = sd <= 1e-12 * np.maximum(1.0, np.abs(mean))
    scale = np.where(constant, 1.0, sd)
    # Fortran order: picking the active columns is what happens most
    return np.asfortranarray(np.where(constant, 0.0, (features - mean) / scale)), mean, scale


@dataclass
class _Candidates:
    """Columns that may enter at one penalty; which of them are active, and the signs of those."""

    index: NDArray[np.int64]
    columns: Floats
    active: NDArray[np.bool_]
    sign: Floats


class _Problem:
    """Standardised columns, outcome, and the present solution."""

    def __init__(self, features: Floats, outcome: Floats, tolerance: float) -> None:
        self.x, self.mean, self.scale = _standardised(features)
        self.y, self.n, self.tolerance = outcome, len(outcome), tolerance
        self.beta = np.zeros(features.shape[1])
        share = float(outcome.mean())
        self.intercept = float(np.log(share / (1 - share)))

    def loss(self, eta: Floats) -> float:
        """Mean negative log-likelihood."""
        return -float(np.mean(log_expit(np.where(self.y == 1.0, eta, -eta))))

    def eta(self) -> Floats:
        """Linear predictors of the present solution."""
        active = np.flatnonzero(self.beta)
        return self.x[:, active] @ self.beta[active] + self.intercept

    def slopes(self, eta: Floats) -> Floats:
        """Gradient of the log-likelihood by each standardised coefficient, over n."""
        return self.x.T @ (self.y - expit(eta)) / self.n

    def solve(self, penalty: float, before: float, slopes: Floats) -> Floats:
        """Move the solution from penalty `before` to `penalty`; the slopes there are given and returned."""
        strong = np.abs(slopes) >= 2 * penalty - before
        while True:
            index = np.flatnonzero(strong | (self.beta != 0))
            present = self.beta[index]
            eta = self._solve_among(_Candidates(index, self.x[:, index], present != 0, np.sign(present)), penalty)
            slopes = self.slopes(eta)
            missed = (np.abs(slopes) > penalty + 10 * self.tolerance) & (self.beta == 0)
            missed[index] = False
            if not missed.any():
                return slopes
            strong |= missed

    def _solve_among(self, candidates: _Candidates, penalty: float) -> Floats:
        eta, count_before = self.eta(), -1
        for _ in range(10_000):
            eta = self._settle(candidates, eta, penalty)
            slope = candidates.columns.T @ (self.y - expit(eta)) / self.n
            outside = np.flatnonzero((np.abs(slope) > penalty + self.tolerance) & ~candidates.active)
            if not outside.size:
                return eta
            # all at once is fast; one alone always makes progress, where a set of them did not
            worst = outside[np.argsort(-np.abs(slope[outside]))]
            entering = worst[: 1 if count_before == len(outside) else max(1, len(worst) // 2)]
            count_before = len(outside)
            candidates.active[entering], candidates.sign[entering] = True, np.sign(slope[entering])
        raise RuntimeError(f"the LASSO did not settle at penalty {penalty:g}")

    def _settle(self, candidates: _Candidates, eta: Floats, penalty: float) -> Floats:
        """Take Newton's steps over the active columns with their signs; a coefficient that meets 0 leaves."""
        active, sign = candidates.active, candidates.sign
        values = self.beta[candidates.index]
        height = self.loss(eta) + penalty * float(np.abs(values).sum())
        for _ in range(500):
            inside = np.flatnonzero(active)
            design = np.column_stack([np.ones(self.n), candidates.columns[:, inside]])
            p = expit(eta)
            gradient = design.T @ (p - self.y) / self.n
            gradient[1:] += penalty * sign[inside]
            if np.abs(gradient).max() <= self.tolerance:
                break
            step = _newton(design, np.maximum(p * (1 - p), SMALLEST_WEIGHT), gradient)
            now = values[inside]
            wrong = (now == 0) & (step[1:] * sign[inside] < 0)  # entered, but pushed back through 0 by the others
            if wrong.any():
                active[inside[wrong]] = False
                continue
            share, moved = 1.0, False
            while share > 1e-9:
                new = now + share * step[1:]
                new = np.where(new * sign[inside] < 0, 0.0, new)
                intercept = self.intercept + share * step[0]
                eta_new = candidates.columns[:, inside] @ new + intercept
                height_new = self.loss(eta_new) + penalty * float(np.abs(new).sum())
                if height_new <= height + 1e-14 * abs(height):
                    values[inside], self.intercept = new, intercept
                    eta, height, moved = eta_new, height_new, True
                    active[inside[new == 0]] = False
                    break
                share /= 2.0
            if not moved:
                break
        self.beta[candidates.index] = values
        return eta


def _newton(design: Floats, weight: Floats, gradient: Floats) -> Floats:
    hessian = (design * weight[:, None]).T @ design / len(design)
    # columns that repeat each other make it singular: a trace of ridge shares the step among them
    hessian.flat[:: len(hessian) + 1] += 1e-11 * max(1e-8, float(hessian[0, 0]))
    try:
        return -cho_solve(cho_factor(hessian, check_finite=False), gradient, check_finite=False)
    except LinAlgError:
        return -np.asarray(np.linalg.lstsq(hessian, gradient, rcond=1e-10)[0], dtype=np.float64)
