"""Spread of AUCs that samples make: trainings that differ in seed alone, folds, and patients.

Covariances of patients are not fitted: DeLong's components give them for every two cells. The variances of trainings
and folds are mean squares less what patients, and luck, make of them (as `luck`); their limits are those of the
chi-square law of the mean square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from mammo_aln.sweeps.choosing.cells import Cells, Floats
from mammo_aln.sweeps.choosing.luck import Luck, residuals_of
from mammo_aln.sweeps.choosing.rank import ALPHA, LEAST_SE

SEED, FOLD = "seed: luck of a training", "fold, beyond its patients"
MOST_SD = 0.5
"""No AUCs, which lie between 0 and 1, spread more."""
PATIENTS_ALIKE, PATIENTS_OWN = "patients, alike in all trainings", "patients, otherwise in each training"
TAILS = (ALPHA / 2, 1 - ALPHA / 2)
NORMAL_REACH = 1.959964


@dataclass(frozen=True)
class Component:
    """Standard deviation of AUCs that one factor makes.

    Attributes:
        factor: an axis, axes joined by `×`, fold, seed or patients.
        variance: unbiased estimate, below 0 where noise happens to hide the factor; None where it is not known.
        low: lower 95 % limit of the standard deviation; None where it is not known.
        high: upper limit.
        df: degrees of freedom; None for patients.
        note: what else it holds, or why it is not known.
        sd: standard deviation of the true AUCs; None where it is not known.
    """

    factor: str
    variance: float | None
    low: float | None
    high: float | None
    df: int | None
    note: str = ""
    sd: float | None = field(init=False)

    def __post_init__(self) -> None:
        """Take the root of the variance, 0 where that is below 0."""
        object.__setattr__(self, "sd", None if self.variance is None else math.sqrt(max(0.0, self.variance)))


def _random_component(name: str, square: float, df: int, by_chance: float, draws: Floats) -> Component:
    """Variance of a random factor: its mean square less what other noise makes of it, chi-square limits."""
    low, high = np.sqrt(np.clip(np.quantile(square * df / draws, TAILS) - by_chance, 0.0, MOST_SD**2))
    return Component(name, square - by_chance, float(low), float(high), df)


def seed_component(cells: Cells, rng: np.random.Generator, draws: int = 2000) -> Component:
    """Tell the spread of trainings that differ in seed alone; of one seed and one fold it is not known."""
    df = cells.auc.size - cells.recipes - cells.folds + 1
    if df == 0:
        return Component(SEED, None, None, None, 0, "one seed: not known")
    residuals = residuals_of(cells)
    square, of_patients = float(residuals.cells.sum()) / df, float(residuals.patients.sum()) / df
    component = _random_component(SEED, square, df, of_patients, rng.chisquare(df, draws))
    if cells.trainings.max() == cells.folds:
        return replace(component, note="with the interaction of configuration and fold: one seed")
    return component


def fold_component(cells: Cells, luck: Luck, rng: np.random.Generator, draws: int = 2000) -> Component:
    """Tell the spread of folds beyond what their patients make; of one fold it is not known."""
    folds = cells.folds
    if folds == 1:
        return Component(FOLD, None, None, None, 0, "one validation split: how another would differ is not known")
    averaging = np.zeros((folds, cells.auc.size))
    averaging[cells.fold, np.arange(cells.auc.size)] = cells.weights * folds / cells.recipes
    contrasts = averaging - averaging.mean(axis=0)
    df = folds - 1
    by_chance = float(((contrasts @ cells.components) ** 2).sum() + (contrasts**2 @ luck.variance[cells.recipe]).sum())
    square = float(((contrasts @ cells.auc) ** 2).sum()) / df
    return _random_component(FOLD, square, df, by_chance / df, rng.chisquare(df, draws))


def patient_components(cells: Cells) -> list[Component]:
    """Tell how far a cell's AUC lies from the truth for its patients: alike in all cells of a fold, and otherwise.

    DeLong's variances and covariances, averaged over cells; their limits by the patients' own shares of the sum, on the
    logarithmic scale.
    """
    size = cells.auc.size
    total = np.zeros(cells.components.shape[1])
    alike = np.zeros_like(total)
    for fold in range(cells.folds):
        components = cells.components[cells.fold == fold]
        squares, count = (components**2).sum(axis=0), len(components)
        total += squares / size
        if count > 1:
            alike += (components.sum(axis=0) ** 2 - squares) / (count - 1) / size
    if np.bincount(cells.fold).min() == 1:
        return [_patients("patients", total)]
    return [_patients(PATIENTS_ALIKE, alike), _patients(PATIENTS_OWN, total - alike)]


def _patients(name: str, shares: Floats) -> Component:
    variance = float(shares.sum())
    if variance <= LEAST_SE**2:
        return Component(name, 0.0, None, None, None)
    factor = math.exp(NORMAL_REACH * math.sqrt(shares.size * float(shares.var(ddof=1))) / variance / 2)
    sd = math.sqrt(variance)
    return Component(name, variance, sd / factor, sd * factor, None)
