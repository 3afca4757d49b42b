"""Intervals for figures whose variance has no plain formula: average precision, partial AUC and F1, by the bootstrap.

A resample is how often each row was drawn, shape (n,); whole blocks of resamples are judged at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammo_aln.evaluation.statistics.discrimination import Floats, checked
from mammo_aln.evaluation.statistics.resampling import weights

Weights = NDArray[np.int64]


def _cumulated(weight: Weights, order: NDArray[np.int64], ends: NDArray[np.int64], group: NDArray[np.bool_]) -> Floats:
    """Rows of a group drawn at or above each distinct score, highest first, shape (resamples, levels)."""
    return np.cumsum((weight * group)[:, order], axis=1)[:, ends].astype(np.float64)


def _average_precision(positives: Floats, negatives: Floats) -> Floats:
    steps = np.diff(positives, axis=1, prepend=0.0)
    called = positives + negatives
    precision = np.divide(positives, called, out=np.zeros_like(called), where=called > 0)
    return (steps * precision).sum(axis=1) / positives[:, -1]


def _partial_auc(positives: Floats, negatives: Floats, width: float) -> Floats:
    """Area under the curve where 1 - specificity is at most `width`."""
    x = np.pad(negatives / negatives[:, -1:], ((0, 0), (1, 0)))
    y = np.pad(positives / positives[:, -1:], ((0, 0), (1, 0)))
    step, rise = np.diff(x, axis=1), np.diff(y, axis=1)
    used = np.clip(width - x[:, :-1], 0.0, step)
    slope = np.divide(rise, step, out=np.zeros_like(rise), where=step > 0)
    return (used * (y[:, :-1] + slope * used / 2.0)).sum(axis=1)


def bootstrap_figures(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    threshold: float | None = None,
    specificity: float = 0.8,
    resamples: int = 2000,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> dict[str, Floats]:
    """`average_precision`, `partial_auc` and, at a frozen threshold, `f1` of stratified bootstrap samples.

    Args:
        scores: shape (n,).
        labels: shape (n,).
        threshold: frozen threshold of F1, or None.
        specificity: the partial area lies between this specificity and 1.
        resamples: number of bootstrap samples.
        seed: of the random generator.
        clusters: shape (n,), the patient of each row; whole patients are drawn where one has several rows.

    Returns:
        One array of shape (resamples,) per figure.
    """
    score, positive = checked(scores, labels)
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    figures: dict[str, list[Floats]] = {"average_precision": [], "partial_auc": [], "f1": []}
    for weight in weights(positive, resamples=resamples, seed=seed, clusters=clusters):
        above = [_cumulated(weight, order, ends, group) for group in (positive, ~positive)]
        figures["average_precision"].append(_average_precision(above[0], above[1]))
        figures["partial_auc"].append(_partial_auc(above[0], above[1], 1.0 - specificity))
        if threshold is not None:
            called = score >= threshold
            tp, wrong = weight @ (called & positive), weight @ (called != positive)
            figures["f1"].append(2.0 * tp / np.maximum(2.0 * tp + wrong, 1e-300))
    return {name: np.concatenate(blocks) for name, blocks in figures.items() if blocks}
