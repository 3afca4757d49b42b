"""A frozen run's needs of another cohort, looked for in its tables before any crop is cut."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.cohort.clinical import ClinicalEncoder
from mammo_aln.cohort.declaration import ClinicalFeature, Outcome, map_hint
from mammo_aln.cohort.schemas import numbers
from mammo_aln.cohort.tables import Cohort
from mammo_aln.errors import InputError
from mammo_aln.spreadsheet.characters import letters_alone, likely_name
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.data.lacking import InputsOfScored
from mammo_aln.training.data.presence import Range
from mammo_aln.training.data.seen import counts_of, planned_crops

VALUES_SHOWN = 5
RATIO_SLACK = 1.25
"""Up to which factor the ratio of two medians may differ from a unit's for that unit to be named."""

UNIT_FACTORS = {
    365.25: "days in place of years",
    12.0: "months in place of years",
    10.0: "a unit ten times smaller, such as mm in place of cm",
    100.0: "a percentage in place of a share, or cm in place of m",
    1000.0: "a unit a thousand times smaller",
}


@dataclass(frozen=True)
class Needs:
    """Needs of a run that a cohort does not meet.

    Attributes:
        faults: never scored; one line each, with what to type.
        absent: columns that `patients.csv` does not have; scored with `--allow_missing` alone.
        notes: told and scored.
        inputs: what the patients lack, by the tables alone.
    """

    faults: tuple[str, ...]
    absent: tuple[str, ...]
    notes: tuple[str, ...]
    inputs: InputsOfScored


def with_columns(cohort: Cohort, encoder: ClinicalEncoder | None) -> Cohort:
    """The cohort with an empty column for each clinical feature that it has none of."""
    absent = [item.name for item in encoder.features if item.name not in cohort.patients] if encoder else []
    empty = pd.Series(np.nan, cohort.patients.index, dtype=object)
    return replace(cohort, patients=cohort.patients.assign(**dict.fromkeys(absent, empty))) if absent else cohort


def needs_of(
    data: MammoDataModule, given: Cohort, splits: Sequence[str], outcome: Outcome | None, *, allow_missing: bool
) -> Needs:
    """Compare a cohort with what a run needs of it; headers are read at most, no pixels.

    Args:
        data: the cohort as the run reads it, its absent columns filled in by `with_columns`.
        given: the cohort as it was read.
        splits: splits that are to be scored.
        outcome: what the run learnt to tell; None where it does not say.
        allow_missing: inputs may be lacking.
    """
    rows = data.cohort.patients[data.cohort.patients["split"].isin(splits)]
    features = data.fitted_encoder.features if "clinical" in data.inputs else ()
    of_tables = table_needs(features, given, rows, outcome)
    if of_tables.faults:  # what cannot be read as a number or level cannot be counted either
        return Needs(of_tables.faults, of_tables.absent, (), InputsOfScored(data.profile, (), allow_missing))
    crops = planned_crops(data)
    read = rows
    if "clinical" not in data.inputs and data.reads_images:
        read = rows[rows["unit_id"].isin(crops["unit_id"])]
    inputs = InputsOfScored(data.profile, counts_of(data, read, crops), allow_missing)
    notes = [*of_tables.notes, *_run_range_notes(data, features, rows)]
    notes += _view_notes(data, crops[crops["unit_id"].isin(rows["unit_id"])])
    if len(read) < len(rows):
        notes.append(f"{len(rows) - len(read)} of {len(rows)} patients have no input that the run reads: not scored")
    return Needs((), of_tables.absent, tuple(notes), inputs)


@dataclass(frozen=True)
class TableNeeds:
    """Needs of clinical features and of the outcome; see `Needs`."""

    faults: tuple[str, ...]
    absent: tuple[str, ...]
    notes: tuple[str, ...]


def table_needs(
    features: Sequence[ClinicalFeature], given: Cohort, rows: pd.DataFrame, outcome: Outcome | None
) -> TableNeeds:
    """Compare a cohort's tables with the clinical features and the outcome that a frozen model learnt from.

    Args:
        features: as the model knows them.
        given: the cohort as it was read.
        rows: patients that are to be scored, with a column for each feature.
        outcome: what the model learnt to tell; None where it does not say.
    """
    judged = outcome is not None and bool(rows["aln_status"].notna().any())
    faults = _outcome_faults(outcome, given) if outcome and judged else []
    faults += [line for feature in features for line in _value_faults(feature, rows)]
    absent = tuple(_absent(item, given, features) for item in features if item.name not in given.patients)
    notes = _outcome_notes(outcome, given) if outcome and judged else []
    notes += [line for feature in features for line in _declaration_notes(feature, given)]
    return TableNeeds(tuple(faults), absent, (*notes, *_level_notes(features, rows)))


def refuse_unmet(needs: Needs, cohort: str, root: Path) -> None:
    """`InputError` that lists all faults and absent columns at once."""
    absent = () if needs.inputs.allow_missing else needs.absent
    lines = [*needs.faults, *absent]
    if lines:
        way = (
            "\nA column that this cohort does not have: --allow_missing scores its patients without it"
            if absent and not needs.faults
            else ""
        )
        listed = "\n".join(f"  {line}" for line in lines)
        raise InputError(f"{cohort}: {root / 'patients.csv'} does not give what the run needs:\n{listed}{way}")


def _other_outcome(outcome: Outcome, given: Cohort) -> str:
    """Say both outcomes where `cohort.yaml` and the run mean different things by 1 and 0; empty where they agree."""
    if letters_alone(outcome.meaning) == letters_alone(given.label_meaning):
        return ""
    return (
        f"the outcome {given.label_column} is '{given.label_meaning}' by this cohort.yaml, the run learnt"
        f" {outcome.column}: '{outcome.meaning}'"
    )


def _outcome_faults(outcome: Outcome, given: Cohort) -> list[str]:
    """Refuse an outcome of another column and meaning, such as malignancy in a public set: it would judge the run."""
    differing = _other_outcome(outcome, given)
    if not differing or outcome.column == given.label_column:
        return []
    same = f'`label: {{column: {given.label_column}, meaning: "{outcome.meaning}"}}`'
    return [
        f"{differing}. To score without judging, name an empty column: `label: {{column: {outcome.column}}}`;"
        f" where both are the same outcome, say so in the same words: {same}"
    ]


def _outcome_notes(outcome: Outcome, given: Cohort) -> list[str]:
    differing = _other_outcome(outcome, given)
    return [f"{differing}; they are judged as the same outcome"] if differing else []


def _absent(feature: ClinicalFeature, given: Cohort, features: Sequence[ClinicalFeature]) -> str:
    """An absent column, and what to type for the one that is probably meant."""
    used = {item.name for item in features} | {"patient_id", "center", "aln_status", "unit_id", "eligible", "split"}
    likely = likely_name(feature.name, [str(name) for name in given.patients if name not in used])
    kind = f"{feature.kind}{f', {feature.unit}' if feature.unit else ''}"
    line = f"no column {feature.name} ({kind})"
    if likely:
        declared = f"kind: {feature.kind}" + (
            f", levels: [{', '.join(feature.levels)}]" if feature.kind == "ordinal" else ""
        )
        line += (
            f"; did you mean {likely}? In cohort.yaml: `clinical: {{{feature.name}: {{column: {likely}, {declared}}}}}`"
        )
    return line


def _value_faults(feature: ClinicalFeature, rows: pd.DataFrame) -> list[str]:
    """Values that the run's encoder cannot read: text in place of a number, ordinal levels that it does not know."""
    values = rows[feature.name].dropna()
    if feature.kind == "continuous":
        strange = values[~np.isfinite(numbers(values))]
        expected = "a finite number or empty"
    elif feature.kind == "ordinal":
        strange = values[~values.isin(feature.levels)]
        expected = f"one of its levels {', '.join(feature.levels)}; {map_hint(feature, strange)}"
    else:
        return []
    if strange.empty:
        return []
    return [f"{feature.name} = {_shown(strange)} ({len(strange)} of {len(rows)} patients): expected {expected}"]


def _shown(values: pd.Series) -> str:
    different = list(dict.fromkeys(str(value) for value in values))
    return ", ".join(different[:VALUES_SHOWN]) + (", ..." if len(different) > VALUES_SHOWN else "")


def _declaration_notes(feature: ClinicalFeature, given: Cohort) -> list[str]:
    """Differences between a feature as the run knows it and as this cohort declares it."""
    here = given.clinical.get(feature.name)
    if here is None:
        return []
    notes = []
    if here.kind != feature.kind:
        notes.append(f"{feature.name} is {here.kind} in this cohort.yaml, {feature.kind} in the run; read as the run's")
    units = [(item.unit or "").strip() for item in (here, feature)]
    if all(units) and letters_alone(units[0]) != letters_alone(units[1]):
        notes.append(
            f"{feature.name} is in {units[0]} in this cohort.yaml, the run learnt it in {units[1]}: convert it"
        )
    if here.known_at != feature.known_at:
        notes.append(
            f"{feature.name} is known at {here.known_at} in this cohort.yaml, at {feature.known_at} in the run"
        )
    return notes


def _level_notes(features: Sequence[ClinicalFeature], rows: pd.DataFrame) -> list[str]:
    notes = []
    for feature in features:
        values = rows[feature.name].dropna()
        strange = values[~values.isin(feature.levels)]
        if feature.kind == "categorical" and len(strange):
            hint = map_hint(feature, strange)
            notes.append(
                f"{feature.name} = {_shown(strange)} ({len(strange)} of {len(rows)} patients): no training patient has"
                f" such a level, they have {', '.join(feature.levels)}; {hint}"
            )
    return notes


def _run_range_notes(data: MammoDataModule, features: Sequence[ClinicalFeature], rows: pd.DataFrame) -> list[str]:
    if not features:
        return []
    if data.profile is None:
        return ["this run was trained before ranges were frozen with it: values cannot be compared with training's"]
    return range_notes(features, data.fitted_encoder.continuous(rows), data.profile.ranges)


def range_notes(
    features: Sequence[ClinicalFeature], numbers_of: Mapping[str, pd.Series], ranges: Mapping[str, Range]
) -> list[str]:
    """Say which features have most of their values outside of training's range: probably another unit.

    Args:
        features: as the model knows them.
        numbers_of: values of the continuous ones.
        ranges: of training patients.
    """
    units = {feature.name: feature.unit for feature in features}
    notes = []
    for name, values in numbers_of.items():
        limits, known = ranges.get(name), values.dropna()
        if limits is None or known.empty:
            continue
        outside = int(((known < limits.low) | (known > limits.high)).sum())
        if 2 * outside > len(known):
            unit = f" {units[name]}" if units[name] else ""
            notes.append(
                f"{name}: {outside} of {len(known)} values lie outside of training's range, {limits.low:g} to"
                f" {limits.high:g}{unit}; here {known.min():g} to {known.max():g}: another unit?"
                f"{_unit_guess(limits, float(known.median()))}"
            )
    return notes


def _unit_guess(limits: Range, median: float) -> str:
    if limits.median <= 0 or median <= 0:
        return ""
    ratio = median / limits.median
    factors = [each for each in UNIT_FACTORS if abs(abs(math.log(ratio)) - math.log(each)) < math.log(RATIO_SLACK)]
    likely = ", or ".join(UNIT_FACTORS[factor] for factor in factors)
    if ratio > 1:
        return f" The median is {ratio:.3g} times training's" + (f": {likely}?" if likely else "")
    return f" Training's median is {1 / ratio:.3g} times this one" + (f": was training in {likely}?" if likely else "")


def _view_notes(data: MammoDataModule, crops: pd.DataFrame) -> list[str]:
    """Views that training patients had and none here has."""
    if data.profile is None or not data.reads_images:
        return []
    return [
        f"no crop of a {view} view, which {count} of {data.profile.rows} training patients had"
        for view, count in data.profile.views.items()
        if view not in set(crops["view"])
    ]
