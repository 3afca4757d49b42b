"""Optimism of the epoch: a run keeps the weights of its best epoch, chosen by the patients that then judge it.

Patients are resampled; each resample chooses its epoch, whose AUC on the patients left out of it owes nothing to the
choice. By how much those fall short of the kept epoch on the same patients is the flattery (Efron & Tibshirani 1997,
JASA 92:548, leave-one-out bootstrap); that the kept epoch is judged there too spares the luck of who is left out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mammo_aln.runs.epoch_scores import EpochScores
from mammo_aln.sweeps.choosing.cells import Floats, Fold, Numbers

RESAMPLES = 200


def epoch_optimism(scores: EpochScores, patients: Numbers, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Tell how much choosing the best epoch flatters a run's AUC, at least 0; NaN of too few patients.

    Args:
        scores: of its validation patients by epoch; an epoch with a NaN is none to choose.
        patients: (n,) numbers; rows of one patient (two axillae) share one.
        resamples: bootstrap samples of patients.
        seed: draws them.
    """
    logits = scores.logits[~np.isnan(scores.logits).any(axis=1)].astype(float)
    if len(logits) == 1:
        return 0.0
    fold = Fold(scores.labels.astype(bool), patients)
    if not len(logits) or fold.labels.all() or not fold.labels.any():
        return math.nan
    weight = drawn_patients(fold, resamples, np.random.default_rng(seed))[:, patients].astype(float)
    everyone = np.ones((1, fold.labels.size))
    auc = np.array([weighted_auc(row, everyone, fold.labels)[0] for row in logits])
    inside = np.stack([weighted_auc(row, weight, fold.labels) for row in logits])
    outside = np.stack([weighted_auc(row, (weight == 0).astype(float), fold.labels) for row in logits])
    lost = outside[auc.argmax()] - outside[inside.argmax(axis=0), np.arange(resamples)]
    judged = lost[~np.isnan(lost)]
    # So few patients that most resamples leave nobody of one outcome out.
    return max(0.0, float(judged.mean())) if judged.size >= resamples / 2 else math.nan


def drawn_patients(fold: Fold, rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw patients in strata (positive rows only, negative only, both): how often each is drawn, (rows, patients)."""
    count = int(fold.patients.max()) + 1
    kind = np.zeros(count, dtype=np.int64)
    np.bitwise_or.at(kind, fold.patients, np.where(fold.labels, 1, 2))
    drawn = np.zeros((rows, count), dtype=np.int64)
    for value in np.unique(kind[kind > 0]):
        members = np.flatnonzero(kind == value)
        drawn[:, members] = rng.multinomial(members.size, np.full(members.size, 1 / members.size), size=rows)
    return drawn


def weighted_auc(scores: Floats, weight: Floats, positive: NDArray[np.bool_]) -> Floats:
    """AUC of scores (n,) under each row of patients' weights (rows, n), ties half; NaN where an outcome has none."""
    order = np.argsort(scores, kind="stable")
    ordered, above = scores[order], weight[:, order] * positive[order]
    below = np.zeros((len(weight), scores.size + 1))
    np.cumsum(weight[:, order] * ~positive[order], axis=1, out=below[:, 1:])
    lower, level = np.searchsorted(ordered, ordered, "left"), np.searchsorted(ordered, ordered, "right")
    won = (above * (below[:, lower] + below[:, level])).sum(axis=1) / 2
    pairs = above.sum(axis=1) * below[:, -1]
    return np.divide(won, pairs, out=np.full(len(weight), math.nan), where=pairs > 0)
