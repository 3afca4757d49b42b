"""Baseline table: clinical features and outcome by split, outcome or centre, from aggregated figures alone.

A run stores the figures of its training and validation patients (`baseline.json`), so that a report on another cohort
sets development against evaluation without the development's tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
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
OUTCOME = "with the outcome"


def _text(column: pd.Series) -> pd.Series:
    return column.map(lambda value: "" if pd.isna(value) else str(value).strip())


def is_continuous(text: pd.Series) -> bool:
    """Numbers with more than a handful of different values; grades such as 1, 2, 3 stay categories."""
    known = text[text != ""]
    numbers = pd.to_numeric(known, errors="coerce")
    return bool(len(known)) and bool(numbers.notna().all()) and numbers.nunique() > DISTINCT_FOR_CONTINUOUS


def features_of(patients: pd.DataFrame, *, least: int = 2) -> list[str]:
    """Columns that describe patients: numbers, or texts with few different values, at least `least`."""
    features = []
    for name in patients.columns:
        if name in STRUCTURE:
            continue
        text = _text(patients[name])
        if is_continuous(text) or least <= text[text != ""].nunique() <= MOST_LEVELS:
            features.append(str(name))
    return features


def lines_of(patients: pd.DataFrame, kinds: Mapping[str, bool] | None = None) -> list[tuple[str, str, pd.Series, bool]]:
    """(feature, level, numbers, is continuous) of every line of the table; levels become 0/1, unknown stays NaN."""
    lines = []
    if "aln_status" in patients:
        lines.append((OUTCOME, "", patients["aln_status"].astype(float), False))
    settled = {name: continuous for name, continuous in (kinds or {}).items() if name in patients}
    for name in dict.fromkeys([*features_of(patients), *settled]):
        text = _text(patients[name])
        if settled.get(name, is_continuous(text)):
            lines.append((name, "", pd.to_numeric(text, errors="coerce"), True))
            continue
        for level in sorted(set(text) - {""}):
            lines.append((name, level, (text == level).astype(float).where(text != ""), False))
    return lines


def kinds_of(patients: pd.DataFrame) -> dict[str, bool]:
    """Features of a table, also those that all its patients share, and whether each is continuous."""
    return {name: is_continuous(_text(patients[name])) for name in features_of(patients, least=1)}


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
class Baseline:
    """Aggregated figures of a baseline table.

    Attributes:
        sizes: rows (treated axillae) and patients of each group.
        lines: one row per group and line: `group`, `feature`, `level`, `continuous`, then the fields of `Summary`.
    """

    sizes: Mapping[str, tuple[int, int]]
    lines: pd.DataFrame

    @classmethod
    def of(cls, patients: pd.DataFrame, by: str, kinds: Mapping[str, bool] | None = None) -> Self:
        """Summarise a table of patients by the groups of a column, in the order they come.

        Args:
            patients: features, `aln_status` and the column `by`.
            by: column of groups, such as `split`.
            kinds: whether a feature is continuous, where that is settled; else as the table itself shows it.
        """
        members = {str(group): (patients[by] == group).to_numpy() for group in dict.fromkeys(patients[by])}
        persons = patients_of(patients) if "patient_id" in patients else patients.index.to_series()
        lines = [
            {"group": group, "feature": feature, "level": level, "continuous": continuous}
            | asdict(Summary.of(numbers[chosen]))
            for feature, level, numbers, continuous in lines_of(patients, kinds)
            for group, chosen in members.items()
        ]
        sizes = {group: (int(chosen.sum()), persons[chosen].nunique()) for group, chosen in members.items()}
        return cls(sizes, pd.DataFrame(lines))

    @property
    def kinds(self) -> dict[str, bool]:
        """Its features, and whether each is continuous."""
        kinds = self.lines[self.lines["feature"] != OUTCOME].drop_duplicates("feature").set_index("feature")
        return {str(name): bool(continuous) for name, continuous in kinds["continuous"].items()}

    def chosen(self, names: Mapping[str, str]) -> Self:
        """Some groups of it in other words: its name -> the new one."""
        lines = self.lines[self.lines["group"].isin(names)]
        sizes = {new: self.sizes[old] for old, new in names.items()}
        return type(self)(sizes, lines.assign(group=lines["group"].map(names)))

    def beside(self, other: Self) -> Self:
        """These groups, then those of another baseline."""
        return type(self)({**self.sizes, **other.sizes}, pd.concat([self.lines, other.lines], ignore_index=True))

    def _summary(self, group: str, feature: str, level: str) -> Summary:
        """One line of one group; of a feature's known values none has a level that the group never met."""
        lines = self.lines[(self.lines["group"] == group) & (self.lines["feature"] == feature)]
        if lines.empty:
            return Summary(0, self.sizes[group][0])
        same = lines[lines["level"] == level]
        if same.empty:
            return Summary(int(lines["n"].iloc[0]), int(lines["missing"].iloc[0]))
        return Summary(**{field.name: same[field.name].iloc[0] for field in fields(Summary)})

    def table(self, *, without: str = "") -> pd.DataFrame:
        """One line per feature or level, one column per group, the largest standardised difference, the missing share.

        Differences are taken against the first group. Where a patient has two rows (both axillae), both numbers stand.

        Args:
            without: feature to leave out, where the groups are made by it.
        """
        bilateral = any(rows != patients for rows, patients in self.sizes.values())
        counts = {
            name: f"{rows} ({patients})" if bilateral else str(rows) for name, (rows, patients) in self.sizes.items()
        }
        table = [{"feature": "axillae (patients)" if bilateral else "patients", "level": ""} | counts]
        for feature, lines in self.lines.groupby("feature", sort=False):
            levels = sorted(set(lines["level"]))
            if feature == without or (len(levels) == 1 and levels[0]):
                continue  # what all groups share says nothing of them
            for level in levels:
                groups = {name: self._summary(name, str(feature), level) for name in self.sizes}
                first, *others = groups.values()
                differences = [abs(standardised_difference(first, group)) for group in others]
                known = [value for value in differences if not math.isnan(value)]
                missing = sum(group.missing for group in groups.values())
                share = missing / (missing + sum(group.n for group in groups.values()))
                table.append(
                    {"feature": str(feature), "level": level}
                    | {name: group.text(continuous=bool(lines["continuous"].any())) for name, group in groups.items()}
                    | {
                        "standardised_difference": f"{max(known):.2f}".replace("inf", "∞") if known else "–",
                        "missing": f"{100 * share:.1f} %",
                    }
                )
        return pd.DataFrame(table).fillna("")

    def to_json(self) -> dict[str, object]:
        """Aggregated figures as a run stores them: no patient."""
        return {"sizes": dict(self.sizes), "lines": self.lines.to_dict("records")}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `to_json` made."""
        columns = ["group", "feature", "level", "continuous", *(field.name for field in fields(Summary))]
        sizes = {name: (int(rows), int(patients)) for name, (rows, patients) in stored["sizes"].items()}
        return cls(sizes, pd.DataFrame(stored["lines"])[columns])
