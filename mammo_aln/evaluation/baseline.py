"""Who the patients are: baseline table by split, outcome or centre."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

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
    """Difference of two means over the mean spread (of shares for 0/1 columns); NaN where it cannot be known.

    Groups that share no value and do not spread lie infinitely far apart.
    """
    a, b = (pd.to_numeric(part, errors="coerce").dropna().to_numpy(float) for part in (first, second))
    if min(a.size, b.size) < 2:
        return math.nan
    binary = set(np.unique(np.concatenate([a, b]))) <= {0.0, 1.0}
    spread = [part.mean() * (1 - part.mean()) if binary else part.var(ddof=1) for part in (a, b)]
    scale = math.sqrt(sum(spread) / 2)
    if scale == 0:
        return 0.0 if a.mean() == b.mean() else math.copysign(math.inf, a.mean() - b.mean())
    return float((a.mean() - b.mean()) / scale)


def lines_of(patients: pd.DataFrame) -> list[tuple[str, str, pd.Series, bool]]:
    """(feature, level, numbers, is continuous) of every line of the table; levels become 0/1, unknown stays NaN."""
    lines = []
    if "aln_status" in patients:
        lines.append(("residual disease", "", patients["aln_status"].astype(float), False))
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
        digits = 1 if known.abs().max() >= 10 else 3
        if len(known) == 1:
            return f"{known.iloc[0]:.{digits}f}"
        return f"{known.mean():.{digits}f} (SD {known.std(ddof=1):.{digits}f})"
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
    for feature, level, numbers, continuous in lines_of(patients):
        if by == "outcome" and feature == "residual disease":
            continue
        parts = [numbers[(patients[by] == group).to_numpy()] for group in groups]
        differences = [abs(standardised_difference(parts[0], part)) for part in parts[1:]]
        known = [value for value in differences if not math.isnan(value)]
        row: dict[str, Any] = {"feature": feature, "level": level}
        row |= {str(group): describe(part, continuous) for group, part in zip(groups, parts, strict=True)}
        row["standardised_difference"] = f"{max(known):.2f}".replace("inf", "∞") if known else "–"
        row["missing"] = f"{100 * numbers.isna().mean():.1f} %"
        rows.append(row)
    return pd.DataFrame(rows).fillna("")
