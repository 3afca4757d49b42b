"""Likely truths: how true AUCs lie about each other, told from measured ones that noise has spread.

Recipes of a sweep are no sample of one normal law: some learn nothing (a learning rate far too high), and now and then
one is truly better. So true AUCs are taken as

1. groups: those with the best, and below them others, split off wherever two normal laws fit better than one by more
   than two further parameters cost (Schwarz 1978, Ann Stat 6:461). What lies far below neither rivals the best nor
   tells how far apart its rivals are.
2. within the best's group a normal law, but for the few that lie off it, each by itself: a mixture with a law
   `OFF_SDS` times as wide (Tukey's contaminated normal).

A normal law's true AUCs are the measured ones drawn together about its mean until their variance is the measured one
less the noise's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mammo_aln.sweeps.choosing.cells import Floats, Numbers

OFF_SDS = 6.0
OFF_SHARE = 0.05
"""Share of the recipes that are expected off the others' law."""
FEWEST_OF_LAW = 3
"""Recipes below which none can lie off the others' law."""
ROUNDS = 60
MEDIAN_TO_SD = 1.4826
LEAST_VARIANCE = 1e-6
"""Of a group: AUCs that differ by a thousandth tell no groups."""


@dataclass(frozen=True)
class NormalLaw:
    """Law of the true AUCs of recipes that lie together.

    Attributes:
        mean: theirs.
        variance: of the true AUCs; 0 where noise alone explains the measured spread.
        membership: (recipes,) probability that a recipe is of this law, and not off it.
    """

    mean: float
    variance: float
    membership: Floats

    def truth(self, auc: Floats, noise_variance: Floats) -> Floats:
        """Draw measured AUCs (recipes,) together about the mean, as far as they are of this law."""
        drawn = np.sqrt(self.variance / np.maximum(self.variance + noise_variance, np.finfo(float).tiny))
        return self.membership * (self.mean + drawn * (auc - self.mean)) + (1 - self.membership) * auc


def likely_truth(auc: Floats, covariance: Floats) -> Floats:
    """Tell the recipes' likely true AUCs from measured ones (recipes,) whose noise has this covariance.

    Those that lie far below the best's group, and rival it in no draw of the noise, have minus infinity.
    """
    variance = contrast_variance(covariance)
    members = lying_together(auc, variance)
    truth = np.full(auc.size, -math.inf)
    truth[members] = auc[members]
    if members.size > 1:
        truth[members] = law_of(auc[members], variance[members]).truth(auc[members], variance[members])
    return truth


def contrast_variance(covariance: Floats) -> Floats:
    """Variance of each recipe's noise (recipes,) beside what all share, as if the rest were independent."""
    count = len(covariance)
    if count == 1:
        return np.zeros(1)
    apart = np.diag(covariance) - 2 * covariance.mean(axis=1) + covariance.mean()
    return np.asarray(np.maximum(apart, 0.0) * count / (count - 1))


def lying_together(auc: Floats, variance: Floats) -> Numbers:
    """Find the recipes that lie together with the best, two at least where there are two; their numbers, in order.

    Args:
        auc: measured, (recipes,).
        variance: of each one's noise.
    """
    order = np.argsort(auc, kind="stable")
    while order.size > FEWEST_OF_LAW:
        sizes = np.arange(1, order.size - 1)
        gains = [_gain(auc[order], variance[order], int(size)) for size in sizes]
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        order = order[sizes[best] :]
    return np.sort(order)


def _gain(auc: Floats, variance: Floats, below: int) -> float:
    """Log likelihood that the lowest `below` of sorted AUCs gain by a law of their own, less its cost."""
    count = auc.size
    share = below / count
    of_groups = below * math.log(share) + (count - below) * math.log(1 - share)
    apart = _log_likelihood(auc[:below], variance[:below]) + _log_likelihood(auc[below:], variance[below:])
    return apart + of_groups - _log_likelihood(auc, variance) - math.log(count)


def _log_likelihood(auc: Floats, variance: Floats) -> float:
    beyond = spread_beyond(auc, variance) if auc.size > 1 else 0.0
    total = np.maximum(beyond + variance, LEAST_VARIANCE)
    return float(-0.5 * (np.log(total) + (auc - auc.mean()) ** 2 / total).sum())


def spread_beyond(auc: Floats, variance: Floats) -> float:
    """Estimate the variance of true AUCs: that of the measured ones less the noise's, at least 0."""
    return max(0.0, float(auc.var(ddof=1) - variance.mean()))


def law_of(auc: Floats, variance: Floats) -> NormalLaw:
    """Fit the law of recipes that lie together, by expectation and moments in turn.

    Args:
        auc: measured, (recipes,), of two or more.
        variance: of each one's noise.
    """
    if auc.size < FEWEST_OF_LAW:
        return NormalLaw(float(auc.mean()), spread_beyond(auc, variance), np.ones(auc.size))
    mean = float(np.median(auc))
    spread = max(0.0, float((MEDIAN_TO_SD * np.median(np.abs(auc - mean))) ** 2 - variance.mean()))
    membership = np.ones(auc.size)
    for _ in range(ROUNDS):
        squares = (auc - mean) ** 2 / np.maximum(spread + variance, np.finfo(float).tiny)
        # Log odds of lying off: exp is safe below.
        odds = math.log(OFF_SHARE / (1 - OFF_SHARE) / OFF_SDS) + squares / 2 * (1 - 1 / OFF_SDS**2)
        membership = 1 / (1 + np.exp(np.minimum(odds, 700.0)))
        if membership.sum() < FEWEST_OF_LAW - 1:
            return NormalLaw(float(auc.mean()), spread_beyond(auc, variance), np.ones(auc.size))
        share = membership / membership.sum()
        mean = float(share @ auc)
        measured = float(membership @ (auc - mean) ** 2) / max(1.0, membership.sum() - 1)
        spread = max(0.0, measured - float(share @ variance))
    return NormalLaw(mean, spread, membership)
