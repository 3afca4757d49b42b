"""Limits and tests of Firth's estimates by the penalised profile likelihood (Heinze and Schemper 2002, as R's logistf).

A coefficient is held at a value, the others maximise the likelihood with the whole model's penalty, half the log
determinant of the information of all columns. Wald limits are no use under separation, where the profile is skewed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit

from mammo_aln.evaluation.statistics.logistic import Logistic, log_likelihood

Floats = NDArray[np.float64]
MOST_STEPS, MOST_DOUBLINGS = 500, 40
PATH_TO_0 = (0.75, 0.5, 0.25, 0.0)


class _Penalised:
    """The penalised likelihood of a design whose columns are brought to unit size."""

    def __init__(self, design: ArrayLike, labels: ArrayLike) -> None:
        x, self.y = np.asarray(design, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        self.scale = np.maximum(np.abs(x).max(axis=0), 1e-300)
        self.z = x / self.scale

    def height(self, b: Floats) -> float:
        p = expit(self.z @ b)
        sign, logdet = np.linalg.slogdet((self.z * (p * (1 - p))[:, None]).T @ self.z)
        return log_likelihood(self.z @ b, self.y) + 0.5 * float(logdet) if sign > 0 else -math.inf

    def highest(self, b: Floats, held: NDArray[np.bool_]) -> tuple[float, Floats]:
        """Maximise over the coefficients that are not held, from `b`: the height, and where it is reached."""
        free, b, height = ~held, b.copy(), self.height(b)
        for _ in range(MOST_STEPS if free.any() else 0):
            p = expit(self.z @ b)
            weight = p * (1 - p)
            information = (self.z * weight[:, None]).T @ self.z
            hat = weight * np.einsum("ij,jk,ik->i", self.z, np.linalg.pinv(information), self.z)
            score = self.z.T @ (self.y - p + hat * (0.5 - p))
            step = np.zeros_like(b)
            step[free] = np.linalg.lstsq(information[np.ix_(free, free)], score[free], rcond=1e-14)[0]
            step *= min(1.0, 5.0 / max(float(np.abs(self.z @ step).max()), 1e-300))
            share = 1.0
            while share > 1e-10 and self.height(b + share * step) < height - 1e-12 * abs(height):
                share /= 2.0
            b = b + share * step
            height, before = self.height(b), height
            settled = np.abs(step).max() < 1e-10 * max(1.0, float(np.abs(b).max()))
            if settled or height - before < 1e-15 * abs(height):
                break
        return height, b


def firth_limits(fitted: Logistic, design: ArrayLike, labels: ArrayLike, level: float = 0.95) -> Floats:
    """Penalised profile limits of every coefficient, shape (k, 2); infinite where the profile never falls so far."""
    problem = _Penalised(design, labels)
    centre = fitted.beta * problem.scale
    peak, drop = problem.height(centre), float(stats.chi2.ppf(level, 1)) / 2.0
    limits = np.empty((centre.size, 2))
    for term in range(centre.size):
        held, near = np.arange(centre.size) == term, [centre]  # each begins where the last one ended

        def fall(value: float, held: NDArray[np.bool_] = held, near: list[Floats] = near) -> float:
            height, near[0] = problem.highest(np.where(held, value, near[0]), held)
            return peak - height - drop

        step = float(fitted.se[term] * problem.scale[term])
        for side, sign in enumerate((-1.0, 1.0)):
            inside, reach = float(centre[term]), step
            for _ in range(MOST_DOUBLINGS):
                outside = float(centre[term]) + sign * reach
                if fall(outside) > 0:
                    limits[term, side] = brentq(fall, *sorted((inside, outside)), xtol=1e-9 * max(1.0, abs(outside)))
                    break
                inside, reach = outside, 1.5 * reach
            else:
                limits[term, side] = sign * math.inf
    return limits / problem.scale[:, None]


def firth_ratio_p(
    fitted: Logistic, design: ArrayLike, labels: ArrayLike, groups: Mapping[str, NDArray[np.bool_]]
) -> dict[str, float]:
    """Penalised likelihood-ratio p of each group of coefficients being 0 (chi-squared), by the group's name.

    Args:
        fitted: Firth's estimates.
        design: what they were fitted on, shape (n, k).
        labels: outcomes.
        groups: name -> which coefficients, shape (k,).
    """
    problem = _Penalised(design, labels)
    centre = fitted.beta * problem.scale
    peak, p_values = problem.height(centre), {}
    for name, held in groups.items():
        height, b = peak, centre
        for share in PATH_TO_0:  # each begins where the last one ended: a leap may end on another hill
            height, b = problem.highest(np.where(held, share * centre, b), held)
        p_values[name] = float(stats.chi2.sf(max(0.0, 2 * (peak - height)), int(held.sum())))
    return p_values
