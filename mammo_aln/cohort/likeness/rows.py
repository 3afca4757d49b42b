"""Patients whose rows of a table are equal: copies of one person, where chance would not make so many equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from math import sqrt

import pandas as pd

from mammo_aln.cohort.likeness.people import Shared

FEWEST_VALUES = 3
"""Filled cells of a row that says anything."""
DEPENDENCE = 30.0
"""At most so many times more equal rows than of independent columns: features go together."""
RARE = 0.01
"""Equal pairs that chance makes of a row; below it, they are one person."""
FEWEST_COPIES, TIMES_CHANCE = 10, 5.0
"""Equal pairs between two tables, and how many times those of chance, from which on one holds copies of the other."""


def written_rows(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Write the values of each row as one text, `1` as `1.0`; empty for a row of fewer than `FEWEST_VALUES` values."""
    texts = [
        [
            "" if missing else repr(float(value)) if isinstance(value, float | int) else str(value)
            for value, missing in cells
        ]
        for cells in (zip(table[name].tolist(), table[name].isna(), strict=True) for name in columns)
    ]
    rows = zip(*texts, strict=True) if texts else ([] for _ in range(len(table)))
    return ["\0".join(cells) if sum(map(bool, cells)) >= FEWEST_VALUES else "" for cells in rows]


def copies_between(ours: Iterable[Hashable], theirs: Iterable[Hashable]) -> tuple[int, float]:
    """Count equal pairs of rows between two tables, and how many chance makes at most.

    Of two populations as many pairs are equal as of the more uniform one at most (Cauchy and Schwarz), and how many are
    in each of them its own rows tell.
    """
    one, other = Counter(ours), Counter(theirs)
    pairs = sum(count * other[row] for row, count in one.items())
    sizes = [rows.total() for rows in (one, other)]
    if min(sizes) < 2:
        return pairs, float(sizes[0] * sizes[1])
    rates = [
        (sum(count * (count - 1) for count in rows.values()) + 2) / (size * (size - 1))
        for rows, size in zip((one, other), sizes, strict=True)
    ]
    return pairs, sizes[0] * sizes[1] * sqrt(rates[0] * rates[1])


def are_copies(pairs: int, chance: float) -> bool:
    """Tell whether so many equal pairs are more than people who are alike."""
    return pairs >= FEWEST_COPIES and pairs > TIMES_CHANCE * chance


def equal_rows(
    table: pd.DataFrame,
    patients: pd.Series,
    columns: Sequence[str],
    what: str,
    sides: Mapping[str, str] | None = None,
) -> list[Shared]:
    """Find patients with equal rows.

    Args:
        table: values; a missing one equals a missing one.
        patients: the patient of each row.
        columns: those that are compared.
        what: the table in words, such as `clinical values`.
        sides: the split of each patient, where splits are compared.
    """
    rows = pd.DataFrame({"row": written_rows(table, columns), "patient": patients.astype(str).to_numpy()})
    values = table[list(columns)].reset_index(drop=True)[rows["row"] != ""]
    rows = rows[rows["row"] != ""]
    kept = ~rows.duplicated()
    rows, values = rows[kept], values[kept]
    copied = _copied_sides(rows, sides) if sides else {}
    sharing = _sharing(values, rows["row"])
    shared = []
    for _, group in rows.groupby("row", sort=False):
        if len(group) < 2:
            continue
        chance = sharing[group.index[0]] * len(rows) * (len(rows) - 1) / 2
        of_sides = sorted({sides[name] for name in group["patient"] if name in sides}) if sides else []
        in_copy = next((pair for pair in combinations(of_sides, 2) if pair in copied), None)
        words = f"equal in all {len(columns)} {what}"
        if in_copy:
            words += f", as {copied[in_copy]} pairs of {' and '.join(in_copy)} are"
        names = tuple(sorted(group["patient"]))
        shared.append(Shared(words, names, (), in_copy is not None or chance < RARE))
    return shared


def rare_rows(table: pd.DataFrame, columns: Sequence[str], others: int) -> list[bool]:
    """Tell of each row whether none of so many other people has it by chance, by the table's own values."""
    rows = pd.Series(written_rows(table, columns), table.index)
    return ((_sharing(table[list(columns)], rows) * others < RARE) & (rows != "")).tolist()


def _sharing(values: pd.DataFrame, rows: pd.Series) -> pd.Series:
    """Chance, at most, that another person has a row: by how often each of its values stands beside other rows."""
    count = max(2, len(rows))
    own = rows.map(rows.value_counts())
    sharing = pd.Series(DEPENDENCE, rows.index)
    for name in values:
        sizes = values[name].map(values[name].value_counts(dropna=False)).fillna(values[name].isna().sum())
        others = sizes - own
        without = ((sizes - 1).sum() - own * (own - 1) + 1) / (count * (count - 1))
        sharing *= ((others + 0.5) / count).where(others > 0, without.clip(upper=0.5 / count))
    return sharing


def _copied_sides(rows: pd.DataFrame, sides: Mapping[str, str]) -> dict[tuple[str, str], int]:
    """Pairs of sides of which one holds copies of the other's rows, with the number of equal pairs."""
    side = rows["patient"].map(sides)
    of_side = {name: group["row"].tolist() for name, group in rows.groupby(side)}
    counts = {pair: copies_between(of_side[pair[0]], of_side[pair[1]]) for pair in combinations(sorted(of_side), 2)}
    return {pair: pairs for pair, (pairs, chance) in counts.items() if are_copies(pairs, chance)}
