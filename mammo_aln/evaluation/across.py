"""Across people and places: subgroups with a test of interaction, and heterogeneity between centres."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from mammo_aln.evaluation.baseline import is_continuous
from mammo_aln.evaluation.metric import Figures, Metric, unknown, with_interval
from mammo_aln.evaluation.samples import Sample, patients_of
from mammo_aln.evaluation.statistics.discrimination import Interval, auc, auc_variance, logit_interval, repeated
from mammo_aln.evaluation.statistics.operating import PROPORTIONS, count, wilson

LEAST_OF_A_CLASS = 5  # a subgroup's AUC from fewer patients of one outcome says nothing
MOST_GROUPS = 8


class Group(NamedTuple):
    """Scores and outcomes of one group and, where patients have several rows, the patient of each row."""

    scores: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray | None = None


@dataclass(frozen=True)
class Subgroup:
    """One level of a feature in one split: its figures, and the test of interaction between the feature's levels."""

    feature: str
    level: str
    interaction: Metric
    figures: Figures

    def stored(self, figure: str, key: str) -> float | None:
        """`value`, `ci_low` or `ci_high` of a figure, None where it has none."""
        return self.figures[figure].to_json().get(key) if figure in self.figures else None

    def to_json(self) -> dict[str, object]:
        """The entry of `subgroups` in metrics.json."""
        head = {"feature": self.feature, "level": self.level, "interaction": self.interaction.to_json()}
        return head | {name: metric.to_json() for name, metric in self.figures.items()}


def logit_auc(scores: np.ndarray, labels: np.ndarray, clusters: np.ndarray | None = None) -> tuple[float, float]:
    """Logit of the AUC and its variance (delta method), NaN where the AUC is 0 or 1 or a class is too small."""
    if labels.sum() < 2 or (1 - labels).sum() < 2:
        return math.nan, math.nan
    area = auc(scores, labels)
    if not 0 < area < 1:
        return math.nan, math.nan
    return math.log(area / (1 - area)), auc_variance(scores, labels, clusters) / (area * (1 - area)) ** 2


def heterogeneity(groups: Sequence[Group], name: str = "groups") -> Metric:
    """Test that independent groups of patients share one AUC: Cochran's Q on the logit scale.

    With two groups this is the interaction test of a subgroup factor: the difference of the logits over its standard
    error. Beside it stand I2 and the random-effects mean (DerSimonian and Laird) with its 95 % limits.

    Args:
        groups: with both outcomes.
        name: the word for them (`centres`, `groups`).
    """
    logits = np.array([logit_auc(*group) for group in groups])
    logits = logits[np.isfinite(logits).all(axis=1) & (logits[:, 1] > 0)] if len(logits) else logits
    if len(logits) < 2:
        return unknown(f"fewer than two {name} with enough patients of both outcomes")
    value, weight = logits[:, 0], 1 / logits[:, 1]
    fixed = float(weight @ value / weight.sum())
    q, df = float(weight @ (value - fixed) ** 2), len(logits) - 1
    tau2 = max(0.0, (q - df) / (weight.sum() - float(weight @ weight) / weight.sum()))
    weight = 1 / (logits[:, 1] + tau2)
    mean, half = float(weight @ value / weight.sum()), stats.norm.ppf(0.975) / math.sqrt(weight.sum())
    pooled, low, high = (1 / (1 + math.exp(-x)) for x in (mean, mean - half, mean + half))
    area = with_interval(Interval(pooled, low, high, "DerSimonian-Laird, logit"))
    i2 = max(0.0, (q - df) / q) if q > 0 else 0.0
    p_value = float(stats.chi2.sf(q, df))
    return Metric(q, {"df": df, "p_value": p_value, "i2": i2, "tau2": float(tau2), "auc": area})


def between_centres(samples: Mapping[str, Sample]) -> Metric:
    """Heterogeneity of the AUC between the centres."""
    usable = [Group(s.scores, s.labels, s.clusters) for s in samples.values() if s.one_class is None]
    return heterogeneity(usable, "centres")


def levels_of(column: pd.Series) -> dict[str, pd.Series]:
    """Groups of a feature: its levels, or below and from the median if continuous; unknown values are no group."""
    text = column.fillna("").astype(str).str.strip()
    if is_continuous(text):
        value = pd.to_numeric(text, errors="coerce")
        median = float(value.median())
        return {f"< {median:g}": value < median, f"≥ {median:g}": value >= median}
    return {level: text == level for level in sorted(set(text) - {""})}


def subgroups(rows: pd.DataFrame, features: Sequence[str], threshold: float | None) -> list[Subgroup]:
    """Levels of each feature in one split: AUC, proportions at the frozen threshold, and the interaction test.

    Args:
        rows: labelled rows with the columns `features`.
        features: clinical features, and the vendor of the images.
        threshold: frozen threshold, or None.
    """
    listed = []
    for feature in features:
        members = {level: rows[chosen.to_numpy()] for level, chosen in levels_of(rows[feature]).items()}
        groups = {level: _group(chosen) for level, chosen in members.items() if len(chosen)}
        if not 2 <= len(groups) <= MOST_GROUPS:
            continue
        test = heterogeneity([group for group in groups.values() if _enough(group.labels)])
        for level, group in groups.items():
            figures = {
                "n": Metric(group.labels.size),
                "n_positive": Metric(int(group.labels.sum())),
                "auc": _auc(group),
                **_proportions(group, threshold),
            }
            listed.append(Subgroup(feature, level, test, figures))
    return listed


def _group(rows: pd.DataFrame) -> Group:
    clusters = repeated(patients_of(rows).to_numpy()) if "patient_id" in rows else None
    return Group(rows["score"].to_numpy(float), rows["aln_status"].to_numpy(float), clusters)


def _enough(labels: np.ndarray) -> bool:
    return min(labels.sum(), (1 - labels).sum()) >= LEAST_OF_A_CLASS


def _auc(group: Group) -> Metric:
    if not _enough(group.labels):
        return unknown(f"fewer than {LEAST_OF_A_CLASS} patients of one outcome")
    area = auc(group.scores, group.labels)
    if not 0 < area < 1:
        return Metric(area)
    variance = auc_variance(*group)
    if np.isnan(variance):
        return unknown("fewer than two patients of one outcome")
    method = "DeLong" if group.clusters is None else "Obuchowski, patients as clusters,"
    return with_interval(Interval(area, *logit_interval(area, variance), f"{method} on the logit scale"))


def _proportions(group: Group, threshold: float | None) -> Figures:
    if threshold is None:
        return {}
    table = count(group.scores, group.labels, threshold)
    figures: Figures = {}
    for name in PROPORTIONS[:2]:
        x, n = table.proportion(name)
        figures[name] = with_interval(Interval(x / n, *wilson(x, n), "Wilson")) if n else unknown("no such patient")
    return figures
