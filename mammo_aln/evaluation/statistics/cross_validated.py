"""AUCs of several classifiers by cross-validation, with their covariance from patients' influence; one test of all.

The AUC is the mean over held-out folds (and repeats). Each patient's influence on it is the sum of DeLong's structural
components over the folds that held the patient out, as LeDell, Petersen and van der Laan 2015 (EJS 9:1583) have it; a
single fold gives DeLong's own variances. It is the spread of the patients judged, the fitted folds taken as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mammo_aln.evaluation.statistics.discrimination import Floats, logit_interval, placements

Fold = tuple[NDArray[np.int64], Mapping[str, Floats]]
"""Rows held out, and their scores by each classifier."""


@dataclass(frozen=True)
class CrossValidated:
    """Mean AUC of each classifier, and their covariance.

    Args:
        names: of the classifiers.
        auc: shape (k,).
        covariance: shape (k, k).
    """

    names: tuple[str, ...]
    auc: Floats
    covariance: Floats

    def limits(self, name: str) -> tuple[float, float]:
        """95 % limits on the logit scale; NaN where the AUC is 0 or 1, or nothing varies."""
        at = self.names.index(name)
        variance = float(self.covariance[at, at])
        if not 0 < self.auc[at] < 1 or not variance > 0:
            return math.nan, math.nan
        return logit_interval(float(self.auc[at]), variance)

    def p_against(self, name: str, reference: str) -> float:
        """Two-sided p of equal AUCs of two classifiers; 1 where they score alike."""
        one, other = self.names.index(name), self.names.index(reference)
        difference = float(self.auc[one] - self.auc[other])
        variance = float(self.covariance[one, one] + self.covariance[other, other] - 2 * self.covariance[one, other])
        if variance <= 1e-15:
            return 1.0 if abs(difference) < 1e-12 else math.nan
        return float(2 * stats.norm.sf(abs(difference) / math.sqrt(variance)))

    def test_of_all(self, names: Sequence[str]) -> tuple[float, int, float]:
        """Wald's chi-squared of all these AUCs being equal, its degrees of freedom and p; NaN where nothing differs."""
        at = [self.names.index(name) for name in names]
        contrast = np.eye(len(at))[1:] - np.eye(len(at))[:1]
        difference = contrast @ self.auc[at]
        covariance = contrast @ self.covariance[np.ix_(at, at)] @ contrast.T
        df = int(np.linalg.matrix_rank(covariance, tol=1e-12)) if len(at) > 1 else 0
        if not df:
            return math.nan, 0, math.nan
        chi2 = float(difference @ np.linalg.pinv(covariance, rcond=1e-9, hermitian=True) @ difference)
        return chi2, df, float(stats.chi2.sf(chi2, df))


def cross_validated(folds: Sequence[Fold], labels: Floats, patients: NDArray[np.object_]) -> CrossValidated:
    """Judge classifiers by held-out folds; those with one outcome alone count for nothing.

    Args:
        folds: of all repeats; every fold with scores of the same classifiers.
        labels: outcomes of all rows, shape (n,).
        patients: patient of each row, shape (n,); rows of one patient are one unit.
    """
    names = tuple(folds[0][1])
    used = [(rows, scores) for rows, scores in folds if 0 < labels[rows].sum() < rows.size]
    weights = np.array([rows.size for rows, _ in used], float)
    weights /= weights.sum()
    components = [
        [placements(np.asarray(scores[name], float), labels[rows] == 1.0) for name in names] for rows, scores in used
    ]
    areas = np.array([[float(v10.mean()) for v10, _ in fold] for fold in components])
    mean = weights @ areas
    influence = np.zeros((labels.size, len(names)))
    for (rows, _), weight, fold, area in zip(used, weights, components, areas, strict=True):
        for outcome in (0, 1):
            members = rows[labels[rows] == (1.0 if outcome == 0 else 0.0)]
            size = members.size
            values = np.column_stack([both[outcome] for both in fold])
            if size > 1:
                centred = (values - area) * math.sqrt(size / (size - 1))
            else:
                centred = values - mean  # a fold with one patient of an outcome has no spread of its own
            np.add.at(influence, members, weight * centred / size)
    _, member = np.unique(patients, return_inverse=True)
    sums = np.zeros((int(member.max()) + 1, len(names)))
    np.add.at(sums, member, influence)
    return CrossValidated(names, mean, sums.T @ sums)
