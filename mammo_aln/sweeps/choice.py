"""Choosing by validation alone, honestly: who is distinguishable from the best, and how flattered the best is.

A configuration's figure is the mean of its cells' AUCs over seeds and folds. All statistics come from its kernel: for
each positive i and negative j of a fold, psi = 1, 1/2 or 0 as i scores above, level with or below j (DeLong 1988,
Biometrics 44:837), averaged over seeds. The AUC is the kernel's mean, DeLong's components are its row and column means,
and an AUC of resampled patients is a weighted mean; so seeds of one configuration are never taken as independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics.tests import holm

Floats = NDArray[np.float64]
ALPHA = 0.05
BLOCK = 500
LEVEL = 1e-12
"""AUCs that differ by less are level: sums of the same terms in another order."""


@dataclass(frozen=True)
class Fold:
    """Validation patients that a set of cells share.

    Attributes:
        labels: (n,) 0 or 1.
        patients: (n,) numbers; rows of one patient (two axillae) share one.
    """

    labels: NDArray[np.bool_]
    patients: NDArray[np.int64]


@dataclass(frozen=True)
class Rival:
    """One configuration against the best; None for what so few patients cannot tell.

    Attributes:
        difference: AUC minus the best one's.
        low: lower 95 % limit of the difference, bootstrap of patients, percentile.
        high: upper limit.
        delong_p: paired DeLong test.
        bootstrap_p: 2 Phi(-|D|), D = difference / bootstrap SD.
        delong_p_holm: DeLong's p after Holm over all rivals.
        bootstrap_p_holm: the bootstrap's p after Holm.
    """

    difference: float | None
    low: float | None
    high: float | None
    delong_p: float | None
    bootstrap_p: float | None
    delong_p_holm: float | None
    bootstrap_p_holm: float | None

    @property
    def distinguishable(self) -> bool:
        """Tell whether DeLong's test, corrected for all rivals, sets it apart from the best."""
        return self.delong_p_holm is not None and self.delong_p_holm < ALPHA


@dataclass(frozen=True)
class Ranking:
    """Configurations of a finished sweep, ranked.

    Attributes:
        auc: mean AUC of each configuration.
        best: index of the best.
        rivals: the others by index.
        optimism: how much the best one's AUC is flattered by having been chosen as the best of all; NaN where there are
            too few patients to tell.
        optimism_sd: its bootstrap standard deviation.
        wins: share of resamples in which each configuration is the best; level ones share a resample.
        level: others whose AUC is the best one's; the first in the file is taken.
    """

    auc: Floats
    best: int
    rivals: dict[int, Rival]
    optimism: float
    optimism_sd: float
    wins: Floats
    level: tuple[int, ...] = ()


def known(value: float) -> float | None:
    """Give the value, or None for NaN: what so few patients cannot tell."""
    return None if math.isnan(value) else value


def kernel(scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """Compare every positive with every negative (psi), averaged over seeds.

    Args:
        scores: (seeds, n).
        positive: (n,).

    Returns:
        (positives, negatives).
    """
    total = np.zeros((int(positive.sum()), int((~positive).sum())))
    for row in scores:
        total += 0.5 * (np.sign(row[positive][:, None] - row[~positive][None]) + 1.0)
    return total / len(scores)


def rank(scores: Sequence[Sequence[Floats]], folds: Sequence[Fold], *, resamples: int = 2000, seed: int = 0) -> Ranking:
    """Rank configurations by mean validation AUC.

    Args:
        scores: for each configuration, for each fold, scores of shape (seeds, patients of the fold).
        folds: the validation patients of each fold.
        resamples: bootstrap resamples of patients.
        seed: draws them.

    Raises:
        InputError: fewer than one configuration, or a fold with one outcome alone.
    """
    if not scores:
        raise InputError("no completed configuration to choose from")
    if any(fold.labels.all() or not fold.labels.any() for fold in folds):
        raise InputError(
            "all validation patients of a fold have one outcome alone: no AUC to choose by; use fewer folds"
        )
    kernels = [[kernel(seeds, fold.labels) for seeds, fold in zip(own, folds, strict=True)] for own in scores]
    auc = np.array([np.mean([psi.mean() for psi in own]) for own in kernels])
    best = int(np.argmax(auc))
    drawn, outside = _bootstrap(kernels, folds, resamples, seed)
    others = [index for index in range(len(kernels)) if index != best]
    delong = [_delong_p(kernels[index], kernels[best], folds) for index in others]
    apart = [drawn[index] - drawn[best] for index in others]
    gaps = [float(auc[index] - auc[best]) for index in others]
    boot = [_normal_p(gap, float(np.std(gaps_drawn, ddof=1))) for gap, gaps_drawn in zip(gaps, apart, strict=True)]
    limits = [np.quantile(gaps_drawn, [0.025, 0.975]) for gaps_drawn in apart]
    rivals = {
        index: Rival(*map(known, (gap, float(low), float(high), *p_values)))
        for index, gap, (low, high), *p_values in zip(
            others, gaps, limits, delong, boot, holm(delong), holm(boot), strict=True
        )
    }
    chosen = drawn.argmax(axis=0)
    there = outside[chosen, np.arange(chosen.size)]
    flattered = auc[best] - there[~np.isnan(there)]
    ahead = drawn >= drawn.max(axis=0) - LEVEL
    wins = (ahead / ahead.sum(axis=0)).mean(axis=1)
    level = tuple(index for index in others if auc[index] >= auc[best] - LEVEL)
    if len(kernels) == 1:
        return Ranking(auc, best, rivals, 0.0, 0.0, wins, level)
    if flattered.size < resamples / 2:
        # So few patients that most resamples leave nobody of one outcome out.
        return Ranking(auc, best, rivals, math.nan, math.nan, wins, level)
    return Ranking(auc, best, rivals, float(flattered.mean()), float(flattered.std(ddof=1)), wins, level)


def _normal_p(difference: float, sd: float) -> float:
    if sd == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * stats.norm.sf(abs(difference) / sd))


def _delong_p(first: Sequence[Floats], second: Sequence[Floats], folds: Sequence[Fold]) -> float:
    """Paired DeLong test of the mean AUCs; rows of one patient together (Obuchowski 1997), folds independent."""
    gap, variance = 0.0, 0.0
    for a, b, fold in zip(first, second, folds, strict=True):
        apart = a - b
        theta = float(apart.mean())
        above, below = apart.mean(axis=1) - theta, apart.mean(axis=0) - theta
        of_positive, of_negative = fold.patients[fold.labels], fold.patients[~fold.labels]
        m, n = np.unique(of_positive).size, np.unique(of_negative).size
        if min(m, n) < 2:
            return math.nan
        count = int(fold.patients.max()) + 1
        components = math.sqrt(m / (m - 1)) / above.size * np.bincount(of_positive, weights=above, minlength=count)
        components += math.sqrt(n / (n - 1)) / below.size * np.bincount(of_negative, weights=below, minlength=count)
        gap += theta / len(folds)
        variance += float(components @ components) / len(folds) ** 2
    return _normal_p(gap, math.sqrt(variance))


def _bootstrap(
    kernels: Sequence[Sequence[Floats]], folds: Sequence[Fold], resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """AUCs of resampled patients, and of the patients that a resample left out, each (configurations, resamples).

    Patients are drawn in strata (positive rows only, negative only, both). A resample that leaves out no positive or no
    negative of a fold has no AUC outside: NaN.
    """
    rng = np.random.default_rng(seed)
    inside = np.zeros((len(kernels), resamples))
    outside = np.zeros((len(kernels), resamples))
    for number, fold in enumerate(folds):
        for begin in range(0, resamples, BLOCK):
            block = slice(begin, min(begin + BLOCK, resamples))
            weight = _draw(fold, block.stop - block.start, rng)[:, fold.patients].astype(float)
            for index, own in enumerate(kernels):
                inside[index, block] += _weighted(own[number], weight, fold) / len(folds)
                outside[index, block] += _weighted(own[number], weight == 0, fold) / len(folds)
    return inside, outside


def _draw(fold: Fold, rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    count = int(fold.patients.max()) + 1
    kind = np.zeros(count, dtype=np.int64)
    np.bitwise_or.at(kind, fold.patients, np.where(fold.labels, 1, 2))
    drawn = np.zeros((rows, count), dtype=np.int64)
    for value in np.unique(kind):
        members = np.flatnonzero(kind == value)
        drawn[:, members] = rng.multinomial(members.size, np.full(members.size, 1 / members.size), size=rows)
    return drawn


def _weighted(psi: Floats, weight: NDArray[Any], fold: Fold) -> Floats:
    above, below = weight[:, fold.labels].astype(float), weight[:, ~fold.labels].astype(float)
    pairs = above.sum(axis=1) * below.sum(axis=1)
    total = ((above @ psi) * below).sum(axis=1)
    return np.divide(total, pairs, out=np.full(len(total), math.nan), where=pairs > 0)


def aligned(tables: Mapping[int, Sequence[pd.DataFrame]]) -> tuple[Fold, dict[int, Floats]]:
    """Bring the scores of cells on one fold to the patients that they all score, in one order of rows.

    Args:
        tables: for each configuration, its seeds' validation rows (`patient_id`, maybe `center` and `side`,
            `aln_status`, `score`).

    Raises:
        InputError: no patient is scored by all cells.
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
    order = labelled[next(iter(labelled))][0].loc[common].reset_index()
    who = [name for name in keys if name != "side"]
    patients = order.groupby(who, sort=False).ngroup().to_numpy().astype(np.int64)
    return Fold(order["aln_status"].to_numpy(float) == 1.0, patients), scores
