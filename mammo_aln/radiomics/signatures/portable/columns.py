"""Selected image features as plain numbers: their gaps, scale, training range and ComBat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mammo_aln.radiomics.signatures.combat import ComBat
from mammo_aln.radiomics.signatures.portable.classifiers import Floats, require


@dataclass(frozen=True)
class Column:
    """One selected feature as training patients taught it, in its own unit.

    Args:
        name: of the column.
        median: fills gaps.
        mean: is subtracted, after ComBat where there is one.
        sd: divides what is left.
        low: smallest value of training patients.
        high: largest value of them.
        present: training rows that have it.
    """

    name: str
    median: float
    mean: float
    sd: float
    low: float
    high: float
    present: int

    def __post_init__(self) -> None:
        require(self.sd > 0 and self.low <= self.high, f"{self.name}: an SD above 0, and low up to high")


@dataclass(frozen=True)
class Harmony:
    """ComBat of the selected features: `scale * (scaled - shift) / spread + grand` of each centre.

    Args:
        grand: mean of each feature.
        scale: SD of each feature.
        shift: of each centre's features.
        spread: of each centre's features.
    """

    grand: Floats
    scale: Floats
    shift: Mapping[str, Floats]
    spread: Mapping[str, Floats]

    def __post_init__(self) -> None:
        rows = [self.grand, self.scale, *self.shift.values(), *self.spread.values()]
        require(len({row.shape for row in rows}) == 1 and set(self.shift) == set(self.spread), "equal lists of ComBat")
        require(all((row > 0).all() for row in (self.scale, *self.spread.values())), "scales above 0")

    def applied(self, values: Floats, centers: pd.Series) -> Floats:
        """Take each known centre's shift and spread from its rows; those of others pass unchanged."""
        values, names = values.copy(), centers.astype(str).to_numpy()
        for name, shift in self.shift.items():
            rows = names == name
            scaled = (values[rows] - self.grand) / self.scale
            values[rows] = self.scale * (scaled - shift) / self.spread[name] + self.grand
        return values


def harmony_of(combat: ComBat | None, names: list[str]) -> Harmony | None:
    """Take the numbers of a fitted ComBat for some features; None where it learnt no centre's effect."""
    if combat is None or not combat.shift_:
        return None
    at = combat.columns_.get_indexer(pd.Index(names))
    shift, spread = ({name: row[at] for name, row in each.items()} for each in (combat.shift_, combat.spread_))
    return Harmony(combat.grand_[at], combat.scale_[at], shift, spread)
