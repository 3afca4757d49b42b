"""The verb `evaluate`: prediction files in, `metrics.json`, curve tables and one self-contained page out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mammo_aln import __version__
from mammo_aln.evaluation.across import between_centres, joined, subgroups
from mammo_aln.evaluation.baseline import baseline_table
from mammo_aln.evaluation.judge import comparable_centers, judge
from mammo_aln.evaluation.predictions import Predictions, read_predictions
from mammo_aln.evaluation.report import checklists, plots, words
from mammo_aln.evaluation.report.curves import Place, curve_tables, places
from mammo_aln.evaluation.report.page import PAGES, csv_link
from mammo_aln.evaluation.report.plots import Picture, figure_text, safer_auc, spoken
from mammo_aln.evaluation.samples import LEARNT_FROM, Sample
from mammo_aln.evaluation.shift import centre_profile, centre_shift
from mammo_aln.evaluation.statistics.utility import operations_spared
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
    ("lr_positive", "likelihood ratio of a positive call", 2),
    ("lr_negative", "likelihood ratio of a negative call", 2),
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
SUBGROUP_FIGURES = ("n", "n_positive", "auc", "sensitivity", "specificity")
ENDS = (("", "value"), ("_low", "ci_low"), ("_high", "ci_high"))
FOREST_AXIS = "AUC (95 % interval); right: patients (with residual disease)"


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


def _comparable(metrics: Mapping[str, Any]) -> list[str]:
    return comparable_centers({name: found["splits"]["value"] for name, found in metrics["centers"].items()})


def judged_on(centers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """First row of the table by centre: the splits its rows came from."""
    told = [", ".join(spoken(split) for split in found["splits"]["value"]) for found in centers.values()]
    return {"label": "judged on", "cells": [{"text": text, "reason": ""} for text in told]}


def pictures(
    samples: Mapping[Place, Sample], tables: Mapping[str, pd.DataFrame], metrics: Mapping[str, Any]
) -> dict[str, list[Picture]]:
    """All figures by section; a split or centre without a curve has no figure."""
    made: dict[str, list[Picture]] = {"roc": [], "calibration": [], "decision_curve": [], "scores": []}
    rows: dict[str, dict[Any, pd.DataFrame]] = {
        name: dict(iter(table.groupby(["split", "center"], sort=False))) for name, table in tables.items()
    }
    for kind, by, column in (("splits", "split", 0), ("centers", "centre", 1)):
        wanted = list(metrics["splits"]) if kind == "splits" else _comparable(metrics)
        curves = {place[column]: part for place, part in rows["roc"].items() if place[column] in wanted}
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


def flow(predictions: Predictions) -> dict[str, list[dict[str, Any]]]:
    """Cohort flow: the steps the run recorded one below the other, then the splits of these files side by side."""
    steps = [
        {"step": step.get("step", ""), "n": step.get("n", ""), "excluded": step.get("excluded") or {}}
        for step in predictions.facts.get("cohort_flow") or []
    ]
    table = predictions.table
    splits = []
    for name in predictions.splits():
        status = table.loc[table["split"] == name, "aln_status"]
        counts = {"residual disease": int((status == 1).sum()), "ypN0": int((status == 0).sum())}
        splits.append(
            {"step": spoken(name), "n": len(status), "counts": counts | {"outcome unknown": int(status.isna().sum())}}
        )
    return {"steps": steps, "splits": splits}


def spared_rows(samples: Mapping[Place, Sample]) -> pd.DataFrame:
    """Operations spared and disease missed in each tested split, thresholds chosen on the validation split."""
    fit = samples.get(("val", ""))
    if fit is None or fit.one_class:
        return pd.DataFrame()
    rows = [
        {"split": split, "limit": row.limit, "threshold": row.threshold}
        | {
            f"{name}{suffix}": value
            for name, found in (
                ("spared_per_1000", row.spared_per_1000),
                ("missed_per_1000", row.missed_per_1000),
                ("missed_share", row.missed_share),
            )
            for suffix, value in zip(("", "_low", "_high"), found, strict=True)
        }
        for (split, center), sample in samples.items()
        if not center and split not in LEARNT_FROM and sample.one_class is None
        for row in operations_spared(fit.scores, fit.labels, sample.scores, sample.labels)
    ]
    return pd.DataFrame(rows)


def cohort_tables(
    predictions: Predictions, patients: pd.DataFrame, acquisition: pd.DataFrame | None, metrics: dict[str, Any]
) -> dict[str, pd.DataFrame]:
    """Baseline tables, subgroups, centre profile and centre shift; their figures also enter `metrics`."""
    threshold = next(iter(metrics["splits"].values()))["threshold"]["value"]
    if acquisition is not None and "vendor" in acquisition and "vendor" not in patients:
        patients = patients.merge(acquisition[["patient_id", "vendor"]], on="patient_id", how="left")
    metrics["subgroups"] = subgroups(predictions, patients, threshold)
    rows = joined(predictions, patients).rename(columns=lambda name: str(name).removeprefix("feature:"))
    order = {name: place for place, name in enumerate(predictions.splits())}
    ordered = rows.sort_values("split", key=lambda names: names.map(order), kind="stable")
    by_split = baseline_table(ordered.assign(split=ordered["split"].map(spoken)), "split")
    known = rows[rows["aln_status"].notna()].sort_values("aln_status", ascending=False, kind="stable")
    outcome = known["aln_status"].map({1.0: "residual disease", 0.0: "ypN0"})
    made = {
        "baseline_by_split": by_split,
        "baseline_by_outcome": baseline_table(known.assign(outcome=outcome), "outcome"),
    }
    metrics["baseline"] = by_split.to_dict("records")
    metrics["centre_shift"] = []
    if rows["center"].nunique() > 1:
        metrics["centre_shift"] = centre_shift(rows, acquisition)
        made["centre_profile"] = centre_profile(rows, acquisition)
    flat = [
        {
            "split": split,
            "feature": row["feature"],
            "level": row["level"],
            "interaction_p": row["interaction"].get("p_value"),
        }
        | {f"{name}{end}": row.get(name, {}).get(key) for name in SUBGROUP_FIGURES for end, key in ENDS}
        for split, found in metrics["subgroups"].items()
        for row in found
    ]
    if flat:
        made["subgroups"] = pd.DataFrame(flat).dropna(axis="columns", how="all")
    return made


def forests(metrics: Mapping[str, Any]) -> list[Picture]:
    """AUC of the centres, and of the subgroups of each tested split, against the whole."""
    made = []
    judged = {name: metrics["centers"][name] for name in _comparable(metrics)}
    centers = {name: found for name, found in judged.items() if safer_auc(found)["value"] is not None}
    if len(centers) > 1:
        rows = [(name, safer_auc(m), f"{m['n']['value']} ({m['n_positive']['value']})") for name, m in centers.items()]
        pooled = metrics["heterogeneity"].get("auc")
        if pooled:
            rows.append(("random effects", pooled, ""))
        made.append(plots.forest("AUC by centre", rows, FOREST_AXIS, 0.5))
    for split, found in metrics.get("subgroups", {}).items():
        rows = [
            (f"{row['feature']}: {row['level']}", row["auc"], f"{row['n']['value']} ({row['n_positive']['value']})")
            for row in found
        ]
        whole = safer_auc(metrics["splits"][split])
        if rows and whole["value"] is not None:
            rows = [
                (
                    "all",
                    whole,
                    f"{metrics['splits'][split]['n']['value']} ({metrics['splits'][split]['n_positive']['value']})",
                ),
                *rows,
            ]
            made.append(plots.forest(f"AUC in subgroups, {spoken(split)}", rows, FOREST_AXIS, whole["value"]))
    return made


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
    acquisition: pd.DataFrame | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Path:
    """Judge prediction files of one model and write `metrics.json`, three curve tables and `report.html`.

    Args:
        files: predictions of one or several splits; the JSON beside each (same stem) tells threshold, recipe, ...
        out: folder to write to.
        run: run directory; its own `predictions.csv` (train, val) is judged too.
        cohort_patients: validated patients table of the cohort; adds subgroups, baseline table and centre shift.
        acquisition: one row per `patient_id` of how the images were made (vendor, spacing, VOI, ...); enters the centre
            shift.
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
    metrics["heterogeneity"] = between_centres({name: samples["", name] for name in _comparable(metrics)})
    spared = spared_rows(samples)
    metrics["operations_spared"] = spared.to_dict("records")
    extra = cohort_tables(predictions, cohort_patients, acquisition, metrics) if cohort_patients is not None else {}
    figures = pictures(samples, tables, metrics) | {"forest": forests(metrics)}
    codes, ledger = fallback_rows(predictions.facts)
    made = tables | extra | ({"operations_spared": spared} if len(spared) else {})
    page = PAGES.get_template("report.html.j2").render(
        version=__version__,
        facts=predictions.facts,
        sources=predictions.sources,
        headline=words.headline(metrics),
        openings=words.openings(predictions.facts),
        notes=metrics["notes"],
        figures=figures,
        splits={"columns": [spoken(name) for name in metrics["splits"]], "rows": figures_table(metrics["splits"])},
        centers={
            "columns": list(metrics["centers"]),
            "rows": [judged_on(metrics["centers"]), *figures_table(metrics["centers"])],
        },
        gaps=metrics["auc_gap"],
        spoken=spoken,
        flow=flow(predictions),
        baseline={name: table for name, table in extra.items() if name.startswith("baseline")},
        spared=metrics["operations_spared"],
        heterogeneity=metrics["heterogeneity"],
        subgroups=metrics.get("subgroups", {}),
        shift=metrics.get("centre_shift", []),
        profile=extra.get("centre_profile"),
        methods=words.methods(predictions.facts, metrics, resamples, __version__),
        model_card=words.model_card(predictions.facts, metrics),
        checklists=checklists.filled(predictions.facts, metrics),
        text=figure_text,
        ledger={"codes": codes, "rows": ledger},
        resamples=resamples,
        downloads={"figures.csv": csv_link(long_table(metrics))}
        | {f"{name}.csv": csv_link(table) for name, table in made.items()},
    )
    for name, table in made.items():
        write_csv(out / f"{name}.csv", table)
    write_json(out / "metrics.json", metrics)
    write_text(out / "report.html", page)
    return out / "report.html"
