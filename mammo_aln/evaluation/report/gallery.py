"""All figures of the page, by section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mammo_aln.evaluation.judge import Judgement
from mammo_aln.evaluation.metric import Figures, Metric
from mammo_aln.evaluation.people import People
from mammo_aln.evaluation.report import plots
from mammo_aln.evaluation.report.curves import SplitOrCenter
from mammo_aln.evaluation.report.plots import Picture, safer_auc, spoken
from mammo_aln.evaluation.samples import Sample

FOREST_AXIS = "AUC (95 % interval); right: patients (with the outcome)"


def pictures(
    samples: Mapping[SplitOrCenter, Sample],
    tables: Mapping[str, pd.DataFrame],
    judgement: Judgement,
    heterogeneity: Metric,
    people: People | None,
) -> dict[str, list[Picture]]:
    """All figures by section; a split or centre without a curve has no figure."""
    gallery: dict[str, list[Picture]] = {"roc": [], "calibration": [], "decision_curve": [], "scores": []}
    rows: dict[str, dict[Any, pd.DataFrame]] = {
        name: dict(iter(table.groupby(["split", "center"], sort=False))) for name, table in tables.items()
    }
    gallery["roc"] = _discrimination(rows, judgement)
    for (split, center), sample in samples.items():
        if center or not sample.labels.size:
            continue
        figures = judgement.splits[split]
        if (split, "") in rows["calibration"]:
            bins = rows["calibration"][split, ""]
            gallery["calibration"].append(plots.calibration(split, bins, sample.scores, figures))
            gallery["decision_curve"].append(plots.decision(split, {"the model": rows["decision_curve"][split, ""]}))
        threshold = figures["threshold"].value
        gallery["scores"].append(plots.distribution(split, sample.scores, sample.labels, threshold))
    return gallery | {"forest": _forests(judgement, heterogeneity, people)}


def _discrimination(rows: Mapping[str, Mapping[Any, pd.DataFrame]], judgement: Judgement) -> list[Picture]:
    """ROC curves by split and, of at least two centres (or where one split is all), by centre; precision and recall."""
    splits = {split: table for (split, _), table in rows["roc"].items() if split}
    comparable = judgement.comparable_centers
    centers = {center: table for (_, center), table in rows["roc"].items() if center in comparable}
    if len(centers) < 2 and len(judgement.splits) == 1:
        centers = {}
    lines = max(len(splits), len(centers))
    shown = [plots.roc(splits, judgement.splits, "split", lines)] if splits else []
    if centers:
        shown.append(plots.roc(centers, judgement.centers, "centre", lines))
    recalls = {split: table for (split, _), table in rows["precision_recall"].items() if split}
    return [*shown, plots.precision_recall(recalls, judgement.splits, lines)] if recalls else shown


def _sizes(figures: Figures) -> str:
    return f"{figures['n'].value} ({figures['n_positive'].value})"


def _forests(judgement: Judgement, heterogeneity: Metric, people: People | None) -> list[Picture]:
    """AUC of the centres, and of the subgroups of each tested split, against the whole."""
    forests = []
    areas = {name: (safer_auc(figures), figures) for name, figures in judgement.comparable_centers.items()}
    rows = [(name, area, _sizes(figures)) for name, (area, figures) in areas.items() if area.value is not None]
    if len(rows) > 1:
        pooled = heterogeneity.details.get("auc")
        forests.append(
            plots.forest("AUC by centre", [*rows, ("random effects", pooled, "")] if pooled else rows, FOREST_AXIS, 0.5)
        )
    for split, subgroups in ((people.subgroups if people else None) or {}).items():
        levels = [(f"{row.feature}: {row.level}", row.figures["auc"], _sizes(row.figures)) for row in subgroups]
        figures = judgement.splits[split]
        whole = safer_auc(figures)
        if levels and whole.value is not None:
            title = f"AUC in subgroups, {spoken(split)}"
            forests.append(plots.forest(title, [("all", whole, _sizes(figures)), *levels], FOREST_AXIS, whole.value))
    return forests
