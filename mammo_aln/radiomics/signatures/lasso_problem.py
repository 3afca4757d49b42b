"""The LASSO at one penalty after another: active sets, strong rules, exact Newton steps; see `lasso`."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import expit, log_expit

Floats = NDArray[np.float64]
Family = Literal["binomial", "gaussian"]
SMALLEST_WEIGHT = 1e-9


class Problem:
    """Standardised columns, outcome, and the present solution."""

    def __init__(self, features: Floats, outcome: Floats, family: Family) -> None:
        self.mean, sd = features.mean(axis=0), features.std(axis=0)
        constant = sd <= 1e-12 * np.maximum(1.0, np.abs(self.mean))
        self.scale = np.where(constant, 1.0, sd)
        # Fortran order: picking the active columns is what happens most
        self.x = np.asfortranarray(np.where(constant, 0.0, (features - self.mean) / self.scale))
        self.y, self.family, self.n = outcome, family, len(outcome)
        self.beta = np.zeros(features.shape[1])
        share = float(outcome.mean())
        self.intercept = float(np.log(share / (1 - share))) if family == "binomial" else share
        self.null = self.loss(np.full(self.n, self.intercept))

    def loss(self, eta: Floats) -> float:
        """Mean negative log-likelihood (half the mean squared error)."""
        if self.family == "gaussian":
            return 0.5 * float(np.mean((self.y - eta) ** 2))
        return -float(np.mean(log_expit(np.where(self.y == 1.0, eta, -eta))))

    def eta(self) -> Floats:
        """Linear predictors of the present solution."""
        active = np.flatnonzero(self.beta)
        return self.x[:, active] @ self.beta[active] + self.intercept

    def response(self, eta: Floats) -> tuple[Floats, Floats]:
        """Fitted means and weights."""
        if self.family == "gaussian":
            return eta, np.ones(self.n)
        p = expit(eta)
        return p, np.maximum(p * (1 - p), SMALLEST_WEIGHT)

    def slopes(self, eta: Floats) -> Floats:
        """Gradient of the log-likelihood by each standardised coefficient, over n."""
        return self.x.T @ (self.y - self.response(eta)[0]) / self.n

    def solve(self, penalty: float, before: float, slopes: Floats, tolerance: float) -> Floats:
        """Move the solution from penalty `before` to `penalty`; the slopes there are given and returned."""
        strong = np.abs(slopes) >= 2 * penalty - before
        while True:
            candidates = np.flatnonzero(strong | (self.beta != 0))
            eta = self._solve_among(candidates, penalty, tolerance)
            slopes = self.slopes(eta)
            missed = (np.abs(slopes) > penalty + 10 * tolerance) & (self.beta == 0)
            missed[candidates] = False
            if not missed.any():
                return slopes
            strong |= missed

    def _solve_among(self, candidates: NDArray[np.int64], penalty: float, tolerance: float) -> Floats:
        columns = self.x[:, candidates]
        active = self.beta[candidates] != 0
        sign = np.sign(self.beta[candidates])
        eta, tried_alone = self.eta(), -1
        for _ in range(10_000):
            eta = self._settle(candidates, columns, active, sign, eta, penalty, tolerance)
            slope = columns.T @ (self.y - self.response(eta)[0]) / self.n
            outside = np.flatnonzero((np.abs(slope) > penalty + tolerance) & ~active)
            if not outside.size:
                return eta
            # all at once is fast; one alone always makes progress, where a set of them did not
            worst = outside[np.argsort(-np.abs(slope[outside]))]
            entering = worst[: 1 if tried_alone == len(outside) else max(1, len(worst) // 2)]
            tried_alone = len(outside)
            active[entering], sign[entering] = True, np.sign(slope[entering])
        raise RuntimeError(f"the LASSO did not settle at penalty {penalty:g}")

    def _settle(
        self,
        candidates: NDArray[np.int64],
        columns: Floats,
        active: NDArray[np.bool_],
        sign: Floats,
        eta: Floats,
        penalty: float,
        tolerance: float,
    ) -> Floats:
        """Newton's steps over the active columns with their signs; a coefficient that meets 0 leaves."""
        values = self.beta[candidates]
        height = self.loss(eta) + penalty * float(np.abs(values).sum())
        for _ in range(500):
            inside = np.flatnonzero(active)
            design = np.column_stack([np.ones(self.n), columns[:, inside]])
            mean, weight = self.response(eta)
            gradient = design.T @ (mean - self.y) / self.n
            gradient[1:] += penalty * sign[inside]
            if np.abs(gradient).max() <= tolerance:
                break
            step = _newton(design, weight, gradient)
            now = values[inside]
            wrong = (now == 0) & (step[1:] * sign[inside] < 0)  # entered, but pushed back through 0 by the others
            if wrong.any():
                active[inside[wrong]] = False
                continue
            share, moved = 1.0, False
            while share > 1e-9:
                new = now + share * step[1:]
                new = np.where(new * sign[inside] < 0, 0.0, new)
                level = self.intercept + share * step[0]
                eta_new = columns[:, inside] @ new + level
                height_new = self.loss(eta_new) + penalty * float(np.abs(new).sum())
                if height_new <= height + 1e-14 * abs(height):
                    values[inside], self.intercept = new, level
                    eta, height, moved = eta_new, height_new, True
                    active[inside[new == 0]] = False
                    break
                share /= 2.0
            if not moved:
                break
        self.beta[candidates] = values
        return eta


def _newton(design: Floats, weight: Floats, gradient: Floats) -> Floats:
    hessian = (design * weight[:, None]).T @ design / len(design)
    # columns that repeat each other make it singular: a trace of ridge shares the step among them
    hessian.flat[:: len(hessian) + 1] += 1e-11 * max(1e-8, float(hessian[0, 0]))
    try:
        return -cho_solve(cho_factor(hessian, check_finite=False), gradient, check_finite=False)
    except LinAlgError:
        return -np.asarray(np.linalg.lstsq(hessian, gradient, rcond=1e-10)[0], dtype=np.float64)
