"""The bootstrap of an AUC: resamples as counts, whole blocks at a time, and the limit of infinitely many resamples.

Positives and negatives are drawn apart (stratified), each with replacement, to their own number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammo_aln.evaluation.statistics.discrimination import Floats, checked, placements

BLOCK_CELLS = 250_000  # counts of one block stay in the processor's cache


def _blocks(resamples: int, width: int) -> Iterator[int]:
    size = max(1, BLOCK_CELLS // max(1, width))
    for begin in range(0, resamples, size):
        yield min(size, resamples - begin)


def _draw(rng: np.random.Generator, size: int, rows: int) -> NDArray[np.integer]:
    """Indices of `rows` samples with replacement, (rows, size); few random bits where the sample is small."""
    return rng.integers(0, size, size=(rows, size), dtype=np.uint16 if size <= np.iinfo(np.uint16).max else np.int64)


def _counts(cell: NDArray[np.int32], drawn: NDArray[np.integer], width: int) -> NDArray[np.int64]:
    """Count how often each sample drew each cell, (rows, width).

    Args:
        cell: cell of each patient.
        drawn: patients drawn by each sample, (rows, n).
        width: number of cells.
    """
    rows = len(drawn)
    cells = cell.take(drawn)
    cells += (np.arange(rows, dtype=np.int32) * width)[:, None]
    return np.bincount(cells.ravel(), minlength=rows * width).reshape(rows, width)


def _runs(scores: Floats, positive: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the runs of one outcome along the ordered scores: the run of each patient, and how many there are.

    Within a run the order does not matter to the AUC, which counts pairs of unlike outcome; a score that both outcomes
    share is a run of its own.
    """
    levels, group = np.unique(scores, return_inverse=True)
    has_positive = np.bincount(group[positive], minlength=levels.size) > 0
    has_negative = np.bincount(group[~positive], minlength=levels.size) > 0
    mixed = has_positive & has_negative
    begins = np.ones(levels.size, dtype=bool)
    begins[1:] = mixed[1:] | mixed[:-1] | (has_positive[1:] != has_positive[:-1])
    return (np.cumsum(begins) - 1)[group].astype(np.int32), int(begins.sum())


def bootstrap_auc(scores: ArrayLike, labels: ArrayLike, *, resamples: int = 2000, seed: int = 0) -> Floats:
    """AUCs of `resamples` stratified bootstrap samples, shape (resamples,)."""
    return bootstrap_auc_joint(scores, labels, resamples=resamples, seed=seed)[0]


def bootstrap_auc_joint(
    scores: ArrayLike, labels: ArrayLike, *, resamples: int = 2000, seed: int = 0, clusters: ArrayLike | None = None
) -> Floats:
    """AUCs of k scores of the same patients on the same resamples, shape (k, resamples).

    Args:
        scores: shape (k, n).
        labels: shape (n,).
        resamples: number of bootstrap samples.
        seed: of the random generator.
        clusters: shape (n,), names the patient of each row; where patients have several rows, whole patients are drawn,
            in strata (positive rows only, negative rows only, both), so that rows of one patient stay together.
    """
    table = [checked(row, labels)[0] for row in np.atleast_2d(np.asarray(scores, dtype=np.float64))]
    positive = checked(table[0], labels)[1]
    rng = np.random.default_rng(seed)
    if clusters is not None:
        member = np.unique(np.asarray(clusters), return_inverse=True)[1]
        if member.max() + 1 < member.size:
            return _clustered(table, positive, member, resamples, rng)
    runs = [_runs(score, positive) for score in table]
    result = np.empty((len(table), resamples))
    done = 0
    for rows in _blocks(resamples, positive.size):
        below, above = _draw(rng, int((~positive).sum()), rows), _draw(rng, int(positive.sum()), rows)
        for k, (run, width) in enumerate(runs):
            negatives = _counts(run[~positive], below, width)
            twice_below = 2 * np.cumsum(negatives, axis=1) - negatives
            result[k, done : done + rows] = (_counts(run[positive], above, width) * twice_below).sum(axis=1)
        done += rows
    return result / (2.0 * positive.sum() * (~positive).sum())


def _clustered(
    table: Sequence[Floats],
    positive: NDArray[np.bool_],
    member: NDArray[np.int64],
    resamples: int,
    rng: np.random.Generator,
) -> Floats:
    """The same, drawing whole clusters; the number of positive and negative rows then varies between resamples."""
    ranked = []
    for score in table:
        order = np.argsort(score, kind="stable")
        starts = np.flatnonzero(np.concatenate([[True], np.diff(score[order]) > 0]))
        ranked.append((order, positive[order], starts))
    result = np.empty((len(table), resamples))
    done = 0
    for drawn in _cluster_weights(positive, member, resamples, rng):
        rows = len(drawn)
        for k, (order, is_positive, starts) in enumerate(ranked):
            weight = drawn[:, order]
            negatives = np.add.reduceat(weight * ~is_positive, starts, axis=1)
            positives = np.add.reduceat(weight * is_positive, starts, axis=1)
            pairs = positives.sum(axis=1) * negatives.sum(axis=1)
            twice_below = 2 * np.cumsum(negatives, axis=1) - negatives
            result[k, done : done + rows] = (positives * twice_below).sum(axis=1) / (2.0 * pairs)
        done += rows
    return result


def _cluster_weights(
    positive: NDArray[np.bool_], member: NDArray[np.int64], resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Count how often each row was drawn, (rows, n), when whole clusters are drawn within strata of like outcomes."""
    n_clusters = int(member.max()) + 1
    kind = np.zeros(n_clusters, dtype=np.int64)
    np.bitwise_or.at(kind, member, np.where(positive, 1, 2))
    strata = [np.flatnonzero(kind == value).astype(np.int32) for value in np.unique(kind)]
    for rows in _blocks(resamples, positive.size):
        drawn = sum(_counts(stratum, _draw(rng, stratum.size, rows), n_clusters) for stratum in strata)
        yield np.asarray(drawn)[:, member]


def weights(
    positive: NDArray[np.bool_], *, resamples: int, seed: int, clusters: ArrayLike | None = None
) -> Iterator[NDArray[np.int64]]:
    """Blocks of stratified bootstrap samples as how often each row was drawn, each of shape (rows, n).

    Without `clusters` (or where each has one row) positives and negatives are drawn apart, each to their own number.
    """
    member = np.arange(positive.size) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    yield from _cluster_weights(positive, member, resamples, np.random.default_rng(seed))


def percentile_interval(samples: Floats, level: float = 0.95) -> tuple[float, float]:
    """Percentile limits (R's quantile type 7)."""
    low, high = np.quantile(samples, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def _exact_variance(rows: Floats, columns: Floats, sum_of_squares: float, total: float) -> float:
    """Variance over all equally likely stratified resamples of the mean of an (m, n) kernel, given its margins."""
    m, n = rows.size, columns.size
    second = (
        (m - 1) * (n - 1) / (m * n) * total**2
        + (m - 1) / m * float(columns @ columns)
        + (n - 1) / n * float(rows @ rows)
        + sum_of_squares
    ) / (m * n) ** 2
    return max(0.0, second - (total / (m * n)) ** 2)


def exact_bootstrap_sd(scores: ArrayLike, labels: ArrayLike) -> float:
    """Standard deviation of the stratified bootstrap AUC with infinitely many resamples, in O(n log n)."""
    score, positive = checked(scores, labels)
    v10, v01 = placements(score, positive)
    m, n = v10.size, v01.size
    total = float(v10.sum()) * n
    _, group = np.unique(score, return_inverse=True)
    size = int(group.max()) + 1
    ties = float(
        np.bincount(group[positive], minlength=size).astype(float) @ np.bincount(group[~positive], minlength=size)
    )
    return math.sqrt(_exact_variance(v10 * n, v01 * m, total - 0.25 * ties, total))
