"""Who the patients are: baseline table by split and outcome, and how far the centres lie apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from mammo_aln.evaluation.discrimination import auc, delong_variance, logit_interval

STRUCTURE = frozenset(
    [
        "patient_id",
        "unit_id",
        "center",
        "split",
        "side",
        "aln_status",
        "outcome",
        "eligible",
        "exclusion_reason",
        "score",
    ]
)
MOST_LEVELS = 8  # a column with more different texts is free text, not a category
DISTINCT_FOR_CONTINUOUS = 6


def _text(column: pd.Series) -> pd.Series:
    return column.map(lambda value: "" if pd.isna(value) else str(value).strip())


def is_continuous(text: pd.Series) -> bool:
    """Numbers with more than a handful of different values; grades such as 1, 2, 3 stay categories."""
    known = text[text != ""]
    numbers = pd.to_numeric(known, errors="coerce")
    return bool(len(known)) and bool(numbers.notna().all()) and numbers.nunique() > DISTINCT_FOR_CONTINUOUS


def features_of(patients: pd.DataFrame) -> list[str]:
    """Columns that describe patients: numbers, or texts with few different values."""
    found = []
    for name in patients.columns:
        if name in STRUCTURE:
            continue
        text = _text(patients[name])
        if is_continuous(text) or 2 <= text[text != ""].nunique() <= MOST_LEVELS:
            found.append(str(name))
    return found


def standardised_difference(first: pd.Series, second: pd.Series) -> float:
    """Difference of two means over the mean spread (of shares for 0/1 columns); NaN where it cannot be known."""
    a, b = (pd.to_numeric(part, errors="coerce").dropna().to_numpy(float) for part in (first, second))
    if min(a.size, b.size) < 2:
        return math.nan
    binary = set(np.unique(np.concatenate([a, b]))) <= {0.0, 1.0}
    spread = [part.mean() * (1 - part.mean()) if binary else part.var(ddof=1) for part in (a, b)]
    scale = math.sqrt(sum(spread) / 2)
    if scale == 0:
        return 0.0 if a.mean() == b.mean() else math.nan
    return float((a.mean() - b.mean()) / scale)


def _lines(patients: pd.DataFrame) -> list[tuple[str, str, pd.Series, bool]]:
    """(feature, level, numbers, is continuous) of every line of the table; levels become 0/1, unknown stays NaN."""
    lines = [("residual disease", "", patients["aln_status"].astype(float), False)]
    for name in features_of(patients):
        text = _text(patients[name])
        if is_continuous(text):
            lines.append((name, "", pd.to_numeric(text, errors="coerce"), True))
            continue
        for level in sorted(set(text) - {""}):
            lines.append((name, level, (text == level).astype(float).where(text != ""), False))
    return lines


def describe(numbers: pd.Series, continuous: bool) -> str:
    """`52.1 (SD 10.9)`, or `31 (24.0 %)` of the known ones."""
    known = numbers.dropna()
    if known.empty:
        return "–"
    if continuous:
        return f"{known.mean():.1f} (SD {known.std(ddof=1):.1f})" if len(known) > 1 else f"{known.iloc[0]:.1f}"
    return f"{int(known.sum())} ({100 * known.mean():.1f} %)"


def baseline_table(patients: pd.DataFrame, by: str) -> pd.DataFrame:
    """One line per feature or level, one column per group, the largest standardised difference, and the missing share.

    Args:
        patients: table with `aln_status` and the column `by`.
        by: column of groups, such as `split`; differences are taken against the first group.
    """
    groups = list(dict.fromkeys(patients[by]))
    rows: list[dict[str, Any]] = [
        {"feature": "patients", "level": ""} | {str(group): str(int((patients[by] == group).sum())) for group in groups}
    ]
    for feature, level, numbers, continuous in _lines(patients):
        if by == "outcome" and feature == "residual disease":
            continue
        parts = [numbers[(patients[by] == group).to_numpy()] for group in groups]
        differences = [abs(standardised_difference(parts[0], part)) for part in parts[1:]]
        known = [value for value in differences if not math.isnan(value)]
        row: dict[str, Any] = {"feature": feature, "level": level}
        row |= {str(group): describe(part, continuous) for group, part in zip(groups, parts, strict=True)}
        row["standardised_difference"] = f"{max(known):.2f}" if known else "–"
        row["missing"] = f"{100 * numbers.isna().mean():.1f} %"
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def centre_shift(patients: pd.DataFrame, seed: int = 0) -> list[dict[str, Any]]:
    """How well a logistic regression on the baseline features tells each centre from the others (5 folds).

    An AUC near 0.5 means alike patients; near 1 means that the centre alone could be read off the features. One row per
    centre with at least ten patients: `center`, `n`, `auc`, `ci_low`, `ci_high`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    columns = {}
    for feature, level, numbers, _ in _lines(patients)[1:]:
        columns[f"{feature}={level}"] = numbers.fillna(numbers.median())
        if numbers.isna().any():
            columns[f"{feature} missing"] = numbers.isna().astype(float)
    if not columns:
        return []
    design = pd.DataFrame(columns).to_numpy(float)
    rows = []
    for center in sorted(set(patients["center"])):
        here = (patients["center"] == center).to_numpy().astype(int)
        if min(here.sum(), (1 - here).sum()) < 10:
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        told = cross_val_predict(model, design, here, cv=folds, method="decision_function")
        area, variance = auc(told, here), delong_variance(told, here)
        low, high = logit_interval(area, variance) if 0 < area < 1 else (math.nan, math.nan)
        rows.append({"center": center, "n": int(here.sum()), "auc": area, "ci_low": low, "ci_high": high})
    return rows
