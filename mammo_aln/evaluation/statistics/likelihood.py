"""Calibration as likelihoods see it: rms::val.prob's indices D, U and Q, Nagelkerke's R2, and Spiegelhalter's z."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import xlogy

from mammo_aln.evaluation.statistics.calibration import log_loss, slope_and_intercept
from mammo_aln.evaluation.statistics.discrimination import Floats


@dataclass(frozen=True)
class Indices:
    """Indices of the predictions strictly between 0 and 1 (the others have no logit).

    Args:
        r2: Nagelkerke's R2 of the predictions as they are; below 0 = worse than the prevalence.
        d: discrimination index, (gain over the prevalence in -2 log-likelihood - 1) / n.
        d_chi2: that gain.
        u: unreliability index, (what recalibration would still gain - 2) / n.
        u_chi2: that gain, chi-squared with 2 degrees of freedom where nothing needs recalibration.
        u_p_value: its p-value.
        q: quality index, D - U.
        spiegelhalter_z: Spiegelhalter's z (1986) of the Brier score given that the predictions are right.
        spiegelhalter_p: its two-sided p-value.
    """

    r2: float
    d: float
    d_chi2: float
    u: float
    u_chi2: float
    u_p_value: float
    q: float
    spiegelhalter_z: float
    spiegelhalter_p: float


def _deviance(scores: Floats, labels: Floats) -> float:
    return 2.0 * labels.size * log_loss(scores, labels)


def likelihood_indices(scores: ArrayLike, labels: ArrayLike) -> Indices:
    """Likelihood indices of probabilities (F. Harrell, Regression Modeling Strategies, section 10.9).

    Raises:
        NotEstimable: the scores separate the outcomes, are all equal, or one outcome only has scores inside (0, 1).
    """
    score, label = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    inside = (score > 0.0) & (score < 1.0)
    p, y = score[inside], label[inside]
    slope, intercept = slope_and_intercept(p, y)
    n, share = y.size, float(y.mean())
    null = -2.0 * n * float(xlogy(share, share) + xlogy(1.0 - share, 1.0 - share))
    as_they_are = _deviance(p, y)
    recalibrated = _deviance(1.0 / (1.0 + np.exp(-intercept.value) * ((1.0 - p) / p) ** slope.value), y)
    d_chi2, u_chi2 = null - as_they_are, as_they_are - recalibrated
    d, u = (d_chi2 - 1.0) / n, (u_chi2 - 2.0) / n
    r2 = (1.0 - math.exp(-d_chi2 / n)) / (1.0 - math.exp(-null / n))
    z = float(((y - p) * (1.0 - 2.0 * p)).sum() / np.sqrt(((1.0 - 2.0 * p) ** 2 * p * (1.0 - p)).sum()))
    u_p, z_p = float(stats.chi2.sf(u_chi2, 2)), float(2 * stats.norm.sf(abs(z)))
    return Indices(r2, d, d_chi2, u, u_chi2, u_p, d - u, z, z_p)
