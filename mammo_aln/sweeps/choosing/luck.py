"""Luck of a training: how far one seed's true AUC lies from what its configuration gives on average.

Cells of one configuration differ by that luck and by patients whom one training ranks well and another does not. The
residuals of the additive model configuration + fold hold both; DeLong's components of the same residuals say how much
patients alone would make of them (E|Me|^2 = |ML|^2 for a projection M and Cov(e) = LL'). What is left is luck:

    variance = residual mean square - mean square of patients,    df = cells - configurations - folds + 1.

Two to five seeds tell little of one configuration's luck. So each one's mean square is drawn towards the pooled one,
the more the less they differ beyond chance (degrees of freedom of Smyth 2004, Stat Appl Genet Mol Biol 3:3, about the
pooled mean square, so that on the whole no luck is lost). One seed and one fold leave df = 0: recipes that differ by v
in truth, and equal ones whose seeds differ by v, then give data of one and the same law, and no figure tells them
apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, sparse, special

from mammo_aln.sweeps.choosing.cells import Cells, Floats, Numbers

ROUNDS = 100
SETTLED = 1e-12
FEWEST_TO_COMPARE = 3
"""Configurations trained several times below which their luck is taken as one and the same."""
LEAST_OF_MEDIAN = 1e-5


@dataclass(frozen=True)
class Residuals:
    """Sums of squares of the cells' residuals about configuration + fold, by configuration.

    Attributes:
        cells: of the cells' AUCs, luck and patients together, (recipes,).
        patients: what patients alone would give, (recipes,).
        df: degrees of freedom of each, (recipes,); in all, a whole number.
    """

    cells: Floats
    patients: Floats
    df: Floats


@dataclass(frozen=True)
class Luck:
    """Spread of trainings about their configuration's mean.

    Attributes:
        mean_squares: luck and patients together, (recipes,).
        of_patients: what patients alone would give, (recipes,).
        df: degrees of freedom in all; 0 where each configuration was trained once.
        df_each: those with which a configuration's mean square is known, (recipes,); None where it is the pooled one.
    """

    mean_squares: Floats
    of_patients: Floats
    df: int
    df_each: Floats | None = None

    @property
    def variance(self) -> Floats:
        """Variance of a training's true AUC, (recipes,); 0 where it is not known."""
        return np.maximum(0.0, self.mean_squares - self.of_patients)

    @property
    def typical_sd(self) -> float:
        """Standard deviation of a training's true AUC, over all configurations."""
        return math.sqrt(float(self.variance.mean()))

    def drawn(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw variances (recipes, count) that the residuals leave possible: mean square * df / chi2(df) - patients.

        With few degrees of freedom the reference that they make is wider, as Student's t is.
        """
        if not self.df:
            return np.zeros((self.mean_squares.size, count))
        if self.df_each is None:
            shrink = np.broadcast_to(self.df / rng.chisquare(self.df, count), (self.mean_squares.size, count))
        else:
            df = self.df_each[:, None]
            shrink = df / rng.chisquare(df, (self.mean_squares.size, count))
        return np.maximum(0.0, self.mean_squares[:, None] * shrink - self.of_patients[:, None])


def luck_of(cells: Cells) -> Luck:
    """Estimate the luck of a training from all configurations and folds together."""
    df = cells.auc.size - cells.recipes - cells.folds + 1
    if df == 0:
        nothing = np.zeros(cells.recipes)
        return Luck(nothing, nothing, 0)
    residuals = residuals_of(cells)
    of_patients = np.full(cells.recipes, residuals.patients.sum() / df)
    pooled = Luck(np.full(cells.recipes, residuals.cells.sum() / df), of_patients, df)
    several = residuals.df > 0
    squares = residuals.cells[several] / residuals.df[several]
    if several.sum() < FEWEST_TO_COMPARE or np.median(squares) == 0:
        return pooled
    df_prior = df_in_common(np.maximum(squares, LEAST_OF_MEDIAN * np.median(squares)), residuals.df[several])
    if math.isinf(df_prior):
        return pooled
    moderated = (df_prior * pooled.mean_squares + residuals.cells) / (df_prior + residuals.df)
    return Luck(moderated, of_patients, df, np.minimum(df_prior + residuals.df, df))


def df_in_common(squares: Floats, df: Floats) -> float:
    """Fit the degrees of freedom that true mean squares have in common, from their estimates (recipes,) with `df`.

    Smyth's moments of log mean squares: infinite where they differ no more than by chance, few where they differ much.
    """
    logs = np.log(squares) - special.digamma(df / 2) + np.log(df / 2)
    beyond_chance = float(logs.var(ddof=1) - special.polygamma(1, df / 2).mean())
    if beyond_chance <= special.polygamma(1, 1e6):
        return math.inf
    half: float = optimize.brentq(lambda x: special.polygamma(1, x) - beyond_chance, 1e-6, 1e6)
    return 2 * half


def residuals_of(cells: Cells) -> Residuals:
    """Square the cells' residuals from the least-squares fit of configuration + fold."""
    of_cells = _centred(cells.auc[:, None], cells)
    of_patients = _centred(cells.components, cells)
    trainings = cells.trainings
    sums = [
        np.bincount(cells.recipe, weights=(residuals**2).sum(axis=1)).astype(float)
        for residuals in (of_cells, of_patients)
    ]
    df = trainings - 1 - (cells.folds - 1) * trainings / cells.auc.size
    return Residuals(sums[0], sums[1], np.where(df > SETTLED, df, 0.0))


def _centred(values: Floats, cells: Cells) -> Floats:
    """Residuals of (cells, columns), by centring within configurations and folds in turn."""
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
