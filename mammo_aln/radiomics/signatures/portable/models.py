"""Models of signatures as plain numbers: selected features, clinical features, and fusions of both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, TypeAlias, TypeVar

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from mammo_aln.cohort.declaration import ClinicalFeature
from mammo_aln.radiomics.signatures.clinical_model import Term, design_of
from mammo_aln.radiomics.signatures.clinical_table import MISSING, ClinicalLogistic, ClinicalTable
from mammo_aln.radiomics.signatures.portable.classifiers import AnyClassifier, Floats, Linear, require, weighted_sums
from mammo_aln.radiomics.signatures.portable.columns import Column, Harmony, harmony_of

Value = TypeVar("Value")
Flags: TypeAlias = Mapping[str, pd.Series]
"""True where a row has something, by the name of the feature."""


class PortableModel(ABC):
    """Fitted model that scores tables of patients."""

    KIND: ClassVar[str]

    @property
    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """Image features that it reads."""

    @property
    @abstractmethod
    def clinical(self) -> tuple[ClinicalFeature, ...]:
        """Clinical features that it reads."""

    @property
    def centers(self) -> tuple[str, ...]:
        """Centres whose features ComBat brings to the others' location and scale."""
        return ()

    @abstractmethod
    def log_odds(self, table: pd.DataFrame, centers: pd.Series) -> Floats:
        """Log-odds of each row before calibration.

        Args:
            table: the features, by their columns.
            centers: centre of each row.
        """

    @abstractmethod
    def outside(self, table: pd.DataFrame) -> tuple[Flags, Flags]:
        """Find levels that no training patient has, and values outside the range of theirs, by feature."""

    @abstractmethod
    def present(self) -> Mapping[str, int]:
        """Count the training rows that had each feature."""

    @abstractmethod
    def ranges(self) -> Mapping[str, tuple[float, float, float]]:
        """Smallest, middle and largest value of training patients, by feature."""


@dataclass(frozen=True)
class SelectedFeatures(PortableModel):
    """Image features, filled, brought to one scale and scored by a classifier.

    Args:
        features: the selected features, in the classifier's order.
        harmony: ComBat; None without it.
        classifier: its numbers.
    """

    KIND: ClassVar[str] = "selected_features"
    features: tuple[Column, ...]
    harmony: Harmony | None
    classifier: AnyClassifier

    def __post_init__(self) -> None:
        width = len(self.features)
        require(0 < width == self.classifier.width, "as many features as the classifier reads")
        require(len({column.name for column in self.features}) == width, "each feature once")
        require(self.harmony is None or self.harmony.grand.shape == (width,), "ComBat of each feature")

    @classmethod
    def of(cls, pipeline: Pipeline, training: pd.DataFrame, classifier: AnyClassifier) -> SelectedFeatures:
        """Take the numbers of the features that a fitted selection kept."""
        steps = pipeline.named_steps
        names = list(steps["lasso"].kept_)
        features = []
        for name in names:
            own = training[name].dropna()
            median = float(steps["impute"].median_[name])
            low, high = (float(own.min()), float(own.max())) if len(own) else (median, median)
            mean, sd = (float(each[name]) for each in (steps["zscore"].mean_, steps["zscore"].scale_))
            features.append(Column(str(name), median, mean, sd, low, high, len(own)))
        return cls(tuple(features), harmony_of(steps.get("combat"), names), classifier)

    @property
    def columns(self) -> tuple[Column, ...]:
        """See `PortableModel`."""
        return self.features

    @property
    def clinical(self) -> tuple[ClinicalFeature, ...]:
        """See `PortableModel`."""
        return ()

    @property
    def centers(self) -> tuple[str, ...]:
        """See `PortableModel`."""
        return tuple(self.harmony.shift) if self.harmony else ()

    def log_odds(self, table: pd.DataFrame, centers: pd.Series) -> Floats:
        """See `PortableModel`."""
        median, mean, sd = (
            np.array([getattr(each, name) for each in self.features]) for name in ("median", "mean", "sd")
        )
        values = table[[column.name for column in self.features]].to_numpy(float)
        values = np.where(np.isnan(values), median, values)
        if self.harmony is not None:
            values = self.harmony.applied(values, centers)
        return self.classifier.log_odds((values - mean) / sd)

    def outside(self, table: pd.DataFrame) -> tuple[Flags, Flags]:
        """See `PortableModel`."""
        return {}, {
            column.name: (table[column.name] < column.low) | (table[column.name] > column.high)
            for column in self.features
        }

    def present(self) -> Mapping[str, int]:
        """See `PortableModel`."""
        return {column.name: column.present for column in self.features}

    def ranges(self) -> Mapping[str, tuple[float, float, float]]:
        """See `PortableModel`."""
        return {column.name: (column.low, column.median, column.high) for column in self.features}


@dataclass(frozen=True)
class ClinicalFeatures(PortableModel):
    """Logistic regression of clinical features.

    Args:
        features: as `cohort.yaml` declared them; levels of categorical ones are those of training patients.
        medians: of continuous features and of ordinal ones' ranks; they fill gaps.
        levels: of categorical features that training patients have, the reference first.
        commonest: level that another one counts as.
        gaps: features whose missingness is a term of its own.
        terms: variables of the model.
        weights: coefficient of the intercept and of each design column.
        low: smallest value (rank) of training patients.
        high: largest value of them.
        known: training rows that have each feature.
    """

    KIND: ClassVar[str] = "clinical_features"
    features: tuple[ClinicalFeature, ...]
    medians: Mapping[str, float]
    levels: Mapping[str, tuple[str, ...]]
    commonest: Mapping[str, str]
    gaps: tuple[str, ...]
    terms: tuple[str, ...]
    weights: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]
    known: Mapping[str, int]

    def __post_init__(self) -> None:
        level_names = {feature.name for feature in self.features if feature.kind == "categorical"}
        number_names = {feature.name for feature in self.features} - level_names
        require(set(self.levels) == set(self.commonest) == level_names, "levels of each categorical feature")
        require(set(self.medians) == set(self.low) == set(self.high) == number_names, "numbers of each other feature")
        require(set(self.known) == level_names | number_names, "the training rows that have each feature")
        terms = {term.name: term for term in self.encoding.terms}
        require(len(terms) == len(self.encoding.terms) and set(self.terms) <= set(terms), "terms of these features")
        require(len(set(self.terms)) == len(self.terms), "each term once")
        names = ["(Intercept)", *(name for term in self.terms for name in terms[term].columns)]
        require(set(self.weights) <= set(names), "weights of these terms")

    @cached_property
    def encoding(self) -> ClinicalTable:
        """Way in which a table becomes the terms' columns."""
        gaps = {feature.name: feature.name in self.gaps for feature in self.features}
        return ClinicalTable.fitted(self.features, self.medians, self.levels, self.commonest, gaps)

    @classmethod
    def of(cls, fitted: ClinicalLogistic, training: pd.DataFrame) -> ClinicalFeatures:
        """Take the numbers of a fitted model."""
        table, model = fitted.table_, fitted.model_
        numeric = {name: values.dropna() for name, values in table.numeric(training).items()}
        features = tuple(
            replace(feature, levels=tuple(level for level in table.levels[feature.name] if level != MISSING))
            if feature.kind == "categorical"
            else feature
            for feature in table.features
        )
        return cls(
            features,
            table.medians,
            table.levels,
            table.commonest,
            tuple(name for name, is_term in table.gaps.items() if is_term),
            tuple(term.name for term in model.terms),
            dict(zip(model.fit.names, map(float, model.fit.beta), strict=True)),
            {name: float(values.min()) for name, values in numeric.items()},
            {name: float(values.max()) for name, values in numeric.items()},
            {feature.name: int(training[feature.name].notna().sum()) for feature in table.features},
        )

    @property
    def columns(self) -> tuple[Column, ...]:
        """See `PortableModel`."""
        return ()

    @property
    def clinical(self) -> tuple[ClinicalFeature, ...]:
        """See `PortableModel`."""
        return self.features

    def log_odds(self, table: pd.DataFrame, centers: pd.Series) -> Floats:
        """See `PortableModel`."""
        terms: dict[str, Term] = {term.name: term for term in self.encoding.terms}
        design, names = design_of(self.encoding.encode(table), [terms[name] for name in self.terms])
        return weighted_sums(design, [self.weights.get(name, 0.0) for name in names], 0.0)

    def outside(self, table: pd.DataFrame) -> tuple[Flags, Flags]:
        """See `PortableModel`."""
        unknown = {name: table[name].notna() & ~table[name].isin(levels) for name, levels in self.levels.items()}
        numeric = self.encoding.numeric(table)
        return unknown, {name: (v < self.low[name]) | (v > self.high[name]) for name, v in numeric.items()}

    def present(self) -> Mapping[str, int]:
        """See `PortableModel`."""
        return self.known

    def ranges(self) -> Mapping[str, tuple[float, float, float]]:
        """See `PortableModel`."""
        return {name: (self.low[name], median, self.high[name]) for name, median in self.medians.items()}


@dataclass(frozen=True)
class FusedScores(PortableModel):
    """Weighted sum of other models' log-odds, each less its mean and over its SD.

    Args:
        members: the models.
        means: of each one's log-odds.
        sds: of each one's log-odds.
        joint: weights of what is left.
    """

    KIND: ClassVar[str] = "fused_scores"
    members: Mapping[str, SelectedFeatures | ClinicalFeatures | FusedScores]
    means: Floats
    sds: Floats
    joint: Linear

    def __post_init__(self) -> None:
        shape = (len(self.members),)
        require(self.means.shape == self.sds.shape == self.joint.weights.shape == shape, "one weight a member")
        require(len(self.members) > 0 and bool((self.sds > 0).all()), "members, and SDs above 0")

    @property
    def columns(self) -> tuple[Column, ...]:
        """See `PortableModel`."""
        return tuple({column.name: column for each in self.members.values() for column in each.columns}.values())

    @property
    def clinical(self) -> tuple[ClinicalFeature, ...]:
        """See `PortableModel`."""
        return tuple(dict.fromkeys(feature for each in self.members.values() for feature in each.clinical))

    @property
    def centers(self) -> tuple[str, ...]:
        """See `PortableModel`."""
        return tuple(dict.fromkeys(name for each in self.members.values() for name in each.centers))

    def log_odds(self, table: pd.DataFrame, centers: pd.Series) -> Floats:
        """See `PortableModel`."""
        logits = np.column_stack([member.log_odds(table, centers) for member in self.members.values()])
        return self.joint.log_odds((logits - self.means) / self.sds)

    def outside(self, table: pd.DataFrame) -> tuple[Flags, Flags]:
        """See `PortableModel`."""
        unknown, beyond = zip(*(member.outside(table) for member in self.members.values()), strict=True)
        return _merged(unknown), _merged(beyond)

    def present(self) -> Mapping[str, int]:
        """See `PortableModel`."""
        return _merged(member.present() for member in self.members.values())

    def ranges(self) -> Mapping[str, tuple[float, float, float]]:
        """See `PortableModel`."""
        return _merged(member.ranges() for member in self.members.values())


def _merged(mappings: Iterable[Mapping[str, Value]]) -> Mapping[str, Value]:
    return {name: value for mapping in mappings for name, value in mapping.items()}


AnyModel: TypeAlias = SelectedFeatures | ClinicalFeatures | FusedScores
