"""Tables behind the figures, written beside the report: ROC, precision-recall, calibration and decision curves.

Rows of a split have an empty `center`, rows of a centre an empty `split`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from mammo_aln.evaluation.judge import center_samples, split_samples
from mammo_aln.evaluation.predictions import Predictions
from mammo_aln.evaluation.samples import Sample
from mammo_aln.evaluation.statistics.calibration import bin_scores
from mammo_aln.evaluation.statistics.discrimination import roc_points
from mammo_aln.evaluation.statistics.operating import wilson
from mammo_aln.evaluation.statistics.smoothing import calibration_curve
from mammo_aln.evaluation.statistics.utility import decision_curve

SplitOrCenter = tuple[str, str]
"""(split, "") or ("", centre)."""
SMOOTH_FROM = 20  # fewer patients than this make no smooth curve
LEAST_OF_A_GROUP = 5  # patients in one group of a calibration curve
COLUMNS = {
    "roc": ["split", "center", "threshold", "sensitivity", "specificity"],
    "precision_recall": ["split", "center", "threshold", "sensitivity", "ppv"],
    "calibration": ["split", "center", "kind", "low", "high", "n", "mean_score", "observed", "ci_low", "ci_high"],
    "decision_curve": ["split", "center", "threshold", "model", "ci_low", "ci_high", "treat_all", "treat_none"],
}


def samples_of(predictions: Predictions) -> dict[SplitOrCenter, Sample]:
    """Labelled rows of every split and every centre."""
    splits = {(name, ""): sample for name, sample in split_samples(predictions).items()}
    return splits | {("", name): sample for name, (_, sample) in center_samples(predictions).items()}


def _written(threshold: float) -> str | float:
    return {math.inf: "Inf", -math.inf: "-Inf"}.get(threshold, threshold)


def roc_rows(sample: Sample) -> pd.DataFrame:
    """Operating points; `Inf` and `-Inf` are thresholds too."""
    points = roc_points(sample.scores, sample.labels)
    threshold = [_written(float(value)) for value in points.threshold]
    return pd.DataFrame(
        {"threshold": threshold, "sensitivity": points.sensitivity, "specificity": points.specificity}, dtype=object
    )


def precision_recall_rows(sample: Sample) -> pd.DataFrame:
    """Positive predictive value at every operating point that calls someone positive, thresholds descending."""
    points = roc_points(sample.scores, sample.labels)
    n_positive = sample.labels.sum()
    positives = np.rint(points.sensitivity * n_positive)
    called = positives + np.rint((1 - points.specificity) * (sample.labels.size - n_positive))
    some = called > 0
    rows = {
        "threshold": [_written(float(value)) for value in points.threshold[some]],
        "sensitivity": points.sensitivity[some],
        "ppv": positives[some] / called[some],
    }
    return pd.DataFrame(rows, dtype=object).iloc[::-1]


def calibration_rows(sample: Sample) -> pd.DataFrame:
    """Groups of equal size (`bin`, Wilson limits) and, from 20 patients on, the smoothed curve (`smooth`).

    Ten groups; fewer where these would hold fewer than five patients each.
    """
    number = max(1, min(10, sample.labels.size // LEAST_OF_A_GROUP))
    bins = bin_scores(sample.scores, sample.labels, number, by="quantile")
    limits = [wilson(round(share * n), int(n)) for share, n in zip(bins.observed, bins.n, strict=True)]
    grouped = pd.DataFrame(
        {
            "kind": "bin",
            "low": bins.low,
            "high": bins.high,
            "n": bins.n,
            "mean_score": bins.mean_score,
            "observed": bins.observed,
            "ci_low": [low for low, _ in limits],
            "ci_high": [high for _, high in limits],
        }
    )
    if sample.labels.size < SMOOTH_FROM or np.unique(sample.scores).size < 5:
        return grouped
    curve = calibration_curve(sample.scores, sample.labels)
    smooth = pd.DataFrame(
        {"kind": "smooth", "mean_score": curve.x, "observed": curve.y, "ci_low": curve.low, "ci_high": curve.high}
    )
    return pd.concat([grouped, smooth], ignore_index=True)


def decision_rows(sample: Sample) -> pd.DataFrame:
    """Net benefit at 1 to 99 percent."""
    curve = decision_curve(sample.scores, sample.labels, clusters=sample.clusters)
    return pd.DataFrame(
        {
            "threshold": curve.threshold,
            "model": curve.model,
            "ci_low": curve.low,
            "ci_high": curve.high,
            "treat_all": curve.treat_all,
            "treat_none": curve.treat_none,
        }
    )


def curve_tables(samples: Mapping[SplitOrCenter, Sample]) -> dict[str, pd.DataFrame]:
    """The four tables; a split or centre that a curve cannot be drawn for has no rows in it."""
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in COLUMNS}
    for (split, center), sample in samples.items():
        if sample.one_class:
            continue
        rows = {"roc": roc_rows(sample), "precision_recall": precision_recall_rows(sample)}
        if not sample.not_probabilities:
            rows |= {"calibration": calibration_rows(sample), "decision_curve": decision_rows(sample)}
        for name, table in rows.items():
            tables[name].append(table.assign(split=split, center=center))
    return {
        name: pd.concat(rows, ignore_index=True)[COLUMNS[name]] if rows else pd.DataFrame(columns=COLUMNS[name])
        for name, rows in tables.items()
    }
