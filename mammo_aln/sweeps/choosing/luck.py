"""Luck of a training: how far one seed's true AUC lies from what its configuration gives on average.

Cells of one configuration differ by that luck and by patients whom one training ranks well and another does not. The
residuals of the additive model configuration + fold hold both; DeLong's components of the same residuals say how much
patients alone would make of them (E|Me|^2 = |ML|^2 for a projection M and Cov(e) = LL'). What is left is luck:

    variance = residual mean square - mean square of patients,    df = cells - configurations - folds + 1.

It is taken as the same for all configurations, so that two seeds of each suffice where there are many. One seed and one
fold leave df = 0: recipes that differ by v in truth, and equal ones whose seeds differ by v, then give data of one and
the same law, and no figure can tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mammo_aln.sweeps.choosing.cells import Cells, Floats, Numbers

ROUNDS = 100
SETTLED = 1e-12


@dataclass(frozen=True)
class Luck:
    """Spread of trainings about their configuration's mean.

    Attributes:
        mean_square: of the residuals, luck and patients together.
        of_patients: what patients alone would give.
        df: degrees of freedom; 0 where each configuration was trained once.
    """

    mean_square: float
    of_patients: float
    df: int

    @property
    def variance(self) -> float:
        """Variance of a training's true AUC; 0 where it is not known."""
        return max(0.0, self.mean_square - self.of_patients) if self.df else 0.0

    def drawn(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw variances from what the residuals leave possible: mean square * df / chi2(df), less the patients'.

        With few degrees of freedom the reference that they make is wider, as Student's t is.
        """
        if not self.df:
            return np.zeros(count)
        return np.maximum(0.0, self.mean_square * self.df / rng.chisquare(self.df, count) - self.of_patients)


def luck_of(cells: Cells) -> Luck:
    """Estimate the luck of a training from all configurations and folds together."""
    df = cells.auc.size - cells.recipes - cells.folds + 1
    if df == 0:
        return Luck(0.0, 0.0, 0)
    residuals = _residuals(cells.auc[:, None], cells)
    of_patients = _residuals(cells.components, cells)
    return Luck(float((residuals**2).sum()) / df, float((of_patients**2).sum()) / df, df)


def _residuals(values: Floats, cells: Cells) -> Floats:
    """Residuals of (cells, columns) from the least-squares fit of configuration + fold, by centring in turn."""
    residuals = values
    for _ in range(ROUNDS):
        before = residuals
        for group in (cells.recipe, cells.fold) if cells.folds > 1 else (cells.recipe,):
            residuals = residuals - _group_means(residuals, group)[group]
        if np.abs(residuals - before).max() < SETTLED:
            break
    return residuals


def _group_means(values: Floats, group: Numbers) -> Floats:
    counts = np.bincount(group)
    averaging = sparse.csr_array((1.0 / counts[group], (group, np.arange(group.size))))
    return np.asarray(averaging @ values)
