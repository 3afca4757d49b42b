"""The published analysis of all signatures: each one judged, every pair compared, figures, one page."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from mammo_aln import __version__
from mammo_aln.evaluation.compare import comparison_table
from mammo_aln.evaluation.evaluate import evaluate_files
from mammo_aln.evaluation.report.page import PAGES
from mammo_aln.evaluation.report.pairwise import auc_table, compare_all, together
from mammo_aln.evaluation.report.plots import Picture, figure_text, spoken
from mammo_aln.files import write_csv, write_json, write_text, written_whole
from mammo_aln.progress import track
from mammo_aln.radiomics.signatures import figures
from mammo_aln.radiomics.signatures.classifiers import score_scale
from mammo_aln.radiomics.signatures.clinical_model import Model, Term, fit_terms, odds_ratio_report
from mammo_aln.radiomics.signatures.clinical_table import ClinicalLogistic
from mammo_aln.radiomics.signatures.nomogram import build_nomogram
from mammo_aln.radiomics.signatures.signatures import Written
from mammo_aln.settings import FitConfig

IMAGE_FIRST = ("dlr", "radiomics", "deep")


def write_analysis(
    out: Path, made: Sequence[Written], patients: pd.DataFrame, settings: FitConfig, *, seed: int
) -> None:
    """Write OUT/evaluation (a report per signature, comparisons, one page) and OUT/figures.

    Args:
        out: folder of the fit.
        made: the signatures as written.
        patients: the cohort's patients, for subgroups and baseline tables.
        settings: of the fit.
        seed: of the resampling.
    """
    folder, resamples = out / "evaluation", settings.bootstrap_resamples
    files = {one.signature.name: one.folder / "predictions.csv" for one in made}
    metrics: dict[str, dict[str, Any]] = {}
    for name, path in track(files.items(), total=len(files), what="evaluation", unit="signature"):
        evaluate_files([path], folder / name, cohort_patients=patients, resamples=resamples, seed=seed)
        metrics[name] = json.loads((folder / name / "metrics.json").read_text(encoding="utf-8"))
    entries = compare_all(files, resamples=resamples)
    write_json(folder / "metrics.json", {"schema_version": 1, "signatures": metrics})
    write_json(folder / "comparisons.json", entries)
    if entries:
        write_csv(folder / "comparisons.csv", comparison_table(entries))
    curves = together(files, metrics)
    parts, odds = _of_signatures(made)
    for place, shown in enumerate([*curves, *parts]):
        _save(out / "figures" / f"{place:02d}_{_file_name(shown.title)}.svg", shown)
    for name, table in odds.items():
        write_csv(folder / f"odds_ratios_{name}.csv", table)
    facts = {one.signature.name: json.loads((one.folder / "predictions.json").read_text("utf-8")) for one in made}
    page = PAGES.get_template("signatures.html.j2").render(
        version=__version__,
        names=list(files),
        how=_how(made),
        notes=list(dict.fromkeys(note for found in facts.values() for note in found.get("notes", []))),
        aucs=auc_table(metrics),
        about={name: _about(found["signature_facts"]) for name, found in facts.items()},
        entries=entries,
        gaps=[(name, gap) for name, found in metrics.items() for gap in found["auc_gap"]],
        figures={"curves": curves, "signatures": parts},
        odds={name: _rounded(table) for name, table in odds.items()},
        classifiers=_rounded(_classifiers(made)),
        text=figure_text,
        spoken=spoken,
        resamples=resamples,
    )
    write_text(folder / "report.html", page)


def _how(made: Sequence[Written]) -> str:
    if any(set(one.predictions["split"]) == {"cv"} for one in made):
        return "Every patient was scored by models that did not see them (repeated nested cross-validation)."
    return (
        "Signatures were learnt on the training split; selection, classifier, calibration and threshold from it alone."
    )


def _about(found: dict[str, Any]) -> dict[str, Any]:
    stability = found.get("stability")
    if stability and isinstance(stability["nogueira"], float):
        stability = {"value": stability["nogueira"], "ci_low": stability["ci_low"], "ci_high": stability["ci_high"]}
    else:
        stability = None
    return {
        "classifier": found["classifier"],
        "features": found.get("features"),
        "stability": stability,
        "nested_auc": found["nested_auc"],
    }


def _of_signatures(made: Sequence[Written]) -> tuple[list[Picture], dict[str, pd.DataFrame]]:
    shown: list[Picture] = []
    odds: dict[str, pd.DataFrame] = {}
    for one in made:
        name, tables = one.signature.name, one.tables
        if "odds_ratios" in tables:
            odds[name] = tables["odds_ratios"]
            if (tables["odds_ratios"]["model"] == "multivariable").any():
                shown.append(figures.odds_forest(tables["odds_ratios"], f"Odds ratios, {name}"))
        if len(tables["classifiers"]) > 1:
            shown.append(figures.classifier_bars(tables["classifiers"], f"Classifiers, {name}"))
        if "lasso" in tables:
            at = one.signature.learnt.model.named_steps["lasso"].at_
            shown.append(figures.lasso_curve(tables["lasso"], at, f"LASSO, {name}"))
        if "stability" in tables and len(tables["stability"]):
            facts = json.loads((one.folder / "predictions.json").read_text("utf-8"))["signature_facts"]["stability"]
            index = float(facts["nogueira"])
            shown.append(figures.frequencies(tables["stability"], f"Stability of the selection, {name}", index))
        if "shap" in tables:
            shown.append(
                figures.beeswarm(
                    tables["shap"], f"Shapley values, {name}", scale=score_scale(one.signature.learnt.chosen)
                )
            )
    joint = _nomogram(made)
    if joint is not None:
        picture, table = joint
        if picture is not None:
            shown.append(picture)
        if table is not None:
            odds["nomogram"] = table
    return shown, odds


def _nomogram(made: Sequence[Written]) -> tuple[Picture | None, pd.DataFrame | None] | None:
    """Clinical features and the strongest image signature in one logistic model of the training patients.

    The signature enters by its out-of-fold log-odds: its scores of patients it was fitted on would outweigh the rest.
    """
    by_name = {one.signature.name: one.signature for one in made}
    clinical = by_name.get("clinical")
    if clinical is None:
        return None
    model = clinical.learnt.model
    assert isinstance(model, ClinicalLogistic)
    rows = clinical.rows
    table, terms = model.table_.encode(rows.table), list(model.model_.terms)
    levels = {feature.name: feature.levels for feature in model.features if feature.kind == "ordinal"}
    image = next((by_name[name] for name in IMAGE_FIRST if name in by_name), None)
    labels = pd.Series(rows.labels, index=rows.table.index)
    if image is None:
        if not terms:
            return None
        return _drawn(model.model_, table, "Nomogram, clinical", levels), None
    column = f"{image.name} score"
    # calibrated in each outer fold, so that folds which chose different classifiers share one scale
    scores = pd.Series(np.clip(logit(np.clip(image.nested.score, 1e-12, 1 - 1e-12)), -5, 5), image.rows.table.index)
    common = table.index.intersection(scores.index)
    table = table.loc[common].assign(**{column: scores.loc[common]})
    joint = fit_terms(table, labels.loc[common].to_numpy(), [*terms, Term(column)])
    title = f"Nomogram, clinical and {image.name}"
    observed = model.table_.observed(rows.table.loc[common])
    report = odds_ratio_report(table, labels.loc[common].to_numpy(), [*terms, Term(column)], observed=observed)
    return _drawn(joint, table, title, levels), report


def _drawn(model: Model, table: pd.DataFrame, title: str, levels: Mapping[str, Sequence[str]]) -> Picture | None:
    layout = build_nomogram(model, table, ordinals=levels)
    return None if layout is None else figures.nomogram(layout, title, levels)


def _classifiers(made: Sequence[Written]) -> pd.DataFrame:
    return pd.concat(
        [one.tables["classifiers"].assign(signature=one.signature.name) for one in made], ignore_index=True
    )[["signature", "classifier", "inner_auc", "nested_auc", "chosen", "chosen_in_outer_folds"]]


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """For the page: numbers with three digits, a dash where there is none."""
    shown = table.drop(columns=[name for name in ("beta", "se", "wald_low", "wald_high") if name in table])
    return shown.map(lambda cell: f"{cell:.3g}" if isinstance(cell, float) else cell).replace("nan", "–")


def _file_name(title: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in title.lower()).strip("_")


def _save(path: Path, shown: Picture) -> None:
    with written_whole(path) as part:
        part.write_bytes(base64.b64decode(shown.uri.split(",", 1)[1]))
