"""Do two ROC curves differ anywhere, even where their areas agree? Permutation tests on whole curves.

Paired: Venkatraman & Begg 1996, Biometrika 83:835. Unpaired: Venkatraman 2000, Biometrics 56:1134. Where scores tie,
the statistic ranks them in the order of the rows and every permutation breaks the ties anew at random, as pROC does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammo_aln.evaluation.statistics.discrimination import Floats, checked

BLOCK_CELLS = 2_000_000


@dataclass(frozen=True)
class CurveTest:
    """Distance between two ROC curves and the share of permutations with at least this distance."""

    statistic: float
    p_value: float
    permutations: int


def _ranks(values: Floats) -> NDArray[np.int64]:
    """Ranks 1..n along the last axis; equal values in the order they stand."""
    order = np.argsort(values, axis=-1, kind="stable")
    ranks = np.empty(order.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, np.arange(1, values.shape[-1] + 1), axis=-1)
    return ranks


def _cases_by_rank(ranks: NDArray[np.int64], positive: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of positives with rank at most 1, 2, ..., n, along the last axis."""
    order = np.argsort(ranks, axis=-1)
    return np.cumsum(positive[order] if ranks.ndim == 1 else np.take(positive, order), axis=-1)


def _paired_distance(
    first: NDArray[np.int64], second: NDArray[np.int64], positive: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Sum over all ranks of the difference in the number of wrong calls when the threshold stands there.

    Wrong calls at rank k = positives at or below k + negatives above k = 2 x positives at or below k + a constant.
    """
    apart = _cases_by_rank(first, positive) - _cases_by_rank(second, positive)
    return 2.0 * np.abs(apart).sum(axis=-1)


def venkatraman_paired(
    first: ArrayLike, second: ArrayLike, labels: ArrayLike, *, permutations: int = 2000, seed: int = 0
) -> CurveTest:
    """Permutation test that two ROC curves of the same patients are one curve (pROC's `roc.test(..., "venkatraman")`).

    In each permutation every patient's two ranks are exchanged with probability one half.
    """
    a, positive = checked(first, labels)
    b, _ = checked(second, labels)
    rank_a, rank_b = _ranks(a), _ranks(b)
    observed = float(_paired_distance(rank_a, rank_b, positive))
    rng = np.random.default_rng(seed)
    n, reached = positive.size, 0
    step = max(1, BLOCK_CELLS // n)
    for begin in range(0, permutations, step):
        shape = (min(step, permutations - begin), n)
        exchanged = rng.random(shape) < 0.5
        loose_a, loose_b = (rank + rng.random(shape) - 0.5 for rank in (rank_a, rank_b))
        drawn = _paired_distance(
            _ranks(np.where(exchanged, rank_b, loose_a)), _ranks(np.where(exchanged, rank_a, loose_b)), positive
        )
        reached += int((drawn >= observed).sum())
    return CurveTest(observed, reached / permutations, permutations)


def _projected(ranks: NDArray[np.int64], positive: NDArray[np.bool_], share: float) -> tuple[Floats, Floats]:
    """The curve at each rank: place on the axis (share called negative in the mixed population), and wrong calls there.

    Args:
        ranks: ranks of the patients, shape (n,).
        positive: outcomes, shape (n,).
        share: share of positives in the mixed population.
    """
    cases = _cases_by_rank(ranks, positive)
    missed = cases / positive.sum()
    spared = (np.arange(1, ranks.size + 1) - cases) / (~positive).sum()
    return share * missed + (1 - share) * spared, share * missed + (1 - share) * (1 - spared)


def _unpaired_distance(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> float:
    """Area between two projected curves where both are known."""
    low, high = max(one[0][0], other[0][0]), min(one[0][-1], other[0][-1])
    at = np.sort(np.concatenate([one[0], other[0]]))
    at = at[(at >= low) & (at <= high)]
    return float(np.trapezoid(np.abs(np.interp(at, *one) - np.interp(at, *other)), at))


def venkatraman_unpaired(
    scores1: ArrayLike,
    labels1: ArrayLike,
    scores2: ArrayLike,
    labels2: ArrayLike,
    *,
    permutations: int = 1000,
    seed: int = 0,
    share: float | None = None,
) -> CurveTest:
    """Permutation test that ROC curves of different patients are one curve.

    In each permutation the ranks of all positives, and those of all negatives, are dealt out anew to the two samples.

    Args:
        scores1: scores of the first patients.
        labels1: their outcomes.
        scores2: scores of the others.
        labels2: their outcomes.
        permutations: number of permutations.
        seed: of the random generator.
        share: share of positives in the mixed population that both curves are projected on. By default pROC's: all
            positives over twice the size of the first sample (the size of the second does not enter there); where that
            is no share, all positives over all patients.
    """
    (a, pos_a), (b, pos_b) = checked(scores1, labels1), checked(scores2, labels2)
    positives = int(pos_a.sum() + pos_b.sum())
    if share is None:
        share = positives / (2 * pos_a.size)
        share = share if share < 1 else positives / (pos_a.size + pos_b.size)
    rank_a, rank_b = _ranks(a), _ranks(b)
    observed = _unpaired_distance(_projected(rank_a, pos_a, share), _projected(rank_b, pos_b, share))
    rng = np.random.default_rng(seed)
    reached = 0
    for _ in range(permutations):
        loose_a, loose_b = (rank + rng.random(rank.size) - 0.5 for rank in (rank_a, rank_b))
        dealt_a, dealt_b = np.empty_like(loose_a), np.empty_like(loose_b)
        for group_a, group_b in ((pos_a, pos_b), (~pos_a, ~pos_b)):
            pool = rng.permutation(np.concatenate([loose_a[group_a], loose_b[group_b]]))
            dealt_a[group_a], dealt_b[group_b] = pool[: group_a.sum()], pool[group_a.sum() :]
        drawn = _unpaired_distance(_projected(_ranks(dealt_a), pos_a, share), _projected(_ranks(dealt_b), pos_b, share))
        reached += drawn >= observed
    return CurveTest(observed, reached / permutations, permutations)
