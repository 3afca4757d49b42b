"""Factors: by how much AUCs differ between levels of each axis, between folds, seeds and patients.

A mixed model of the cells' AUCs, crossed:

    AUC = axes and their interactions + fold + luck of the training + patients.

Levels of an axis are those that the sweep's file names and no sample of others, so their effects are fixed, and a
component is the standard deviation of the effects of these very levels (Gelman 2005, Ann Stat 33:1, eq. 18; divided by
degrees of freedom, as in analysis of variance). Folds, trainings and patients are samples. Covariances of patients are
not fitted: DeLong's components give them for every two cells, also of cells that share patients in part. So the other
variances follow from mean squares less what patients, and luck, make of them (as `luck`): for balanced sweeps that is
restricted maximum likelihood. A fold's cells share its patients; its component is what is left beyond them.

Limits are those truths of which the mean square would exceed the observed one in 2.5 and 97.5 % of draws of the noise
(for equal variances Steiger 2004, Psychol Methods 9:164: the noncentral F); of random factors, those of the chi-square
law of their mean square.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mammo_aln.sweeps.choosing.cells import Cells, Floats
from mammo_aln.sweeps.choosing.components import (
    TAILS,
    Component,
    fold_component,
    patient_components,
    seed_component,
)
from mammo_aln.sweeps.choosing.crossing import Crossing, Effect, crossing_of
from mammo_aln.sweeps.choosing.luck import Luck, luck_of
from mammo_aln.sweeps.choosing.rank import ALPHA, LEAST_SE, Noise

CONFIGURATION = "configuration"
SEARCHED = "trial"
"""The axis of a search's points."""
FUSED = "with the luck of a training: at one seed neither is known alone; limits are of these trained models"


@dataclass(frozen=True)
class LevelMean:
    """Marginal mean of one level: the average over all levels of the other axes, seeds and folds.

    Attributes:
        axis: its name.
        level: one of its levels.
        val_auc: mean validation AUC.
        low: lower 95 % limit, over patients, trainings and folds.
        high: upper limit.
        difference: mean less that of all levels.
        difference_low: lower of the axis's simultaneous 95 % limits.
        difference_high: upper one.
    """

    axis: str
    level: str
    val_auc: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float


@dataclass(frozen=True)
class Factors:
    """Components and marginal means of a sweep, and in words what they leave open."""

    components: list[Component]
    levels: list[LevelMean]
    notes: list[str]


def factors_of(
    cells: Cells, names: Sequence[str], settings: Sequence[Mapping[str, str]], *, draws: int = 2000, seed: int = 0
) -> Factors:
    """Tell the factors of a sweep apart.

    Args:
        cells: its trainings; patients enough to trust DeLong's components.
        names: of the configurations.
        settings: each configuration's level on each axis.
        draws: of patients and trainings.
        seed: draws them.
    """
    rng = np.random.default_rng(seed)
    luck = luck_of(cells)
    crossing = None if SEARCHED in settings[0] else crossing_of(settings)
    notes = _notes_of_grid(crossing, settings)
    if crossing is None and cells.recipes > 1:
        crossing = Crossing({CONFIGURATION: list(names)}, np.arange(cells.recipes))
    of_folds = fold_component(cells, luck, rng, draws)
    components: list[Component] = []
    levels: list[LevelMean] = []
    if crossing is not None:
        noise = Noise.of_cells(cells, draws, rng)
        estimate = _Estimate.of(cells, crossing, noise, luck, rng)
        components = estimate.components()
        fold_variance = (of_folds.sd or 0.0) ** 2 / cells.folds
        levels = [mean for axis in crossing.levels for mean in estimate.level_means(axis, fold_variance, rng)]
        if not luck.df:
            notes.append(
                "one seed: limits take the whole interaction as luck of the trainings"
                if len(components) > 1
                else "one seed: limits know of patients alone; by how much seeds would widen them is not known"
            )
    components += [of_folds, seed_component(cells, rng, draws), *patient_components(cells)]
    return Factors(components, levels, notes)


def _notes_of_grid(crossing: Crossing | None, settings: Sequence[Mapping[str, str]]) -> list[str]:
    if len(settings) == 1:
        return ["one configuration: no axis to tell of"]
    if crossing is None:
        return [
            "the configurations do not combine their axes' levels (points of a search, or no more than half of the "
            "grid is completed): they are taken as one factor, and which setting matters is not told"
        ]
    if crossing.left_out:
        return [
            f"not every combination of the axes is completed: left out here, so that each level meets the same others: "
            f"{', '.join(crossing.left_out)}"
        ]
    return []


@dataclass(frozen=True)
class _Estimate:
    """Means of a crossing's configurations with both levels of their noise.

    Attributes:
        crossing: of the axes.
        means: mean AUCs, (combinations,).
        patients: draws of patients' noise, (combinations, draws).
        patients_covariance: theirs.
        drawn: draws of both levels, luck's variance drawn too.
        covariance: of both levels.
        effects: of the crossing.
        fused: number of the effect that holds luck, where nothing else shows it.
    """

    crossing: Crossing
    means: Floats
    patients: Floats
    patients_covariance: Floats
    drawn: Floats
    covariance: Floats
    effects: list[Effect]
    fused: int | None

    @classmethod
    def of(cls, cells: Cells, crossing: Crossing, noise: Noise, luck: Luck, rng: np.random.Generator) -> _Estimate:
        """Take the means, and luck from repeated trainings, else from the interaction of all axes."""
        means, members = cells.means(cells.auc), crossing.members
        within = np.ix_(members, members)
        effects, fused = crossing.effects, None
        if not luck.df:
            fused = len(effects) - 1
            if fused:
                luck = _luck_of_interaction(
                    effects[fused], means[members], noise.patients_covariance[within], cells.recipes
                )
        drawn = noise.with_luck(luck.drawn(noise.patients.shape[1], rng))
        return cls(
            crossing,
            means[members],
            noise.patients[members],
            noise.patients_covariance[within],
            drawn[members],
            noise.covariance(luck.variance)[within],
            effects,
            fused,
        )

    def components(self) -> list[Component]:
        """Size of every effect with its limits."""
        return [self._component(effect, number == self.fused) for number, effect in enumerate(self.effects)]

    def _component(self, effect: Effect, fused: bool) -> Component:
        covariance = self.patients_covariance if fused else self.covariance
        divisor = effect.df * effect.repeats
        observed = effect.basis.T @ self.means
        by_chance = float(np.einsum("cd,ce,ed->", effect.basis, covariance, effect.basis))
        variance = (float(observed @ observed) - by_chance) / divisor
        drawn = effect.basis.T @ (self.patients if fused else self.drawn)
        low, high = np.quantile(true_sizes(observed, drawn), TAILS) / math.sqrt(divisor)
        several = len(effect.axes) > 2
        name = "three and more axes together" if several else " × ".join(effect.axes)
        return Component(name, variance, float(low), float(high), effect.df, FUSED if fused else "")

    def level_means(self, axis: str, fold_variance: float, rng: np.random.Generator) -> list[LevelMean]:
        """Marginal means of an axis; `fold_variance` is that of a mean over all folds."""
        averaging = self.crossing.averaging(axis)
        means, drawn = averaging @ self.means, averaging @ self.drawn
        shared = math.sqrt(fold_variance) * rng.standard_normal(drawn.shape[1])
        reach = np.quantile(np.abs(drawn + shared), 1 - ALPHA, axis=1)
        centring = np.eye(means.size) - 1 / means.size
        gaps, gaps_drawn = centring @ means, centring @ drawn
        contrasts = centring @ averaging
        se = np.sqrt(np.maximum(LEAST_SE**2, np.einsum("lc,ce,le->l", contrasts, self.covariance, contrasts)))
        apart = np.quantile((np.abs(gaps_drawn) / se[:, None]).max(axis=0), 1 - ALPHA) * se
        columns = (
            means,
            np.clip(means - reach, 0.0, 1.0),
            np.clip(means + reach, 0.0, 1.0),
            gaps,
            np.clip(gaps - apart, -1.0, 1.0),
            np.clip(gaps + apart, -1.0, 1.0),
        )
        return [
            LevelMean(axis, level, *(float(column[number]) for column in columns))
            for number, level in enumerate(self.crossing.levels[axis])
        ]


def _luck_of_interaction(effect: Effect, means: Floats, patients_covariance: Floats, recipes: int) -> Luck:
    """Take an interaction's mean square as luck: too much where there is an interaction in truth."""
    coordinates = effect.basis.T @ means
    patients = float(np.einsum("cd,ce,ed->", effect.basis, patients_covariance, effect.basis))
    square = float(coordinates @ coordinates)
    return Luck.alike(square / effect.df, patients / effect.df, effect.df, recipes)


def true_sizes(observed: Floats, noise: Floats) -> Floats:
    """Draw lengths that a true effect has if the noise (df, draws) made the observed one (df,) of it: (draws,).

    The truth lies along the observed effect: |length * direction + noise| = |observed|; 0 where noise alone is more.
    """
    length = float(np.linalg.norm(observed))
    along = (observed / length if length else observed) @ noise
    rest = along**2 - (noise**2).sum(axis=0) + length**2
    return np.asarray(np.where(rest > 0, np.maximum(0.0, np.sqrt(np.maximum(rest, 0.0)) - along), 0.0))
