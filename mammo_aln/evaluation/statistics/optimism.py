"""Optimism of a logistic model judged on its own data: Harrell's bootstrap (rms::validate)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from mammo_aln.evaluation.statistics.discrimination import auc, repeated
from mammo_aln.evaluation.statistics.logistic import fit_either, independent_columns

Floats = NDArray[np.float64]
INDICES = ("auc", "slope", "brier")


@dataclass(frozen=True)
class Optimism:
    """One index: on the data, mean over resamples on the resample and on the data, and corrected for the difference."""

    original: float
    training: float
    test: float
    optimism: float
    corrected: float
    resamples: int


def _indices(eta: Floats, labels: Floats) -> Floats:
    design = np.column_stack([np.ones(eta.size), eta])
    slope = fit_either(design, labels, ("intercept", "slope")).beta[1] if np.ptp(eta) > 0 else np.nan
    return np.array([auc(eta, labels), slope, np.mean((expit(eta) - labels) ** 2)])


def bootstrap_optimism(
    design: ArrayLike, labels: ArrayLike, *, resamples: int = 400, seed: int = 0, clusters: ArrayLike | None = None
) -> dict[str, Optimism]:
    """AUC, calibration slope and Brier score of a logistic model, corrected for optimism.

    Args:
        design: shape (n, k), with its intercept.
        labels: 0 or 1.
        resamples: bootstrap resamples of patients; one without both outcomes is drawn again.
        seed: draws them.
        clusters: patient of each row, shape (n,), where patients have several: whole patients are drawn.
    """
    x, y = np.asarray(design, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    rng = np.random.default_rng(seed)
    member = None if repeated(clusters) is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    rows_of = None if member is None else [np.flatnonzero(member == one) for one in range(int(member.max()) + 1)]

    def drawn() -> NDArray[np.int64]:
        if rows_of is None:
            return rng.integers(0, y.size, y.size)
        return np.concatenate([rows_of[one] for one in rng.integers(0, len(rows_of), len(rows_of))])

    def fitted(rows: NDArray[np.int64]) -> Floats:
        kept = independent_columns(x[rows])
        beta = np.zeros(x.shape[1])
        beta[kept] = fit_either(x[rows][:, kept], y[rows], [str(column) for column in kept]).beta
        return beta

    original = _indices(x @ fitted(np.arange(y.size)), y)
    judged = np.empty((2, resamples, len(INDICES)))
    for resample in range(resamples):
        rows = drawn()
        while not 0 < y[rows].sum() < rows.size:
            rows = drawn()
        beta = fitted(rows)
        judged[:, resample] = _indices(x[rows] @ beta, y[rows]), _indices(x @ beta, y)
    training, test = np.nanmean(judged, axis=1)
    return {
        name: Optimism(float(o), float(a), float(b), float(a - b), float(o - (a - b)), resamples)
        for name, o, a, b in zip(INDICES, original, training, test, strict=True)
    }
