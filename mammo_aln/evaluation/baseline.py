"""Baseline table: clinical features and outcome by split, outcome or centre, from aggregated figures alone.

A run stores the figures of its training and validation patients (`baseline.json`), so that a report on another cohort
sets development against evaluation without the development's tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from mammo_aln.evaluation.samples import patients_of

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
OUTCOME = "residual disease"


def _text(column: pd.Series) -> pd.Series:
    return column.map(lambda value: "" if pd.isna(value) else str(value).strip())


def is_continuous(text: pd.Series) -> bool:
    """Numbers with more than a handful of different values; grades such as 1, 2, 3 stay categories."""
    known = text[text != ""]
    numbers = pd.to_numeric(known, errors="coerce")
    return bool(len(known)) and bool(numbers.notna().all()) and numbers.nunique() > DISTINCT_FOR_CONTINUOUS


def features_of(patients: pd.DataFrame) -> list[str]:
    """Columns that describe patients: numbers, or texts with few different values."""
    features = []
    for name in patients.columns:
        if name in STRUCTURE:
            continue
        text = _text(patients[name])
        if is_continuous(text) or 2 <= text[text != ""].nunique() <= MOST_LEVELS:
            features.append(str(name))
    return features


def kinds_of(patients: pd.DataFrame) -> dict[str, bool]:
    """Features of a table, and whether each is continuous."""
    return {name: is_continuous(_text(patients[name])) for name in features_of(patients)}


def lines_of(patients: pd.DataFrame, kinds: Mapping[str, bool] | None = None) -> list[tuple[str, str, pd.Series, bool]]:
    """(feature, level, numbers, is continuous) of every line of the table; levels become 0/1, unknown stays NaN."""
    lines = []
    if "aln_status" in patients:
        lines.append((OUTCOME, "", patients["aln_status"].astype(float), False))
    settled = {name: continuous for name, continuous in (kinds or {}).items() if name in patients}
    for name, continuous in (kinds_of(patients) | settled).items():
        text = _text(patients[name])
        if continuous:
            lines.append((name, "", pd.to_numeric(text, errors="coerce"), True))
            continue
        for level in sorted(set(text) - {""}):
            lines.append((name, level, (text == level).astype(float).where(text != ""), False))
    return lines


@dataclass(frozen=True)
class Summary:
    """Known values of one line in one group: number, missing, mean, SD (0 where unknown), size, and whether all 0/1."""

    n: int
    missing: int
    mean: float = 0.0
    sd: float = 0.0
    largest: float = 0.0
    binary: bool = True

    @classmethod
    def of(cls, numbers: pd.Series) -> Self:
        """Summarise numbers of which some may be unknown."""
        values = pd.to_numeric(numbers, errors="coerce").dropna().to_numpy(float)
        missing = len(numbers) - values.size
        if not values.size:
            return cls(0, missing)
        sd = float(values.std(ddof=1)) if values.size > 1 else 0.0
        binary = bool(np.isin(values, (0.0, 1.0)).all())
        return cls(values.size, missing, float(values.mean()), sd, float(np.abs(values).max()), binary)

    def text(self, *, continuous: bool) -> str:
        """`52.1 (SD 10.9)`, or `31 (24.0 %)` of the known values."""
        if not self.n:
            return "–"
        if not continuous:
            return f"{round(self.n * self.mean)} ({100 * self.mean:.1f} %)"
        digits = 1 if self.largest >= 10 else 3
        spread = f" (SD {self.sd:.{digits}f})" if self.n > 1 else ""
        return f"{self.mean:.{digits}f}{spread}"


def standardised_difference(first: Summary, second: Summary) -> float:
    """Difference of two means over the mean spread (of shares for 0/1 columns); NaN where it cannot be known.

    Groups that share no value and do not spread lie infinitely far apart.
    """
    if min(first.n, second.n) < 2:
        return math.nan
    binary = first.binary and second.binary
    spread = [group.mean * (1 - group.mean) if binary else group.sd**2 for group in (first, second)]
    scale = math.sqrt(sum(spread) / 2)
    difference = first.mean - second.mean
    if scale == 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / scale


@dataclass(frozen=True)
class Line:
    """One feature or level of a feature, summarised in each group."""

    feature: str
    level: str
    continuous: bool
    groups: Mapping[str, Summary]


@dataclass(frozen=True)
class Baseline:
    """Aggregated figures of a baseline table.

    Attributes:
        rows: number of rows (treated axillae) of each group.
        patients: number of patients of each group.
        lines: features and levels in order.
    """

    rows: Mapping[str, int]
    patients: Mapping[str, int]
    lines: Sequence[Line]

    @classmethod
    def of(cls, patients: pd.DataFrame, by: str, kinds: Mapping[str, bool] | None = None) -> Self:
        """Summarise a table of patients by the groups of a column, in the order they come.

        Args:
            patients: features, `aln_status` and the column `by`.
            by: column of groups, such as `split`.
            kinds: whether a feature is continuous, where that is settled; else as the table itself shows it.
        """
        members = {str(group): (patients[by] == group).to_numpy() for group in dict.fromkeys(patients[by])}
        lines = [
            Line(feature, level, continuous, {name: Summary.of(numbers[chosen]) for name, chosen in members.items()})
            for feature, level, numbers, continuous in lines_of(patients, kinds)
        ]
        counts = {name: int(chosen.sum()) for name, chosen in members.items()}
        if "patient_id" not in patients:
            return cls(counts, counts, lines)
        persons = patients_of(patients)
        return cls(counts, {name: persons[chosen].nunique() for name, chosen in members.items()}, lines)

    @property
    def kinds(self) -> dict[str, bool]:
        """Its features, and whether each is continuous."""
        return {line.feature: line.continuous for line in self.lines if line.feature != OUTCOME}

    def only(self, groups: Sequence[str]) -> Self:
        """The same of some groups alone."""
        lines = [
            Line(line.feature, line.level, line.continuous, {name: line.groups[name] for name in groups})
            for line in self.lines
        ]
        return type(self)({n: self.rows[n] for n in groups}, {n: self.patients[n] for n in groups}, lines)

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same with other words for its groups."""
        words = {name: names.get(name, name) for name in self.rows}
        lines = [
            Line(line.feature, line.level, line.continuous, {words[name]: line.groups[name] for name in words})
            for line in self.lines
        ]
        rows, patients = ({words[name]: size[name] for name in words} for size in (self.rows, self.patients))
        return type(self)(rows, patients, lines)

    def beside(self, other: Self) -> Self:
        """These groups, then those of another baseline.

        A level that one of them never met counts no patient there; a feature that it does not know is unknown.
        """
        lines, used = [], set()
        mine, theirs = ({(line.feature, line.level): line for line in each.lines} for each in (self, other))
        for feature in dict.fromkeys(line.feature for line in (*self.lines, *other.lines)):
            for level in sorted({level for name, level in (*mine, *theirs) if name == feature}):
                used.add((feature, level))
                sides = [side.get((feature, level)) for side in (mine, theirs)]
                groups = {
                    name: line.groups[name] if line else _absent(each, feature, name)
                    for each, line in zip((self, other), sides, strict=True)
                    for name in each.rows
                }
                continuous = any(line.continuous for line in sides if line)
                lines.append(Line(feature, level, continuous, groups))
        return type(self)({**self.rows, **other.rows}, {**self.patients, **other.patients}, lines)

    def table(self, *, without: str = "") -> pd.DataFrame:
        """One line per feature or level, one column per group, the largest standardised difference, the missing share.

        Differences are taken against the first group. Where a patient has two rows (both axillae), both numbers stand.

        Args:
            without: feature to leave out, where the groups are made by it.
        """
        bilateral = self.rows != self.patients
        counts = {
            name: f"{rows} ({self.patients[name]})" if bilateral else str(rows) for name, rows in self.rows.items()
        }
        table = [{"feature": "axillae (patients)" if bilateral else "patients", "level": ""} | counts]
        for line in self.lines:
            if line.feature == without:
                continue
            first, *others = line.groups.values()
            differences = [abs(standardised_difference(first, group)) for group in others]
            known = [value for value in differences if not math.isnan(value)]
            texts = {name: group.text(continuous=line.continuous) for name, group in line.groups.items()}
            missing = sum(group.missing for group in line.groups.values())
            total = missing + sum(group.n for group in line.groups.values())
            table.append(
                {"feature": line.feature, "level": line.level}
                | texts
                | {
                    "standardised_difference": f"{max(known):.2f}".replace("inf", "∞") if known else "–",
                    "missing": f"{100 * missing / total:.1f} %",
                }
            )
        return pd.DataFrame(table).fillna("")

    def to_json(self) -> dict[str, Any]:
        """What a run stores: aggregated figures, no patient."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `to_json` made."""
        lines = [
            Line(**{**line, "groups": {name: Summary(**group) for name, group in line["groups"].items()}})
            for line in stored["lines"]
        ]
        return cls(stored["rows"], stored["patients"], lines)


def _absent(baseline: Baseline, feature: str, group: str) -> Summary:
    """Summary of a level that a baseline does not hold: of its feature's known values none has it."""
    for line in baseline.lines:
        if line.feature == feature:
            return Summary(line.groups[group].n, line.groups[group].missing)
    return Summary(0, baseline.rows[group])
