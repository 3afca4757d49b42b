"""Across people and places: subgroups with a test of interaction, and heterogeneity between centres."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mammo_aln.errors import InputError
from mammo_aln.evaluation.baseline import features_of, is_continuous
from mammo_aln.evaluation.predictions import Predictions
from mammo_aln.evaluation.samples import LEARNT_FROM, Metric, Sample, unknown
from mammo_aln.evaluation.statistics.discrimination import auc, auc_variance, logit_interval, repeated
from mammo_aln.evaluation.statistics.operating import PROPORTIONS, count, wilson
from mammo_aln.progress import say

LEAST_OF_A_CLASS = 5  # a subgroup's AUC from fewer patients of one outcome says nothing


@dataclass(frozen=True)
class Heterogeneity:
    """Cochran's Q over independent AUCs on the logit scale, I2, and the random-effects mean with its 95 % limits."""

    q: float
    df: int
    p_value: float
    i2: float
    tau2: float
    pooled: float
    low: float
    high: float


Part = tuple[np.ndarray, np.ndarray] | tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""Scores, labels and, where patients have several rows, the patient of each row."""


def logit_auc(scores: np.ndarray, labels: np.ndarray, clusters: np.ndarray | None = None) -> tuple[float, float]:
    """Logit of the AUC and its variance (delta method), NaN where the AUC is 0 or 1 or a class is too small."""
    if labels.sum() < 2 or (1 - labels).sum() < 2:
        return math.nan, math.nan
    area = auc(scores, labels)
    if not 0 < area < 1:
        return math.nan, math.nan
    return math.log(area / (1 - area)), auc_variance(scores, labels, clusters) / (area * (1 - area)) ** 2


def heterogeneity(parts: Sequence[Part]) -> Heterogeneity | None:
    """Do independent groups of patients share one AUC? None with fewer than two usable groups.

    With two groups this is the interaction test of a subgroup factor: the difference of the logits over its standard
    error. Random effects after DerSimonian and Laird.

    Args:
        parts: (scores, labels), or (scores, labels, clusters), of each group.
    """
    found = np.array([logit_auc(*part) for part in parts])
    found = found[np.isfinite(found).all(axis=1) & (found[:, 1] > 0)] if len(found) else found
    if len(found) < 2:
        return None
    value, weight = found[:, 0], 1 / found[:, 1]
    fixed = float(weight @ value / weight.sum())
    q, df = float(weight @ (value - fixed) ** 2), len(found) - 1
    tau2 = max(0.0, (q - df) / (weight.sum() - float(weight @ weight) / weight.sum()))
    weight = 1 / (found[:, 1] + tau2)
    mean, half = float(weight @ value / weight.sum()), stats.norm.ppf(0.975) / math.sqrt(weight.sum())
    pooled, low, high = (1 / (1 + math.exp(-x)) for x in (mean, mean - half, mean + half))
    i2 = max(0.0, (q - df) / q) if q > 0 else 0.0
    return Heterogeneity(q, df, float(stats.chi2.sf(q, df)), i2, float(tau2), pooled, low, high)


def heterogeneity_metric(parts: Sequence[Part], what: str) -> Metric:
    """The same as an object with `value` (Q)."""
    found = heterogeneity(parts)
    if found is None:
        return unknown(f"fewer than two {what} with enough patients of both outcomes")
    pooled = {"value": found.pooled, "ci_low": found.low, "ci_high": found.high, "method": "DerSimonian-Laird, logit"}
    return {
        "value": found.q,
        "df": found.df,
        "p_value": found.p_value,
        "i2": found.i2,
        "tau2": found.tau2,
        "auc": pooled,
    }


def between_centres(samples: Mapping[str, Sample]) -> Metric:
    """Heterogeneity of the AUC between the centres."""
    usable = [(s.scores, s.labels, s.clusters) for s in samples.values() if s.one_class is None]
    return heterogeneity_metric(usable, "centres")


def joined(predictions: Predictions, patients: pd.DataFrame) -> pd.DataFrame:
    """Prediction rows with the patients' features beside them (prefix `feature:`).

    Raises:
        InputError: a predicted patient is not in the table, which is then another cohort's.
    """
    table = predictions.table
    keys = ["patient_id"]
    if "side" in patients and (patients["side"].fillna("") != "").any() and (table["side"] != "").all():
        keys.append("side")
    beside = patients.drop_duplicates(keys).set_index(keys)
    known = table.set_index(keys).index.isin(beside.index)
    if not known.any():
        raise InputError("no predicted patient stands in the cohort's patients table: it is another cohort's")
    if not known.all():
        say(f"{int((~known).sum())} of {known.size} predicted patients are not in the patients table: left out there")
    features = features_of(patients)
    wide = beside[features].add_prefix("feature:")
    return table[known].merge(wide, left_on=keys, right_index=True, how="left")


def levels_of(column: pd.Series) -> dict[str, pd.Series]:
    """Groups of a feature: its levels, or below and from the median if continuous; unknown values are no group."""
    text = column.fillna("").astype(str).str.strip()
    if is_continuous(text):
        value = pd.to_numeric(text, errors="coerce")
        median = float(value.median())
        return {f"< {median:g}": value < median, f"≥ {median:g}": value >= median}
    return {level: text == level for level in sorted(set(text) - {""})}


def subgroup_rows(rows: pd.DataFrame, threshold: float | None) -> list[dict[str, Any]]:
    """Each feature's groups in one split: AUC, proportions at the frozen threshold, and the interaction test.

    Args:
        rows: labelled rows with `feature:` columns.
        threshold: frozen threshold, or None.
    """
    result = []
    for column in [name for name in rows if str(name).startswith("feature:")]:
        groups = {name: rows[chosen.to_numpy()] for name, chosen in levels_of(rows[column]).items()}
        groups = {name: part for name, part in groups.items() if len(part)}
        if not 2 <= len(groups) <= 8:
            continue
        parts = {name: _part(rows) for name, rows in groups.items()}
        test = heterogeneity_metric([part for part in parts.values() if _enough(part[1])], "groups")
        feature = str(column).removeprefix("feature:")
        for name, (scores, labels, clusters) in parts.items():
            numbers = {
                "n": {"value": labels.size},
                "n_positive": {"value": int(labels.sum())},
                "auc": _auc(scores, labels, clusters),
            }
            numbers |= _proportions(scores, labels, threshold)
            result.append({"feature": feature, "level": name, "interaction": test, **numbers})
    return result


def _part(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    who = repeated((rows["center"] + "\n" + rows["patient_id"]).to_numpy()) if "center" in rows else None
    return rows["score"].to_numpy(float), rows["aln_status"].to_numpy(float), who


def _enough(labels: np.ndarray) -> bool:
    return min(labels.sum(), (1 - labels).sum()) >= LEAST_OF_A_CLASS


def _auc(scores: np.ndarray, labels: np.ndarray, clusters: np.ndarray | None) -> Metric:
    if not _enough(labels):
        return unknown(f"fewer than {LEAST_OF_A_CLASS} patients of one outcome")
    area = auc(scores, labels)
    if not 0 < area < 1:
        return {"value": area}
    variance = auc_variance(scores, labels, clusters)
    if np.isnan(variance):
        return unknown("fewer than two patients of one outcome")
    low, high = logit_interval(area, variance)
    method = "DeLong on the logit scale" if clusters is None else "Obuchowski, patients as clusters, on the logit scale"
    return {"value": area, "ci_low": low, "ci_high": high, "method": method}


def _proportions(scores: np.ndarray, labels: np.ndarray, threshold: float | None) -> dict[str, Metric]:
    if threshold is None:
        return {}
    table = count(scores, labels, threshold)
    found: dict[str, Metric] = {}
    for name in PROPORTIONS[:2]:
        x, n = table.proportion(name)
        low, high = wilson(x, n)
        known = (
            {"value": x / n, "ci_low": low, "ci_high": high, "method": "Wilson"} if n else unknown("no such patient")
        )
        found[name] = known
    return found


def subgroups(
    predictions: Predictions, patients: pd.DataFrame, threshold: float | None
) -> dict[str, list[dict[str, Any]]]:
    """Subgroups of every split that the run did not learn from (of every split, where there is no such)."""
    rows = joined(predictions, patients)
    rows = rows[rows["aln_status"].notna()]
    names = [name for name in predictions.splits() if name not in LEARNT_FROM] or predictions.splits()
    return {name: subgroup_rows(rows[rows["split"] == name], threshold) for name in names}
