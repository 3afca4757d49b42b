"""Several models of the same patients: every pair compared, and their curves laid over each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mammo_aln.evaluation.judge import frozen_threshold, split_samples
from mammo_aln.evaluation.metric import Figures, Metric
from mammo_aln.evaluation.pairs import Pair, benefit_table, compare_models
from mammo_aln.evaluation.predictions import read_predictions
from mammo_aln.evaluation.report import plots
from mammo_aln.evaluation.report.curves import curve_tables
from mammo_aln.evaluation.report.plots import Picture, spoken
from mammo_aln.evaluation.samples import Sample

CALIBRATION = ("calibration_slope", "calibration_in_the_large", "brier", "ece", "ici")


@dataclass(frozen=True)
class ModelAucs:
    """AUC of one model with its limits, one per split."""

    model: str
    splits: list[str]
    aucs: list[Metric]


def compare_all(
    files: Mapping[str, Path], *, against: str = "", among: Sequence[str] = (), resamples: int = 2000
) -> list[Pair]:
    """Compare every pair of models in every split they share; Holm's correction runs over all pairs of a split.

    Args:
        files: name of each model -> its predictions file; of a pair, the earlier one is the reference.
        against: one model alone, against those of `among` as references, in place of every pair.
        among: see `against`.
        resamples: bootstrap resamples.

    Raises:
        InputError: a table is wrong, or two files share no patient of a split or contradict each other's outcomes.
    """
    models = {name: read_predictions([path]) for name, path in files.items()}
    thresholds = {name: frozen_threshold(model) for name, model in models.items()}
    return compare_models(models, _pairs(models, against, among), thresholds, resamples=resamples)


def _pairs(models: Iterable[str], against: str, among: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, against) for name in among] if against else list(itertools.combinations(models, 2))


def benefit_of_all(files: Mapping[str, Path], *, against: str = "", among: Sequence[str] = ()) -> pd.DataFrame:
    """Differences in net benefit at 1 to 99 percent of the pairs that `compare_all` compares."""
    models = {name: read_predictions([path]) for name, path in files.items()}
    return benefit_table(models, _pairs(models, against, among))


def together(files: Mapping[str, Path], metrics: Mapping[str, Mapping[str, Any]]) -> list[Picture]:
    """ROC, calibration and decision curves of all models, each in one figure per split.

    Args:
        files: name of each model -> its predictions file.
        metrics: name of each model -> its `metrics.json`.
    """
    samples = {name: split_samples(read_predictions([path])) for name, path in files.items()}
    return overlays(samples, {name: _figures(stored) for name, stored in metrics.items()})


def _figures(stored: Mapping[str, Any]) -> dict[str, Figures]:
    """Figures of each split in a metrics.json."""
    return {
        split: {name: Metric.from_json(metric) for name, metric in figures.items()}
        for split, figures in stored["splits"].items()
    }


def overlays(samples: Mapping[str, Mapping[str, Sample]], judged: Mapping[str, Mapping[str, Figures]]) -> list[Picture]:
    """ROC, calibration and decision curves of all models, each in one figure per split.

    Args:
        samples: name of each model -> split -> its labelled rows.
        judged: name of each model -> split -> its figures.
    """
    pictures = []
    for split in dict.fromkeys(split for splits in samples.values() for split in splits):
        figures = {name: judged[name][split] for name in samples if split in samples[name] and split in judged[name]}
        tables = {name: curve_tables({(split, ""): samples[name][split]}) for name in figures}
        roc = {name: curves["roc"] for name, curves in tables.items() if len(curves["roc"])}
        if roc:
            pictures.append(plots.roc(roc, {name: figures[name] for name in roc}, f"model, {spoken(split)}"))
        calibrated = {name: curves["calibration"] for name, curves in tables.items() if len(curves["calibration"])}
        if calibrated:
            pictures.append(plots.calibrations(split, calibrated, {name: figures[name] for name in calibrated}))
        decisions = {name: curves["decision_curve"] for name, curves in tables.items() if len(curves["decision_curve"])}
        if decisions:
            pictures.append(plots.decision(split, decisions))
    return pictures


@dataclass(frozen=True)
class ModelCalibration:
    """Calibration of one model in one split: each measure by its name."""

    model: str
    split: str
    figures: Figures


def calibration_table(metrics: Mapping[str, Mapping[str, Any]]) -> list[ModelCalibration]:
    """Calibration measures of each model in each split; a split without an outcome has none.

    Args:
        metrics: name of each model -> its `metrics.json`.
    """
    return [
        ModelCalibration(name, split, {measure: figures[measure] for measure in CALIBRATION})
        for name, stored in metrics.items()
        for split, figures in _figures(stored).items()
        if any(figures[measure].value is not None for measure in CALIBRATION)
    ]


def auc_table(metrics: Mapping[str, Mapping[str, Any]]) -> list[ModelAucs]:
    """AUC of each model with its limits in each split.

    Args:
        metrics: name of each model -> its `metrics.json`.
    """
    judged = {name: _figures(stored) for name, stored in metrics.items()}
    splits = list(dict.fromkeys(split for figures in judged.values() for split in figures))
    return [
        ModelAucs(name, splits, [plots.safer_auc(figures[s]) if s in figures else Metric(None) for s in splits])
        for name, figures in judged.items()
    ]
