"""The published analysis of all signatures: each one judged, every pair compared, figures, one page."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from mammo_aln import __version__
from mammo_aln.evaluation.cohorts import CohortTable
from mammo_aln.evaluation.evaluate import evaluate_files
from mammo_aln.evaluation.pairs import BENEFIT, BENEFIT_AT, Pair, comparison_table
from mammo_aln.evaluation.report.page import PAGES
from mammo_aln.evaluation.report.pairwise import auc_table, benefit_of_all, calibration_table, compare_all, together
from mammo_aln.evaluation.report.plots import Picture, figure_text, spoken
from mammo_aln.evaluation.statistics.optimism import bootstrap_optimism
from mammo_aln.files import read_object, write_csv, write_json, write_text
from mammo_aln.progress import track
from mammo_aln.radiomics.publication.joint import NOMOGRAM, cautions, joint_model, write_nomogram
from mammo_aln.radiomics.signatures import figures
from mammo_aln.radiomics.signatures.classifiers import score_scale
from mammo_aln.radiomics.signatures.labels import label, term_labels
from mammo_aln.radiomics.signatures.nomogram import build_nomogram
from mammo_aln.radiomics.signatures.signatures import SignatureFacts, Written
from mammo_aln.settings import FitConfig

IMPUTED = "odds_ratios_imputed"
NOT_SHOWN = ["beta", "se", "wald_low", "wald_high", "p_wald", "events"]
MOST_OPTIMISM_RESAMPLES = 400
HEADINGS = {
    **{"ci_low": "95 % from", "ci_high": "to", "p_term": "p", "p_likelihood_ratio": "p of the variable"},
    **{
        "vif": "VIF",
        "inner_auc": "inner AUC",
        "nested_auc": "nested AUC (95 % interval)",
        "p_holm": "p against the chosen (Holm)",
    },
}


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
    by_name = {written.signature.name: written for written in signatures}
    facts = {name: written.facts for name, written in by_name.items()}
    joint = joint_model(by_name)
    pairs, benefit = compare_all(files, resamples=resamples), benefit_of_all(files)
    against_own: list[Pair] = []
    if joint and joint.image:
        files[NOMOGRAM] = out / NOMOGRAM / "predictions.csv"
        nested = write_nomogram(out / NOMOGRAM, joint, by_name, folds=settings.folds, seed=seed)
        facts[NOMOGRAM] = SignatureFacts("logistic", nested)
        against_own = compare_all(files, against=NOMOGRAM, among=("clinical", joint.image), resamples=resamples)
        benefit = pd.concat([benefit, benefit_of_all(files, against=NOMOGRAM, among=("clinical", joint.image))])
    if len(benefit):
        write_csv(folder / "net_benefit_differences.csv", benefit)
    for name, path in track(files.items(), total=len(files), what="evaluation", unit="signature"):
        evaluate_files([path], folder / name, cohorts=[cohort], resamples=resamples, seed=seed)
        metrics[name] = json.loads((folder / name / "metrics.json").read_text(encoding="utf-8"))
    of_signatures = {name: metrics[name] for name in by_name}
    more = {NOMOGRAM: metrics[NOMOGRAM]} if NOMOGRAM in metrics else {}
    write_json(folder / "metrics.json", {"schema_version": 1, "signatures": of_signatures, **more})
    for stem, compared in (("comparisons", pairs), ("comparisons_nomogram", against_own)):
        if compared or stem == "comparisons":
            write_json(folder / f"{stem}.json", [pair.to_json() for pair in compared])
        if compared:
            write_csv(folder / f"{stem}.csv", comparison_table(compared))
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
        design, labels = joint.model.design, joint.model.labels
        judged = bootstrap_optimism(design, labels, resamples=few, seed=seed, clusters=joint.groups)
        optimism = pd.DataFrame([{"index": name, **asdict(index)} for name, index in judged.items()])
        write_csv(folder / "optimism_nomogram.csv", optimism)
    curves = together(files, metrics)
    for number, picture in enumerate([*curves, *drawn]):
        picture.write(out / "figures", number)
    stated_of = {name: read_object(path.with_suffix(".json")) for name, path in files.items()}
    page = PAGES.get_template("signatures.html.j2").render(
        version=__version__,
        names=list(files),
        outcome=outcome,
        timing={name: stated["timing"]["inputs"] for name, stated in stated_of.items()},
        methods=" ".join(dict.fromkeys(sentence for stated in stated_of.values() for sentence in stated["methods"])),
        procedure=_procedure(signatures),
        notes=list(
            dict.fromkeys([*(note for one in signatures for note in one.notes), *(cautions(joint) if joint else ())])
        ),
        aucs=auc_table(metrics),
        calibration=calibration_table(metrics),
        facts=facts,
        stability={name: _stability(about) for name, about in facts.items()},
        pairs=pairs,
        against_own=against_own,
        benefit_at=dict(zip(BENEFIT, BENEFIT_AT, strict=True)),
        gaps=[(name, gap) for name, of_signature in metrics.items() for gap in of_signature["auc_gap"]],
        figures={"curves": curves, "signatures": drawn},
        odds={name: _odds_for_page(table) for name, table in odds.items()},
        optimism=None if optimism is None else _optimism_for_page(optimism),
        joint=joint and joint.name,
        imputed=[_imputed_for_page(one.tables[IMPUTED]) for one in signatures if IMPUTED in one.tables],
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


def _classifiers(signatures: Sequence[Written]) -> pd.DataFrame:
    tables = [written.tables["classifiers"].assign(signature=written.signature.name) for written in signatures]
    table = pd.concat(tables, ignore_index=True)
    limits = zip(table["nested_auc"], table["nested_low"], table["nested_high"], strict=True)
    texts = [figure_text({"value": area, "ci_low": low, "ci_high": high}, 3) for area, low, high in limits]
    columns = ["signature", "classifier", "inner_auc", "nested_auc", "p_holm", "chosen", "chosen_in_outer_folds"]
    table = table.assign(nested_auc=texts)[columns]
    return table.assign(classifier=table["classifier"].map(label)).rename(columns=HEADINGS)


def _odds_for_page(table: pd.DataFrame) -> pd.DataFrame:
    """Odds ratios with levels named against their variable, without what only a program reads."""
    named = table.assign(term=term_labels(table)).drop(columns=["variable", *NOT_SHOWN])
    return _rounded(named.rename(columns=HEADINGS))


def _imputed_for_page(table: pd.DataFrame) -> pd.DataFrame:
    named = table.assign(term=term_labels(table)).drop(columns=["variable", "beta", "se", "df"])
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
