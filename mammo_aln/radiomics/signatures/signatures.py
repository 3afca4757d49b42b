"""Files of a fitted signature: predictions with their facts, the features it chose, their stability."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from mammo_aln.cohort.declaration import Outcome
from mammo_aln.evaluation.statistics.tests import holm
from mammo_aln.files import write_csv, write_json
from mammo_aln.progress import say
from mammo_aln.radiomics.publication.imputed import imputed_odds_ratios
from mammo_aln.radiomics.publication.stated import published_facts
from mammo_aln.radiomics.signatures.cautions import odds_cautions
from mammo_aln.radiomics.signatures.classifiers import Floats, log_odds
from mammo_aln.radiomics.signatures.clinical_model import odds_ratio_report
from mammo_aln.radiomics.signatures.clinical_table import ClinicalLogistic
from mammo_aln.radiomics.signatures.learn import Frozen, Fusion, Learnt
from mammo_aln.radiomics.signatures.nested import PROCEDURE, Nested, Rows, seed_of
from mammo_aln.radiomics.signatures.selection import StepCount, selection_counts
from mammo_aln.radiomics.signatures.shapley import linear_shapley, sampled_shapley
from mammo_aln.radiomics.signatures.stability import nogueira, resampled_selections
from mammo_aln.settings import FitConfig
from mammo_aln.training.data.units import FlowStep

SHAPLEY_ORDERS = 16


@dataclass(frozen=True)
class Signature:
    """A signature with what it was learnt from."""

    name: str
    columns: tuple[str, ...]
    rows: Rows
    learnt: Learnt
    nested: Nested


@dataclass(frozen=True)
class FitFacts:
    """Facts of the fit that predictions.json states of each signature.

    `splits` holds each test split's opening, `known_at` when each clinical feature is known, `repeats` counts tables of
    repeated measurements, `extraction` is the content of features.json.
    """

    run_id: str
    fit_id: str
    signature: str
    cohort: str
    splits: dict[str, Any]
    cohort_flow: tuple[FlowStep, ...]
    fit: FitConfig
    notes: tuple[str, ...]
    outcome: Outcome
    leaks: Mapping[str, object] | None = None
    known_at: Mapping[str, str] = field(default_factory=dict)
    repeats: int = 0
    extraction: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object that is stored."""
        model = {"inputs": [self.signature], "backbone": "none (table of features)"}
        return {
            "run_id": self.run_id,
            "fit_id": self.fit_id,
            "signature": self.signature,
            "cohort": self.cohort,
            "splits": self.splits,
            "cohort_flow": [step.to_json() for step in self.cohort_flow],
            "settings": {"model": model, "fit": asdict(self.fit)},
            "notes": list(self.notes),
            "outcome": self.outcome.to_json(),
            **({"leaks": self.leaks} if self.leaks else {}),
        }


@dataclass(frozen=True)
class SelectionStability:
    """Nogueira's index of the selection with its 95 % limits, over resamples that keep so many features on average."""

    nogueira: float
    ci_low: float
    ci_high: float
    resamples: int
    mean_features: float


@dataclass(frozen=True)
class EqualClassifiers:
    """Wald's test that all classifiers have one nested AUC."""

    chi_squared: float
    df: int
    p_value: float
    classifiers: int

    @classmethod
    def of(cls, learnt: Learnt, nested: Nested) -> EqualClassifiers | None:
        """Test all classifiers that were judged; None for one alone, or where all score alike."""
        names = [name for name in learnt.inner_auc if name in nested.judged.names]
        chi2, df, p_value = nested.judged.test_of_all(names) if len(names) > 1 else (0.0, 0, 1.0)
        return cls(chi2, df, p_value, len(names)) if df else None


@dataclass(frozen=True)
class SignatureFacts:
    """Composition of a signature; counts and stability are a selection's, weights a fusion's."""

    classifier: str
    nested_auc: float | None
    steps: tuple[StepCount, ...] = ()
    features: int | None = None
    stability: SelectionStability | None = None
    fusion_weights: Mapping[str, float] | None = None
    nested_limits: tuple[float, float] | None = None
    equal: EqualClassifiers | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that is stored; what the signature does not have is left out."""
        stored = {
            "classifier": self.classifier,
            "nested_auc": self.nested_auc,
            "steps": list(self.steps) or None,
            "features": self.features,
            "stability": self.stability and asdict(self.stability),
            "fusion_weights": self.fusion_weights,
            "nested_auc_limits": self.nested_limits,
            "classifiers_equal": self.equal and asdict(self.equal),
        }
        return {name: value for name, value in stored.items() if name == "nested_auc" or value is not None}


@dataclass(frozen=True)
class Written:
    """A signature as written: rows of predictions.csv by unit, the tables beside it by name, and what it is made of.

    `rows` are the patients predicted, with their features.
    """

    signature: Signature
    folder: Path
    predictions: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    facts: SignatureFacts
    notes: tuple[str, ...]
    rows: pd.DataFrame


def write_signature(
    folder: Path,
    signature: Signature,
    rows: pd.DataFrame,
    facts: FitFacts,
    *,
    seed: int,
    workers: int | None = None,
) -> Written:
    """Write predictions.csv and .json, and the tables that show how the signature is made.

    Args:
        folder: to be created.
        signature: the fitted signature.
        rows: patients to predict, with `patient_id`, `side`, `center`, `split`, `aln_status` and the features.
        facts: of the fit.
        seed: of resampling.
        workers: processes of the resampling; by default one per core.
    """
    learnt, nested = signature.learnt, signature.nested
    cross_validated = bool((rows["split"] == "cv").all())
    if cross_validated:
        # training rows and predicted rows are the same patients in the same order
        logit, score = nested.logit, nested.score
        frozen = Frozen(
            {"method": "platt", "split": "cv", "note": "fitted in each outer fold; scores are their mean"},
            {"value": nested.threshold, "rule": "youden, median of the outer folds", "split": "cv"},
        )
    else:
        logit, score, frozen = learnt.predict(rows), learnt.score(rows), learnt.frozen
    table = _prediction_table(rows, facts.run_id, score, logit)
    tables = {"classifiers": _classifiers(learnt, nested)}
    about = SignatureFacts(
        learnt.chosen,
        nested.auc.get(PROCEDURE),
        nested_limits=nested.judged.limits(PROCEDURE),
        equal=EqualClassifiers.of(learnt, nested),
    )
    if isinstance(learnt.model, Pipeline):
        stability = _stability(signature, learnt.model, facts.fit, seed, workers)
        about = _selection_facts(about, learnt.model, stability)
        tables |= _selection_tables(learnt.model, stability)
        tables["shap"] = _shapley(learnt.model, signature, rows, seed)
    elif isinstance(learnt.model, ClinicalLogistic):
        tables["odds_ratios"] = odds_ratios(learnt.model, signature)
        tables |= _imputed(learnt.model, signature, facts.fit.imputations, seed_of(seed, 6))
    else:
        about = replace(about, fusion_weights=learnt.model.weights)
    unseen = strangers(learnt.model, rows)
    for note in unseen:
        say(f"{signature.name}: {note}")
    cautions = odds_cautions(tables["odds_ratios"]) if "odds_ratios" in tables else []
    notes = (*facts.notes, *unseen, *cautions)
    card = {"classifier": learnt.chosen, "signature": signature.name, "training_rows": int(signature.rows.labels.size)}
    stored = {
        "schema_version": 1,
        **facts.to_json(),
        "notes": list(notes),
        "threshold": frozen.threshold,
        "calibration": frozen.calibration,
        "model_card": card,
        "signature_facts": about.to_json(),
        **published_facts(signature, facts, about.to_json(), rows),
    }
    write_json(folder / "predictions.json", stored)
    if not cross_validated:
        tables["cross_validated"] = _out_of_fold(rows, signature, facts.run_id)
    for name, content in tables.items():
        write_csv(folder / f"{name}.csv", content)
    write_csv(folder / "predictions.csv", table)
    return Written(signature, folder, table.set_axis(rows.index, axis=0), tables, about, notes, rows)


def _imputed(model: ClinicalLogistic, signature: Signature, imputations: int, seed: int) -> dict[str, pd.DataFrame]:
    """Odds ratios pooled over imputations, where they are asked for and something is missing."""
    if not imputations:
        return {}
    rows = signature.rows
    pooled = imputed_odds_ratios(model.table_, rows.table, rows.labels, imputations=imputations, seed=seed)
    return {} if pooled.empty else {"odds_ratios_imputed": pooled}


def strangers(model: Pipeline | ClinicalLogistic | Fusion, rows: pd.DataFrame) -> list[str]:
    """Name, per split, what training lacked of the rows to predict: levels of clinical features, ComBat's centres."""
    if isinstance(model, Fusion):
        return [note for member in model.members.values() for note in strangers(member.model, rows)]
    notes = []
    for split, patients in rows.groupby("split", sort=False):
        if isinstance(model, ClinicalLogistic):
            notes += [
                f"{count} patients of {split} have a level of {name} that training does not hold; it counts as the"
                " commonest"
                for name, count in model.table_.unknown(patients).items()
            ]
        elif "combat" in model.named_steps:
            count = model.named_steps["combat"].strangers(patients.index)
            notes += [f"{count} patients of {split} are of centres unknown to ComBat; unchanged"] if count else []
    return notes


def _prediction_table(rows: pd.DataFrame, run_id: str, score: Floats, logit: Floats) -> pd.DataFrame:
    sides = ["side"] if rows["side"].notna().any() else []
    table = rows[["patient_id", *sides, "center", "split"]].copy()
    table.insert(0, "run_id", run_id)
    return table.assign(aln_status=rows["aln_status"].astype("Int64"), score=score, logit=logit)


def _out_of_fold(rows: pd.DataFrame, signature: Signature, run_id: str) -> pd.DataFrame:
    """Training patients scored by models that did not see them (outer folds), as a predictions file of its own."""
    trained = rows.loc[signature.rows.table.index].assign(split="cv")
    return _prediction_table(trained, run_id, signature.nested.score, signature.nested.logit)


def _classifiers(learnt: Learnt, nested: Nested) -> pd.DataFrame:
    """Classifiers with nested AUC, its 95 % limits, and p of being as good as the chosen one, by Holm over the rest."""
    judged = nested.judged
    chosen = learnt.chosen if learnt.chosen in judged.names else PROCEDURE
    rivals = [name for name in learnt.inner_auc if name in judged.names and name != chosen]
    p_values = [judged.p_against(name, chosen) for name in rivals]
    p, p_holm = (dict(zip(rivals, values, strict=True)) for values in (p_values, holm(p_values)))
    rows = []
    for name, inner_auc in learnt.inner_auc.items():
        low, high = judged.limits(name if name in judged.names else PROCEDURE)
        row = {"classifier": name, "inner_auc": inner_auc, "nested_auc": nested.auc.get(name, nested.auc[PROCEDURE])}
        row |= {
            "nested_low": low,
            "nested_high": high,
            "p_against_chosen": p.get(name, math.nan),
            "p_holm": p_holm.get(name, math.nan),
        }
        rows.append(row | {"chosen": name == learnt.chosen, "chosen_in_outer_folds": nested.chosen.get(name, 0)})
    return pd.DataFrame(rows).sort_values("inner_auc", ascending=False, kind="stable")


def _stability(
    signature: Signature, model: Pipeline, settings: FitConfig, seed: int, workers: int | None
) -> pd.DataFrame | None:
    """Features kept on resampled patients, as `resampled_selections` gives them; None where none are asked for."""
    if not settings.stability_resamples:
        return None
    rows = signature.rows
    return resampled_selections(
        model[:-1],
        rows.table[list(signature.columns)],
        rows.labels,
        rows.groups,
        resamples=settings.stability_resamples,
        seed=seed_of(seed, 4),
        workers=workers,
    )


def _selection_facts(about: SignatureFacts, model: Pipeline, drawn: pd.DataFrame | None) -> SignatureFacts:
    stability = None
    if drawn is not None:
        index, mean_features = nogueira(drawn.to_numpy()), float(drawn.sum(axis=1).mean())
        stability = SelectionStability(index.value, index.low, index.high, len(drawn), mean_features)
    steps = tuple(selection_counts(model[:-1]))
    return replace(about, steps=steps, features=len(model.named_steps["lasso"].kept_), stability=stability)


def _selection_tables(model: Pipeline, drawn: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    lasso, classifier = model.named_steps["lasso"], model.named_steps["classifier"]
    coefficient = dict(zip(lasso.names_, lasso.path_.coefficients[lasso.at_], strict=True))
    table = pd.DataFrame({"feature": lasso.kept_})
    table["p_mann_whitney"] = table["feature"].map(model.named_steps["rank_test"].p_values_)
    table["lasso_coefficient"] = table["feature"].map(coefficient)
    if hasattr(classifier, "coef_"):
        table["classifier_coefficient"] = np.ravel(classifier.coef_)
    tables = {"selection": table, "lasso": lasso.curve_}
    if drawn is not None:
        frequency = drawn.mean()
        table["selection_frequency"] = table["feature"].map(frequency)
        ever = frequency[frequency > 0].sort_values(ascending=False, kind="stable")
        tables["stability"] = pd.DataFrame(
            {"feature": ever.index, "frequency": ever.to_numpy(), "selected": ever.index.isin(lasso.kept_)}
        )
    return tables


def _shapley(model: Pipeline, signature: Signature, rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Shapley values of every predicted row on the classifier's own scale, one row per patient and feature."""
    columns = list(signature.columns)
    background = model[:-1].transform(signature.rows.table[columns])
    explained = model[:-1].transform(rows[columns])
    classifier = model.named_steps["classifier"]
    if hasattr(classifier, "coef_"):
        values, method = linear_shapley(np.ravel(classifier.coef_), explained, background), "exact (linear)"
    else:
        values = sampled_shapley(
            lambda z: log_odds(classifier, z), explained, background, orders=SHAPLEY_ORDERS, seed=seed_of(seed, 5)
        )
        method = "sampled orders"
    names = list(explained.columns)
    return pd.DataFrame(
        {
            "patient_id": np.repeat(rows["patient_id"].to_numpy(), len(names)),
            "split": np.repeat(rows["split"].to_numpy(), len(names)),
            "feature": names * len(rows),
            "value": explained.to_numpy().ravel(),
            "shap": values.ravel(),
            "method": method,
        }
    )


def odds_ratios(model: ClinicalLogistic, signature: Signature) -> pd.DataFrame:
    """Tabulate the clinical model's odds ratios, univariable and multivariable."""
    table, rows = model.table_, signature.rows
    return odds_ratio_report(
        table.encode(rows.table),
        rows.labels,
        table.terms,
        observed=table.observed(rows.table),
        kept=model.model_.terms,
    )
