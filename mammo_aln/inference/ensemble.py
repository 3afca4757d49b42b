"""Several frozen runs as one model: the mean of their logits, its threshold and calibration from validation rows alone.

Members that validate on the same patients (many seeds) give those patients the mean of all members' logits. Members
that validate on different ones (folds) give each patient the mean of those members that did not train on it, pooled
out of fold. A test row always gets the mean of all members; between folds that mean is steadier than what the
temperature was fitted on, so that probabilities come out a little too cautious, never too bold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo_aln.errors import InputError
from mammo_aln.files import read_object, read_own_table
from mammo_aln.model.origin import PRETRAINED_FILE, RESTORE
from mammo_aln.runs.names import called, run_path
from mammo_aln.runs.record import read_state
from mammo_aln.training.prediction_facts import OperatingPoint, PredictionFacts

SHARED_SETTINGS = ("model.inputs", "pixels", "crop", "data.allow_post_nat")
UNIT = ("patient_id", "side")
SHOWN_RUNS = 8


@dataclass(frozen=True)
class Member:
    """A completed run, as it was frozen.

    Args:
        run: its directory.
        facts: its predictions.json.
        cohort: digest of the cohort that it learnt from.
        settings: its shaping settings.
        val: its validation rows, one per treated axilla: UNIT, `center`, `aln_status`, `logit`.
    """

    run: Path
    facts: PredictionFacts
    cohort: str
    settings: Mapping[str, Any]
    val: pd.DataFrame

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.facts.run_id

    @property
    def units(self) -> frozenset[tuple[str, str]]:
        """The treated axillae that validated it."""
        return frozenset(self.val[list(UNIT)].itertuples(index=False, name=None))


@dataclass(frozen=True)
class Ensemble:
    """Several members as one model, frozen.

    Args:
        run_id: hash of the members' ids; their order does not matter.
        out_of_fold: the members validate on different patients.
        val: validation rows with the ensemble's logit: UNIT, `center`, `aln_status`, `logit`.
        operating: calibration and threshold, fitted on `val`.
        settings: the members' settings; where they differ, a list in the members' order.
    """

    run_id: str
    out_of_fold: bool
    val: pd.DataFrame
    operating: OperatingPoint
    settings: Mapping[str, Any]


def read_member(run: Path) -> Member:
    """Read the frozen facts of a completed run, given by its directory or its name; `InputError` where it is none."""
    run = run_path(run)
    refuse_no_run(run)
    if (run / PRETRAINED_FILE).is_file():
        raise InputError(f"{run}: a pre-training; `train --model.pretrained={run / PRETRAINED_FILE}` begins from it")
    state = read_state(run).state
    if state != "completed":
        raise InputError(f"{run}: its state is {state!r}; predictions need a completed run")
    identity = read_object(run / "environment.json").get("identity")
    if not isinstance(identity, dict):
        raise InputError(f"{run / 'environment.json'}: names no identity; expected the file that the training wrote")
    val = _validation_rows(run / "predictions.csv")
    return Member(
        run,
        PredictionFacts.read(run / "predictions.csv"),
        identity["cohort"],
        identity["settings"],
        val,
    )


def _validation_rows(path: Path) -> pd.DataFrame:
    try:
        rows = read_own_table(path, dtype={"patient_id": str, "center": str, "side": str, "run_id": str})
        rows = rows[rows["split"] == "val"]
        rows = rows.assign(side=rows["side"].fillna("") if "side" in rows else "")
        return rows[[*UNIT, "center", "aln_status", "logit"]].reset_index(drop=True)
    except (ValueError, KeyError, TypeError, OSError) as error:
        cause = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: cannot be read as predictions of a run ({cause}); {RESTORE}") from error


def refuse_no_run(run: Path) -> None:
    """`InputError` where the path is no run directory; it names those that were near."""
    if run.is_file():
        raise InputError(f"--run {run}: a file; expected the run directory{_near(run.parent)}")
    if not run.is_dir():
        raise InputError(f"--run {run}: no such run{_near(run.parent)}")
    if not (run / "state.json").is_file():
        raise InputError(f"--run {run}: not a run directory (no state.json){_near(run)}")


def _near(folder: Path) -> str:
    """The runs in a folder, or the run that it lies in, in words for the end of a message."""
    for above in (folder, *list(folder.parents)[:1]):
        if (above / "state.json").is_file():
            return f", {above}"
    runs = [called(path.parent) for path in sorted(folder.glob("*/state.json"))] if folder.is_dir() else []
    shown = ", ".join(runs[:SHOWN_RUNS]) + (f" and {len(runs) - SHOWN_RUNS} more" if len(runs) > SHOWN_RUNS else "")
    return f"; {folder} holds: {shown}" if runs else f"; {folder} holds no run"


def ensemble_of(members: Sequence[Member]) -> Ensemble:
    """Combine two or more members.

    Raises:
        InputError: a scrubbed copy, whose validation rows are not there; one run twice; other pixels, crops or inputs;
            another cohort; validation patients that overlap in part, so that a patient who validates one member trained
            another of the same fold; folds of unequal numbers of members.
    """
    scrubbed = [str(member.run) for member in members if member.val.empty]
    if scrubbed:
        raise InputError(
            f"{', '.join(scrubbed)}: scrubbed; several runs as one model are calibrated on their validation"
            " patients, which were taken out; expected the run itself"
        )
    _refuse_unlike(members)
    groups: dict[frozenset[tuple[str, str]], list[Member]] = {}
    for member in members:
        groups.setdefault(member.units, []).append(member)
    _refuse_overlap(groups)
    val = pd.concat([_mean_logits(group) for group in groups.values()], ignore_index=True)
    val = val.sort_values(list(UNIT), ignore_index=True)
    joined = "\n".join(sorted(member.run_id for member in members))
    return Ensemble(
        run_id=hashlib.sha256(joined.encode()).hexdigest()[:12],
        out_of_fold=len(groups) > 1,
        val=val,
        operating=OperatingPoint.on_validation(val),
        settings=_merged([member.settings for member in members]),
    )


def mean_of_members(scored: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows that every member scored, with the mean of their logits."""
    first = scored[0]
    for other in scored[1:]:
        if not first["unit_id"].equals(other["unit_id"]) or not first["split"].equals(other["split"]):
            raise RuntimeError("the members scored different rows")
    return first.assign(logit=np.mean([table["logit"].to_numpy(float) for table in scored], axis=0))


def _refuse_unlike(members: Sequence[Member]) -> None:
    first = members[0]
    for number, other in enumerate(members[1:], start=1):
        if other.run_id in {member.run_id for member in members[:number]}:
            raise InputError(f"--run {other.run}: run {other.run_id} is given twice")
        for name in SHARED_SETTINGS:
            ours, theirs = (_setting(member.settings, name) for member in (first, other))
            if ours != theirs:
                raise InputError(
                    f"--run: {first.run_id} has {name} = {ours}, {other.run_id} has {theirs}; not one input"
                )
        if other.cohort != first.cohort:
            raise InputError(
                f"--run: {first.run_id} and {other.run_id} learnt from different cohorts; their validation rows can't "
                "be pooled"
            )


def _refuse_overlap(groups: dict[frozenset[tuple[str, str]], list[Member]]) -> None:
    units = list(groups)
    for number, later in enumerate(units):
        for earlier in units[:number]:
            shared = {patient for patient, _ in later} & {patient for patient, _ in earlier}
            if shared:
                ids = [groups[group][0].run_id for group in (earlier, later)]
                raise InputError(
                    f"--run: {ids[0]} and {ids[1]} share {len(shared)} validation patients, not all of them; members "
                    "must validate on the same patients, or be folds of one dealing (data.folds, data.fold_seed)"
                )
    counts = {len(group) for group in groups.values()}
    if len(counts) > 1:
        folds = ", ".join(f"{len(group)} of the fold of {group[0].run_id}" for group in groups.values())
        raise InputError(f"--run: every fold needs as many members as the others; here {folds}")


def _mean_logits(group: Sequence[Member]) -> pd.DataFrame:
    tables = [member.val.sort_values(list(UNIT), ignore_index=True) for member in group]
    return tables[0].assign(logit=np.mean([table["logit"].to_numpy(float) for table in tables], axis=0))


def _setting(settings: Mapping[str, Any], name: str) -> Any:
    value: Any = settings
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _merged(settings: Sequence[Any]) -> Any:
    """One value where all agree, else the list of them; dictionaries are gone through."""
    if all(isinstance(each, Mapping) for each in settings):
        keys = list(dict.fromkeys(key for each in settings for key in each))
        return {key: _merged([each.get(key) for each in settings]) for key in keys}
    return settings[0] if all(each == settings[0] for each in settings) else list(settings)
