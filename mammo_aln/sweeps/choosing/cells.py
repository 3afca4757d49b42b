"""Validation AUCs of a sweep's cells, with what patients contribute to each: DeLong's components.

The components of a cell sum to 0, and products of two cells' components sum to the covariance of their AUCs over
samples of patients (DeLong 1988, Biometrics 44:837; rows of one patient together: Obuchowski 1997, Biometrics 53:567).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse, stats

from mammo_aln.errors import InputError

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """Validation patients that a set of cells share.

    Attributes:
        labels: (n,) 0 or 1.
        patients: (n,) numbers; rows of one patient (two axillae) share one.
    """

    labels: NDArray[np.bool_]
    patients: Numbers

    @property
    def outcomes(self) -> tuple[int, int]:
        """Number of patients with a positive row, and with a negative one."""
        with_it, without = self.patients[self.labels], self.patients[~self.labels]
        return np.unique(with_it).size, np.unique(without).size


@dataclass(frozen=True)
class Cells:
    """Trainings of a sweep, each with its AUC on the validation patients of its fold.

    Attributes:
        auc: (cells,).
        components: (cells, patients of all folds), 0 outside a cell's fold; NaN where a fold has fewer than two
            patients of an outcome.
        recipe: (cells,) number of the configuration.
        fold: (cells,) number of the fold.
    """

    auc: Floats
    components: Floats
    recipe: Numbers
    fold: Numbers

    @property
    def recipes(self) -> int:
        """Number of configurations."""
        return int(self.recipe.max()) + 1

    @property
    def folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    @property
    def trainings(self) -> Numbers:
        """Number of cells of each configuration, (recipes,)."""
        return np.bincount(self.recipe)

    @property
    def weights(self) -> Floats:
        """Weight of each cell in its configuration's mean: seeds of a fold alike, folds alike, (cells,)."""
        group = self.recipe * self.folds + self.fold
        return 1.0 / (np.bincount(group)[group] * self.folds)

    @property
    def shares(self) -> Floats:
        """Variance of each configuration's mean luck, that of one training being 1, (recipes,)."""
        return np.bincount(self.recipe, weights=self.weights**2).astype(float)

    def means(self, values: Floats) -> Floats:
        """Average over each configuration's cells, (cells, ...) to (recipes, ...)."""
        averaging = sparse.csr_array((self.weights, (self.recipe, np.arange(self.recipe.size))))
        return np.asarray(averaging @ values)


def cells_of(scores: Sequence[Sequence[Floats]], folds: Sequence[Fold]) -> Cells:
    """Judge every cell on its fold's patients.

    Args:
        scores: for each configuration, for each fold, scores of shape (seeds, patients of the fold).
        folds: the validation patients of each fold.

    Raises:
        InputError: no configuration, or a fold with one outcome alone.
    """
    if not scores:
        raise InputError("no completed configuration to choose from")
    if any(fold.labels.all() or not fold.labels.any() for fold in folds):
        raise InputError(
            "all validation patients of a fold have one outcome alone: no AUC to choose by; use fewer folds"
        )
    sizes = [int(fold.patients.max()) + 1 for fold in folds]
    begins = np.concatenate([[0], np.cumsum(sizes)])
    aucs, components, recipes = [], [], []
    for number, fold in enumerate(folds):
        rows = np.concatenate([own[number] for own in scores])
        of_fold = np.zeros((len(rows), begins[-1]))
        auc, of_fold[:, begins[number] : begins[number + 1]] = components_of(rows, fold)
        aucs.append(auc)
        components.append(of_fold)
        recipes.append(np.repeat(np.arange(len(scores)), [len(own[number]) for own in scores]))
    fold_numbers = np.repeat(np.arange(len(folds)), [len(auc) for auc in aucs])
    return Cells(np.concatenate(aucs), np.concatenate(components), np.concatenate(recipes), fold_numbers)


def components_of(scores: Floats, fold: Fold) -> tuple[Floats, Floats]:
    """Compute AUCs (cells,) and components (cells, patients) of scores (cells, n), by mid-ranks (Sun & Xu 2014)."""
    positive = fold.labels
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = stats.rankdata(scores, axis=1)
    above = (ranks[:, positive] - stats.rankdata(scores[:, positive], axis=1)) / n
    below = 1.0 - (ranks[:, ~positive] - stats.rankdata(scores[:, ~positive], axis=1)) / m
    auc = above.mean(axis=1)
    components = np.zeros((len(scores), int(fold.patients.max()) + 1))
    member = sparse.csr_array((np.ones(m + n), (np.arange(m + n), fold.patients)))
    for placements, rows, count in zip((above, below), (positive, ~positive), fold.outcomes, strict=True):
        factor = math.sqrt(count / (count - 1)) / placements.shape[1] if count > 1 else math.nan
        # Equal placements (a perfect or a constant score) have components of exactly 0.
        centred = placements - placements[:, :1]
        centred -= centred.mean(axis=1, keepdims=True)
        components += factor * centred @ member[rows]
    return auc, components


def aligned(tables: Mapping[int, Sequence[pd.DataFrame]]) -> tuple[Fold, dict[int, Floats]]:
    """Bring the scores of cells on one fold to the patients that they all score, in one order of rows.

    Args:
        tables: for each configuration, its seeds' validation rows (`patient_id`, maybe `center` and `side`,
            `aln_status`, `score`).

    Raises:
        InputError: no patient is scored by all cells, or cells state different outcomes of one.
    """
    first = next(iter(tables.values()))[0]
    keys = [name for name in ("center", "patient_id", "side") if name in first]
    labelled = {
        index: [table[table["aln_status"].notna()].fillna({"side": ""}).set_index(keys) for table in seeds]
        for index, seeds in tables.items()
    }
    common = labelled[next(iter(labelled))][0].index
    for table in (scored for seeds in labelled.values() for scored in seeds):
        common = common.intersection(table.index)
    if common.empty:
        raise InputError(
            "the cells of this sweep have no validation patient in common, so they cannot be ranked; "
            "exclusions.csv in their run directories names the patients whose crops are missing"
        )
    common = common.sort_values()
    scores = {
        index: np.stack([scored["score"].loc[common].to_numpy(float) for scored in seeds])
        for index, seeds in labelled.items()
    }
    outcomes = np.stack([table["aln_status"].loc[common] for seeds in labelled.values() for table in seeds])
    if (differs := (outcomes != outcomes[0]).any(axis=0)).any():
        raise InputError(
            f"the cells of this sweep state different outcomes of {int(differs.sum())} validation patients (the first:"
            f" {' '.join(map(str, np.atleast_1d(common[differs][0])))}); they must be trained on the same labels"
        )
    order = labelled[next(iter(labelled))][0].loc[common].reset_index()
    who = [name for name in keys if name != "side"]
    patients = order.groupby(who, sort=False).ngroup().to_numpy().astype(np.int64)
    return Fold(order["aln_status"].to_numpy(float) == 1.0, patients), scores
