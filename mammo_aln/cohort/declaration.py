"""`cohort.yaml`: the cohort's name, its outcome column, where its images lie, and what its clinical features are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from mammo_aln.cohort.lineage import Source, sources_of_yaml
from mammo_aln.cohort.reading import Yaml, read_text_yaml
from mammo_aln.errors import BadCell, did_you_mean
from mammo_aln.files import stands
from mammo_aln.spreadsheet.characters import likely_name, tidy

DECLARATION_FILE = "cohort.yaml"
Kind = Literal["continuous", "ordinal", "categorical"]
KnownAt = Literal["baseline", "post_nat", "post_surgery"]
TOP_KEYS = ("name", "label", "dicom_root", "clinical", "columns", "outcomes", "dataset", "leaks_accepted")
FEWEST_LETTERS = 12
"""Of a reason in words."""
VALUES_SHOWN = 5
LATE = ("post_nat", "post_surgery")
MAPPED = ("patient_id", "center", "side", "split", "eligible", "exclusion_reason")
RESERVED = ("patient_id", "center", "side", "split", "eligible", "exclusion_reason", "aln_status", "unit_id")


FEATURE_KEYS = ("kind", "levels", "unit", "known_at", "column", "map", "missing", "range")


@dataclass(frozen=True)
class ClinicalFeature:
    """One clinical feature of `patients.csv`.

    Args:
        name: its column.
        kind: `continuous` (a number), `ordinal` (levels in order) or `categorical`.
        levels: allowed values; in order, and needed, for an ordinal feature.
        unit: unit of a continuous feature.
        known_at: when the value is known: `baseline`, after NAT and before surgery (`post_nat`), or `post_surgery`.
    """

    name: str
    kind: Kind
    levels: tuple[str, ...] = ()
    unit: str | None = None
    known_at: KnownAt = "baseline"


@dataclass(frozen=True)
class ColumnReading:
    """Reading of one column of `patients.csv`: its name in the file, its values, and the limits of them.

    Args:
        column: its name in the file.
        values: value in the file -> value that is read; an empty one means missing.
        missing: codes that mean missing.
        range: smallest and largest value of a number.
    """

    column: str
    values: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Declaration:
    """Content of `cohort.yaml`, or its defaults.

    By AJCC 8, nodes with isolated tumour cells alone are ypN0(i+): N stage 0, yet no pathological complete response.
    `aln_status` counts them as the table says, 0 or 1; `label_meaning` is the place to state which.

    `outcomes` names further columns that hold an outcome, with the time when each is known; none of them can be
    declared as a clinical feature. `sources` are the data sets of `dataset`. `leaks_accepted` is the reason why persons
    or exposures that stand in several splits, or under several names, are trained and tested with; empty where none is.
    """

    name: str
    dicom_root: Path
    label_column: str = "aln_status"
    label_meaning: str = "1 = residual nodal metastasis after NAT, 0 = ypN0"
    clinical: dict[str, ClinicalFeature] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    leaks_accepted: str = ""
    readings: dict[str, ColumnReading] = field(default_factory=dict)
    """By the name that the product knows a column by: those that the file writes in another way."""


@dataclass(frozen=True)
class Outcome:
    """Name what a run learns to tell: a cohort's column, and what `cohort.yaml` says that 1 and 0 mean."""

    column: str
    meaning: str

    @property
    def in_words(self) -> str:
        """Name what a score is the probability of, as `cohort.yaml` says where it is no residual nodal disease."""
        ours = self.meaning == Declaration.label_meaning
        return "residual nodal disease" if ours else f"{self.column} = 1 ({self.meaning})"

    def to_json(self) -> dict[str, str]:
        """Plain values, as the JSON beside predictions keeps them."""
        return {"column": self.column, "meaning": self.meaning, "words": self.in_words}


def read_declaration(root: Path, faults: list[BadCell]) -> Declaration:
    """Read `cohort.yaml` of a cohort folder; without the file the folder's name and no clinical features."""
    path = root / DECLARATION_FILE
    content = read_text_yaml(path, faults) if stands(path) else {}
    _refuse_unknown(content, TOP_KEYS, "", faults)
    default = Declaration(name=root.resolve().name, dicom_root=root)
    label = _mapping(content, "label", "column and meaning", faults)
    _refuse_unknown(label, ("column", "meaning", "map", "missing"), "label.", faults)
    label_column = _text(label, "column", "label.", faults) or default.label_column
    clinical = _mapping(content, "clinical", "features, each with its kind", faults)
    read = {name: _feature(name, value, label_column, faults) for name, value in clinical.items()}
    outcomes = {name: str(value) for name, value in _mapping(content, "outcomes", "columns", faults).items()}
    for name, known_at in outcomes.items():
        if known_at not in LATE:
            faults.append(_fault(f"outcomes.{name}", known_at, f"one of {', '.join(LATE)}"))
        if name in clinical:
            faults.append(_fault(f"clinical.{name}", name, "another column: `outcomes` says that it holds an outcome"))
    readings = {label_column: _reading(label_column, label, "label", faults)}
    readings |= {
        name: _reading(name, value, f"clinical.{name}", faults) for name, value in clinical.items() if read.get(name)
    }
    for name, value in _mapping(content, "columns", "names of the product to names in patients.csv", faults).items():
        if name not in MAPPED:
            words = ", ".join(MAPPED)
            faults.append(_fault(f"columns.{name}", value, f"one of {words}; label and clinical have their own column"))
        else:
            own = {"column": value} if isinstance(value, str) else value
            readings[name] = _reading(name, own, f"columns.{name}", faults)
    return Declaration(
        name=_text(content, "name", "", faults) or default.name,
        # an absolute dicom_root replaces the folder
        dicom_root=root / (_text(content, "dicom_root", "", faults) or ""),
        label_column=label_column,
        label_meaning=_text(label, "meaning", "label.", faults) or default.label_meaning,
        clinical={name: feature for name, feature in read.items() if feature is not None},
        outcomes=outcomes,
        sources=sources_of_yaml(content.get("dataset"), faults),
        leaks_accepted=_reason(content, faults),
        readings={name: reading for name, reading in readings.items() if reading != ColumnReading(name)},
    )


def declaration_differences(own: Mapping[str, ClinicalFeature], other: Mapping[str, ClinicalFeature]) -> list[str]:
    """Compare what two cohorts declare of the same clinical features.

    Args:
        own: features of the first, by name; a feature that the other does not declare is no difference.
        other: features of the second.

    Returns:
        One line per difference of kind, unit, levels (their order too where ordinal), and known_at.
    """
    lines = []
    for name, feature in own.items():
        if name not in other:
            continue
        theirs = other[name]
        facts: list[tuple[str, object, object]] = [
            ("kind", feature.kind, theirs.kind),
            ("unit", feature.unit, theirs.unit),
            ("known_at", feature.known_at, theirs.known_at),
        ]
        is_ordered = "ordinal" in (feature.kind, theirs.kind)
        levels = [list(item.levels) if is_ordered else sorted(item.levels) for item in (feature, theirs)]
        if all(levels):  # a feature without declared levels states none
            facts.insert(2, ("levels", ", ".join(levels[0]), ", ".join(levels[1])))
        lines += [
            f"clinical feature {name}: {fact} is {first or 'not stated'} here and {second or 'not stated'} there"
            for fact, first, second in facts
            if first != second
        ]
    return lines


def map_hint(feature: ClinicalFeature, strange: Iterable[object]) -> str:
    """Give the map to type in cohort.yaml for values that are no levels; those that are not guessed are left open."""
    names = list(dict.fromkeys(map(str, strange)))[:VALUES_SHOWN]
    quoted = {name: name if name.isalnum() else json.dumps(name, ensure_ascii=False) for name in names}
    pairs = ", ".join(f"{quoted[name]}: {likely_name(name, feature.levels) or 'LEVEL'}" for name in names)
    return f"cohort.yaml maps them: `clinical: {{{feature.name}: {{kind: {feature.kind}, map: {{{pairs}}}}}}}`"


def _fault(key: str, value: object, expected: str) -> BadCell:
    return BadCell(DECLARATION_FILE, None, key, value, expected)


def _refuse_unknown(content: Mapping[str, Yaml], allowed: tuple[str, ...], prefix: str, faults: list[BadCell]) -> None:
    unknown = [key for key in content if key not in allowed]
    faults.extend(
        _fault(f"{prefix}{key}", content[key], f"only the keys {', '.join(allowed)}{did_you_mean(key, allowed)}")
        for key in unknown
    )


def _mapping(content: Mapping[str, Yaml], key: str, content_words: str, faults: list[BadCell]) -> dict[str, Yaml]:
    value = content.get(key) or {}
    if isinstance(value, dict):
        return value
    faults.append(_fault(key, value, f"a mapping ({content_words})"))
    return {}


def _reason(content: Mapping[str, Yaml], faults: list[BadCell]) -> str:
    """Read the words of `leaks_accepted`: a yes is no reason."""
    reason = " ".join((_text(content, "leaks_accepted", "", faults) or "").split())
    if reason and (sum(map(str.isalpha, reason)) < FEWEST_LETTERS or " " not in reason):
        faults.append(_fault("leaks_accepted", reason, f"the reason in words, of {FEWEST_LETTERS} letters at least"))
    return reason


def _text(content: Mapping[str, Yaml], key: str, prefix: str, faults: list[BadCell]) -> str | None:
    value = content.get(key) or None
    if value is None or isinstance(value, str):
        return value
    faults.append(_fault(f"{prefix}{key}", value, "a single value"))
    return None


def _feature(name: str, value: object, label: str, faults: list[BadCell]) -> ClinicalFeature | None:
    prefix = f"clinical.{name}"
    if not isinstance(value, dict):
        faults.append(
            _fault(prefix, value, "a mapping with kind (and levels, unit, known_at, column, map, missing, range)")
        )
        return None
    before = len(faults)
    if name in RESERVED or name == label:
        faults.append(_fault(prefix, name, "another column: this one is reserved or holds the outcome"))
    _refuse_unknown(value, FEATURE_KEYS, f"{prefix}.", faults)
    kind = value.get("kind", "")
    if kind not in get_args(Kind):
        faults.append(_fault(f"{prefix}.kind", kind, f"one of {', '.join(get_args(Kind))}"))
    known_at = value.get("known_at") or "baseline"
    if known_at not in get_args(KnownAt):
        faults.append(_fault(f"{prefix}.known_at", known_at, f"one of {', '.join(get_args(KnownAt))}"))
    levels = value.get("levels") or []
    if not isinstance(levels, list) or not all(isinstance(level, str) and level for level in levels):
        faults.append(_fault(f"{prefix}.levels", levels, "a list of values"))
    elif len(set(levels)) < len(levels):
        faults.append(_fault(f"{prefix}.levels", levels, "each level once"))
    elif kind == "ordinal" and len(levels) < 2:
        faults.append(_fault(f"{prefix}.levels", levels, "at least two levels in order (ordinal feature)"))
    elif kind == "continuous" and levels:
        faults.append(_fault(f"{prefix}.levels", levels, "no levels, as the feature is continuous"))
    unit = _text(value, "unit", f"{prefix}.", faults)
    if len(faults) > before:
        return None
    return ClinicalFeature(name, cast(Kind, kind), tuple(levels), unit, cast(KnownAt, known_at))


def _reading(name: str, content: object, prefix: str, faults: list[BadCell]) -> ColumnReading:
    """Read `column`, `map`, `missing` and `range` of one column."""
    if not isinstance(content, dict):
        faults.append(_fault(prefix, content, "a column's name, or a mapping with column, map and missing"))
        return ColumnReading(name)
    own_keys = ("column", "map", "missing")
    if prefix.startswith("columns."):
        _refuse_unknown(content, own_keys, f"{prefix}.", faults)
    # `label.column` renames nothing: it is the product's own name for the outcome
    column = _text(content, "column", f"{prefix}.", faults) or name
    values = content.get("map") or {}
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        faults.append(_fault(f"{prefix}.map", values, "a mapping of values in the file to values"))
        values = {}
    missing = content.get("missing") or []
    missing = [missing] if isinstance(missing, str) else missing
    if not isinstance(missing, list) or not all(isinstance(code, str) for code in missing):
        faults.append(_fault(f"{prefix}.missing", missing, "a list of values, such as [999, unknown]"))
        missing = []
    return ColumnReading(
        column,
        {tidy(old): tidy(str(new)) for old, new in values.items()},
        tuple(map(tidy, map(str, missing))),
        _range(content, prefix, faults),
    )


def _range(content: Mapping[str, Yaml], prefix: str, faults: list[BadCell]) -> tuple[float, float] | None:
    stated = content.get("range")
    if not stated:
        return None
    try:
        low, high = (float(str(bound)) for bound in stated) if isinstance(stated, list) else (0.0, 0.0)
    except ValueError:
        low = high = 0.0
    if content.get("kind") != "continuous" or not low < high:
        expected = "two numbers, the smallest first, of a continuous feature, such as [18, 100]"
        faults.append(_fault(f"{prefix}.range", stated, expected))
        return None
    return (low, high)
