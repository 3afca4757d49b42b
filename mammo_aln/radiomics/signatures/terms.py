"""Terms of a logistic model: numeric columns as they are, categories against their first level (R's contrasts)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics.logistic import INTERCEPT, with_intercept

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Term:
    """One variable of a model; without levels it is numeric, else its first level is the reference."""

    name: str
    levels: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its design columns, as R names them: the variable, followed by the level."""
        return tuple(f"{self.name}{level}" for level in self.levels[1:]) if self.levels else (self.name,)

    def encode(self, values: pd.Series) -> Floats:
        """Design columns of its values, shape (n, columns).

        Raises:
            InputError: a value is missing, no number, or none of the levels.
        """
        if not self.levels:
            numeric = pd.to_numeric(values, errors="coerce").to_numpy(float)
            if not np.isfinite(numeric).all():
                strange = values[~np.isfinite(numeric)].iloc[0]
                raise InputError(f"{self.name} = {strange!r}: expected a finite number")
            return numeric[:, None]
        text = values.astype(str)
        if not text.isin(self.levels).all():
            strange = text[~text.isin(self.levels)].iloc[0]
            raise InputError(f"{self.name} = {strange!r}: expected one of {', '.join(self.levels)}")
        return (text.to_numpy()[:, None] == np.array(self.levels[1:], dtype=object)[None, :]).astype(np.float64)


def terms_of(table: pd.DataFrame, names: Sequence[str]) -> list[Term]:
    """Terms as R reads a table: numbers are numeric, text is a factor whose levels stand in alphabetical order."""

    def levels(values: pd.Series) -> tuple[str, ...]:
        return () if pd.api.types.is_numeric_dtype(values) else tuple(sorted(set(map(str, values))))

    return [Term(name, levels(table[name])) for name in names]


def design_of(table: pd.DataFrame, terms: Sequence[Term]) -> tuple[Floats, tuple[str, ...]]:
    """Design matrix with its intercept, and the names of its columns."""
    blocks = [term.encode(table[term.name]) for term in terms]
    columns = np.concatenate(blocks, axis=1) if blocks else np.empty((len(table), 0))
    names = (INTERCEPT, *(column for term in terms for column in term.columns))
    return with_intercept(columns, len(table)), names
