"""The verb `evaluate`: prediction files in, `metrics.json`, curve tables and one self-contained page out."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from mammo_aln import __version__
from mammo_aln.evaluation import plots
from mammo_aln.evaluation.curves import Place, curve_tables, places
from mammo_aln.evaluation.judge import LEARNT_FROM, Sample, judge
from mammo_aln.evaluation.plots import Picture, figure_text, safer_auc, spoken
from mammo_aln.evaluation.predictions import Predictions, read_predictions
from mammo_aln.files import write_csv, write_json, write_text

ROWS = (
    ("n", "patients with a known outcome", 0),
    ("n_positive", "of them with residual disease", 0),
    ("auc", "AUC", 3),
    ("auc_bootstrap", "AUC, bootstrap interval", 3),
    ("average_precision", "average precision", 3),
    ("partial_auc", "partial AUC (specificity ≥ 0.8)", 3),
    ("threshold", "frozen threshold", 3),
    ("sensitivity", "sensitivity", 3),
    ("specificity", "specificity", 3),
    ("ppv", "positive predictive value", 3),
    ("npv", "negative predictive value", 3),
    ("accuracy", "accuracy", 3),
    ("f1", "F1", 3),
    ("brier", "Brier score", 3),
    ("brier_scaled", "scaled Brier score", 3),
    ("log_loss", "log loss", 3),
    ("ece", "expected calibration error", 3),
    ("ici", "integrated calibration index", 3),
    ("calibration_slope", "calibration slope (ideal 1)", 2),
    ("calibration_intercept", "calibration intercept (ideal 0)", 2),
    ("calibration_in_the_large", "calibration in the large (ideal 0)", 2),
    ("hosmer_lemeshow", "Hosmer–Lemeshow χ²", 1),
)
TEMPLATES = Environment(
    loader=PackageLoader("mammo_aln.evaluation"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def csv_link(table: pd.DataFrame) -> str:
    """A table as a data URI, to be saved from the page without any server."""
    return "data:text/csv;base64," + base64.b64encode(table.to_csv(index=False).encode()).decode()


def cell(metrics: Mapping[str, Any], name: str, digits: int) -> dict[str, str]:
    """Text of one cell of the table of figures, and the reason where it is unknown."""
    metric = safer_auc(metrics) if name == "auc" else metrics[name]
    text = figure_text(metric, digits)
    if name == "hosmer_lemeshow" and metric["value"] is not None:
        text = f"{text}, p = {metric['p_value']:.3g} (df {metric['df']})"
    return {"text": text, "reason": metric.get("reason") or ""}


def figures_table(judged: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the printed table: label, and one cell per column."""
    return [
        {"label": label, "cells": [cell(metrics, name, digits) for metrics in judged.values()]}
        for name, label, digits in ROWS
    ]


def long_table(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Every metric of every split and centre, one per row, unrounded."""
    rows = [
        {
            "kind": kind,
            "name": name,
            "metric": metric,
            **{k: v for k, v in found.items() if not isinstance(v, dict | list)},
        }
        for kind in ("splits", "centers")
        for name, judged in metrics[kind].items()
        for metric, found in judged.items()
    ]
    table = pd.DataFrame(rows)
    first = ["kind", "name", "metric", "value", "ci_low", "ci_high", "method", "reason"]
    return table.reindex(columns=first + [column for column in table.columns if column not in first])


def pictures(
    samples: Mapping[Place, Sample], tables: Mapping[str, pd.DataFrame], metrics: Mapping[str, Any]
) -> dict[str, list[Picture]]:
    """All figures by section; a split or centre without a curve has no figure."""
    made: dict[str, list[Picture]] = {"roc": [], "calibration": [], "decision_curve": [], "scores": []}
    rows: dict[str, dict[Any, pd.DataFrame]] = {
        name: dict(iter(table.groupby(["split", "center"], sort=False))) for name, table in tables.items()
    }
    for kind, by, column in (("splits", "split", 0), ("centers", "centre", 1)):
        curves = {place[column]: part for place, part in rows["roc"].items() if place[column]}
        if curves and not (kind == "centers" and len(curves) < 2 and len(metrics["splits"]) == 1):
            made["roc"].append(plots.roc(curves, metrics[kind], by))
    for (split, center), sample in samples.items():
        if center or not sample.labels.size:
            continue
        judged = metrics["splits"][split]
        if (split, "") in rows["calibration"]:
            part = rows["calibration"][split, ""]
            made["calibration"].append(plots.calibration(split, part, sample.scores, judged))
            made["decision_curve"].append(plots.decision(split, rows["decision_curve"][split, ""]))
        made["scores"].append(plots.distribution(split, sample.scores, sample.labels, judged["threshold"]["value"]))
    return made


def headline(metrics: Mapping[str, Any]) -> list[str]:
    """The answer in a sentence per split that the run did not learn from (or per split, where there is no such)."""
    tested = {name: found for name, found in metrics["splits"].items() if name not in LEARNT_FROM}
    sentences = []
    for name, found in (tested or metrics["splits"]).items():
        n, n_positive = found["n"]["value"], found["n_positive"]["value"]
        text = f"{spoken(name)}: {n} patients, {n_positive} with residual disease"
        area = safer_auc(found)
        if area["value"] is None:
            sentences.append(f"{text}; the AUC is unknown ({area['reason']}).")
            continue
        text += f"; AUC {figure_text(area)}"
        if found["sensitivity"]["value"] is not None and found["specificity"]["value"] is not None:
            both = (figure_text(found[key]) for key in ("sensitivity", "specificity"))
            text += "; at the frozen threshold sensitivity {}, specificity {}".format(*both)
        sentences.append(text + ".")
    return sentences


def flow_rows(predictions: Predictions) -> list[dict[str, Any]]:
    """Cohort flow: the steps the run recorded, then the patients of each split in these files."""
    steps = [
        {"step": step.get("step", ""), "n": step.get("n", ""), "excluded": step.get("excluded") or {}}
        for step in predictions.facts.get("cohort_flow") or []
    ]
    for name in predictions.splits():
        rows = predictions.table[predictions.table["split"] == name]
        unknown = int(rows["aln_status"].isna().sum())
        without = {"outcome unknown": unknown} if unknown else {}
        steps.append({"step": f"predicted, {spoken(name)}", "n": len(rows), "excluded": without})
    return steps


def fallback_rows(facts: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[Any]]]]:
    """Fallback ledger as a table: codes, and per centre the images and the count of each code."""
    ledger = facts.get("fallbacks") or {}
    codes = sorted({code for counts in ledger.values() for code in counts if code != "images"})
    return codes, [
        (center, [counts.get("images", "–")] + [counts.get(code, 0) for code in codes])
        for center, counts in sorted(ledger.items())
    ]


def evaluate_files(
    files: Sequence[Path],
    out: Path,
    *,
    run: Path | None = None,
    cohort_patients: pd.DataFrame | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Path:
    """Judge prediction files of one model and write `metrics.json`, three curve tables and `report.html`.

    Args:
        files: predictions of one or several splits; the JSON beside each (same stem) tells threshold, recipe, ...
        out: folder to write to.
        run: run directory; its own `predictions.csv` (train, val) is judged too.
        cohort_patients: validated patients table of the cohort; adds subgroups, baseline table and centre shift.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        Path of the report.

    Raises:
        InputError: a table is wrong, files are of different models, or a patient stands in two splits.
    """
    out = Path(out)
    predictions = read_predictions([Path(path) for path in files], run)
    metrics = judge(predictions, resamples=resamples, seed=seed)
    samples = places(predictions)
    tables = curve_tables(samples)
    figures = pictures(samples, tables, metrics)
    codes, ledger = fallback_rows(predictions.facts)
    page = TEMPLATES.get_template("report.html.j2").render(
        version=__version__,
        facts=predictions.facts,
        sources=predictions.sources,
        headline=headline(metrics),
        notes=metrics["notes"],
        figures=figures,
        splits={"columns": [spoken(name) for name in metrics["splits"]], "rows": figures_table(metrics["splits"])},
        centers={"columns": list(metrics["centers"]), "rows": figures_table(metrics["centers"])},
        gaps=metrics["auc_gap"],
        spoken=spoken,
        flow=flow_rows(predictions),
        ledger={"codes": codes, "rows": ledger},
        resamples=resamples,
        downloads={"figures.csv": csv_link(long_table(metrics))}
        | {f"{name}.csv": csv_link(table) for name, table in tables.items()},
    )
    for name, table in tables.items():
        write_csv(out / f"{name}.csv", table)
    write_json(out / "metrics.json", metrics)
    write_text(out / "report.html", page)
    return out / "report.html"
