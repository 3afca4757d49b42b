"""Selection of features: steps of one scikit-learn pipeline, every one of them fitted on training patients alone.

Tables are DataFrames, one row per treated axilla (index: unit), one column per feature. Where a step would drop every
feature it keeps the most promising one and says so in `last_resort_`: a model of nothing could not be fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline

from mammo_aln.evaluation.statistics.agreement import icc_agreement
from mammo_aln.evaluation.statistics.ranks import benjamini_hochberg, rank_sum_tests, spearman_matrix
from mammo_aln.radiomics.signatures.combat import ComBat
from mammo_aln.radiomics.signatures.lasso import cross_validate, default_ladder, largest_penalty, lasso_path
from mammo_aln.settings import FitConfig

StepCount = dict[str, str | int | bool]
COMMONEST_TO_NEXT, DISTINCT_SHARE = 19.0, 0.10
"""Near-zero variance (Kuhn's caret): commonest value 19 times as frequent as the next, under 10 % distinct values."""
LEAST_FOR_ICC = 5
LASSO_STEPS, LASSO_TOLERANCE = 40, 1e-6
LASSO_LOWEST = 0.03
"""The path ends at this share of its largest penalty: beyond it dozens of features fit noise, at most of the cost."""


class ColumnFilter(TransformerMixin, BaseEstimator):
    """A step that keeps the columns `kept_`; `dropped_` counts the others."""

    kept_: list[str]
    dropped_: int
    last_resort_: bool

    def transform(self, table: pd.DataFrame) -> pd.DataFrame:
        """The kept columns."""
        return table[self.kept_]

    def _keep(self, table: pd.DataFrame, mask: np.ndarray, best: int = 0) -> Self:
        self.last_resort_ = not mask.any()
        if self.last_resort_:
            mask = np.arange(table.shape[1]) == best
        self.kept_ = [str(name) for name in table.columns[mask]]
        self.dropped_ = int(table.shape[1] - len(self.kept_))
        return self


class MedianImputer(TransformerMixin, BaseEstimator):
    """Fills missing values with the training median; a column without any training value becomes constant 0."""

    def fit(self, table: pd.DataFrame, labels: np.ndarray | None = None) -> Self:
        """Learn the medians."""
        values = table.to_numpy(float)
        measured = ~np.isnan(values).all(axis=0)
        median = np.zeros(table.shape[1])
        median[measured] = np.nanmedian(values[:, measured], axis=0)
        self.median_ = pd.Series(median, index=table.columns)
        return self

    def transform(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table without gaps."""
        values = table[self.median_.index].to_numpy(float)
        return _framed(np.where(np.isnan(values), self.median_.to_numpy(), values), table, self.median_.index)


class VarianceFilter(ColumnFilter):
    """Drops constant columns and those of near-zero variance."""

    def fit(self, table: pd.DataFrame, labels: np.ndarray | None = None) -> Self:
        """Look at the training values."""
        values = np.sort(table.to_numpy(float), axis=0)
        mask = np.count_nonzero(np.diff(values, axis=0), axis=0) >= DISTINCT_SHARE * len(values)
        for column in np.flatnonzero(~mask):
            mask[column] = _varies(values[:, column])
        return self._keep(table, mask)


def _varies(column: np.ndarray) -> bool:
    changes = np.flatnonzero(np.diff(column)) + 1
    if not changes.size:
        return False
    counts = np.sort(np.diff(np.concatenate([[0], changes, [column.size]])))
    return bool(counts[-1] <= COMMONEST_TO_NEXT * counts[-2])


class ZScore(TransformerMixin, BaseEstimator):
    """Subtracts the training mean and divides by the training SD (1 where a column is constant)."""

    def fit(self, table: pd.DataFrame, labels: np.ndarray | None = None) -> Self:
        """Learn means and SDs."""
        values = table.to_numpy(float)
        self.mean_ = pd.Series(values.mean(axis=0), index=table.columns)
        scale = pd.Series(values.std(axis=0), index=table.columns)
        self.scale_ = scale.where(scale > 1e-12 * self.mean_.abs().clip(lower=1e-300), 1.0)
        return self

    def transform(self, table: pd.DataFrame) -> pd.DataFrame:
        """Scaled columns."""
        values = table[self.mean_.index].to_numpy(float)
        return _framed((values - self.mean_.to_numpy()) / self.scale_.to_numpy(), table, self.mean_.index)


def _framed(values: np.ndarray, table: pd.DataFrame, columns: pd.Index) -> pd.DataFrame:
    """One block of numbers: pandas' own arithmetic on thousands of columns takes a hundred times as long."""
    return pd.DataFrame(values, index=table.index, columns=columns)


class RepeatFilter(ColumnFilter):
    """Keeps features that a second segmentation (or a shifted box) reproduces: ICC(2,1) of at least `least`.

    It compares values as measured, so it stands before gaps are filled and centres are harmonised. Each feature is
    judged on the training rows that have it in every table. Where fewer than five rows have all tables (a small fold)
    agreement cannot be judged: every feature stays, and `skipped_` says so.

    Args:
        repeats: feature tables of repeated measurements, same index and columns as the features.
        least: smallest ICC.
    """

    skipped_: bool

    def __init__(self, repeats: Sequence[pd.DataFrame], least: float) -> None:
        self.repeats = repeats
        self.least = least

    def fit(self, table: pd.DataFrame, labels: np.ndarray | None = None) -> Self:
        """Measure agreement; a column that five rows do not have in all tables is dropped, as nothing speaks for it."""
        tables = [repeat.reindex(index=table.index, columns=table.columns) for repeat in self.repeats]
        values = np.stack([measured.to_numpy(float) for measured in (table, *tables)], axis=-1)
        whole = np.isfinite(values).all(axis=2)  # (rows, columns)
        icc = np.full(table.shape[1], np.nan)
        self.skipped_ = int(whole.any(axis=1).sum()) < LEAST_FOR_ICC
        if self.skipped_:
            return self._keep(table, np.ones(table.shape[1], dtype=bool))
        patterns, member = np.unique(whole, axis=1, return_inverse=True)
        for number, rows in enumerate(patterns.T):
            if rows.sum() >= LEAST_FOR_ICC:
                alike = np.flatnonzero(member.ravel() == number)
                with np.errstate(invalid="ignore"):
                    icc[alike] = icc_agreement(values[rows][:, alike].transpose(1, 0, 2))
        self.icc_ = pd.Series(icc, index=table.columns)
        return self._keep(table, (self.icc_ >= self.least).to_numpy(), int(np.argmax(self.icc_.fillna(-1).to_numpy())))


class RankTestFilter(ColumnFilter):
    """Keeps features whose Mann-Whitney U test between the outcomes has p below `alpha`.

    Args:
        alpha: limit of p.
        fdr: adjust p by Benjamini and Hochberg first.
    """

    def __init__(self, alpha: float = 0.05, fdr: bool = False) -> None:
        self.alpha = alpha
        self.fdr = fdr

    def fit(self, table: pd.DataFrame, labels: np.ndarray) -> Self:
        """Test every column."""
        p = rank_sum_tests(table.to_numpy(float), labels)[1]
        p = np.where(np.isnan(p), 1.0, p)
        self.p_values_ = pd.Series(p, index=table.columns)
        tested = benjamini_hochberg(p) if self.fdr else p
        return self._keep(table, tested < self.alpha, int(np.argmin(p)))


class RedundancyFilter(ColumnFilter):
    """Of features that are nearly the same (|Spearman's rho| of at least `limit`) keeps the one of smallest p.

    Greedy: in the order of the rank test's p, a feature stays if it is unlike all that stayed before it.
    """

    def __init__(self, limit: float = 0.9) -> None:
        self.limit = limit

    def fit(self, table: pd.DataFrame, labels: np.ndarray) -> Self:
        """Compare every pair."""
        values = table.to_numpy(float)
        p = rank_sum_tests(values, labels)[1]
        rho = spearman_matrix(values)
        alike = np.abs(rho, out=rho) >= self.limit  # NaN, beside a constant column, is like nothing
        mask = np.zeros(table.shape[1], dtype=bool)
        blocked = np.zeros_like(mask)
        for column in np.argsort(np.where(np.isnan(p), 2.0, p), kind="stable"):
            if not blocked[column]:
                mask[column] = True
                blocked |= alike[column]
        return self._keep(table, mask)


class LassoFilter(ColumnFilter):
    """Keeps features with a coefficient in a cross-validated LASSO.

    Args:
        rule: `min` takes the penalty of least cross-validated deviance, `1se` the largest within one standard error.
        folds: of the cross-validation.
        seed: deals the folds.
        penalty_share: a fixed penalty instead, as a share of the smallest that keeps nothing.
    """

    def __init__(
        self,
        rule: Literal["min", "1se"] = "min",
        folds: int = 10,
        seed: int = 0,
        penalty_share: float | None = None,
    ) -> None:
        self.rule = rule
        self.folds = folds
        self.seed = seed
        self.penalty_share = penalty_share

    def fit(self, table: pd.DataFrame, labels: np.ndarray) -> Self:
        """Fit path and cross-validation, or the path down to the fixed penalty."""
        x, y = table.to_numpy(float), np.asarray(labels, dtype=float)
        if self.penalty_share is not None:
            ladder = default_ladder(largest_penalty(x, y), self.penalty_share, 10)
            path, at = lasso_path(x, y, ladder, tolerance=LASSO_TOLERANCE), -1
        else:
            dealt = _dealt(table.index, y, self.folds, self.seed)
            ladder = default_ladder(largest_penalty(x, y), LASSO_LOWEST, LASSO_STEPS)
            if dealt is None:  # nothing tells one penalty from another: the first column to enter is the last resort
                path, at = lasso_path(x, y, ladder, tolerance=LASSO_TOLERANCE), 0
                mean = se = np.full(path.penalties.size, np.nan)
            else:
                judged = cross_validate(x, y, dealt, ladder, tolerance=LASSO_TOLERANCE)
                path, at = judged.path, judged.at_min if self.rule == "min" else judged.at_1se
                mean, se = judged.mean, judged.se
            self.curve_ = pd.DataFrame(
                {"penalty": path.penalties, "deviance": mean, "se": se, "features": path.selected}
            )
            self.penalty_share_ = float(path.penalties[at] / path.penalties[0])
            self.path_, self.at_, self.names_ = path, at, list(table.columns)
        entered = np.argmax(np.abs(path.coefficients[min(1, len(path.coefficients) - 1)]))
        return self._keep(table, path.coefficients[at] != 0, int(entered))


def _dealt(units: pd.Index, labels: np.ndarray, folds: int, seed: int) -> np.ndarray | None:
    """Fold of each row, both axillae of a patient in one; None where an outcome has one patient."""
    patients = units.astype(str).str.replace(r"/[LR]$", "", regex=True).to_numpy()
    folds = min(folds, *(np.unique(patients[labels == value]).size for value in (0.0, 1.0)))
    if folds < 2:
        return None
    bilateral = np.unique(patients).size < patients.size
    kind = StratifiedGroupKFold if bilateral else StratifiedKFold
    dealt = np.zeros(labels.size, dtype=int)
    splits = kind(folds, shuffle=True, random_state=seed).split(
        np.zeros((labels.size, 1)), labels, patients if bilateral else None
    )
    for number, (_, out) in enumerate(splits):
        dealt[out] = number
    return dealt


def selection_steps(
    settings: FitConfig, *, seed: int, repeats: Sequence[pd.DataFrame] = (), centers: pd.Series | None = None
) -> list[tuple[str, Any]]:
    """Steps of the selection, in order; optional ones only where they are asked for.

    Args:
        settings: limits and switches.
        seed: deals the LASSO's folds.
        repeats: feature tables of repeated measurements, for the ICC filter.
        centers: centre of every unit, for ComBat.
    """
    steps: list[tuple[str, Any]] = []
    if repeats:  # on raw values: the repeats are neither imputed nor harmonised
        steps.append(("repeats", RepeatFilter(list(repeats), settings.icc_min)))
    steps.append(("impute", MedianImputer()))
    if settings.combat and centers is not None:
        steps.append(("combat", ComBat(centers)))
    return [
        *steps,
        ("variance", VarianceFilter()),
        ("zscore", ZScore()),
        ("rank_test", RankTestFilter(settings.alpha, settings.fdr)),
        ("redundancy", RedundancyFilter(settings.rho_max)),
        ("lasso", LassoFilter(settings.lasso_rule, settings.lasso_folds, seed)),
    ]


def selection_counts(pipeline: Pipeline) -> list[StepCount]:
    """Count the features that each fitted filter kept and dropped, first to last, as predictions.json states them."""
    return [
        {"step": name, "kept": len(step.kept_), "dropped": step.dropped_, "last_resort": step.last_resort_}
        | ({"skipped": True} if getattr(step, "skipped_", False) else {})
        for name, step in pipeline.steps
        if isinstance(step, ColumnFilter)
    ]
