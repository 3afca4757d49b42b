"""Luck of a training: how far one seed's true AUC lies from what its configuration gives on average.

Cells of one configuration differ by that luck and by patients whom one training ranks well and another does not. The
residuals of the additive model configuration + fold hold both; DeLong's components of the same residuals say how much
patients alone would make of them (E|Me|^2 = |ML|^2 for a projection M and Cov(e) = LL'). What is left is luck:

    variance = residual mean square - mean square of patients,    df = cells - configurations - folds + 1.

Two to five seeds tell little of one configuration's luck. So each one's mean square is drawn from the law that all have
in common (`common_law`), and the pooled mean square is held: on the whole no luck is lost. A configuration that learns
nothing, or diverges now and then, has often another luck than the rest; where the mean squares of those that lie
together with the best differ from the others' (an F test), theirs alone are held. One seed and one fold leave df = 0:
recipes that differ by v in truth, and equal ones whose seeds differ by v, then give data of one and the same law, and
no figure tells them apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from mammo_aln.sweeps.choosing.cells import Cells, Floats, Numbers
from mammo_aln.sweeps.choosing.common_law import CommonLaw, common_law
from mammo_aln.sweeps.choosing.together import contrast_variance, lying_together

ROUNDS = 100
SETTLED = 1e-12
FEWEST_TO_COMPARE = 3
"""Configurations trained several times below which their luck is taken as one and the same."""
LEAST_OF_MEDIAN = 1e-5
DIFFER = 0.05
"""Two-sided level of the F test of two groups' luck."""


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
        held: configurations whose pooled mean square is held, (recipes,).
        weights: of theirs in the pooled one, (recipes,), in all 1.
        df_held: its degrees of freedom.
        law: of the single mean squares that it holds together; None where they are the pooled one.
        law_of_others: of those not held.
    """

    mean_squares: Floats
    of_patients: Floats
    df: int
    held: NDArray[np.bool_]
    weights: Floats
    df_held: float
    law: CommonLaw | None = None
    law_of_others: CommonLaw | None = None

    @classmethod
    def alike(cls, mean_square: float, of_patients: float, df: int, recipes: int) -> Luck:
        """One luck of all configurations."""
        same = np.full(recipes, 1.0)
        return cls(same * mean_square, same * of_patients, df, same > 0, same / recipes, float(df))

    @property
    def variance(self) -> Floats:
        """Variance of a training's true AUC, (recipes,); 0 where it is not known."""
        return np.maximum(0.0, self.mean_squares - self.of_patients)

    @property
    def pooled_variance(self) -> Floats:
        """The same, (recipes,), alike in all whose pooled mean square is held."""
        return np.where(self.held, self.weights @ self.variance, self.variance)

    @property
    def typical_sd(self) -> float:
        """Standard deviation of a training's true AUC, over the configurations whose mean square is held."""
        return math.sqrt(float(self.weights @ self.variance))

    def likely(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw each configuration's variance (recipes, count), the pooled one being as estimated."""
        return np.maximum(0.0, self._squares(count, rng) - self.of_patients[:, None])

    def drawn(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw variances (recipes, count) that the residuals leave possible: mean square * df / chi2(df) - patients.

        With few degrees of freedom the reference that they make is wider, as Student's t is.
        """
        if not self.df:
            return np.zeros((self.mean_squares.size, count))
        shrink = self.df_held / rng.chisquare(self.df_held, count)
        return np.maximum(0.0, self._squares(count, rng) * shrink - self.of_patients[:, None])

    def _squares(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw mean squares whose pooled one is held, (recipes, count)."""
        squares = np.repeat(self.mean_squares[:, None], count, axis=1)
        if self.law is not None:
            drawn = self.law.drawn(count, rng)
            squares[self.held] = (drawn * (self.weights @ self.mean_squares) / (self.weights @ drawn))[self.held]
        if self.law_of_others is not None:
            squares[~self.held] = self.law_of_others.drawn(count, rng)[~self.held]
        return squares


def luck_of(cells: Cells) -> Luck:
    """Estimate the luck of a training from all configurations and folds together."""
    df = cells.auc.size - cells.recipes - cells.folds + 1
    if df == 0:
        return Luck.alike(0.0, 0.0, 0, cells.recipes)
    residuals = residuals_of(cells)
    pooled = Luck.alike(residuals.cells.sum() / df, residuals.patients.sum() / df, df, cells.recipes)
    held = _held(cells, residuals, pooled)
    df_held = float(residuals.df[held].sum())
    weights = np.where(held, residuals.df, 0.0) / df_held
    typical = float(residuals.cells[held].sum()) / df_held
    law, of_all = _law(residuals, held), None if held.all() else _law(residuals, np.ones_like(held))
    mean_squares = np.full(cells.recipes, typical)
    if law is not None:
        mean_squares = law.expected * typical / (weights @ law.expected)
    if of_all is not None:
        mean_squares = np.where(held, mean_squares, of_all.expected)
    return Luck(mean_squares, pooled.of_patients, df, held, weights, df_held, law, of_all)


def _law(residuals: Residuals, members: NDArray[np.bool_]) -> CommonLaw | None:
    """Fit the law of some configurations' mean squares; None where too few show any."""
    df, sums = np.where(members, residuals.df, 0.0), np.where(members, residuals.cells, 0.0)
    squares = sums[df > 0] / df[df > 0]
    if squares.size < FEWEST_TO_COMPARE or np.median(squares) == 0:
        return None
    return common_law(np.maximum(squares, LEAST_OF_MEDIAN * np.median(squares)), sums, df)


def _held(cells: Cells, residuals: Residuals, pooled: Luck) -> NDArray[np.bool_]:
    """Tell whose pooled mean square is held, (recipes,): all, or where luck differs, those together with the best."""
    noise = contrast_variance(_patients_covariance(cells)) + pooled.variance * cells.shares
    together = np.zeros(cells.recipes, dtype=bool)
    together[lying_together(cells.means(cells.auc), noise)] = True
    df, df_others = residuals.df[together].sum(), residuals.df[~together].sum()
    if not (df > 0 and df_others > 0):
        return np.ones(cells.recipes, dtype=bool)
    square, others = residuals.cells[together].sum() / df, residuals.cells[~together].sum() / df_others
    lower = stats.f.cdf(others / square, df_others, df) if square > 0 else 1.0
    return together if 2 * min(lower, 1 - lower) < DIFFER else np.ones(cells.recipes, dtype=bool)


def _patients_covariance(cells: Cells) -> Floats:
    components = cells.means(cells.components)
    return np.asarray(components @ components.T)


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
