"""The published analysis of all signatures: each one judged, every pair compared, figures, one page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit
from sklearn.pipeline import Pipeline

from mammo_aln import __version__
from mammo_aln.evaluation.cohorts import CohortTable
from mammo_aln.evaluation.evaluate import evaluate_files
from mammo_aln.evaluation.pairs import comparison_table
from mammo_aln.evaluation.report.page import PAGES
from mammo_aln.evaluation.report.pairwise import auc_table, compare_all, together
from mammo_aln.evaluation.report.plots import Picture, figure_text, spoken
from mammo_aln.evaluation.statistics.optimism import bootstrap_optimism
from mammo_aln.files import write_csv, write_json, write_text
from mammo_aln.progress import track
from mammo_aln.radiomics.signatures import figures
from mammo_aln.radiomics.signatures.classifiers import score_scale
from mammo_aln.radiomics.signatures.clinical_model import Model, Term, fit_terms, odds_ratio_report
from mammo_aln.radiomics.signatures.clinical_table import ClinicalLogistic
from mammo_aln.radiomics.signatures.labels import label, term_labels
from mammo_aln.radiomics.signatures.nomogram import build_nomogram
from mammo_aln.radiomics.signatures.signatures import Signature, SignatureFacts, Written
from mammo_aln.settings import FitConfig

NOT_SHOWN = ["beta", "se", "wald_low", "wald_high", "p_wald", "events"]
IMAGE_FIRST = ("dlr", "radiomics", "deep")
MOST_OPTIMISM_RESAMPLES = 400
LOGIT_LIMIT = 5.0
HEADINGS = {
    **{"ci_low": "95 % from", "ci_high": "to", "p_term": "p", "p_likelihood_ratio": "p of the variable"},
    **{"vif": "VIF", "inner_auc": "inner AUC", "nested_auc": "nested AUC"},
}


@dataclass(frozen=True)
class JointModel:
    """The logistic model behind the nomogram, fitted on training patients.

    Args:
        name: the signatures in it.
        model: the fit.
        table: its rows, a column per variable.
        levels: names of ordinal features' levels.
        odds: its odds ratios; None where the clinical signature's own table holds them.
    """

    name: str
    model: Model
    table: pd.DataFrame
    levels: Mapping[str, Sequence[str]]
    odds: pd.DataFrame | None


def write_analysis(
    out: Path, signatures: Sequence[Written], cohort: CohortTable, outcome: str, settings: FitConfig, *, seed: int
) -> None:
    """Write OUT/evaluation (a report per signature, comparisons, one page) and OUT/figures.

    Args:
        out: folder of the fit.
        signatures: as written.
        cohort: tables of the patients, for subgroups and baseline tables.
        outcome: in words.
        settings: of the fit.
        seed: of the resampling.
    """
    folder, resamples = out / "evaluation", settings.bootstrap_resamples
    files = {written.signature.name: written.folder / "predictions.csv" for written in signatures}
    metrics: dict[str, dict[str, Any]] = {}
    for name, path in track(files.items(), total=len(files), what="evaluation", unit="signature"):
        evaluate_files([path], folder / name, cohorts=[cohort], resamples=resamples, seed=seed)
        metrics[name] = json.loads((folder / name / "metrics.json").read_text(encoding="utf-8"))
    pairs = compare_all(files, resamples=resamples)
    write_json(folder / "metrics.json", {"schema_version": 1, "signatures": metrics})
    write_json(folder / "comparisons.json", [pair.to_json() for pair in pairs])
    if pairs:
        write_csv(folder / "comparisons.csv", comparison_table(pairs))
    joint = _joint_model({written.signature.name: written.signature for written in signatures})
    odds = {
        written.signature.name: written.tables["odds_ratios"]
        for written in signatures
        if "odds_ratios" in written.tables
    }
    if joint is not None and joint.odds is not None:
        odds["nomogram"] = joint.odds
    for name, table in odds.items():
        write_csv(folder / f"odds_ratios_{name}.csv", table)
    layout = joint and build_nomogram(joint.model, joint.table, ordinals=joint.levels)
    drawn = [picture for written in signatures for picture in _pictures(written)]
    optimism = None
    if joint and layout:
        drawn.append(figures.nomogram(layout, f"Nomogram, {joint.name}", joint.levels))
        few = min(resamples, MOST_OPTIMISM_RESAMPLES)
        judged = bootstrap_optimism(joint.model.design, joint.model.labels, resamples=few, seed=seed)
        optimism = pd.DataFrame([{"index": name, **asdict(index)} for name, index in judged.items()])
        write_csv(folder / "optimism_nomogram.csv", optimism)
    curves = together(files, metrics)
    for number, picture in enumerate([*curves, *drawn]):
        picture.write(out / "figures", number)
    page = PAGES.get_template("signatures.html.j2").render(
        version=__version__,
        names=list(files),
        outcome=outcome,
        procedure=_procedure(signatures),
        notes=list(dict.fromkeys(note for written in signatures for note in written.notes)),
        aucs=auc_table(metrics),
        facts={written.signature.name: written.facts for written in signatures},
        stability={written.signature.name: _stability(written.facts) for written in signatures},
        pairs=pairs,
        gaps=[(name, gap) for name, of_signature in metrics.items() for gap in of_signature["auc_gap"]],
        figures={"curves": curves, "signatures": drawn},
        odds={name: _odds_for_page(table) for name, table in odds.items()},
        optimism=None if optimism is None else _optimism_for_page(optimism),
        joint=joint and joint.name,
        classifiers=_rounded(_classifiers(signatures)),
        text=figure_text,
        spoken=spoken,
        resamples=resamples,
    )
    write_text(folder / "report.html", page)


def _procedure(signatures: Sequence[Written]) -> str:
    if any(set(written.predictions["split"]) == {"cv"} for written in signatures):
        return "Every patient was scored by models that did not see them (repeated nested cross-validation)."
    return (
        "Signatures were learnt on the training split; selection, classifier, calibration and threshold from it alone."
    )


def _stability(facts: SignatureFacts) -> dict[str, float] | None:
    """The index with its limits as `figure_text` takes it; None where no selection varied."""
    index = facts.stability
    if index is None or not np.isfinite(index.nogueira):
        return None
    return {"value": index.nogueira, "ci_low": index.ci_low, "ci_high": index.ci_high}


def _pictures(written: Written) -> list[Picture]:
    """Figures of one signature."""
    name, tables, learnt = written.signature.name, written.tables, written.signature.learnt
    pictures = []
    if "odds_ratios" in tables and figures.drawn_ratios(tables["odds_ratios"]).any():
        pictures.append(figures.odds_forest(tables["odds_ratios"], f"Odds ratios, {name}"))
    if len(tables["classifiers"]) > 1:
        pictures.append(figures.classifier_bars(tables["classifiers"], f"Classifiers, {name}"))
    if isinstance(learnt.model, Pipeline):
        at = learnt.model.named_steps["lasso"].at_
        pictures.append(figures.lasso_curve(tables["lasso"], at, f"LASSO, {name}"))
        stability = written.facts.stability
        if stability is not None and len(tables["stability"]):
            title = f"Stability of the selection, {name}"
            pictures.append(figures.frequencies(tables["stability"], title, stability.nogueira))
        scale = score_scale(learnt.chosen)
        pictures.append(figures.beeswarm(tables["shap"], f"Shapley values, {name}", scale=scale))
    return pictures


def _joint_model(signatures: Mapping[str, Signature]) -> JointModel | None:
    """Clinical features and the strongest image signature in one logistic model of the training patients.

    The image signature enters by its out-of-fold log-odds: its scores of patients it was fitted on would outweigh the
    rest. None without clinical features.
    """
    clinical = signatures.get("clinical")
    if clinical is None:
        return None
    model = clinical.learnt.model
    assert isinstance(model, ClinicalLogistic)
    rows = clinical.rows
    table, terms = model.table_.encode(rows.table), list(model.model_.terms)
    levels = {feature.name: feature.levels for feature in model.features if feature.kind == "ordinal"}
    image = next((signatures[name] for name in IMAGE_FIRST if name in signatures), None)
    if image is None:
        return JointModel("clinical", model.model_, table, levels, None) if terms else None
    # calibrated in each outer fold, so that folds which chose different classifiers share one scale
    log_odds = np.clip(logit(np.clip(image.nested.score, 1e-12, 1 - 1e-12)), -LOGIT_LIMIT, LOGIT_LIMIT)
    scores = pd.Series(log_odds, image.rows.table.index)
    common = table.index.intersection(scores.index)
    column = f"{image.name} score"
    table = table.loc[common].assign(**{column: scores.loc[common]})
    labels = pd.Series(rows.labels, index=rows.table.index).loc[common].to_numpy()
    terms.append(Term(column))
    observed = model.table_.observed(rows.table.loc[common])
    odds = odds_ratio_report(table, labels, terms, observed=observed)
    return JointModel(f"clinical and {image.name}", fit_terms(table, labels, terms), table, levels, odds)


def _classifiers(signatures: Sequence[Written]) -> pd.DataFrame:
    tables = [written.tables["classifiers"].assign(signature=written.signature.name) for written in signatures]
    columns = ["signature", "classifier", "inner_auc", "nested_auc", "chosen", "chosen_in_outer_folds"]
    table = pd.concat(tables, ignore_index=True)[columns]
    return table.assign(classifier=table["classifier"].map(label)).rename(columns=HEADINGS)


def _odds_for_page(table: pd.DataFrame) -> pd.DataFrame:
    """Odds ratios with levels named against their variable, without what only a program reads."""
    named = table.assign(term=term_labels(table)).drop(columns=["variable", *NOT_SHOWN])
    return _rounded(named.rename(columns=HEADINGS))


def _optimism_for_page(table: pd.DataFrame) -> pd.DataFrame:
    names = {"auc": "AUC", "slope": "calibration slope", "brier": "Brier score"}
    columns = {"index": "index", "original": "apparent", "optimism": "optimism", "corrected": "corrected"}
    return _rounded(table.assign(index=table["index"].map(names))[list(columns)].rename(columns=columns))


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """For the page: numbers with three digits, yes and no, a dash where there is none."""

    def shown(cell: object) -> object:
        if isinstance(cell, bool | np.bool_):
            return "yes" if cell else "no"
        if isinstance(cell, float) and 1000 <= abs(cell) < math.inf:
            return f"{float(f'{cell:.3g}'):,.0f}"
        return f"{cell:.3g}" if isinstance(cell, float) else cell

    return table.map(shown).replace("nan", "–")
