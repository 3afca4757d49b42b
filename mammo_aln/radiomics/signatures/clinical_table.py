"""Declared clinical features as terms of a logistic model, in their own units, without missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin

from mammo_aln.cohort.declaration import ClinicalFeature
from mammo_aln.cohort.schemas import numbers
from mammo_aln.errors import InputError
from mammo_aln.radiomics.signatures.clinical_model import Floats, Model, Term, backward_aic, fit_terms

MISSING = "missing"
LEAST_MISSING = 10


class ClinicalTable:
    """Fills gaps and names terms by what training patients taught.

    - continuous: the number in its unit; ordinal: its rank from 0, so that an odds ratio is that of one level up;
      missing values get the training median, and `NAME_missing` (0/1) is one more term;
    - categorical: against its first level; `missing` is a level of its own; a level that training does not hold counts
      as the commonest one (`unknown` tells how many).

    Missingness has an effect of its own only where at least ten training patients miss the value; else a missing value
    is the median or the commonest level. A feature that no training patient has (in a small fold) makes no term.

    `cohort.clinical` encodes the same features for a network by other rules: there a regularised weight may stand for
    few patients and scaled numbers between two levels, while here every column is one coefficient that is not
    penalised and is printed as the odds ratio of a level or a unit.
    """

    def __init__(self, features: Sequence[ClinicalFeature], training: pd.DataFrame) -> None:
        self.features = tuple(feature for feature in features if _column(feature, training).notna().any())
        self.medians: dict[str, float] = {}
        self.levels: dict[str, tuple[str, ...]] = {}
        self.commonest: dict[str, str] = {}
        self.gaps: dict[str, bool] = {}
        for feature in self.features:
            values = _column(feature, training)
            self.gaps[feature.name] = int(values.isna().sum()) >= LEAST_MISSING
            if feature.kind == "categorical":
                seen = set(values.dropna())
                order = feature.levels or tuple(sorted(seen))
                levels = tuple(level for level in order if level in seen)
                self.levels[feature.name] = levels + ((MISSING,) if self.gaps[feature.name] else ())
                self.commonest[feature.name] = str(values.mode().iloc[0])
            else:
                # of an ordinal's two middle levels the lower: between them there is none
                numeric, ordinal = _numeric(feature, values), feature.kind == "ordinal"
                median = numeric.quantile(0.5, interpolation="lower") if ordinal else numeric.quantile(0.5)
                self.medians[feature.name] = float(median)

    @classmethod
    def fitted(
        cls,
        features: Sequence[ClinicalFeature],
        medians: Mapping[str, float],
        levels: Mapping[str, tuple[str, ...]],
        commonest: Mapping[str, str],
        gaps: Mapping[str, bool],
    ) -> Self:
        """The table that some training taught this."""
        table = cls((), pd.DataFrame())
        table.features, table.medians, table.levels = tuple(features), dict(medians), dict(levels)
        table.commonest, table.gaps = dict(commonest), dict(gaps)
        return table

    @property
    def terms(self) -> tuple[Term, ...]:
        """One term per feature, and one per missingness."""
        terms: list[Term] = []
        for feature in self.features:
            if feature.kind == "categorical":
                terms.append(Term(feature.name, self.levels[feature.name]))
                continue
            terms.append(Term(feature.name))
            if self.gaps[feature.name]:
                terms.append(Term(f"{feature.name}_missing"))
        return tuple(terms)

    def encode(self, patients: pd.DataFrame) -> pd.DataFrame:
        """Encode patients as a table with one column per term, no gaps."""
        columns: dict[str, pd.Series] = {}
        for feature in self.features:
            values = _column(feature, patients)
            if feature.kind == "categorical":
                levels = self.levels[feature.name]
                text = values.where(values.notna(), MISSING)
                columns[feature.name] = text.where(text.isin(levels), self.commonest[feature.name])
                continue
            columns[feature.name] = _numeric(feature, values).fillna(self.medians[feature.name])
            if self.gaps[feature.name]:
                columns[f"{feature.name}_missing"] = values.isna().astype(float)
        return pd.DataFrame(columns, index=patients.index)

    def numeric(self, patients: pd.DataFrame) -> dict[str, pd.Series]:
        """Numbers of continuous features, and ranks of ordinal ones' levels, where patients have them."""
        numeric = [feature for feature in self.features if feature.kind != "categorical"]
        return {feature.name: _numeric(feature, _column(feature, patients)) for feature in numeric}

    def observed(self, patients: pd.DataFrame) -> pd.DataFrame:
        """Tell each patient's own values (true) from filled ones, by term; a level `missing` counts as own."""
        is_own = {}
        for feature in self.features:
            own = _column(feature, patients).notna()
            is_own[feature.name] = own | (MISSING in self.levels.get(feature.name, ()))
            is_own[f"{feature.name}_missing"] = pd.Series(True, patients.index)
        return pd.DataFrame(is_own)[[term.name for term in self.terms]]

    def unknown(self, patients: pd.DataFrame) -> dict[str, int]:
        """Count patients, per categorical feature, whose level training does not hold."""
        counts = {
            name: int((values.notna() & ~values.isin(levels)).sum())
            for name, levels in self.levels.items()
            for values in [patients[name]]
        }
        return {name: count for name, count in counts.items() if count}


def _column(feature: ClinicalFeature, table: pd.DataFrame) -> pd.Series:
    if feature.name not in table:
        raise InputError(f"clinical feature {feature.name}: patients.csv has no such column")
    return table[feature.name]


def _numeric(feature: ClinicalFeature, values: pd.Series) -> pd.Series:
    """Numbers of a continuous feature, places of an ordinal one's levels."""
    if feature.kind == "continuous":
        return numbers(values)
    return values.map({level: float(rank) for rank, level in enumerate(feature.levels)}).astype(float)


class ClinicalLogistic(ClassifierMixin, BaseEstimator):
    """Logistic regression of declared clinical features (maximum likelihood; Firth's where they separate outcomes).

    Args:
        features: the declared features.
        backward: keep only the terms that backward elimination by AIC leaves.
    """

    def __init__(self, features: Sequence[ClinicalFeature], backward: bool = False) -> None:
        self.features = features
        self.backward = backward

    def fit(self, table: pd.DataFrame, labels: np.ndarray) -> Self:
        """Learn medians, levels and coefficients."""
        self.classes_ = np.array([0.0, 1.0])
        self.table_ = ClinicalTable(self.features, table)
        fit = backward_aic if self.backward else fit_terms
        self.model_: Model = fit(self.table_.encode(table), np.asarray(labels, float), self.table_.terms)
        return self

    def decision_function(self, table: pd.DataFrame) -> Floats:
        """Log-odds."""
        return self.model_.linear_predictor(self.table_.encode(table))
