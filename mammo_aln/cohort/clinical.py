"""Clinical features as numbers; medians, scales and levels are learnt from training patients alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mammo_aln.cohort.declaration import ClinicalFeature
from mammo_aln.cohort.schemas import TOO_LARGE, numbers, too_large
from mammo_aln.errors import InputError
from mammo_aln.progress import say
from mammo_aln.spreadsheet.characters import as_listed


@dataclass(frozen=True)
class _Fitted:
    """One feature as learnt from training: its values' median, mean and SD (ranks where ordinal), and its levels."""

    feature: ClinicalFeature
    median: float
    mean: float
    scale: float
    levels: tuple[str, ...]
    missing_column: bool


class ClinicalEncoder:
    """Turns clinical columns of `patients` into a float32 array without missing values.

    - continuous: the training median where missing, then (value - mean) / SD of the imputed training values (a constant
      feature gives 0);
    - ordinal: the level's rank (0, 1, ...) in `levels`, then as continuous;
    - categorical: one column per level, the declared ones, else those seen in training; missing or unknown: all zeros;
    - missingness: a feature that misses a value in any training patient gets one more column, `NAME_missing`, 1 where
      missing. A feature complete in training gets none, as its weight could not be learnt: a value missing later is
      imputed.

    Args:
        allow_post_nat: accept features known only after NAT.
        fitted: the features as `fit` learnt them, in the order of the columns.
    """

    def __init__(self, allow_post_nat: bool, fitted: Sequence[_Fitted]) -> None:
        refuse_late([item.feature for item in fitted], allow_post_nat=allow_post_nat)
        self._allow_post_nat = allow_post_nat
        self._fitted = tuple(fitted)

    @classmethod
    def fit(
        cls, features: Mapping[str, ClinicalFeature], training: pd.DataFrame, *, allow_post_nat: bool = False
    ) -> ClinicalEncoder:
        """Learn from training patients.

        Args:
            features: declared features by column (`Cohort.clinical`).
            training: rows of `Cohort.patients`, training patients only.
            allow_post_nat: accept `known_at: post_nat` features.

        Raises:
            InputError: a feature is known too late, or has no value in any training patient.
        """
        refuse_late(list(features.values()), allow_post_nat=allow_post_nat)
        return cls(allow_post_nat, [_learn(item, training) for item in features.values()])

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the encoded columns, in order."""
        return tuple(name for fitted in self._fitted for name in _column_names(fitted))

    @property
    def feature_of_column(self) -> tuple[str, ...]:
        """Name of the feature behind each encoded column."""
        return tuple(fitted.feature.name for fitted in self._fitted for _ in _column_names(fitted))

    def encode(self, patients: pd.DataFrame) -> np.ndarray:
        """Encode patients.

        Args:
            patients: rows of `Cohort.patients`.

        Returns:
            float32 (patients, columns), finite.

        Raises:
            InputError: a feature's column is missing, or a value of an ordinal feature is none of its levels.
        """
        blocks = [_encode_one(fitted, patients) for fitted in self._fitted]
        encoded = np.concatenate(blocks, axis=1) if blocks else np.empty((len(patients), 0))
        unknown = {name: count for name, count in self.unknown_levels(patients).items() if count}
        if unknown:
            counts = ", ".join(f"{name} ({count})" for name, count in unknown.items())
            say(f"clinical levels that no training patient has, encoded as zeros (patients): {counts}")
        return encoded.astype(np.float32)

    @property
    def features(self) -> tuple[ClinicalFeature, ...]:
        """Features that it encodes, in order; of a categorical one the levels are those that it knows."""
        return tuple(replace(fitted.feature, levels=fitted.levels) for fitted in self._fitted)

    def unknown(self, patients: pd.DataFrame) -> dict[str, pd.Series]:
        """Mark for each categorical feature the patients whose level is unknown to the encoder."""
        return {
            fitted.feature.name: values.notna() & ~values.isin(fitted.levels)
            for fitted in self._fitted
            if fitted.feature.kind == "categorical"
            for values in [_levels_of(fitted.feature, fitted.levels, patients)]
        }

    def unknown_levels(self, patients: pd.DataFrame) -> dict[str, int]:
        """Patients per categorical feature whose level is unknown to the encoder."""
        return {name: int(flags.sum()) for name, flags in self.unknown(patients).items()}

    def continuous(self, patients: pd.DataFrame) -> dict[str, pd.Series]:
        """Numbers of each continuous feature, NaN where missing."""
        return {
            fitted.feature.name: _numeric(fitted.feature, patients)
            for fitted in self._fitted
            if fitted.feature.kind == "continuous"
        }

    def known_features(self, patients: pd.DataFrame) -> np.ndarray:
        """Tell for each patient which features have a value that the encoder knows: bool (patients, features)."""
        columns = [(_levels_of(fitted.feature, fitted.levels, patients), fitted) for fitted in self._fitted]
        known = [
            values.isin(fitted.levels) if fitted.feature.kind == "categorical" else values.notna()
            for values, fitted in columns
        ]
        return np.stack([np.asarray(column, bool) for column in known], axis=1)

    def to_state(self) -> dict[str, Any]:
        """Plain dict, list, str and numbers, for checkpoints that load with `weights_only=True`."""
        # through JSON, which has lists for tuples
        features = json.loads(json.dumps([asdict(fitted) for fitted in self._fitted]))
        return {"allow_post_nat": self._allow_post_nat, "features": features}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ClinicalEncoder:
        """The encoder whose `to_state` this is."""
        fitted = [
            _Fitted(**{**item, "levels": tuple(item["levels"]), "feature": _feature_from(item["feature"])})
            for item in state["features"]
        ]
        return cls(state["allow_post_nat"], fitted)


def refuse_late(
    features: Sequence[ClinicalFeature], *, allow_post_nat: bool, setting: str = "data.allow_post_nat"
) -> None:
    """Refuse features that hold the outcome, and, unless allowed, those known only after NAT; `setting` allows them.

    Raises:
        InputError: names each such feature.
    """
    outcome = [feature.name for feature in features if feature.known_at == "post_surgery"]
    if outcome:
        raise InputError(
            f"clinical features {', '.join(outcome)}: known_at is post_surgery, so they hold the outcome and are never "
            "inputs; take them out of `clinical` in cohort.yaml"
        )
    late = [feature.name for feature in features if feature.known_at == "post_nat"]
    if late and not allow_post_nat:
        raise InputError(
            f"clinical features {', '.join(late)}: known_at is post_nat, so they are unknown before NAT; "
            f"set {setting} to true to use them"
        )


def _feature_from(state: Mapping[str, Any]) -> ClinicalFeature:
    return ClinicalFeature(**{**state, "levels": tuple(state["levels"])})


def _column(patients: pd.DataFrame, name: str) -> pd.Series:
    if name not in patients:
        raise InputError(
            f"clinical feature {name}: the patients' table has no such column (the model was fitted with it)"
        )
    return patients[name]


def _levels_of(feature: ClinicalFeature, levels: Sequence[str], patients: pd.DataFrame) -> pd.Series:
    """Column with each value as the level that it is alike to but for case or way of writing (`2` and `2.0`)."""
    cells = _column(patients, feature.name)
    alike = {value: as_listed(str(value), levels) for value in cells.dropna().unique()}
    return cells.map(lambda value: alike.get(value, value)).astype(object)


def _numeric(feature: ClinicalFeature, patients: pd.DataFrame) -> pd.Series:
    """Values of a continuous feature, or ranks of an ordinal one's levels; NaN = missing."""
    values = _column(patients, feature.name)
    if feature.kind == "continuous":
        # another cohort may not have declared the feature: its cells are then text
        numeric = numbers(values)
        strange = values[values.notna() & ~np.isfinite(numeric)]
        if len(strange):
            raise InputError(
                f"clinical feature {feature.name} = {strange.iloc[0]!r}: expected a finite number or empty"
            )
        if (large := too_large(values)).any():
            raise InputError(f"clinical feature {feature.name} = {values[large].iloc[0]}: expected {TOO_LARGE}")
        return numeric
    values = _levels_of(feature, feature.levels, patients)
    ranks = values.map({level: float(rank) for rank, level in enumerate(feature.levels)})
    strange = values[values.notna() & ranks.isna()]
    if len(strange):
        expected = f"one of its levels {', '.join(feature.levels)}"
        raise InputError(f"clinical feature {feature.name} = {strange.iloc[0]!r}: expected {expected}")
    return ranks.astype(float)


def _learn(feature: ClinicalFeature, training: pd.DataFrame) -> _Fitted:
    values = _column(training, feature.name)
    if values.notna().sum() == 0:
        raise InputError(
            f"clinical feature {feature.name}: no training patient has a value; take it out of cohort.yaml"
        )
    missing_column = bool(values.isna().any())
    if feature.kind == "categorical":
        levels = feature.levels or tuple(sorted(values.dropna().unique()))
        return _Fitted(feature, 0.0, 0.0, 1.0, levels, missing_column)
    numeric = _numeric(feature, training)
    median = float(numeric.median())
    imputed = numeric.fillna(median)
    scale = float(imputed.std(ddof=0))
    # a constant column leaves rounding noise in its SD, which division would blow up
    constant = scale <= 1e-9 * max(1.0, abs(median))
    return _Fitted(feature, median, float(imputed.mean()), 1.0 if constant else scale, feature.levels, missing_column)


def _column_names(fitted: _Fitted) -> list[str]:
    name = fitted.feature.name
    values = [f"{name}={level}" for level in fitted.levels] if fitted.feature.kind == "categorical" else [name]
    return values + ([f"{name}_missing"] if fitted.missing_column else [])


def _encode_one(fitted: _Fitted, patients: pd.DataFrame) -> np.ndarray:
    values = _column(patients, fitted.feature.name)
    if fitted.feature.kind == "categorical":
        values = _levels_of(fitted.feature, fitted.levels, patients)
        columns = [np.asarray(values == level, dtype=float) for level in fitted.levels]
    else:
        numeric = np.asarray(_numeric(fitted.feature, patients).fillna(fitted.median), dtype=float)
        columns = [(numeric - fitted.mean) / fitted.scale]
    if fitted.missing_column:
        columns.append(np.asarray(values.isna(), dtype=float))
    return np.stack(columns, axis=1)
