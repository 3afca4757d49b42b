"""The verb `compare`: two or more prediction files of the same patients, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo_aln import __version__
from mammo_aln.errors import InputError
from mammo_aln.evaluation.judge import frozen_threshold, judge_sample
from mammo_aln.evaluation.predictions import KEY, NO_SPLIT, Predictions, read_predictions
from mammo_aln.evaluation.report import plots
from mammo_aln.evaluation.report.page import PAGES, csv_link
from mammo_aln.evaluation.report.plots import figure_text, safer_auc, spoken
from mammo_aln.evaluation.samples import Metric, sample_of, unknown
from mammo_aln.evaluation.statistics import tests as compare
from mammo_aln.evaluation.statistics.discrimination import Floats, auc, repeated
from mammo_aln.files import write_csv, write_json, write_text
from mammo_aln.progress import say

CUTOFFS = (0.2, 0.5)
TOO_FEW = "DeLong's variance needs two patients of each outcome"
FIGURES = (
    "auc_difference",
    "auc_difference_bootstrap",
    "delong_z",
    "delong_p",
    "nri_continuous",
    "nri_categorical",
    "idi",
    "mcnemar_p",
)


def _metric(test: compare.Test, method: str) -> Metric:
    found = {"value": test.difference, "ci_low": test.low, "ci_high": test.high, "p_value": test.p_value}
    return found | {"statistic": test.statistic, "se": test.se, "method": method}


def _reclassified(found: compare.Reclassification, method: str) -> Metric:
    parts = {"events": found.events.difference, "nonevents": found.nonevents.difference}
    return _metric(found.total, method) | parts


def in_splits_of(base: Predictions, other: Predictions, names: tuple[str, str]) -> Predictions:
    """A file without a column `split` (a human reader's scores) takes each patient's split from the reference.

    Raises:
        InputError: a patient cannot be told apart by the columns that both files have.
    """
    if set(other.table["split"]) != {NO_SPLIT} or NO_SPLIT in base.splits():
        return other
    keys = _keys(base, other)
    for name, found in zip(names, (base, other), strict=True):
        twice = found.table[found.table.duplicated(keys)]
        if len(twice):
            shown = ", ".join(twice["patient_id"].head(10))
            raise InputError(
                f"{name} has several rows of a patient that {' and '.join(keys)} do not tell apart: {shown}"
            )
    splits = base.table[[*keys, "split"]]
    table = other.table.drop(columns="split").merge(splits, on=keys, how="inner")
    if len(table) < len(other.table):
        say(f"{len(other.table) - len(table)} patients of {names[1]} are not in {names[0]}: left out")
    if table.empty:
        raise InputError(f"{names[0]} and {names[1]} have no patient in common")
    return replace(other, table=table[other.table.columns])


def _keys(reference: Predictions, other: Predictions) -> list[str]:
    return [key for key in KEY if (reference.table[key] != "").all() == (other.table[key] != "").all()]


def paired_rows(reference: Predictions, other: Predictions, split: str, names: tuple[str, str]) -> pd.DataFrame:
    """Labelled patients of one split in both files: `score_reference`, `score_other`, `aln_status`.

    Raises:
        InputError: no patient in common, or outcomes that contradict each other.
    """
    keys = _keys(reference, other)
    parts = [found.table[found.table["split"] == split] for found in (reference, other)]
    both = parts[0].merge(parts[1], on=keys, suffixes=("_reference", "_other"), validate="one_to_one")
    if both.empty:
        raise InputError(f"{names[0]} and {names[1]} have no patient in common in split {split}")
    lost = [len(part) - len(both) for part in parts]
    if any(lost):
        say(f"{split}: {lost[0]} patients only in {names[0]}, {lost[1]} only in {names[1]}; compared on {len(both)}")
    status = both[["aln_status_reference", "aln_status_other"]]
    clash = status.notna().all(axis=1) & (status.iloc[:, 0] != status.iloc[:, 1])
    if clash.any():
        shown = ", ".join(both.loc[clash, "patient_id"].head(10))
        raise InputError(
            f"{int(clash.sum())} patient(s) have another aln_status in {names[1]} than in {names[0]}: {shown}"
        )
    both["aln_status"] = both["aln_status_reference"].fillna(both["aln_status_other"])
    return both[both["aln_status"].notna()]


def _patients(rows: pd.DataFrame) -> np.ndarray:
    """The patient of each row."""
    return (rows["center"] + "\n" + rows["patient_id"] if "center" in rows else rows["patient_id"]).to_numpy()


def compare_pair(
    rows: pd.DataFrame, thresholds: tuple[Metric, Metric], cutoffs: Sequence[float], resamples: int
) -> dict[str, Metric]:
    """Every comparison of two score columns, other minus reference; the bootstrap draws patients, not rows."""
    first: Floats = rows["score_reference"].to_numpy(float)
    second: Floats = rows["score_other"].to_numpy(float)
    labels: Floats = rows["aln_status"].to_numpy(float)
    if np.unique(labels).size < 2:
        reason = f"both outcomes are needed; {int(labels.sum())} of {labels.size} patients are positive"
        return {name: unknown(reason) for name in FIGURES}
    who = repeated(_patients(rows))
    test = compare.paired_delong(second, first, labels, clusters=who)
    delong = "DeLong, paired" if who is None else "Obuchowski, paired, patients as clusters"
    reached = {"auc_reference": auc(first, labels), "auc_other": auc(second, labels)}
    boot = compare.paired_bootstrap(second, first, labels, resamples=resamples, clusters=who)
    found: dict[str, Metric] = {
        "auc_difference": _metric(test, delong) | reached,
        "auc_difference_bootstrap": _metric(boot, "bootstrap of patients, percentile") | {"resamples": resamples},
        "delong_z": {"value": test.statistic},
        "delong_p": {"value": test.p_value},
    }
    outside = min(first.min(), second.min()) < 0 or max(first.max(), second.max()) > 1
    if outside:
        reason = "scores outside [0, 1] are no probabilities: a patient's two scores cannot be compared"
        found |= {name: unknown(reason) for name in ("nri_continuous", "nri_categorical", "idi")}
    else:
        continuous = compare.net_reclassification(first, second, labels)
        found["nri_continuous"] = _reclassified(continuous, "continuous")
        categorical = compare.net_reclassification(first, second, labels, cutoffs)
        found["nri_categorical"] = _reclassified(categorical, "categorical") | {"cutoffs": list(cutoffs)}
        found["idi"] = _metric(compare.integrated_discrimination(first, second, labels), "Pencina 2008")
    found["mcnemar_p"] = _mcnemar(first, second, labels, thresholds)
    return found


def _mcnemar(first: Floats, second: Floats, labels: Floats, thresholds: tuple[Metric, Metric]) -> Metric:
    missing = [metric["reason"] for metric in thresholds if metric["value"] is None]
    if missing:
        return unknown(missing[0])
    b, c = compare.mcnemar_counts(first, second, labels, thresholds[0]["value"], thresholds[1]["value"])
    test = compare.mcnemar(b, c)
    if math.isnan(test.p_exact):
        return unknown("both models classify every patient alike at their thresholds") | {"b": 0, "c": 0}
    more = {"p_corrected": test.p_corrected, "p_plain": test.p_plain, "method": "exact binomial"}
    return {"value": test.p_exact, "b": b, "c": c} | more


def compare_files(
    reference: Path, others: Sequence[Path], out: Path, *, cutoffs: Sequence[float] = CUTOFFS, resamples: int = 2000
) -> Path:
    """Compare models on the same patients: `comparisons.json`, its table, `ladder.csv` and `comparisons.html`.

    Args:
        reference: predictions that the others are measured against.
        others: one or more predictions of the same patients; a human reader's scores are one more such file.
        out: folder to write to.
        cutoffs: risk cut-offs of the categorical NRI.
        resamples: bootstrap resamples of each model's own AUC.

    Returns:
        Path of the page. Holm's correction runs over the models compared with the reference in one split.

    Raises:
        InputError: a table is wrong, or two files share no patient or split, or contradict each other's outcomes.
    """
    paths = [Path(reference), *(Path(path) for path in others)]
    if len(paths) < 2:
        raise InputError("compare needs a reference and at least one other predictions file")
    names = _stems(paths)
    models = {name: read_predictions([path]) for name, path in zip(names, paths, strict=True)}
    base = models[names[0]]
    models |= {name: in_splits_of(base, models[name], (names[0], name)) for name in names[1:]}
    thresholds = {name: frozen_threshold(found) for name, found in models.items()}
    entries: list[dict[str, Any]] = []
    for name in names[1:]:
        shared = [split for split in base.splits() if split in models[name].splits()]
        if not shared:
            raise InputError(f"{names[0]} and {name} share no split ({base.splits()} against {models[name].splits()})")
        for split in shared:
            rows = paired_rows(base, models[name], split, (names[0], name))
            found = compare_pair(rows, (thresholds[names[0]], thresholds[name]), cutoffs, resamples)
            entries.append({"reference": names[0], "other": name, "split": split, "n": {"value": len(rows)}, **found})
    add_holm(entries)
    judged = {name: _aucs(found, thresholds[name], resamples) for name, found in models.items()}
    table, ladder = comparison_table(entries), ladder_table(models, judged)
    page = PAGES.get_template("compare.html.j2").render(
        version=__version__,
        reference=names[0],
        entries=entries,
        judged=judged,
        splits=base.splits(),
        spoken_splits=[spoken(split) for split in base.splits()],
        picture=_forest(entries),
        text=figure_text,
        safer=safer_auc,
        spoken=spoken,
        cutoffs=cutoffs,
        ladder=ladder.to_dict("records"),
        downloads={"comparisons.csv": csv_link(table), "ladder.csv": csv_link(ladder)},
    )
    out = Path(out)
    write_csv(out / "comparisons.csv", table)
    write_csv(out / "ladder.csv", ladder)
    write_json(out / "comparisons.json", entries)
    write_text(out / "comparisons.html", page)
    return out / "comparisons.html"


def _stems(paths: Sequence[Path]) -> list[str]:
    """A name per file: its stem, or folder/stem where stems repeat (every run calls its file predictions.csv)."""
    stems = [path.stem for path in paths]
    named = stems if len(set(stems)) == len(stems) else [f"{path.resolve().parent.name}/{path.stem}" for path in paths]
    if len(set(named)) < len(named):
        raise InputError(f"two of the files have the same name: {', '.join(named)}")
    return named


def add_holm(entries: list[dict[str, Any]]) -> None:
    """Adjust DeLong's p-values over the models that are compared in the same split."""
    for split in {entry["split"] for entry in entries}:
        family = [entry for entry in entries if entry["split"] == split]
        values = [math.nan if entry["delong_p"]["value"] is None else entry["delong_p"]["value"] for entry in family]
        for entry, adjusted in zip(family, compare.holm(values), strict=True):
            known = not math.isnan(adjusted)
            told = (
                {"value": adjusted, "family": len(family)}
                if known
                else unknown(entry["delong_p"].get("reason", TOO_FEW))
            )
            entry["delong_p_holm"] = told


def _aucs(found: Predictions, threshold: Metric, resamples: int) -> dict[str, dict[str, Metric]]:
    parts = {split: found.table[found.table["split"] == split] for split in found.splits()}
    return {
        split: judge_sample(sample_of(rows, split), threshold, resamples=resamples) for split, rows in parts.items()
    }


def ladder_table(
    models: Mapping[str, Predictions], judged: Mapping[str, Mapping[str, Mapping[str, Metric]]]
) -> pd.DataFrame:
    """Each file against the one before it, as they were given, in each split: AUC, difference and DeLong's p.

    Holm's correction runs over the steps of one split.
    """
    names = list(models)
    rows = []
    for place, name in enumerate(names):
        for split, metrics in judged[name].items():
            area = safer_auc(metrics)
            row = {"step": name, "split": split, "n": metrics["n"]["value"], "auc": area["value"]}
            row |= {"ci_low": area.get("ci_low"), "ci_high": area.get("ci_high")}
            before = names[place - 1] if place else None
            if before and split in models[before].splits():
                pair = paired_rows(models[before], models[name], split, (before, name))
                labels = pair["aln_status"].to_numpy(float)
                if np.unique(labels).size == 2:
                    test = compare.paired_delong(
                        pair["score_other"], pair["score_reference"], labels, clusters=_patients(pair)
                    )
                    row |= {"before": before, "difference": test.difference, "delong_p": test.p_value}
            rows.append(row)
    columns = ["step", "split", "n", "auc", "ci_low", "ci_high", "before", "difference", "delong_p"]
    table = pd.DataFrame(rows).reindex(columns=columns)
    for _, p in table["delong_p"].astype(float).groupby(table["split"]):
        table.loc[p.index, "delong_p_holm"] = compare.holm(p.tolist())
    return table.astype(object).where(lambda found: found.notna(), None)


def _forest(entries: Sequence[dict[str, Any]]) -> plots.Picture:
    rows = [
        (f"{entry['other']}, {spoken(entry['split'])}", entry["auc_difference"], _p_text(entry)) for entry in entries
    ]
    title = f"Difference in AUC against {entries[0]['reference']}"
    return plots.forest(title, rows, f"AUC minus that of {entries[0]['reference']} (95 % interval)", 0.0)


def _p_text(entry: dict[str, Any]) -> str:
    value = entry["delong_p_holm"]["value"]
    return "–" if value is None else f"p = {value:.3g}"


def comparison_table(entries: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per pair, split and figure, unrounded."""
    rows = [
        {"reference": e["reference"], "other": e["other"], "split": e["split"], "figure": name}
        | {key: found.get(key) for key in ("value", "ci_low", "ci_high", "p_value", "reason")}
        for e in entries
        for name, found in e.items()
        if isinstance(found, dict)
    ]
    return pd.DataFrame(rows)
