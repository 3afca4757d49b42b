"""Several models of the same patients, every pair of them compared: DeLong with Holm over all pairs of a split."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

from mammo_aln.evaluation.compare import CUTOFFS, add_holm, compare_pair, paired_rows
from mammo_aln.evaluation.judge import Metric, frozen_threshold, split_samples
from mammo_aln.evaluation.predictions import Predictions, read_predictions
from mammo_aln.evaluation.report import plots
from mammo_aln.evaluation.report.curves import curve_tables
from mammo_aln.evaluation.report.plots import COLOURS, STYLE, Picture, canvas, picture, spoken


def compare_all(files: Mapping[str, Path], *, resamples: int = 2000) -> list[dict[str, Any]]:
    """Every pair of models in every split they share: the entries of `comparisons.json`, other minus reference.

    Args:
        files: name of each model -> its predictions file; of a pair, the earlier one is the reference.
        resamples: bootstrap resamples.

    Raises:
        InputError: a table is wrong, or two files share no patient of a split or contradict each other's outcomes.
    """
    models = {name: read_predictions([path]) for name, path in files.items()}
    thresholds = {name: frozen_threshold(found) for name, found in models.items()}
    entries: list[dict[str, Any]] = []
    for first, second in itertools.combinations(models, 2):
        for split in models[first].splits():
            if split not in models[second].splits():
                continue
            rows = paired_rows(models[first], models[second], split, (first, second))
            found = compare_pair(rows, (thresholds[first], thresholds[second]), CUTOFFS, resamples)
            entries.append({"reference": first, "other": second, "split": split, "n": {"value": len(rows)}, **found})
    add_holm(entries)
    return entries


def together(files: Mapping[str, Path], metrics: Mapping[str, Mapping[str, Any]]) -> list[Picture]:
    """ROC and decision curves of all models in one figure per split.

    Args:
        files: name of each model -> its predictions file.
        metrics: name of each model -> its `metrics.json`.
    """
    models = {name: read_predictions([path]) for name, path in files.items()}
    splits = list(dict.fromkeys(split for found in models.values() for split in found.splits()))
    made = []
    for split in splits:
        judged = {name: metrics[name]["splits"][split] for name in models if split in metrics[name]["splits"]}
        tables = {name: _curves(models[name], split) for name in judged}
        roc = {name: found["roc"] for name, found in tables.items() if len(found["roc"])}
        if roc:
            made.append(plots.roc(roc, {name: judged[name] for name in roc}, f"model, {spoken(split)}"))
        decisions = {name: found["decision_curve"] for name, found in tables.items() if len(found["decision_curve"])}
        if decisions:
            made.append(_decision_curves(split, decisions))
    return made


def _curves(found: Predictions, split: str) -> dict[str, pd.DataFrame]:
    return curve_tables({(split, ""): split_samples(found)[split]})


@mpl.rc_context(STYLE)
def _decision_curves(split: str, curves: Mapping[str, pd.DataFrame]) -> Picture:
    figure, axes = canvas(5.4, 4.6)
    first = next(iter(curves.values())).drop(columns=["split", "center"]).astype(float)
    axes.plot(first["threshold"] * 100, first["treat_all"] * 100, color="#777777", lw=1.5, label="operate on all")
    axes.plot(first["threshold"] * 100, first["treat_none"] * 100, color="#222222", lw=1.5, ls="--", label="on none")
    top = float(first["treat_all"].max()) * 100
    told = []
    for place, (name, rows) in enumerate(curves.items()):
        data = rows.drop(columns=["split", "center"]).astype(float)
        axes.plot(data["threshold"] * 100, data["model"] * 100, lw=2, color=COLOURS[place % len(COLOURS)], label=name)
        top = max(top, float(data["model"].max()) * 100)
        told.append(f"{name}: {plots.useful_range(data)}")
    axes.set(
        xlabel="threshold probability at which one would operate (%)",
        ylabel="net benefit (true positives per 100 patients)",
        xlim=(0, 100),
        ylim=(-0.15 * top - 1, 1.12 * top + 1),
        title=spoken(split),
    )
    axes.legend(loc="upper right")
    title = f"Decision curves by model, {spoken(split)}"
    return picture(figure, title, f"{title}. {'; '.join(told)}.")


def auc_table(metrics: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per model: its AUC with limits in each split."""
    splits = list(dict.fromkeys(split for found in metrics.values() for split in found["splits"]))
    unknown: Metric = {"value": None}
    return [
        {
            "model": name,
            "aucs": [
                plots.safer_auc(found["splits"][split]) if split in found["splits"] else unknown for split in splits
            ],
            "splits": splits,
        }
        for name, found in metrics.items()
    ]
