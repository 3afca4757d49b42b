"""A column of a table as a target: its kind, its classes or scale, and the numbers that the loss reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from mammo_aln.cohort.declaration import RESERVED
from mammo_aln.cohort.schemas import MOST
from mammo_aln.cohort.tables import Cohort
from mammo_aln.errors import InputError

Kind = Literal["binary", "categorical", "continuous"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TABLES = ("patients", "images")
NO_LABELS = (*(name for name in RESERVED if name != "aln_status"), "image_id", "path", "laterality", "view")
MOST_NUMBERS_AS_CLASSES = 10
MOST_CLASSES = 50


@dataclass(frozen=True)
class Column:
    """A column that was asked for: its name as asked, its table, its kind where stated."""

    name: str
    table: str
    column: str
    kind: Kind | None


@dataclass(frozen=True)
class Head:
    """One column as a target.

    Attributes:
        name: as the user calls it.
        table: `patients` or `images`.
        column: in that table.
        kind: binary, categorical or continuous.
        classes: values in order; of a binary head the second one is the positive.
        mean: of the training values of a continuous head.
        sd: standard deviation of the same.
    """

    name: str
    table: str
    column: str
    kind: Kind
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    sd: float = 1.0

    @property
    def width(self) -> int:
        """Outputs of the head."""
        return len(self.classes) if self.kind == "categorical" else 1

    def encode(self, cells: pd.Series) -> np.ndarray:
        """Cells as float32 (n,): class number, or standardised number; NaN = missing, or a class never trained on."""
        if self.kind == "continuous":
            return ((_numbers(cells) - self.mean) / self.sd).to_numpy(np.float32)
        order = {value: float(number) for number, value in enumerate(self.classes)}
        return _tidy(cells).map(order).to_numpy(np.float32)


def find_columns(cohort: Cohort, labels: Sequence[str]) -> tuple[Column, ...]:
    """The columns that `pretrain.labels` names.

    Raises:
        InputError: an unknown kind, or a column that is nowhere, in both tables, reserved, or named twice.
    """
    columns: list[Column] = []
    for asked in labels:
        name, kind = _name_and_kind(asked)
        table, column = _place(cohort, name)
        if column in NO_LABELS:
            raise InputError(f"pretrain.labels = {asked!r}: {column} identifies or groups rows, it is no label")
        if any((other.table, other.column) == (table, column) for other in columns):
            raise InputError(f"pretrain.labels = {asked!r}: {table}.csv, {column} is named twice")
        columns.append(Column(name, table, column, kind))
    return tuple(columns)


def fit_head(asked: Column, cells: pd.Series) -> Head:
    """A head from the training rows' cells.

    Rule where no kind is stated: 2 distinct values make it binary; only numbers, more than 10 distinct ones,
    continuous; all else categorical.

    Raises:
        InputError: the kind does not fit the values, or they hold nothing to tell apart.
    """
    where = f"{asked.table}.csv, {asked.column}"
    known = _tidy(cells).dropna()
    values = sorted(known.unique(), key=_order)
    numeric = _numbers(known)
    kind = asked.kind or _inferred(len(values), bool(numeric.notna().all()))
    if len(values) < 2:
        there = f"only {values[0]!r}" if values else "no value"
        raise InputError(f"{where}: {there} among the training rows; at least two values are needed to learn from")
    if kind == "continuous":
        wrong = known[~(numeric.abs() <= MOST)]
        if len(wrong):
            raise InputError(
                f"{where} = {wrong.iloc[0]!r}: expected a finite number (up to {MOST:g}) or empty (pretrain.labels)"
            )
        return Head(asked.name, asked.table, asked.column, kind, (), float(numeric.mean()), float(numeric.std(ddof=0)))
    if kind == "binary" and len(values) != 2:
        shown = ", ".join(values[:5])
        raise InputError(f"{where}: {len(values)} values ({shown}, ...); a binary label has two")
    if len(values) > MOST_CLASSES:
        raise InputError(
            f"{where}: {len(values)} values; a categorical label has at most {MOST_CLASSES}"
            f" (numbers may be stated as {asked.name}:continuous)"
        )
    return Head(asked.name, asked.table, asked.column, kind, tuple(values))


def _name_and_kind(asked: str) -> tuple[str, Kind | None]:
    name, colon, stated = asked.rpartition(":")
    if not colon:
        return asked, None
    for kind in KINDS:
        if stated == kind:
            return name, kind
    raise InputError(f"pretrain.labels = {asked!r}: expected COLUMN or COLUMN:KIND, KIND one of {', '.join(KINDS)}")


def _place(cohort: Cohort, name: str) -> tuple[str, str]:
    tables = {"patients": cohort.patients, "images": cohort.images}
    for table in TABLES:
        if name.startswith(f"{table}.") and name.removeprefix(f"{table}.") in tables[table]:
            return table, name.removeprefix(f"{table}.")
    places = [table for table in TABLES if name in tables[table]]
    if len(places) == 2 and name not in NO_LABELS:
        raise InputError(
            f"pretrain.labels = {name!r}: in patients.csv and images.csv; name patients.{name} or images.{name}"
        )
    if not places:
        there = [
            f"{table}.csv: {', '.join(c for c in map(str, tables[table]) if c not in NO_LABELS)}" for table in TABLES
        ]
        raise InputError(f"pretrain.labels = {name!r}: no such column; {'; '.join(there)}")
    return places[0], name


def _inferred(distinct: int, numeric: bool) -> Kind:
    if distinct == 2:
        return "binary"
    return "continuous" if numeric and distinct > MOST_NUMBERS_AS_CLASSES else "categorical"


def _numbers(cells: pd.Series) -> pd.Series:
    return pd.to_numeric(cells, errors="coerce").astype(float)


def _tidy(cells: pd.Series) -> pd.Series:
    """Cells as text, missing ones NaN; whole numbers that were read as floats lose their `.0`."""
    if pd.api.types.is_float_dtype(cells):
        return cells.map(lambda value: f"{value:g}", na_action="ignore").astype(object)
    return cells


def _order(value: str) -> tuple[bool, float, str]:
    number = pd.to_numeric(value, errors="coerce")
    return (bool(pd.isna(number)), 0.0 if pd.isna(number) else float(number), value)
