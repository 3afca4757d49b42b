"""Numbers and words in a clinical column that look like codes for missing: 999, -1, 9 among 0 and 1, `not done`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from mammo_aln.cohort.declaration import Declaration
from mammo_aln.spreadsheet.written_numbers import numbers

CODE = re.compile(r"-(1|2|7|8|9|77|88|99|777|888|999|7777|8888|9999)|[789]|77+|88+|99+", re.ASCII)
WORDS = re.compile(
    r"none|not (done|reported|applicable|assessed|performed|tested|stated|recorded|evaluable)|n\.?d\.?|declined|refused"
    r"|pending|tbd|tba|x+|nr|ne|indeterminate|undetermined|no data|not|error|\*+|#+",
    re.IGNORECASE,
)
FAR = 1.5
REMOTE = 10.0
"""A value so many times the middle half's span away from the median is worth a word."""
FEWEST_TO_JUDGE = 8
FEWEST_ALIKE = 3
"""From so many cells on, a lone value at the end of a continuous feature's range is worth a word."""


@dataclass(frozen=True)
class Code:
    """A value that may be a code.

    Args:
        feature: the column.
        value: as the table writes it.
        count: cells that hold it.
        others: what the other values are, in words.
        apart: it lies beyond the others by more than they span and half as much again as the largest, has another
            sign, or is a number among words: a problem of `check`. Another one is a flag.
    """

    feature: str
    value: str
    count: int
    others: str
    apart: bool

    def __str__(self) -> str:
        cells = "1 cell is" if self.count == 1 else f"{self.count} cells are"
        return f"{cells} {self.value}, {self.others}"

    @property
    def remedy(self) -> str:
        """Words that settle it: the entry for cohort.yaml."""
        return f"clinical: {{{self.feature}: {{missing: [{self.value}]}}}} in cohort.yaml if it means missing"


def suspicious_codes(patients: pd.DataFrame, declared: Declaration) -> list[Code]:
    """Find values of declared features that look like codes and that the declaration does not settle.

    A feature with a `range`, or a value among its `levels`, is settled.

    Args:
        patients: `patients.csv` as declared, text or numbers.
        declared: what `cohort.yaml` says.
    """
    codes: list[Code] = []
    for name, feature in declared.clinical.items():
        reading = declared.readings.get(name)
        if name in patients and not feature.levels and not (reading and reading.range):
            codes += codes_of(name, patients[name], feature.kind == "continuous")
    return codes


def codes_of(name: str, cells: pd.Series, is_continuous: bool) -> list[Code]:
    """Find the values of one column that look like codes: of its numbers, or of its levels."""
    cells = cells.dropna()
    return list(_of_numbers(name, cells) if is_continuous else _of_levels(name, cells.astype(str)))


def _of_numbers(name: str, cells: pd.Series) -> Iterator[Code]:
    values = numbers(cells).dropna()
    candidates = sorted({value for value in values if CODE.fullmatch(f"{value:g}")}, key=abs, reverse=True)
    real = values[~values.isin(_run(candidates, values))]
    if real.empty:
        return
    remote = real[(real - real.median()).abs() > _reach(real)]
    real = real.drop(remote.index)  # a slip of the pen such as 580 years must not hide a 999
    low, high = real.min(), real.max()
    for value in sorted(set(remote.astype(float)) - set(candidates)):
        yield Code(name, f"{value:g}", int((remote == value).sum()), f"all others {low:g} to {high:g}", False)
    for value in candidates:
        count = int((values == value).sum())
        if value in set(real):
            continue
        if value < 0:
            if low >= 0:
                yield Code(name, f"{value:g}", count, f"all others at least {low:g}", True)
        elif value - high > high - low and value > FAR * high:
            yield Code(name, f"{value:g}", count, f"all others at most {high:g}", True)
        elif count >= FEWEST_ALIKE and value > high:
            yield Code(name, f"{value:g}", count, f"all others at most {high:g}", False)


def _reach(values: pd.Series) -> float:
    """Distance from the median that a value may have: ten times what the middle half spans, or any if that is none."""
    spread = float(values.quantile(0.75) - values.quantile(0.25))
    return REMOTE * spread if spread > 0 and len(values) >= FEWEST_TO_JUDGE else float("inf")


def _run(candidates: list[float], values: pd.Series) -> list[float]:
    """Candidates beyond all values that are none: among 8, 9 and 10 a 9 is a number."""
    real = values[~values.isin(candidates)]
    if real.empty:
        return []
    return [value for value in candidates if value < min(0.0, real.min()) or value > real.max()]


def _of_levels(name: str, cells: pd.Series) -> Iterator[Code]:
    counts = Counter(cells)
    numeric = {level: float(level) for level in counts if re.fullmatch(r"-?\d+(\.0*)?", level, re.ASCII)}
    codes = {level for level, value in numeric.items() if CODE.fullmatch(f"{value:g}")}
    words = [level for level in counts if level not in numeric]
    plain = [value for level, value in numeric.items() if level not in codes]
    for level in sorted(codes):
        value = numeric[level]
        if words and not plain:
            shown = ", ".join(sorted(words)[:3])
            yield Code(name, level, counts[level], f"all others are words ({shown})", True)
        elif plain and (value < 0 <= min(plain) or value > max(plain) + 1):
            yield Code(name, level, counts[level], f"all others {min(plain):g} to {max(plain):g}", True)
    for level in sorted(words):
        if WORDS.fullmatch(level.strip()) and len(counts) > 1:
            yield Code(name, level, counts[level], "which may mean missing", False)
