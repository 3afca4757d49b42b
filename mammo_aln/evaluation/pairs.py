"""Two models of the same patients: their rows side by side, and every figure that compares them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mammo_aln.errors import InputError
from mammo_aln.evaluation.metric import Figures, Metric, unknown, with_interval
from mammo_aln.evaluation.predictions import KEY, NO_SPLIT, Predictions
from mammo_aln.evaluation.samples import patients_of
from mammo_aln.evaluation.statistics import tests
from mammo_aln.evaluation.statistics.agreement import cohen_kappa, icc_interval, weighted_kappa
from mammo_aln.evaluation.statistics.discrimination import Floats, auc, repeated
from mammo_aln.evaluation.statistics.utility import PERCENTS, BenefitDifference, net_benefit_difference
from mammo_aln.progress import say

CUTOFFS = (0.2, 0.5)
TOO_FEW = "DeLong's variance needs two patients of each outcome"
TRUSTED = 10
FEW = f"fewer than {TRUSTED} patients of one outcome: a p-value by DeLong's variance is too small there"
NO_PROBABILITIES = "scores outside [0, 1] are no probabilities: a patient's two scores cannot be compared"
OTHER_SCALES = "the two scores are on different scales"
BENEFIT_AT = (10, 20, 30, 50)
"""Threshold probabilities, in percent, at which net benefits are set against each other beside the whole table."""
BENEFIT = tuple(f"net_benefit_difference_{percent}" for percent in BENEFIT_AT)
ALIKE_THERE = "both models call every patient alike at this threshold"
RECLASSIFICATION = ("nri_continuous", "nri_categorical", "idi")
FIGURES = (
    "auc_difference",
    "auc_difference_bootstrap",
    "delong_z",
    "delong_p",
    *RECLASSIFICATION,
    *BENEFIT,
    "mcnemar_p",
    "kappa",
    "kappa_weighted",
    "icc",
)


@dataclass(frozen=True)
class Pair:
    """One model against the reference in one split; differences are the other model minus the reference."""

    reference: str
    other: str
    split: str
    n: int
    figures: Figures

    def to_json(self) -> dict[str, object]:
        """The entry of comparisons.json."""
        head = {"reference": self.reference, "other": self.other, "split": self.split, "n": {"value": self.n}}
        return head | {name: metric.to_json() for name, metric in self.figures.items()}


def in_splits_of(base: Predictions, other: Predictions, names: tuple[str, str]) -> Predictions:
    """A file without a column `split` (a human reader's scores) takes each patient's split from the reference.

    Raises:
        InputError: a patient cannot be told apart by the columns that both files have.
    """
    if set(other.table["split"]) != {NO_SPLIT} or NO_SPLIT in base.splits():
        return other
    keys = _keys(base, other)
    for name, model in zip(names, (base, other), strict=True):
        twice = model.table[model.table.duplicated(keys)]
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


def paired_rows(
    reference: Predictions, other: Predictions, split: str, names: tuple[str, str], *, quiet: bool = False
) -> pd.DataFrame:
    """Labelled patients of one split in both files: `score_reference`, `score_other`, `aln_status`.

    Patients in one of them alone are told unless `quiet`.

    Raises:
        InputError: no patient in common, or outcomes that contradict each other.
    """
    keys = _keys(reference, other)
    first, second = (model.table[model.table["split"] == split] for model in (reference, other))
    both = first.merge(second, on=keys, suffixes=("_reference", "_other"), validate="one_to_one")
    if both.empty:
        raise InputError(f"{names[0]} and {names[1]} have no patient in common in split {split}")
    lost = [len(rows) - len(both) for rows in (first, second)]
    if any(lost) and not quiet:
        say(f"{split}: {lost[0]} patients only in {names[0]}, {lost[1]} only in {names[1]}; {len(both)} are compared")
    status = both[["aln_status_reference", "aln_status_other"]]
    clash = status.notna().all(axis=1) & (status.iloc[:, 0] != status.iloc[:, 1])
    if clash.any():
        shown = ", ".join(both.loc[clash, "patient_id"].head(10))
        raise InputError(
            f"{int(clash.sum())} patient(s) have another aln_status in {names[1]} than in {names[0]}: {shown}"
        )
    both["aln_status"] = both["aln_status_reference"].fillna(both["aln_status_other"])
    return both[both["aln_status"].notna()]


def _of_test(test: tests.Test, method: str, bound: float = 2.0, **details: Any) -> Metric:
    """A difference that lies within -bound and bound, as its limits do."""
    limits: dict[str, float | None] = {"ci_low": max(-bound, test.low), "ci_high": min(bound, test.high)}
    if test.se == 0:
        limits = dict.fromkeys(limits)
        details["reason"] = "the standard error is 0: nobody moved or all alike"
    of_test = {"p_value": test.p_value, "statistic": test.statistic, "se": test.se, "method": method}
    return Metric(test.difference, {**limits, **of_test, **details})


def _reclassified(first: Floats, second: Floats, labels: Floats, cutoffs: Sequence[float] | None = None) -> Metric:
    change = tests.net_reclassification(first, second, labels, cutoffs)
    among = {"events": change.events.difference, "nonevents": change.nonevents.difference}
    if cutoffs is None:
        return _of_test(change.total, "continuous", **among)
    return _of_test(change.total, "categorical", **among, cutoffs=list(cutoffs))


def compare_pair(rows: pd.DataFrame, thresholds: tuple[Metric, Metric], resamples: int) -> Figures:
    """Every comparison of two score columns, other minus reference; the bootstrap draws patients, not rows."""
    first: Floats = rows["score_reference"].to_numpy(float)
    second: Floats = rows["score_other"].to_numpy(float)
    labels: Floats = rows["aln_status"].to_numpy(float)
    if np.unique(labels).size < 2:
        reason = f"both outcomes are needed; {int(labels.sum())} of {labels.size} patients are positive"
        return dict.fromkeys(FIGURES, unknown(reason))
    patients = repeated(patients_of(rows).to_numpy())
    test = tests.paired_delong(second, first, labels, clusters=patients)
    delong = "DeLong, paired" if patients is None else "Obuchowski, paired, patients as clusters"
    boot = tests.paired_bootstrap(second, first, labels, resamples=resamples, clusters=patients)
    areas = {"auc_reference": auc(first, labels), "auc_other": auc(second, labels)}
    figures: Figures = {
        "auc_difference": _of_test(test, delong, 1.0, **areas),
        "auc_difference_bootstrap": _of_test(boot, "bootstrap of patients, percentile", 1.0, resamples=resamples).also(
            p_value=None if math.isnan(boot.p_percentile) else boot.p_percentile, p_normal=boot.p_value
        ),
        "delong_z": Metric(test.statistic),
        "delong_p": Metric(test.p_value, {"note": FEW} if _is_few(labels) else {}),
    }
    if min(first.min(), second.min()) < 0 or max(first.max(), second.max()) > 1:
        figures |= dict.fromkeys((*RECLASSIFICATION, *BENEFIT), unknown(NO_PROBABILITIES))
    else:
        figures["nri_continuous"] = _reclassified(first, second, labels)
        figures["nri_categorical"] = _reclassified(first, second, labels, CUTOFFS)
        figures["idi"] = _of_test(tests.integrated_discrimination(first, second, labels), "Pencina 2008")
        figures |= _benefit(net_benefit_difference(first, second, labels, clusters=patients))
    figures["mcnemar_p"] = _mcnemar(first, second, labels, thresholds)
    return figures | _agreement(first, second, thresholds)


def _benefit(of_pair: BenefitDifference) -> Figures:
    figures: Figures = {}
    for name, percent in zip(BENEFIT, BENEFIT_AT, strict=True):
        row = PERCENTS.index(percent)
        value = float(of_pair.difference[row])
        limits = {"ci_low": float(of_pair.low[row]), "ci_high": float(of_pair.high[row])}
        if math.isnan(limits["ci_low"]):
            figures[name] = Metric(value, {**dict.fromkeys(limits), "reason": ALIKE_THERE})
        else:
            p_value = float(of_pair.p_value[row])
            figures[name] = Metric(value, {**limits, "p_value": p_value, "method": "normal, over patients, pointwise"})
    return figures


def benefit_table(models: Mapping[str, Predictions], pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Net benefit of each pair's other model minus the reference's at 1 to 99 percent, in every split they share."""
    tables = []
    for first, second in pairs:
        for split in models[first].splits():
            if split not in models[second].splits():
                continue
            rows = paired_rows(models[first], models[second], split, (first, second), quiet=True)
            scores = rows[["score_reference", "score_other"]].to_numpy(float)
            if rows["aln_status"].nunique() < 2 or scores.min() < 0 or scores.max() > 1:
                continue
            clusters = repeated(patients_of(rows).to_numpy())
            curve = net_benefit_difference(scores[:, 0], scores[:, 1], rows["aln_status"], clusters=clusters)
            columns = {"threshold": curve.threshold, "difference": curve.difference}
            limits = {"ci_low": curve.low, "ci_high": curve.high, "p_value": curve.p_value}
            tables.append(pd.DataFrame({"reference": first, "other": second, "split": split, **columns, **limits}))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _is_few(labels: Floats) -> bool:
    return min(int((labels == 1).sum()), int((labels != 1).sum())) < TRUSTED


def _missing(thresholds: tuple[Metric, Metric]) -> str:
    return next((metric.reason for metric in thresholds if metric.value is None), "")


def _mcnemar(first: Floats, second: Floats, labels: Floats, thresholds: tuple[Metric, Metric]) -> Metric:
    if reason := _missing(thresholds):
        return unknown(reason)
    b, c = tests.mcnemar_counts(first, second, labels, thresholds[0].value, thresholds[1].value)
    test = tests.mcnemar(b, c)
    if math.isnan(test.p_exact):
        return unknown("both models classify every patient alike at their thresholds").also(b=0, c=0)
    more = {"p_corrected": test.p_corrected, "p_plain": test.p_plain, "method": "exact binomial"}
    return Metric(test.p_exact, {"b": b, "c": c, **more})


def _agreement(first: Floats, second: Floats, thresholds: tuple[Metric, Metric]) -> Figures:
    """Agreement of two readers, a model being one: kappa of their calls, weighted kappa and ICC of their scores.

    Scores are set against each other where both are probabilities, or both are a human reader's whole-number ratings.
    """
    kappa = unknown(_missing(thresholds))
    if kappa.reason == "":
        calls = [
            scores >= float(threshold.value) for scores, threshold in zip((first, second), thresholds, strict=True)
        ]
        kappa = _known(with_interval(cohen_kappa(*calls)), "both call every patient alike, and all the same")
    rated = all((scores == np.rint(scores)).all() and np.unique(scores).size > 2 for scores in (first, second))
    probable = all(scores.min() >= 0 and scores.max() <= 1 for scores in (first, second))
    weighted, icc = unknown("for ratings of two readers alone"), unknown(OTHER_SCALES)
    if rated:
        weighted = Metric(weighted_kappa(first, second), {"weights": "quadratic"})
    if rated or probable:
        icc = _known(with_interval(icc_interval(np.column_stack([first, second]))), "all scores are equal")
    return {"kappa": kappa, "kappa_weighted": weighted, "icc": icc}


def _known(metric: Metric, reason: str) -> Metric:
    """The figure, or the reason where it is 0/0."""
    return unknown(reason) if math.isnan(metric.value) else metric


def compare_models(
    models: Mapping[str, Predictions],
    pairs: Sequence[tuple[str, str]],
    thresholds: Mapping[str, Metric],
    *,
    resamples: int = 2000,
) -> list[Pair]:
    """Compare pairs of models, (reference, other), in every split they share; p-values by Holm over each split."""
    compared = []
    for first, second in pairs:
        for split in models[first].splits():
            if split in models[second].splits():
                rows = paired_rows(models[first], models[second], split, (first, second))
                figures = compare_pair(rows, (thresholds[first], thresholds[second]), resamples)
                compared.append(Pair(first, second, split, len(rows), figures))
    return with_holm(compared)


def with_holm(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with DeLong's p-values adjusted over those of the same split (`delong_p_holm`)."""
    adjusted = list(pairs)
    for split in {pair.split for pair in pairs}:
        family = [number for number, pair in enumerate(pairs) if pair.split == split]
        p_values = [pairs[number].figures["delong_p"] for number in family]
        corrected = tests.holm([math.nan if p.value is None else p.value for p in p_values])
        for number, raw, p in zip(family, p_values, corrected, strict=True):
            holm = unknown(raw.reason or TOO_FEW) if math.isnan(p) else Metric(p, {"family": len(family)})
            adjusted[number] = replace(pairs[number], figures=pairs[number].figures | {"delong_p_holm": holm})
    return adjusted


def comparison_table(pairs: Sequence[Pair]) -> pd.DataFrame:
    """One row per pair, split and figure, unrounded."""
    return pd.DataFrame(
        [
            {"reference": pair.reference, "other": pair.other, "split": pair.split, "figure": name}
            | {"value": metric.value}
            | {key: metric.details.get(key) for key in ("ci_low", "ci_high", "p_value", "reason")}
            for pair in pairs
            for name, metric in {"n": Metric(pair.n), **pair.figures}.items()
        ]
    )


def ladder_table(
    models: Mapping[str, Predictions], areas: Mapping[str, Mapping[str, tuple[int, Metric]]]
) -> pd.DataFrame:
    """Each file against the one before it, as they were given, in each split: AUC, difference and DeLong's p.

    Holm's correction runs over the steps of one split.

    Args:
        models: name of each file -> its predictions.
        areas: name of each file -> split -> patients with a known outcome, and AUC.
    """
    names = list(models)
    rows = []
    for step, name in enumerate(names):
        for split, (n, area) in areas[name].items():
            low, high = area.limits or (None, None)
            row = {"step": name, "split": split, "n": n, "auc": area.value, "ci_low": low, "ci_high": high}
            before = names[step - 1] if step else None
            if before and split in models[before].splits():
                pair = paired_rows(models[before], models[name], split, (before, name))
                labels = pair["aln_status"].to_numpy(float)
                if np.unique(labels).size == 2:
                    test = tests.paired_delong(
                        pair["score_other"], pair["score_reference"], labels, clusters=patients_of(pair).to_numpy()
                    )
                    row |= {"before": before, "difference": test.difference, "delong_p": test.p_value}
                    row |= {"note": FEW} if _is_few(labels) else {}
            rows.append(row)
    columns = ["step", "split", "n", "auc", "ci_low", "ci_high", "before", "difference", "delong_p", "note"]
    table = pd.DataFrame(rows).reindex(columns=columns)
    for _, p in table["delong_p"].astype(float).groupby(table["split"]):
        table.loc[p.index, "delong_p_holm"] = tests.holm(p.tolist())
    return table.astype(object).where(lambda cells: cells.notna(), None)
