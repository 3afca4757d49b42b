"""choice.json: the choice by validation alone, and in words how sure it is and what is to be expected of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mammo_aln.sweeps.choosing.configurations import Configuration, EpochChoice
from mammo_aln.sweeps.choosing.factors import Factors
from mammo_aln.sweeps.choosing.rank import FEWEST, FEWEST_OF_FOLD, Ranking, Rival
from mammo_aln.sweeps.planning.definition import Label

BEST = "best"
ALIKE = "not distinguishable from the best"
DISTINGUISHABLE = "distinguishable from the best"
ONE_SEED = "one seed: recipe and luck cannot be told apart"
TOO_FEW = "too few patients to tell"
METHOD = (
    "mean AUC over seeds and folds on validation patients alone; noise drawn on two levels, patients (DeLong's "
    "components) and trainings (residuals of configuration + fold, less the patients' share, drawn from the law that "
    "configurations have in common); p and simultaneous 95 % limits against the best refer to the farthest rival of "
    "the best of equal recipes; optimism of the choice: mean excess of the best over its truth in such draws, AUCs of "
    "those near it drawn together to the variance that noise leaves, outliers excepted; optimism of the epoch: AUC "
    "less the AUC, on patients left out of a resample, of the epoch that is the best inside it"
)


@dataclass(frozen=True)
class Ranked:
    """One configuration of choice.json.

    Attributes:
        configuration: its place in the grid, in words.
        settings: what the grid sets.
        runs: its run ids.
        cells: how many there are.
        val_auc: mean over seeds and folds.
        val_auc_sd: standard deviation over them; None for one cell.
        against_best: its difference from the best; None for the best.
        verdict: `BEST`, `ALIKE`, `DISTINGUISHABLE`, `ONE_SEED` or `TOO_FEW`.
        best_in_share_of_draws: of patients and trainings; None where there are too few patients.
    """

    configuration: str
    settings: dict[str, Label]
    runs: list[str]
    cells: int
    val_auc: float
    val_auc_sd: float | None
    against_best: Rival | None
    verdict: str
    best_in_share_of_draws: float | None

    @property
    def is_alike(self) -> bool:
        """Tell whether the recipe may be as good as the best."""
        return self.verdict == ALIKE


@dataclass(frozen=True)
class Chosen:
    """choice.json: the choice by validation alone, and how sure it is.

    Attributes:
        chosen: name of the best configuration.
        chosen_runs: its run ids.
        model_id: the id under which it opens a test.
        val_auc: its mean validation AUC.
        level_with: other configurations with the very same AUC; the first in the file is taken.
        validation_patients: with the outcome and without it, over all folds.
        trainings_least: cells of the configuration that has the fewest.
        trainings_most: cells of the one that has the most.
        luck_sd: standard deviation of a training's true AUC about its recipe's, of configurations near the chosen one;
            None where none was trained twice.
        luck_df: its degrees of freedom; 0 where each configuration was trained once.
        configurations_near: how many lie near the chosen one; all, where nothing sets any apart.
        optimism: by how much the choice among configurations flatters the recipe's AUC; None where each was trained
            once, or too few patients can tell.
        optimism_sd: standard deviation of that from sweep to sweep.
        optimism_of_trained_models: by how much it flatters the AUC of the very models that were trained.
        optimism_if_recipes_are_equal: `optimism` at most, where each configuration was trained once.
        epoch_optimism: by how much the choice of the epoch flatters it; None where it is not known.
        runs_without_epoch_scores: runs of the chosen one that kept no scores by epoch.
        val_auc_corrected: AUC to be expected of the recipe, less both kinds of optimism; None where one is not known.
        trained_models_auc_corrected: AUC to be expected of the very models that were trained.
        val_auc_at_least: AUC to be expected of the recipe if all recipes are equal, where each was trained once.
        configurations_planned: of the sweep.
        configurations_ranked: completed ones.
        resamples: draws.
        configurations: from best to worst.
        factors: by how much axes, folds, seeds and patients make AUCs differ.
        pruned_at_epochs: epoch of each configuration that a pruner stopped, in order.
    """

    schema_version: int = field(default=2, init=False)
    chosen: str
    chosen_runs: list[str]
    model_id: str
    val_auc: float
    level_with: list[str]
    validation_patients: tuple[int, int]
    trainings_least: int
    trainings_most: int
    luck_sd: float | None
    luck_df: int
    configurations_near: int
    optimism: float | None
    optimism_sd: float | None
    optimism_of_trained_models: float | None
    optimism_if_recipes_are_equal: float | None
    epoch_optimism: float | None
    runs_without_epoch_scores: int
    val_auc_corrected: float | None
    trained_models_auc_corrected: float | None
    val_auc_at_least: float | None
    configurations_planned: int
    configurations_ranked: int
    resamples: int
    method: str = field(default=METHOD, init=False)
    configurations: list[Ranked]
    factors: Factors
    pruned_at_epochs: tuple[int, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """Say the choice in a few lines."""
        level = f" (level with {'; '.join(self.level_with)}; the first in the sweep's file is taken)"
        lines = [f"chosen by validation alone: {self.chosen}, AUC {self.val_auc:.3f}" + level * bool(self.level_with)]
        if self.configurations_ranked > 1:
            lines.append(self._apart())
            if self.trainings_least < self.trainings_most:
                lines.append(
                    f"configurations were trained unequally often ({self.trainings_least} to {self.trainings_most} "
                    "cells): those with few have the less certain mean, which the limits and p-values take into account"
                )
        if self.pruned_at_epochs:
            lines.append(self._pruned())
        flatteries = [*self._of_choice(), *self._of_epoch()]
        lines.append("; ".join(flatteries) + (": " if flatteries else "") + self._expected())
        return lines

    def _apart(self) -> str:
        verdicts = [ranked.verdict for ranked in self.configurations]
        others = self.configurations_ranked - 1
        if TOO_FEW in verdicts:
            with_outcome, without = self.validation_patients
            return (
                f"nothing is tested: {with_outcome} validation patients with the outcome and {without} without it, "
                f"where a test needs {FEWEST} of each ({FEWEST_OF_FOLD} in each fold)"
            )
        if ONE_SEED in verdicts:
            rivals = [ranked.against_best for ranked in self.configurations if ranked.against_best]
            explained = sum(rival.p_patients is not None and rival.p_patients >= 0.05 for rival in rivals)
            return (
                f"{ONE_SEED} (seeds: 3 would); the distance of {explained} of {others} others is within what patients "
                "alone explain"
            )
        return (
            f"{verdicts.count(ALIKE)} of {others} others are not distinguishable from it (luck of a training: SD "
            f"{self.luck_sd:.3f}, {self.luck_df} degrees of freedom{self._near(', of the ')})"
        )

    def _near(self, before: str) -> str:
        """Say which configurations' luck a figure is of, where it is not that of all."""
        near = self.configurations_near
        return f"{before}{near} that lie near it" if near < self.configurations_ranked else ""

    def _pruned(self) -> str:
        count, first, last = len(self.pruned_at_epochs), self.pruned_at_epochs[0], self.pruned_at_epochs[-1]
        when = f"epoch {first}" if first == last else f"epochs {first} to {last}"
        return (
            f"{count} of {self.configurations_planned} configurations were pruned at {when}, on these same validation "
            "patients: they are not ranked, and the optimism of the choice cannot count them, so that it may be larger "
            "than what is told"
        )

    def _of_choice(self) -> list[str]:
        count = self.configurations_ranked
        if count == 1:
            return []
        if self.optimism is not None:
            return [f"choosing the best of {count} flatters it by about {self.optimism:.3f}"]
        if self.optimism_of_trained_models is None:
            return [f"by how much choosing the best of {count} flatters it, so few patients cannot tell"]
        return [
            f"choosing the best of {count} flatters this trained model by about {self.optimism_of_trained_models:.3f}",
            f"its recipe by up to {self.optimism_if_recipes_are_equal:.3f}, if seeds alone make the difference"
            f"{self._near(' among the ')}",
        ]

    def _of_epoch(self) -> list[str]:
        if self.epoch_optimism == 0:
            return []
        if self.epoch_optimism is not None:
            return [f"choosing the best epoch, by about {self.epoch_optimism:.3f}"]
        if missing := self.runs_without_epoch_scores:
            return [
                f"by how much choosing the best epoch flatters it is not known: {missing} of its "
                f"{len(self.chosen_runs)} runs kept no scores by epoch (trained by an earlier version)"
            ]
        return ["by how much choosing the best epoch flatters it, so few patients cannot tell"]

    def _expected(self) -> str:
        if self.val_auc_corrected is not None:
            return f"expect {self.val_auc_corrected:.3f}"
        if self.trained_models_auc_corrected is not None and self.val_auc_at_least is not None:
            most, least = self.trained_models_auc_corrected, self.val_auc_at_least
            return f"expect {most:.3f} of this model, {least:.3f} to {most:.3f} of another training with its settings"
        return "what to expect of it is not known"


def describe(
    complete: Sequence[Configuration],
    ranking: Ranking,
    epochs: EpochChoice,
    factors: Factors,
    planned: int,
    resamples: int,
    pruned: Sequence[int] = (),
) -> Chosen:
    """Describe the choice: configurations from best to worst, unrounded.

    Args:
        complete: configurations that were ranked.
        ranking: of these.
        epochs: optimism of the best one's epochs.
        factors: of the sweep.
        planned: configurations of the sweep.
        resamples: draws of the ranking.
        pruned: epochs at which other configurations were pruned.
    """
    ranked = []
    for index in np.argsort(-ranking.auc, kind="stable").tolist():
        configuration = complete[index]
        aucs = ranking.cells.auc[ranking.cells.recipe == index]
        ranked.append(
            Ranked(
                configuration=configuration.name,
                settings=configuration.rows[0].cell.shown,
                runs=[row.cell.run_id for row in configuration.rows],
                cells=len(aucs),
                val_auc=float(ranking.auc[index]),
                val_auc_sd=float(np.std(aucs, ddof=1)) if len(aucs) > 1 else None,
                against_best=ranking.rivals.get(index),
                verdict=verdict(ranking, index),
                best_in_share_of_draws=known(float(ranking.wins[index])),
            )
        )
    best = ranked[0]
    optimism, of_models, at_most = (
        None if excess is None else excess.mean for excess in (ranking.optimism, ranking.of_models, ranking.at_most)
    )
    of_epoch = None if epochs.optimism is None else known(epochs.optimism)
    return Chosen(
        chosen=best.configuration,
        chosen_runs=best.runs,
        model_id=complete[ranking.best].model_id,
        val_auc=best.val_auc,
        level_with=[complete[index].name for index in ranking.level],
        validation_patients=(ranking.with_outcome, ranking.without_outcome),
        trainings_least=min(ranking.trainings),
        trainings_most=max(ranking.trainings),
        luck_sd=ranking.luck.typical_sd if ranking.luck.df and ranking.enough else None,
        luck_df=round(ranking.luck.df_held),
        configurations_near=ranking.near,
        optimism=optimism,
        optimism_sd=ranking.optimism.sd if ranking.optimism else None,
        optimism_of_trained_models=of_models,
        optimism_if_recipes_are_equal=at_most,
        epoch_optimism=of_epoch,
        runs_without_epoch_scores=epochs.without_scores,
        val_auc_corrected=less(best.val_auc, of_epoch, optimism),
        trained_models_auc_corrected=less(best.val_auc, of_epoch, of_models),
        val_auc_at_least=less(best.val_auc, of_epoch, at_most),
        configurations_planned=planned,
        configurations_ranked=len(complete),
        resamples=resamples,
        configurations=ranked,
        factors=factors,
        pruned_at_epochs=tuple(sorted(pruned)),
    )


def verdict(ranking: Ranking, index: int) -> str:
    """Judge a configuration against the best, in words."""
    rival = ranking.rivals.get(index)
    if rival is None:
        return BEST
    if not ranking.enough:
        return TOO_FEW
    if ranking.one_training_each:
        return ONE_SEED
    return DISTINGUISHABLE if rival.distinguishable else ALIKE


def known(value: float) -> float | None:
    """Give the value, or None for NaN: what so few patients cannot tell."""
    return None if math.isnan(value) else value


def less(auc: float, *optimism: float | None) -> float | None:
    """Take each optimism from the AUC; None where one is not known."""
    amounts = [amount for amount in optimism if amount is not None]
    return auc - sum(amounts) if len(amounts) == len(optimism) else None
