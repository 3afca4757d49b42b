"""Prediction files: read, checked as a whole, joined by split, with the facts that lie beside them as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo_aln.errors import BadCell, InputError, raise_bad_cells, shortened
from mammo_aln.evaluation.facts_form import misfit
from mammo_aln.evaluation.inputs import merged_inputs
from mammo_aln.evaluation.samples import LEARNT_FROM
from mammo_aln.files import read_object
from mammo_aln.spreadsheet.characters import one_spelling
from mammo_aln.spreadsheet.missing import without_missing_words
from mammo_aln.spreadsheet.text_table import read_text_table
from mammo_aln.spreadsheet.written_numbers import numbers

REQUIRED = ("patient_id", "aln_status", "score")
KEY = ("center", "patient_id", "side")
SPLIT_ORDER = ("train", "val", "internal_test", "external_test")
NO_SPLIT = "all"
MOST_CELLS_NAMED = 50


@dataclass(frozen=True)
class FlowStep:
    """One step of the cohort's flow: the number of treated axillae left, and of those left out by reason."""

    step: str
    n: int
    excluded: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Branch:
    """Flow of the files that were read from one table of patients: its steps, and the splits that came of it."""

    steps: tuple[FlowStep, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True)
class Predictions:
    """Rows of one model and what is known of the run.

    Args:
        table: `patient_id`, `center`, `side`, `split` (text), `aln_status` (1, 0 or NaN), `score`, in the files' order.
        facts: the JSON beside the files (threshold, recipe, fallbacks, ...); the first file wins.
        sources: names of the files read.
        has_center: the files name centres.
        flow: cohort flow of each source.
    """

    table: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    has_center: bool = False
    flow: tuple[Branch, ...] = ()

    def splits(self) -> list[str]:
        """Names of the splits: the usual ones in their natural order, then the others as they came."""
        names = list(dict.fromkeys(self.table["split"]))
        return [name for name in SPLIT_ORDER if name in names] + [name for name in names if name not in SPLIT_ORDER]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_table(path: Path) -> pd.DataFrame:
    """One predictions file; every bad cell is named in one message.

    Raises:
        InputError: missing, empty or unreadable file, missing column, bad cell, or a patient twice in a split.
    """
    if not path.is_file():
        raise InputError(f"no predictions file at {path}")
    faults: list[BadCell] = []
    raw = read_text_table(path, faults, (*REQUIRED, *KEY, "split", "run_id"))
    raise_bad_cells(faults[:MOST_CELLS_NAMED])
    if raw is None:
        raise InputError(f"{path.name} is not a readable table")
    scores = raw["score"].fillna("") if "score" in raw else None  # never missing: a word there is a fault
    raw = without_missing_words(raw).fillna("")
    if scores is not None:
        raw["score"] = scores
    for name in {"aln_status", "score"} & set(raw.columns):
        values = numbers(raw[name].replace("", np.nan))
        # a number in another writing is written plainly, so that the checks below see what is used
        plain = values.isna() | raw[name].map(_number).notna()
        raw[name] = raw[name].where(plain, values.map(repr))
    missing = [name for name in REQUIRED if name not in raw.columns]
    if missing:
        raise InputError(f"{path.name} lacks the column(s) {', '.join(missing)}; it has {', '.join(raw.columns)}")
    cells = _faults(raw, path.name)
    if len(cells) > MOST_CELLS_NAMED:
        more = BadCell(path.name, None, "further faults", len(cells) - MOST_CELLS_NAMED, "none")
        cells = [*cells[:MOST_CELLS_NAMED], more]
    raise_bad_cells(cells)
    table = pd.DataFrame({name: raw.get(name, "") for name in ("run_id", *KEY)})
    table["split"] = raw.get("split", NO_SPLIT)
    table["states_inputs"] = "inputs_seen" in raw
    table["aln_status"] = raw["aln_status"].map(_number).astype(float)
    table["score"] = raw["score"].map(float).astype(float)
    return table.reset_index(drop=True)


def _faults(raw: pd.DataFrame, name: str) -> list[BadCell]:
    """Every bad cell of a predictions table, row by row as a spreadsheet counts (header = 1)."""
    checks = {
        "patient_id": (lambda text: text != "", "an identifier"),
        "aln_status": (lambda text: text == "" or _number(text) in (0.0, 1.0), "1, 0 or empty (unknown)"),
        "score": (lambda text: math.isfinite(_number(text)), "a finite number"),
        "split": (lambda text: text != "", "the name of a split"),
        "center": (lambda text: text != "", "the name of a centre"),
    }
    cells = [
        BadCell(name, int(row), column, text, expected)
        for column, (is_good, expected) in checks.items()
        if column in raw
        for row, text in zip(raw.index, raw[column], strict=True)
        if not is_good(text)
    ]
    key = [column for column in (*KEY, "split") if column in raw]
    seen: dict[tuple[str, ...], int] = {}
    for row, values in zip(map(int, raw.index), raw[key].itertuples(index=False, name=None), strict=True):
        first = seen.setdefault(values, row)
        if first != row:
            expected = f"one row per patient (and side) in a split; row {first} is the same"
            cells.append(BadCell(name, row, "patient_id", raw.at[row, "patient_id"], expected))
    return sorted(cells, key=lambda cell: (cell.row or 0, cell.column))


def read_facts(path: Path) -> dict[str, Any]:
    """The JSON beside a predictions file (same stem), or nothing where there is none.

    Raises:
        InputError: the file is no JSON object of the form of predictions, or its threshold is not a number.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {}
    facts = read_object(beside)
    if wrong := misfit(facts):
        raise InputError(
            f"{beside.name}, {shortened(wrong, plain=True)}: not of the form that `predict` and `train` write; bring"
            " the file back, or score again"
        )
    threshold = facts.get("threshold")
    if threshold is not None:
        value = threshold.get("value") if isinstance(threshold, dict) else threshold
        try:
            number = float(str(value))  # the strings Inf and -Inf are thresholds too
        except ValueError:
            number = math.nan
        if math.isnan(number):
            raise InputError(f"{beside.name}, threshold: expected an object with a numeric value, got {threshold!r}")
        facts["threshold"] = {**(threshold if isinstance(threshold, dict) else {}), "value": number}
    return facts


def read_predictions(files: Sequence[Path], run: Path | None = None) -> Predictions:
    """Join prediction files of one model (and the run's own `predictions.csv`) by split.

    Rows of the run that the files hold as well are taken from the files: `predict` on the run's own cohort scores its
    training and validation patients again.

    Raises:
        InputError: a bad table, a file given twice, files of different runs or thresholds, or a patient in two files or
            two splits.
    """
    paths = [Path(path) for path in files]
    given: set[Path] = set()
    for path in paths:
        if path.resolve() in given:
            raise InputError(f"{path}: given twice; name each file of predictions once")
        given.add(path.resolve())
    if run is not None:
        paths.append(Path(run) / "predictions.csv")
    unique = list({path.resolve(): path for path in paths}.values())
    rows = [
        read_table(path).assign(file=path.name, source=number, given=path.resolve() in given)
        for number, path in enumerate(unique)
    ]
    beside = [read_facts(path) for path in unique]
    table = pd.concat(rows, ignore_index=True)
    table["center"] = table["center"].map(one_spelling(table["center"]))
    _refuse_mixed_runs(table, dict(zip(unique, beside, strict=True)))
    table, beside = _others_apart(table, beside)
    table = table[table["given"] | ~table.duplicated([*KEY, "split"], keep=False)].reset_index(drop=True)
    _refuse_repeats(table)
    facts: dict[str, Any] = {}
    for stated in reversed([stated for stated in beside if stated]):
        facts |= stated | {"splits": {**facts.get("splits", {}), **(stated.get("splits") or {})}}
    if notes := list(dict.fromkeys(note for stated in beside for note in stated.get("notes") or [])):
        facts |= {"notes": notes}
    uncounted = [
        path.name
        for path, own, stated in zip(unique, rows, beside, strict=True)
        if own["states_inputs"].all() and not (stated.get("inputs") or {}).get("counts")
    ]
    facts |= {"inputs": merged_inputs(beside) | ({"uncounted": uncounted} if uncounted else {})}
    has_center = bool((table["center"] != "").all())
    columns = ["patient_id", "center", "side", "split", "aln_status", "score"]
    sources = tuple(path.name for path in unique)
    return Predictions(table[columns], facts, sources, has_center, _flow(table, beside))


def _others_apart(table: pd.DataFrame, beside: Sequence[dict[str, Any]]) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Call `train` and `val` of files that hold no patient of the run's own file `external_...`, in their JSON too.

    The run learnt from other people: to it they are tests, and are not judged together with its own.
    """
    of_run = pd.MultiIndex.from_frame(table.loc[~table["given"], list(KEY)])
    renamed = list(beside)
    for number, facts in enumerate(beside):
        own = table["source"] == number
        keys = pd.MultiIndex.from_frame(table.loc[own, list(KEY)])
        if not len(of_run) or keys.isin(of_run).any():
            continue
        names = {name: f"external_{name}" for name in LEARNT_FROM}
        table = table.assign(split=table["split"].where(~own, table["split"].replace(names)))
        inputs = facts.get("inputs") or {}
        counts = [{**count, "split": names.get(count["split"], count["split"])} for count in inputs.get("counts") or []]
        renamed[number] = facts | {
            "splits": {names.get(name, name): opening for name, opening in (facts.get("splits") or {}).items()},
            "inputs": {**inputs, "counts": counts},
        }
    return table, renamed


def _flow(table: pd.DataFrame, beside: Sequence[Mapping[str, Any]]) -> tuple[Branch, ...]:
    """One branch per source; files that state the same steps came from one table and share a branch."""
    splits: dict[tuple[FlowStep, ...], list[str]] = {}
    for number, facts in enumerate(beside):
        steps = tuple(
            FlowStep(step.get("step", ""), step.get("n", ""), tuple((step.get("excluded") or {}).items()))
            for step in facts.get("cohort_flow") or []
        )
        splits.setdefault(steps, []).extend(table.loc[table["source"] == number, "split"].unique())
    return tuple(Branch(steps, tuple(dict.fromkeys(names))) for steps, names in splits.items() if names)


def _refuse_mixed_runs(table: pd.DataFrame, beside: Mapping[Path, Mapping[str, Any]]) -> None:
    runs = sorted(set(table["run_id"]) - {""})
    joint = next((facts for facts in beside.values() if facts.get("members")), None)
    if len(runs) > 1 and joint is not None and set(runs) <= {*joint["members"], joint.get("run_id")}:
        raise InputError(
            f"these are predictions of {len(joint['members'])} runs as one model ({', '.join(joint['members'])}), and "
            "--run takes one run: leave it out; `mammo-aln predict` with all of them, the cohort that they learnt from "
            "and --split val gives the model's validation rows, one more file for evaluate"
        )
    if len(runs) > 1:
        raise InputError(
            f"the files come from different runs ({', '.join(runs)}); judge each run by itself, or use compare"
        )
    thresholds = {path: facts["threshold"]["value"] for path, facts in beside.items() if facts.get("threshold")}
    if len(set(thresholds.values())) > 1:
        shown = ", ".join(f"{path.name}: {value:g}" for path, value in thresholds.items())
        raise InputError(f"the files' frozen thresholds differ ({shown}), so they are not of one model; use compare")


def _refuse_repeats(table: pd.DataFrame) -> None:
    """A patient belongs to one split: elsewhere the same person would be learnt from and judged on."""
    twice = table[table.duplicated([*KEY, "split"], keep=False)]
    cells = [
        BadCell(
            str(row.file), None, "patient_id", row.patient_id, f"one row per patient (and side) in split {row.split}"
        )
        for row in twice.head(MOST_CELLS_NAMED).itertuples()
    ]
    raise_bad_cells(cells)
    splits: dict[tuple[str, str], set[str]] = {}
    for center, patient, split in table[["center", "patient_id", "split"]].itertuples(index=False, name=None):
        splits.setdefault((center, patient), set()).add(split)
    leaks = [(patient, sorted(names)) for (_, patient), names in splits.items() if len(names) > 1]
    if leaks:
        shown = "; ".join(f"{patient} in {', '.join(names)}" for patient, names in leaks[:10])
        more = f" and {len(leaks) - 10} more" if len(leaks) > 10 else ""
        raise InputError(f"{len(leaks)} patient(s) stand in more than one split: {shown}{more}; expected one")
