"""What a fitted signature leaves on disk: predictions with their facts, the features it chose, their stability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from mammo_aln.files import write_csv, write_json
from mammo_aln.progress import say
from mammo_aln.radiomics.signatures.classifiers import Floats, log_odds
from mammo_aln.radiomics.signatures.clinical_model import odds_ratio_report
from mammo_aln.radiomics.signatures.clinical_table import ClinicalLogistic
from mammo_aln.radiomics.signatures.learn import Learnt
from mammo_aln.radiomics.signatures.nested import Nested, Rows, seed_of
from mammo_aln.radiomics.signatures.selection import selection_counts
from mammo_aln.radiomics.signatures.shapley import linear_shapley, sampled_shapley
from mammo_aln.radiomics.signatures.stability import nogueira, resampled_selections
from mammo_aln.settings import FitConfig


@dataclass(frozen=True)
class Signature:
    """A signature with what it was learnt from."""

    name: str
    columns: tuple[str, ...]
    rows: Rows
    learnt: Learnt
    nested: Nested


@dataclass(frozen=True)
class Written:
    """A signature's folder, its predictions as a table, and what figures need.

    Args:
        signature: the signature.
        folder: where it was written.
        predictions: rows of predictions.csv, indexed by unit.
        tables: name -> table, as written beside the predictions.
    """

    signature: Signature
    folder: Path
    predictions: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]


def write_signature(
    folder: Path,
    signature: Signature,
    rows: pd.DataFrame,
    facts: dict[str, Any],
    settings: FitConfig,
    *,
    seed: int,
    workers: int | None = None,
) -> Written:
    """Write predictions.csv and .json, and the tables that tell how the signature is made.

    Args:
        folder: to be made.
        signature: the fitted signature.
        rows: patients to predict, with `patient_id`, `side`, `center`, `split`, `aln_status` and the features.
        facts: what predictions.json says beside threshold and calibration.
        settings: of the fit.
        seed: of resampling.
        workers: processes of the resampling; by default one per core.
    """
    learnt, nested = signature.learnt, signature.nested
    cross_validated = bool((rows["split"] == "cv").all())
    if cross_validated:
        # training rows and predicted rows are the same patients in the same order
        logit, score = nested.logit, nested.score
        threshold = {"value": nested.threshold, "rule": "youden, median of the outer folds", "split": "cv"}
        calibration = {"method": "platt", "split": "cv", "note": "fitted in each outer fold; scores are their mean"}
    else:
        logit, score = learnt.predict(rows), learnt.score(rows)
        threshold, calibration = learnt.threshold, learnt.calibration
    table = _prediction_table(rows, facts["run_id"], score, logit)
    tables = {"classifiers": _classifiers(learnt, nested)}
    about: dict[str, Any] = {"classifier": learnt.chosen, "nested_auc": nested.auc.get("procedure")}
    if isinstance(learnt.model, Pipeline):
        found, more = _selection_tables(signature, learnt.model, settings, seed, workers)
        tables, about = tables | found, about | more
        tables["shap"] = _shapley(learnt.model, signature, rows, seed)
    if isinstance(learnt.model, ClinicalLogistic):
        tables["odds_ratios"] = odds_ratios(learnt.model, signature)
    if isinstance(learnt.model, dict):
        about["fusion_weights"] = learnt.model["weights"]
    unseen = strangers(learnt.model, rows)
    for note in unseen:
        say(f"{signature.name}: {note}")
    facts = facts | {"notes": [*facts.get("notes", []), *unseen]}
    card = {"classifier": learnt.chosen, "signature": signature.name, "training_rows": int(signature.rows.labels.size)}
    write_json(
        folder / "predictions.json",
        {
            "schema_version": 1,
            **facts,
            "threshold": threshold,
            "calibration": calibration,
            "model_card": card,
            "signature_facts": about,
        },
    )
    if not cross_validated:
        tables["cross_validated"] = _out_of_fold(rows, signature, facts["run_id"])
    for name, part in tables.items():
        write_csv(folder / f"{name}.csv", part)
    write_csv(folder / "predictions.csv", table)
    return Written(signature, folder, table.set_axis(rows.index, axis=0), tables)


def strangers(model: Any, rows: pd.DataFrame) -> list[str]:
    """What rows to predict hold that training did not, per split: levels of clinical features, centres of ComBat."""
    if isinstance(model, dict):
        return [note for part in model["parts"].values() for note in strangers(part.model, rows)]
    notes = []
    for split, part in rows.groupby("split", sort=False):
        if isinstance(model, ClinicalLogistic):
            notes += [
                f"{count} patients of {split} have a level of {name} that training does not hold; it counts as the"
                " commonest"
                for name, count in model.table_.unknown(part).items()
            ]
        elif "combat" in model.named_steps:
            count = model.named_steps["combat"].strangers(part.index)
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
    table = pd.DataFrame(
        [
            {
                "classifier": name,
                "inner_auc": value,
                "nested_auc": nested.auc.get(name, nested.auc["procedure"]),
                "chosen": name == learnt.chosen,
                "chosen_in_outer_folds": nested.chosen.get(name, 0),
            }
            for name, value in learnt.inner_auc.items()
        ]
    )
    return table.sort_values("inner_auc", ascending=False, kind="stable")


def _selection_tables(
    signature: Signature, model: Pipeline, settings: FitConfig, seed: int, workers: int | None
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    selection, rows = model[:-1], signature.rows
    lasso = model.named_steps["lasso"]
    p_values = model.named_steps["rank_test"].p_values_
    coefficient = dict(zip(lasso.names_, lasso.path_.coefficients[lasso.at_], strict=True))
    table = pd.DataFrame({"feature": lasso.kept_})
    table["p_mann_whitney"] = table["feature"].map(p_values)
    table["lasso_coefficient"] = table["feature"].map(coefficient)
    classifier = model.named_steps["classifier"]
    if hasattr(classifier, "coef_"):
        table["classifier_coefficient"] = np.ravel(classifier.coef_)
    about: dict[str, Any] = {"steps": selection_counts(selection), "features": len(lasso.kept_)}
    tables = {"selection": table, "lasso": lasso.curve_}
    if settings.stability_resamples:
        features = rows.table[list(signature.columns)]
        drawn = resampled_selections(
            selection,
            features,
            rows.labels,
            rows.groups,
            resamples=settings.stability_resamples,
            seed=seed_of(seed, 4),
            workers=workers,
        )
        frequency = drawn.mean()
        index = nogueira(drawn.to_numpy())
        about["stability"] = {
            "nogueira": index.value,
            "ci_low": index.low,
            "ci_high": index.high,
            "resamples": settings.stability_resamples,
            "mean_features": float(drawn.sum(axis=1).mean()),
        }
        table["selection_frequency"] = table["feature"].map(frequency)
        chosen = frequency[frequency > 0].sort_values(ascending=False, kind="stable")
        tables["stability"] = pd.DataFrame(
            {"feature": chosen.index, "frequency": chosen.to_numpy(), "selected": chosen.index.isin(lasso.kept_)}
        )
    return tables, about


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
            lambda z: log_odds(classifier, z), explained, background, orders=16, seed=seed_of(seed, 5)
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
