"""Optimism: how much the AUC of the best of many is flattered by its having been chosen as the best.

A parametric bootstrap: true AUCs of the configurations are drawn with the noise that they were measured with, the best
is chosen anew, and its excess over its own truth is averaged. The true AUCs cannot be the measured ones, which noise
has spread; they are those drawn together about their mean until their variance is the measured one less the noise's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mammo_aln.sweeps.choosing.cells import Floats


@dataclass(frozen=True)
class Excess:
    """Mean excess of the best's AUC over its truth, and its standard deviation from sweep to sweep."""

    mean: float
    sd: float


def beyond_noise(auc: Floats, covariance: Floats) -> float:
    """Estimate the variance of the true AUCs (recipes,): the measured variance less the noise's share, at least 0."""
    count = auc.size
    noise = (np.trace(covariance) - covariance.sum() / count) / (count - 1)
    return max(0.0, float(auc.var(ddof=1) - noise))


def excess_of_best(auc: Floats, covariance: Floats, noise: Floats, *, equal: bool = False) -> Excess:
    """Average the excess of the best over noise (recipes, draws) whose covariance is (recipes, recipes).

    Args:
        auc: measured, (recipes,).
        covariance: of the noise.
        noise: draws of it.
        equal: take all true AUCs as equal, whatever was measured.
    """
    truth = np.full(auc.size, auc.mean())
    spread = float(auc.var(ddof=1))
    if not equal and spread > 0:
        truth += np.sqrt(beyond_noise(auc, covariance) / spread) * (auc - truth)
    best = (truth[:, None] + noise).argmax(axis=0)
    excess = noise[best, np.arange(best.size)]
    return Excess(float(excess.mean()), float(excess.std(ddof=1)))
