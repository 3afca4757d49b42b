"""Tables of the page: the figures of splits and centres, calls at the threshold, flow, fallbacks, operations spared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mammo_aln.evaluation.judge import Judgement
from mammo_aln.evaluation.metric import Figures
from mammo_aln.evaluation.predictions import Branch, Predictions
from mammo_aln.evaluation.report.curves import SplitOrCenter
from mammo_aln.evaluation.report.plots import figure_text, safer_auc, spoken
from mammo_aln.evaluation.samples import LEARNT_FROM, Sample
from mammo_aln.evaluation.statistics.utility import operations_spared

ROWS = (
    ("n", "patients with a known outcome", 0),
    ("n_positive", "of them with the outcome", 0),
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


@dataclass(frozen=True)
class Cell:
    """One cell of the table of figures, and the reason where it is unknown."""

    text: str
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """One printed row: its label, and a cell per column."""

    label: str
    cells: list[Cell]


@dataclass(frozen=True)
class SplitCount:
    """Patients of one split in the flow, and how many of each outcome."""

    name: str
    n: int
    outcomes: dict[str, int]


def cell(figures: Figures, name: str, digits: int) -> Cell:
    """Print one figure."""
    metric = safer_auc(figures) if name == "auc" else figures[name]
    text = figure_text(metric, digits)
    if name == "hosmer_lemeshow" and metric.value is not None:
        text = f"{text}, p = {metric.details['p_value']:.3g} (df {metric.details['df']})"
    return Cell(text, metric.reason)


def figures_table(judged: Mapping[str, Figures]) -> list[Row]:
    """Print the figures of every column."""
    rows = [Row(label, [cell(figures, name, digits) for figures in judged.values()]) for name, label, digits in ROWS]
    if any("n_patients" in figures for figures in judged.values()):
        rows[0] = Row("axillae with a known outcome", rows[0].cells)
        texts = [Cell(figure_text(figures.get("n_patients", figures["n"]), 0)) for figures in judged.values()]
        rows.insert(1, Row("patients they belong to", texts))
    return rows


def judged_on(centers: Mapping[str, Figures]) -> Row:
    """First row of the table by centre: the splits its rows came from."""
    texts = [", ".join(spoken(split) for split in figures["splits"].value) for figures in centers.values()]
    return Row("judged on", [Cell(text) for text in texts])


def long_table(judgement: Judgement) -> pd.DataFrame:
    """Every figure of every split and centre, one per row, unrounded."""
    rows = [
        {"kind": kind, "name": name, "metric": metric}
        | {key: value for key, value in figure.to_json().items() if not isinstance(value, dict | list)}
        for kind, judged in (("splits", judgement.splits), ("centers", judgement.centers))
        for name, figures in judged.items()
        for metric, figure in figures.items()
    ]
    table = pd.DataFrame(rows)
    first = ["kind", "name", "metric", "value", "ci_low", "ci_high", "method", "reason"]
    return table.reindex(columns=first + [column for column in table.columns if column not in first])


def called(judgement: Judgement) -> dict[str, dict[str, int]]:
    """Counts tp, fp, fn and tn of every split at the frozen threshold; nothing where there is no threshold."""
    counts = {name: figures["threshold"].details.get("counts") for name, figures in judgement.splits.items()}
    return {name: count for name, count in counts.items() if count}


def flow(predictions: Predictions) -> list[tuple[Branch, list[SplitCount]]]:
    """Cohort flow, a branch per source: the steps that were recorded, then the splits that came of them."""
    table, order = predictions.table, predictions.splits()
    branches = predictions.flow or (Branch((), tuple(order)),)
    listed = []
    for branch in sorted(branches, key=lambda branch: min(order.index(name) for name in branch.splits)):
        splits = []
        for name in sorted(branch.splits, key=order.index):
            status = table.loc[table["split"] == name, "aln_status"]
            counts = {"with the outcome": int((status == 1).sum()), "without it": int((status == 0).sum())}
            counts["outcome unknown"] = int(status.isna().sum())
            splits.append(SplitCount(spoken(name), len(status), counts))
        listed.append((branch, splits))
    return listed


def spared_table(samples: Mapping[SplitOrCenter, Sample]) -> pd.DataFrame:
    """Operations spared and disease missed in each tested split, thresholds chosen on the validation split."""
    fit = samples.get(("val", ""))
    if fit is None or fit.one_class:
        return pd.DataFrame()
    rows = [
        {"split": split, "limit": row.limit, "threshold": row.threshold}
        | {
            f"{name}{suffix}": value
            for name, values in (
                ("spared_per_1000", row.spared_per_1000),
                ("missed_per_1000", row.missed_per_1000),
                ("missed_share", row.missed_share),
            )
            for suffix, value in zip(("", "_low", "_high"), values, strict=True)
        }
        for (split, center), sample in samples.items()
        if not center and split not in LEARNT_FROM and sample.one_class is None
        for row in operations_spared(fit.scores, fit.labels, sample.scores, sample.labels)
    ]
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Ledger:
    """Fallbacks taken: their codes, and per centre the images and the count of each code."""

    codes: list[str]
    rows: list[tuple[str, list[Any]]]


def fallback_ledger(facts: Mapping[str, Any]) -> Ledger:
    """Read the fallback ledger that lies beside the predictions."""
    ledger = facts.get("fallbacks") or {}
    codes = sorted({code for counts in ledger.values() for code in counts if code != "images"})
    rows = [
        (center, [counts.get("images", "–"), *(counts.get(code, 0) for code in codes)])
        for center, counts in sorted(ledger.items())
    ]
    return Ledger(codes, rows)
