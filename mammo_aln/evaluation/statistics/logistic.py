"""Logistic regression as R's `glm` fits it: coefficients, tests, profile intervals; separation seen, Firth instead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, stats
from scipy.optimize import linprog
from scipy.special import expit, log_expit

from mammo_aln.errors import InputError

Floats = NDArray[np.float64]
INTERCEPT = "(Intercept)"
EPSILON, MOST_STEPS = 1e-8, 25  # R's glm.control
SMALLEST_WEIGHT = np.finfo(float).eps
PROFILE_STEPS = 10
CALM = 8.0


@dataclass(frozen=True)
class Logistic:
    """A fitted logistic regression.

    Args:
        names: terms, `(Intercept)` first.
        beta: coefficients, shape (k,).
        covariance: their covariance matrix (inverse Fisher information), shape (k, k).
        loglik: log-likelihood (without Firth's penalty).
        null_loglik: log-likelihood of the intercept alone.
        n: patients.
        converged: the iterations settled.
        penalised: Firth's bias-reduced estimates.
    """

    names: tuple[str, ...]
    beta: Floats
    covariance: Floats
    loglik: float
    null_loglik: float
    n: int
    converged: bool
    penalised: bool = False

    @cached_property
    def se(self) -> Floats:
        """Standard errors, shape (k,)."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def z(self) -> Floats:
        """Wald statistics."""
        return self.beta / self.se

    @property
    def p_values(self) -> Floats:
        """Two-sided Wald p-values."""
        return 2.0 * stats.norm.sf(np.abs(self.z))

    @property
    def aic(self) -> float:
        """Akaike's criterion."""
        return -2.0 * self.loglik + 2.0 * self.beta.size

    @property
    def deviance(self) -> float:
        """-2 log-likelihood."""
        return -2.0 * self.loglik

    def wald_limits(self, level: float = 0.95) -> Floats:
        """Normal limits of every coefficient, shape (k, 2)."""
        half = stats.norm.ppf(0.5 + level / 2) * self.se
        return np.column_stack([self.beta - half, self.beta + half])

    def vif(self) -> dict[str, float]:
        """Variance inflation of every term but the intercept, from the coefficients' correlations (rms::vif)."""
        inner = self.covariance[1:, 1:]
        scale = np.sqrt(np.diag(inner))
        inflation = np.diag(np.linalg.inv(inner / np.outer(scale, scale)))
        return dict(zip(self.names[1:], map(float, inflation), strict=True))


def with_intercept(columns: ArrayLike, n: int) -> Floats:
    """Design matrix: a column of ones, then the (n, k) columns."""
    return np.column_stack([np.ones(n), np.asarray(columns, dtype=np.float64).reshape(n, -1)])


def log_likelihood(eta: Floats, y: Floats) -> float:
    """Sum of the log-probabilities of the outcomes under linear predictors."""
    return float(np.sum(log_expit(np.where(y == 1.0, eta, -eta))))


def _checked(design: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(design, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if x.ndim != 2 or len(x) != y.size or not np.isfinite(x).all() or not np.isin(y, (0.0, 1.0)).all():
        raise InputError("logistic regression: expected one row of finite numbers per label, and labels of 0 or 1")
    return x, y


def _fittable(design: ArrayLike, labels: ArrayLike, names: Sequence[str]) -> tuple[Floats, Floats]:
    """Arrays of a model that can be fitted: both outcomes, and columns that do not depend on each other."""
    x, y = _checked(design, labels)
    if not 0 < y.sum() < y.size:
        raise InputError(f"both outcomes are needed, got {int(y.sum())} positive of {y.size} patients")
    if len(independent_columns(x)) < x.shape[1]:
        raise InputError(f"the columns {', '.join(names)} depend on each other on these {y.size} patients")
    return x, y


def _null_loglik(y: Floats) -> float:
    share = float(y.mean())
    return y.size * (share * math.log(share) + (1 - share) * math.log(1 - share))


def _steps(x: Floats, y: Floats, offset: Floats, eta: Floats) -> tuple[Floats, Floats, bool]:
    """R's iteratively reweighted least squares from linear predictors `eta`: coefficients, information, settled."""
    deviance = -2.0 * log_likelihood(eta, y)
    beta = np.zeros(x.shape[1])
    information = np.eye(x.shape[1])
    for _ in range(MOST_STEPS):
        p = expit(eta)
        weight = np.maximum(p * (1.0 - p), SMALLEST_WEIGHT)
        root = np.sqrt(weight)
        working = (eta - offset) + (y - p) / weight
        q, r = np.linalg.qr(root[:, None] * x)
        beta = linalg.solve_triangular(r, q.T @ (root * working))
        information = r.T @ r
        eta = x @ beta + offset
        before, deviance = deviance, -2.0 * log_likelihood(eta, y)
        if abs(deviance - before) / (abs(deviance) + 0.1) < EPSILON:
            return beta, information, True
    return beta, information, False


def fit_logistic(design: ArrayLike, labels: ArrayLike, names: Sequence[str]) -> Logistic:
    """Maximum likelihood, with the start and the stopping rule of R's `glm` (so also its numbers under separation).

    Args:
        design: shape (n, k), the intercept's column of ones first, of full column rank (see `independent_columns`).
        labels: 0 or 1, shape (n,).
        names: one per column.

    Raises:
        InputError: a value is not finite, one outcome only, or columns that depend on each other.
    """
    x, y = _fittable(design, labels, names)
    start = (y + 0.5) / 2.0
    beta, information, converged = _steps(x, y, np.zeros(y.size), np.log(start / (1.0 - start)))
    loglik = log_likelihood(x @ beta, y)
    covariance = np.asarray(np.linalg.inv(information), dtype=np.float64)
    return Logistic(tuple(names), beta, covariance, loglik, _null_loglik(y), y.size, converged)


def independent_columns(design: ArrayLike, tolerance: float = 1e-7) -> list[int]:
    """Columns that no earlier ones span, in order (R aliases the others)."""
    kept: list[int] = []
    basis = np.empty((len(np.asarray(design)), 0))
    for number, column in enumerate(np.asarray(design, dtype=np.float64).T):
        left = column - basis @ (basis.T @ column)
        left -= basis @ (basis.T @ left)
        length = float(np.linalg.norm(left))
        if length > tolerance * max(float(np.linalg.norm(column)), 1e-300):
            kept.append(number)
            basis = np.column_stack([basis, left / length])
    return kept


def separated(design: ArrayLike, labels: ArrayLike) -> bool:
    """Test for separation: some combination of columns splits the outcomes, completely or but for ties.

    No finite estimate exists then.

    Albert and Anderson 1984: a direction b other than 0 with x'b >= 0 for positives and <= 0 for negatives, > 0 in
    absolute value somewhere; found by linear programming on columns of unit length.
    """
    x, y = _checked(design, labels)
    x = x / np.maximum(np.abs(x).max(axis=0), 1e-300)
    signed = np.where(y[:, None] == 1.0, x, -x)
    solution = linprog(-signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(y.size), bounds=[(-1.0, 1.0)] * x.shape[1])
    return bool(solution.status == 0 and -solution.fun > 1e-7)


def fit_firth(design: ArrayLike, labels: ArrayLike, names: Sequence[str]) -> Logistic:
    """Bias-reduced estimates (Firth 1993, Biometrika 80:27): finite also under separation; Wald SE as R's brglm.

    Newton's steps on the score `X'(y - p + h (1/2 - p))`, halved while the penalised likelihood falls.

    Raises:
        InputError: as `fit_logistic`.
    """
    x, y = _fittable(design, labels, names)
    scale = np.maximum(np.abs(x).max(axis=0), 1e-300)
    z = x / scale

    def penalised(b: Floats) -> float:
        p = expit(z @ b)
        sign, logdet = np.linalg.slogdet((z * (p * (1 - p))[:, None]).T @ z)
        return log_likelihood(z @ b, y) + 0.5 * float(logdet) if sign > 0 else -math.inf

    b, settled = np.zeros(x.shape[1]), False
    height = penalised(b)
    for _ in range(500):
        p = expit(z @ b)
        weight = p * (1 - p)
        inverse = np.linalg.inv((z * weight[:, None]).T @ z)
        hat = weight * np.einsum("ij,jk,ik->i", z, inverse, z)
        step = inverse @ (z.T @ (y - p + hat * (0.5 - p)))
        step *= min(1.0, 5.0 / max(float(np.abs(z @ step).max()), 1e-300))
        share = 1.0
        while share > 1e-10 and penalised(b + share * step) < height - 1e-12 * abs(height):
            share /= 2.0
        b = b + share * step
        height = penalised(b)
        if np.abs(step).max() < 1e-12 * max(1.0, float(np.abs(b).max())):
            settled = True
            break
    p = expit(z @ b)
    covariance = np.linalg.inv((z * (p * (1 - p))[:, None]).T @ z) / np.outer(scale, scale)
    loglik = log_likelihood(z @ b, y)
    return Logistic(tuple(names), b / scale, covariance, loglik, _null_loglik(y), y.size, settled, True)


def fit_either(design: ArrayLike, labels: ArrayLike, names: Sequence[str]) -> Logistic:
    """Maximum likelihood where it exists, Firth's estimates under (quasi-)separation; `penalised` tells which."""
    fitted = fit_logistic(design, labels, names)
    # a separated row's log-odds run away, so calm ones need no linear program
    calm = fitted.converged and np.abs(np.asarray(design) @ fitted.beta).max() < CALM
    return fitted if calm or not separated(design, labels) else fit_firth(design, labels, names)


def likelihood_ratio_p(larger: Logistic, smaller: Logistic) -> float:
    """p of the terms that the smaller, nested model lacks (chi-squared)."""
    gain = max(0.0, 2.0 * (larger.loglik - smaller.loglik))
    return float(stats.chi2.sf(gain, larger.beta.size - smaller.beta.size))


def profile_limits(fitted: Logistic, design: ArrayLike, labels: ArrayLike, level: float = 0.95) -> Floats:
    """Profile-likelihood limits of every coefficient, shape (k, 2), by the steps of R's `confint.glm`.

    The signed root of the deviance is computed on a grid of steps of a fifth of the largest root wanted times the
    standard error, joined by a spline and read off linearly at three points per step: the numbers are R's,
    interpolation included (about 1e-4 standard errors beside the exact root). NaN where the profile does not reach the
    limit within ten steps, as may be under separation.
    """
    x, y = _checked(design, labels)
    alpha = (1.0 - level) / 4.0
    largest = math.sqrt(stats.chi2.ppf(1.0 - alpha, 1))
    quantiles = stats.norm.ppf([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    limits = np.full((fitted.beta.size, 2), np.nan)
    for term, (centre, se) in enumerate(zip(fitted.beta, fitted.se, strict=True)):
        points = [(0.0, float(centre))]
        others = np.delete(x, term, axis=1)
        for sign in (-1.0, 1.0):
            eta, root, step = x @ fitted.beta, 0.0, 1
            while step < PROFILE_STEPS and abs(root) < largest:
                value = float(centre) + sign * step * largest / 5.0 * float(se)
                offset = x[:, term] * value
                if others.shape[1]:
                    eta = others @ _steps(others, y, offset, eta)[0] + offset
                else:
                    eta = offset
                root = sign * math.sqrt(max(0.0, -2.0 * log_likelihood(eta, y) - fitted.deviance))
                points.append((root, value))
                step += 1
        roots, values = np.array(sorted(points)).T
        if not np.isfinite(values).all() or np.unique(values).size < 4:
            continue
        order = np.argsort(values)
        fine = np.linspace(values.min(), values.max(), 3 * values.size)
        smooth = forsythe_spline(values[order], roots[order], fine)
        rising = np.argsort(smooth)
        limits[term] = np.interp(quantiles, smooth[rising], fine[rising], left=np.nan, right=np.nan)
    return limits


def forsythe_spline(x: Floats, y: Floats, at: Floats) -> Floats:
    """Cubic spline of Forsythe, Malcolm and Moler (R's `spline(method = "fmm")`), for at least four points.

    Its third derivative at each end is that of the cubic through the four points there.
    """
    h, slope = np.diff(x), np.diff(y) / np.diff(x)
    n = x.size
    matrix, right = np.zeros((n, n)), np.zeros(n)  # unknowns: a sixth of the second derivatives
    inner = np.arange(1, n - 1)
    matrix[inner, inner - 1], matrix[inner, inner], matrix[inner, inner + 1] = h[:-1], 2 * (h[:-1] + h[1:]), h[1:]
    right[inner] = np.diff(slope)
    second = np.diff(slope) / (x[2:] - x[:-2])
    third = np.diff(second) / (x[3:] - x[:-3])
    matrix[0, :2], right[0] = (-h[0], h[0]), h[0] ** 2 * third[0]
    matrix[-1, -2:], right[-1] = (h[-1], -h[-1]), -(h[-1] ** 2) * third[-1]
    sixth = np.linalg.solve(matrix, right)
    left = np.clip(np.searchsorted(x, at, side="right") - 1, 0, n - 2)
    d, step = at - x[left], h[left]
    b = slope[left] - step * (sixth[left + 1] + 2 * sixth[left])
    return y[left] + d * (b + d * (3 * sixth[left] + d * (sixth[left + 1] - sixth[left]) / step))
