"""Inputs that each patient has, those that the training patients of a run had, and what is lacking of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from mammo_aln.cohort.clinical import ClinicalEncoder

CLINICAL = "clinical "
"""Begins the name of an input that is a clinical feature."""

TABLE_FEATURES = ("radiomics_", "deep_")
"""Begin the names of inputs that are columns of a table of features."""

MOST_LACKING = 0.2
"""Share of a split's patients that may lack an input beyond the share of training patients that lacked it."""

FEWEST_LACKING = 3
"""Fewer patients than these are told and not refused, unless they are all of the split."""

Kind = Literal["missing", "unknown_level", "outside_training"]


@dataclass(frozen=True)
class Range:
    """Smallest, middle and largest value of a continuous feature among training patients."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class InputProfile:
    """Inputs of a run's training patients, frozen with its weights.

    Args:
        rows: treated axillae that it learnt from.
        present: those that had each input: a region by its name, a feature as `clinical NAME`.
        views: those with a crop on each view.
        ranges: of each continuous feature that had a value.
    """

    rows: int
    present: Mapping[str, int]
    views: Mapping[str, int]
    ranges: Mapping[str, Range]

    def share_lacking(self, name: str) -> float:
        """Share of the training patients that lacked an input; 0 where nothing is known of it."""
        return 1 - self.present.get(name, self.rows) / self.rows if self.rows else 0.0

    def to_state(self) -> Mapping[str, object]:
        """Plain dicts and numbers, for checkpoints and JSON."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> InputProfile:
        """The profile whose `to_state` this is."""
        ranges = {name: Range(**limits) for name, limits in state["ranges"].items()}
        return cls(state["rows"], dict(state["present"]), dict(state["views"]), ranges)

    @classmethod
    def of_all(cls, profiles: Sequence[InputProfile]) -> InputProfile:
        """Join the profiles of an ensemble's members: of shares the fullest, of ranges what all members saw."""
        first, *others = profiles
        for other in others:
            present = {
                name: round(first.rows * (1 - min(first.share_lacking(name), other.share_lacking(name))))
                for name in first.present
            }
            ranges = {
                name: Range(max(own.low, theirs.low), own.median, min(own.high, theirs.high))
                for name, own in first.ranges.items()
                if (theirs := other.ranges.get(name))
            }
            first = cls(first.rows, present, first.views, ranges)
        return first


@dataclass(frozen=True)
class InputCount:
    """Patients of one split and centre that lack an input, or bring a value that training did not have.

    Attributes:
        split: of the patients.
        center: of the patients.
        input: a region, or `clinical NAME`.
        kind: `missing`, `unknown_level` (of a categorical feature) or `outside_training` (the range of its values).
        n: such patients.
        of: all patients of the split and centre that are scored.
    """

    split: str
    center: str
    input: str
    kind: Kind
    n: int
    of: int


def presence(
    patients: pd.DataFrame, regions: Sequence[str], crops: pd.DataFrame | None, encoder: ClinicalEncoder | None
) -> pd.DataFrame:
    """Tell for each patient which inputs the model sees of them.

    Args:
        patients: rows of the patients table.
        regions: names of the regions that the model reads, in its order.
        crops: `unit_id` and `region` of each crop that there is, or is planned; None where the model reads no image.
        encoder: None where the model reads no clinical features.

    Returns:
        bool, a row per patient, a column per input: regions, `clinical` (any feature), each `clinical NAME`. A
        categorical level that the encoder does not know is not seen.
    """
    columns: dict[str, np.ndarray] = {}
    if crops is not None:
        for name in regions:
            having = crops.loc[crops["region"] == name, "unit_id"]
            columns[name] = patients["unit_id"].isin(having).to_numpy(bool)
    if encoder is not None:
        known = encoder.known_features(patients)
        columns["clinical"] = np.asarray(known.any(axis=1), bool)
        columns |= {f"{CLINICAL}{item.name}": known[:, nth] for nth, item in enumerate(encoder.features)}
    return pd.DataFrame(columns, index=patients.index)


def profile_of(
    patients: pd.DataFrame, seen: pd.DataFrame, crops: pd.DataFrame | None, encoder: ClinicalEncoder | None
) -> InputProfile:
    """Describe training patients: `seen` is their `presence`, `crops` also has the column `view`."""
    ranges = {}
    for name, values in (encoder.continuous(patients) if encoder is not None else {}).items():
        known = values.dropna()
        if len(known):
            ranges[name] = Range(float(known.min()), float(known.median()), float(known.max()))
    views: dict[str, int] = {}
    if crops is not None:
        own = crops.loc[crops["unit_id"].isin(patients["unit_id"]) & (crops["view"] != ""), ["view", "unit_id"]]
        views = {str(view): int(units) for view, units in own.groupby("view")["unit_id"].nunique().items()}
    present = {str(name): int(seen[name].sum()) for name in seen}
    return InputProfile(len(patients), present, views, ranges)


def inputs_seen(seen: pd.DataFrame, regions: Sequence[str]) -> tuple[str, ...]:
    """Name for each patient the inputs that the model sees, joined by `;`.

    Returns:
        regions in the model's order, then `clinical`, or `clinical 3/5 without NAME, NAME` where features are lacking;
        nothing of the clinical features where all are.
    """
    features = [name for name in seen if str(name).startswith(CLINICAL)]
    texts = []
    for row in seen.to_dict("records"):
        parts = [name for name in regions if row.get(name)]
        lacking = [str(name).removeprefix(CLINICAL) for name in features if not row[name]]
        if features and not lacking:
            parts.append("clinical")
        elif len(lacking) < len(features):
            parts.append(f"clinical {len(features) - len(lacking)}/{len(features)} without {', '.join(lacking)}")
        texts.append(";".join(parts))
    return tuple(texts)


def count_inputs(
    patients: pd.DataFrame, seen: pd.DataFrame, encoder: ClinicalEncoder | None, profile: InputProfile | None
) -> tuple[InputCount, ...]:
    """Count by split and centre the patients without each input, and those whose values training did not have.

    Every input has a `missing` count, also of 0; the other kinds only where there are such patients. A patient whose
    level is unknown is counted as that, not as missing.
    """
    unknown, outside = _strange(patients, encoder, profile)
    none = pd.Series(False, patients.index)
    counts = []
    for (split, center), rows in patients.groupby(["split", "center"], sort=True):
        kinds: tuple[tuple[Kind, Iterable[tuple[str, pd.Series]]], ...] = (
            ("missing", [(str(name), ~seen[name] & ~unknown.get(str(name), none)) for name in seen]),
            ("unknown_level", unknown.items()),
            ("outside_training", outside.items()),
        )
        for kind, columns in kinds:
            for name, flags in columns:
                n = int(flags[rows.index].sum())
                if n or kind == "missing":
                    counts.append(InputCount(str(split), str(center), name, kind, n, len(rows)))
    return tuple(counts)


def _strange(
    patients: pd.DataFrame, encoder: ClinicalEncoder | None, profile: InputProfile | None
) -> tuple[dict[str, pd.Series], dict[str, pd.Series]]:
    """Rows with a level that no training patient has, and rows with a value outside of training's, by input."""
    if encoder is None:
        return {}, {}
    unknown = {f"{CLINICAL}{name}": flags for name, flags in encoder.unknown(patients).items()}
    outside = {
        f"{CLINICAL}{name}": (values < limits.low) | (values > limits.high)
        for name, values in encoder.continuous(patients).items()
        if profile is not None and (limits := profile.ranges.get(name))
    }
    return unknown, outside
