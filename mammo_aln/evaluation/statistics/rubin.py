"""Rubin's rules: estimates of several completed data sets made one, with the uncertainty of what was missing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class Pooled:
    """One estimate over imputations.

    Args:
        value: their mean.
        se: from the variance within them and between them.
        df: degrees of freedom (Barnard and Rubin 1999).
        missing: share of the information that is missing.
    """

    value: float
    se: float
    df: float
    missing: float

    @property
    def p_value(self) -> float:
        """Two-sided p of 0, by Student's t."""
        return float(2 * stats.t.sf(abs(self.value / self.se), self.df))

    def limits(self, level: float = 0.95) -> tuple[float, float]:
        """Limits by Student's t."""
        half = float(stats.t.ppf(0.5 + level / 2, self.df)) * self.se
        return self.value - half, self.value + half


def pool(values: ArrayLike, variances: ArrayLike, complete_df: float) -> Pooled:
    """Pool estimates of m >= 2 completed data sets.

    Args:
        values: estimate of each, shape (m,).
        variances: its squared standard error, shape (m,).
        complete_df: degrees of freedom that complete data would have.
    """
    estimates, within = np.asarray(values, dtype=float), float(np.mean(np.asarray(variances, dtype=float)))
    m, between = estimates.size, float(np.var(np.asarray(values, dtype=float), ddof=1))
    total = within + (1 + 1 / m) * between
    share = (1 + 1 / m) * between / total
    observed = (complete_df + 1) / (complete_df + 3) * complete_df * (1 - share)
    between_df = (m - 1) / share**2 if share > 0 else math.inf
    df = 1 / (1 / between_df + 1 / observed)
    ratio = share / (1 - share) if share < 1 else math.inf
    missing = (ratio + 2 / (df + 3)) / (ratio + 1) if share > 0 else 0.0
    return Pooled(float(estimates.mean()), math.sqrt(total), df, missing)
