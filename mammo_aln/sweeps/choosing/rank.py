"""Ranking by validation alone, honestly: who is distinguishable from the best, and how flattered the best is.

A configuration's figure is the mean AUC of its cells over seeds and folds; what it estimates is the AUC that its recipe
gives on average over patients and trainings. Its noise is drawn on both levels: patients by normal multipliers of
DeLong's components (all configurations judged on the same drawn patients), trainings with a variance drawn anew each
time (`Luck.drawn`).

The best was picked for being the best, so the reference of a rival's distance is that of the farthest rival from
whichever is the best of equal recipes: T = max_k (D_b - D_k) / SE_bk, b = argmax D. p = share of draws with T at least
the rival's own distance over its SE. All recipes equal, some rival is called distinguishable in 5 % of sweeps, however
many there are; comparison with the best (Hsu 1984) would protect only the best itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mammo_aln.sweeps.choosing.cells import Cells, Floats, Fold, cells_of
from mammo_aln.sweeps.choosing.luck import Luck, luck_of
from mammo_aln.sweeps.choosing.optimism import Excess, excess_of_best
from mammo_aln.sweeps.choosing.together import contrast_variance, likely_truth, lying_together, spread_beyond

ALPHA = 0.05
FEWEST = 10
"""Patients of each outcome below which nothing is tested: DeLong's variance is not to be trusted there."""
FEWEST_OF_FOLD = 2
LEVEL = 1e-12
"""AUCs that differ by less are level: sums of the same terms in another order."""
LEAST_SE = 1e-9


@dataclass(frozen=True)
class Rival:
    """One configuration against the best; None for what is not known.

    Attributes:
        difference: AUC minus the best one's.
        low: lower of the simultaneous 95 % limits of the difference, at least -1; None where `p` is.
        high: upper limit, at most 1.
        p: that of the recipes, corrected for all rivals and for the picking of the best; at least 1 / (draws + 1).
            None where every configuration was trained once, or there are too few patients.
        p_patients: the same for these very trained models, as if seeds were no luck: `p` is not below it.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_patients: float | None

    @property
    def distinguishable(self) -> bool:
        """Tell whether the recipes are set apart."""
        return self.p is not None and self.p < ALPHA


@dataclass(frozen=True)
class Ranking:
    """Configurations of a finished sweep, ranked.

    Attributes:
        cells: the trainings.
        auc: mean AUC of each configuration.
        best: index of the best.
        rivals: the others by index.
        trainings: cells of each configuration.
        luck: of one training.
        with_outcome: validation patients with the outcome, over all folds.
        without_outcome: those without.
        enough: there are patients enough to test and to tell optimism.
        optimism: how much the best one's AUC exceeds its recipe's for having been chosen; None where each configuration
            was trained once (and there are several), or there are too few patients.
        of_models: the same for the best's very trained models, as if seeds were no luck.
        at_most: of several configurations trained once, the optimism if those near the best are equal and seeds alone
            differ.
        near: configurations near the best whose luck is taken as alike; all, where nothing sets any apart.
        wins: share of draws in which each configuration is the best; level ones share a draw.
        level: others whose AUC is the best one's; the first in the file is taken.
    """

    cells: Cells
    auc: Floats
    best: int
    rivals: dict[int, Rival]
    trainings: tuple[int, ...]
    luck: Luck
    with_outcome: int
    without_outcome: int
    enough: bool
    optimism: Excess | None
    of_models: Excess | None
    at_most: Excess | None
    near: int
    wins: Floats
    level: tuple[int, ...]

    @property
    def one_training_each(self) -> bool:
        """Tell whether nothing shows the luck of a training, and there is something to choose from."""
        return self.luck.df == 0 and len(self.auc) > 1


@dataclass(frozen=True)
class Noise:
    """Noise of the configurations' AUCs: its covariance, and draws of it, (recipes, draws).

    Attributes:
        patients: draws of patients alone.
        patients_covariance: theirs, (recipes, recipes).
        trainings: standard normal draws of the mean luck, to be multiplied by its standard deviation.
        shares: (recipes,) variance of a configuration's mean luck, that of one training being 1.
    """

    patients: Floats
    patients_covariance: Floats
    trainings: Floats
    shares: Floats

    @classmethod
    def of_cells(cls, cells: Cells, draws: int, rng: np.random.Generator) -> Noise:
        """Draw it."""
        components = cells.means(cells.components)
        patients = components @ rng.standard_normal((components.shape[1], draws))
        return cls(patients, components @ components.T, rng.standard_normal((cells.recipes, draws)), cells.shares)

    def with_luck(self, variance: Floats) -> Floats:
        """Draws of both levels, a training's luck having this variance, (recipes, 1) or (recipes, draws)."""
        return self.patients + np.sqrt(variance * self.shares[:, None]) * self.trainings

    def covariance(self, variance: Floats) -> Floats:
        """Covariance of both levels, (recipes, recipes), that of a training's luck being (recipes,)."""
        return self.patients_covariance + np.diag(variance * self.shares)


def rank(scores: Sequence[Sequence[Floats]], folds: Sequence[Fold], *, resamples: int = 2000, seed: int = 0) -> Ranking:
    """Rank configurations by mean validation AUC.

    Args:
        scores: for each configuration, for each fold, scores of shape (seeds, patients of the fold).
        folds: the validation patients of each fold.
        resamples: draws of patients and trainings.
        seed: draws them.

    Raises:
        InputError: fewer than one configuration, or a fold with one outcome alone.
    """
    cells = cells_of(scores, folds)
    auc = cells.means(cells.auc)
    auc = np.where(auc >= auc.max() - LEVEL, auc.max(), auc)
    best = int(np.argmax(auc))
    others = [index for index in range(auc.size) if index != best]
    counts = np.array([fold.outcomes for fold in folds])
    with_outcome, without_outcome = (int(count) for count in counts.sum(axis=0))
    enough = bool(counts.sum(axis=0).min() >= FEWEST and counts.min() >= FEWEST_OF_FOLD)
    gaps = {index: float(auc[index] - auc[best]) for index in others}
    rivals = {index: Rival(gap, None, None, None, None) for index, gap in gaps.items()}
    df = cells.auc.size - cells.recipes - cells.folds + 1
    luck = luck_of(cells) if enough else Luck.alike(0.0, 0.0, df, cells.recipes)
    optimism, of_models, at_most = (Excess(0.0, 0.0),) * 3 if enough and not others else (None,) * 3
    wins, near = np.full(auc.size, math.nan), auc.size
    if enough:
        rng = np.random.default_rng(seed)
        noise = Noise.of_cells(cells, resamples, rng)
        both = noise.with_luck(luck.likely(resamples, rng))
        wins = _wins(auc[:, None] + both)
        if others:
            of_models = excess_of_best(likely_truth(auc, noise.patients_covariance), noise.patients)
            of_patients = against_best(auc, noise.patients_covariance, noise.patients)
            of_recipes = None
            if luck.df:
                near = int(luck.held.sum())
                optimism = excess_of_best(likely_truth(auc, noise.covariance(luck.variance)), both)
                # One yardstick for all: a luck that few seeds happen to show too small would make a rival far.
                yardstick = noise.covariance(luck.pooled_variance)
                of_recipes = against_best(auc, yardstick, noise.with_luck(luck.drawn(resamples, rng)))
            else:
                at_most, near = _excess_of_equal(auc, noise)
            for index in others:
                low, high, p = (None, None, None) if of_recipes is None else of_recipes[:, index].tolist()
                alone = float(of_patients[2, index])
                rivals[index] = Rival(gaps[index], low, high, None if p is None else max(p, alone), alone)
    level = tuple(index for index in others if auc[index] >= auc[best] - LEVEL)
    return Ranking(
        cells=cells,
        auc=auc,
        best=best,
        rivals=rivals,
        trainings=tuple(int(count) for count in cells.trainings),
        luck=luck,
        with_outcome=with_outcome,
        without_outcome=without_outcome,
        enough=enough,
        optimism=optimism,
        of_models=of_models,
        at_most=at_most,
        near=near,
        wins=wins,
        level=level,
    )


def _excess_of_equal(auc: Floats, noise: Noise) -> tuple[Excess, int]:
    """Excess of the best where each was trained once, if those near it are equal but for luck; and their number."""
    variance = contrast_variance(noise.patients_covariance)
    members = lying_together(auc, variance)
    truth = np.full(auc.size, -math.inf)
    truth[members] = auc[members].mean()
    # Shares are not all alike where folds are several, but then luck is known.
    luck = spread_beyond(auc[members], variance[members])
    return excess_of_best(truth, noise.with_luck(np.full((auc.size, 1), luck))), members.size


def against_best(auc: Floats, covariance: Floats, noise: Floats) -> Floats:
    """Compare each configuration with the best: simultaneous 95 % limits of the difference and p, (3, recipes)."""
    variance = np.diag(covariance)
    se = np.sqrt(np.maximum(LEAST_SE**2, variance[:, None] + variance - 2 * covariance))
    chosen = noise.argmax(axis=0)
    apart = (noise[chosen, np.arange(chosen.size)] - noise) / se[:, chosen]
    farthest = np.sort(apart.max(axis=0))
    best = int(np.argmax(auc))
    gap = auc - auc[best]
    distance = np.where(gap >= -LEVEL, 0.0, -gap / se[best])
    beyond = farthest.size - np.searchsorted(farthest, distance, side="left")
    reach = float(np.quantile(farthest, 1 - ALPHA)) * se[best]
    p = (beyond + 1) / (farthest.size + 1)
    return np.stack([np.clip(gap - reach, -1.0, 1.0), np.clip(gap + reach, -1.0, 1.0), p])


def _wins(drawn: Floats) -> Floats:
    ahead = drawn >= drawn.max(axis=0) - LEVEL
    return (ahead / ahead.sum(axis=0)).mean(axis=1)
