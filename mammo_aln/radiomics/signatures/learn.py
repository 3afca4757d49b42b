"""Learn a signature: inner folds choose the classifier and fit calibration and threshold; then all rows fit it.

Nothing here sees a row that is to be judged: calibration and threshold come from inner out-of-fold scores of training
patients, and each inner fold repeats selection and fitting from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline

from mammo_aln.cohort.declaration import ClinicalFeature
from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics.calibration import apply_calibration, fit_temperature
from mammo_aln.evaluation.statistics.discrimination import auc, choose_threshold
from mammo_aln.radiomics.signatures.classifiers import CLASSIFIERS, Floats, log_odds
from mammo_aln.radiomics.signatures.clinical_table import ClinicalLogistic
from mammo_aln.radiomics.signatures.portable.classifiers import Linear
from mammo_aln.radiomics.signatures.portable.freezing import frozen_classifier
from mammo_aln.radiomics.signatures.portable.models import AnyModel, ClinicalFeatures, FusedScores, SelectedFeatures
from mammo_aln.radiomics.signatures.selection import selection_steps
from mammo_aln.settings import FitConfig

LEAST_INNER = 2
FROM_INNER = {"split": "train", "rows": "inner out-of-fold scores of training patients"}


@dataclass(frozen=True)
class Frozen:
    """Calibration of scores and threshold on calibrated scores as inner folds fixed them, each with its rule."""

    calibration: dict[str, Any]
    threshold: dict[str, Any]

    @classmethod
    def of(cls, logit: Floats, labels: Floats) -> Frozen:
        """Fit both on inner out-of-fold log-odds."""
        calibration = fit_temperature(logit, labels, "platt") | FROM_INNER
        threshold = choose_threshold(apply_calibration(logit, calibration), labels, "youden") | FROM_INNER
        return cls(calibration, threshold)


@dataclass(frozen=True)
class Fusion:
    """The signatures whose scores are joined, and the weight of each one's log-odds."""

    members: Mapping[str, Learnt]
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Learnt:
    """A fitted signature.

    Args:
        predict: rows of the feature table -> log-odds before calibration.
        out_of_fold: inner out-of-fold log-odds of the training rows.
        frozen: calibration and threshold.
        inner_auc: classifier -> mean AUC over inner folds.
        chosen: the classifier.
        rivals: classifier -> log-odds of each classifier fitted on all training rows.
        model: the fitted pipeline, clinical model or fusion.
        portable: the same as plain numbers, by which `predict` scores.
    """

    predict: Callable[[pd.DataFrame], Floats]
    out_of_fold: Floats
    frozen: Frozen
    inner_auc: dict[str, float]
    chosen: str
    rivals: Mapping[str, Callable[[pd.DataFrame], Floats]]
    model: Pipeline | ClinicalLogistic | Fusion
    portable: AnyModel

    def score(self, table: pd.DataFrame) -> Floats:
        """Calibrated probability of the outcome."""
        return apply_calibration(self.predict(table), self.frozen.calibration)


class Recipe(Protocol):
    """A way to learn a signature from a table that holds clinical and image features."""

    def learn(self, table: pd.DataFrame, labels: Floats, groups: np.ndarray, settings: FitConfig, seed: int) -> Learnt:
        """Fit on all rows; inner folds choose the classifier and fit calibration and threshold."""
        ...


def rarer_patients(labels: Floats, groups: np.ndarray) -> int:
    """Patients of the rarer outcome."""
    return min(np.unique(groups[labels == value]).size for value in (0.0, 1.0))


def inner_dealt(
    labels: Floats, groups: np.ndarray, settings: FitConfig, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inner folds: as many as the settings say, fewer (2 at least) where the rarer outcome has fewer patients."""
    folds = max(LEAST_INNER, min(settings.inner_folds, rarer_patients(labels, groups)))
    return dealt(labels, groups, folds, seed)


def dealt(labels: Floats, groups: np.ndarray, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of each fold (training, held out): patients together, outcomes in like shares.

    Raises:
        InputError: too few patients of an outcome for the folds.
    """
    fewest = rarer_patients(labels, groups)
    if fewest < folds:
        raise InputError(f"{folds} folds need at least {folds} patients of each outcome; the rarer one has {fewest}")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros((labels.size, 1)), labels, groups))


def _fold_aucs(logit: Floats, labels: Floats, folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> Floats:
    return np.array([auc(logit[out], labels[out]) for _, out in folds if 0 < labels[out].sum() < out.size])


def simplest_of_the_best(areas: Mapping[str, Floats]) -> str:
    """The first classifier whose mean AUC over inner folds lies within one standard error of the best one's.

    Args:
        areas: classifier, in the order of simplicity -> its AUC in every inner fold.
    """
    best = max(areas.values(), key=lambda area: float(area.mean()))
    least = best.mean() - best.std(ddof=1) / np.sqrt(best.size) if best.size > 1 else -np.inf
    return next(name for name, area in areas.items() if area.mean() >= least)


@dataclass(frozen=True)
class Selected:
    """Feature selection, then one of several classifiers.

    Args:
        columns: its features.
        measured_again: feature tables of repeated measurements, for the ICC filter.
        centers: centre of every unit, for ComBat.
    """

    columns: tuple[str, ...]
    measured_again: tuple[pd.DataFrame, ...] = ()
    centers: pd.Series | None = None

    def learn(self, table: pd.DataFrame, labels: Floats, groups: np.ndarray, settings: FitConfig, seed: int) -> Learnt:
        """See `Recipe`."""
        x = table[list(self.columns)]
        names = list(CLASSIFIERS) if settings.classifier == "auto" else [settings.classifier]
        steps = selection_steps(settings, seed=seed, repeats=self.measured_again, centers=self.centers)
        selection = Pipeline(steps)
        folds = inner_dealt(labels, groups, settings, seed)
        held_out = {name: np.full(labels.size, np.nan) for name in names}
        for inside, out in folds:
            fitted_inside = clone(selection).fit(x.iloc[inside], labels[inside])
            z, z_out = (fitted_inside.transform(x.iloc[rows]).to_numpy() for rows in (inside, out))
            for name in names:
                held_out[name][out] = log_odds(CLASSIFIERS[name](seed).fit(z, labels[inside]), z_out)
        areas = {name: _fold_aucs(logit, labels, folds) for name, logit in held_out.items()}
        inner = {name: float(area.mean()) for name, area in areas.items()}
        chosen = simplest_of_the_best(areas)
        selection = selection.fit(x, labels)
        z = selection.transform(x).to_numpy()
        fitted = {name: CLASSIFIERS[name](seed).fit(z, labels) for name in names}

        def predictor(name: str) -> Callable[[pd.DataFrame], Floats]:
            return lambda rows: log_odds(fitted[name], selection.transform(rows[list(self.columns)]).to_numpy())

        frozen = Frozen.of(held_out[chosen], labels)
        model = Pipeline([*selection.steps, ("classifier", fitted[chosen])])
        portable = SelectedFeatures.of(selection, x, frozen_classifier(chosen, fitted[chosen], z, labels))
        centers = pd.Series(dtype=object) if self.centers is None else self.centers

        def predict(rows: pd.DataFrame) -> Floats:
            return portable.log_odds(rows, centers.reindex(rows.index))

        rivals = {name: predictor(name) for name in names} | {chosen: predict}
        return Learnt(predict, held_out[chosen], frozen, inner, chosen, rivals, model, portable)


@dataclass(frozen=True)
class Clinical:
    """Logistic regression of the declared clinical features."""

    features: tuple[ClinicalFeature, ...]

    def learn(self, table: pd.DataFrame, labels: Floats, groups: np.ndarray, settings: FitConfig, seed: int) -> Learnt:
        """See `Recipe`."""
        estimator = ClinicalLogistic(self.features, settings.clinical == "backward_aic")
        folds = inner_dealt(labels, groups, settings, seed)
        held_out = np.full(labels.size, np.nan)
        for inside, out in folds:
            fitted_inside = clone(estimator).fit(table.iloc[inside], labels[inside])
            held_out[out] = fitted_inside.decision_function(table.iloc[out])
        frozen = Frozen.of(held_out, labels)
        fitted = clone(estimator).fit(table, labels)
        portable = ClinicalFeatures.of(fitted, table)

        def predict(rows: pd.DataFrame) -> Floats:
            return portable.log_odds(rows, pd.Series(index=rows.index, dtype=object))

        inner = {"logistic": float(_fold_aucs(held_out, labels, folds).mean())}
        return Learnt(predict, held_out, frozen, inner, "logistic", {"logistic": predict}, fitted, portable)


@dataclass(frozen=True)
class Fused:
    """Score-level fusion: a logistic regression of members' log-odds, learnt on their inner out-of-fold values."""

    members: Mapping[str, Recipe]

    def learn(self, table: pd.DataFrame, labels: Floats, groups: np.ndarray, settings: FitConfig, seed: int) -> Learnt:
        """See `Recipe`."""
        learnt = {name: member.learn(table, labels, groups, settings, seed) for name, member in self.members.items()}

        def logits(rows: pd.DataFrame) -> Floats:
            return np.column_stack([member.predict(rows) for member in learnt.values()])

        seen = np.column_stack([member.out_of_fold for member in learnt.values()])
        centre, scale = seen.mean(axis=0), np.maximum(seen.std(axis=0), 1e-9)
        folds = inner_dealt(labels, groups, settings, seed + 1)
        held_out = np.full(labels.size, np.nan)
        scaled = (seen - centre) / scale
        for inside, out in folds:
            held_out[out] = log_odds(CLASSIFIERS["logistic"](seed).fit(scaled[inside], labels[inside]), scaled[out])
        frozen = Frozen.of(held_out, labels)
        joint = CLASSIFIERS["logistic"](seed).fit(scaled, labels)

        weighing = Linear(joint.coef_[0].astype(float), float(joint.intercept_[0]))
        members = {name: member.portable for name, member in learnt.items()}
        portable = FusedScores(members, centre, scale, weighing)

        def predict(rows: pd.DataFrame) -> Floats:
            return weighing.log_odds((logits(rows) - centre) / scale)

        weights = dict(zip(learnt, (joint.coef_[0] / scale).tolist(), strict=True))
        inner = {"score fusion": float(_fold_aucs(held_out, labels, folds).mean())}
        return Learnt(predict, held_out, frozen, inner, "score fusion", {}, Fusion(learnt, weights), portable)
