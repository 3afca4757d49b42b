"""The seal on a test: a run that cannot change unnoticed, plans declared beforehand, and a ledger of openings.

A labelled test split is opened when a model's scores and its outcomes come together. Every opening is a line of
`openings.jsonl` in the cohort folder, so that openings by all runs are seen together, and of the file of that name in
the run directory. A plan (a sweep or ladder) is a line of the same file, written before the openings that it announces.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.tables import Cohort
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready
from mammo_aln.machine.locks import await_lock
from mammo_aln.progress import say
from mammo_aln.runs.identity import file_digest
from mammo_aln.runs.record import now, read_state

LEDGER = "openings.jsonl"
NOT_A_TEST = ("train", "val", "cv")
WEIGHTS = "checkpoints/best.ckpt"
FROZEN = ("threshold", "calibration", "recipe")


@dataclass(frozen=True)
class Plan:
    """A line of the ledger: which runs may open which splits, written before any does.

    Args:
        time: of the declaration.
        plan: its id.
        cohort: digest of the cohort's tables then.
        cohort_name: the cohort's name.
        runs: run ids.
        splits: labelled test splits.
        what: the plan in words.
        openings: how many openings of each split it announces.
    """

    time: str
    plan: str
    cohort: str
    cohort_name: str
    runs: list[str]
    splits: list[str]
    what: str
    openings: int


@dataclass(frozen=True)
class Opening:
    """A line of the ledger: a run's scores and a split's outcomes came together; `plan` had announced it, or None.

    `missing` counts the patients that lacked each input; None in lines of an earlier version.
    """

    time: str
    run_id: str
    cohort: str
    cohort_name: str
    split: str
    n_labelled: int | None = None
    plan: str | None = None
    missing: Mapping[str, int] | None = None


@dataclass(frozen=True)
class CutOff:
    """A line of the ledger that a crash left unfinished: it counts as an opening of every split, by no known run."""

    run_id: None = None
    plan: None = None
    cohort: str = ""


Entry = Plan | Opening | CutOff
KINDS: dict[str, type[Plan] | type[Opening]] = {"plan": Plan, "opening": Opening}


@dataclass(frozen=True)
class OpeningRecord:
    """One opening among the others: `splits[split]` of `predictions.json`.

    Args:
        opened: openings of this split so far, this one too.
        runs_before: other runs that opened it earlier.
        by_this_run: openings by this run, this one too.
        n_labelled: labelled rows scored.
        time: of this opening.
        declared: announced by a plan that stood before.
        plan: that plan's id.
        plan_what: that plan in words.
        plan_time: when it was declared.
        contents: different states of the cohort among the openings.
    """

    opened: int
    runs_before: int
    by_this_run: int
    n_labelled: int
    time: str
    declared: bool
    plan: str | None
    plan_what: str | None
    plan_time: str | None
    contents: int


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(json_ready(value), sort_keys=True).encode()).hexdigest()


def frozen_digests(run: Path) -> dict[str, str]:
    """SHA-256 of a run's weights, threshold, calibration and pixel recipe, as they stand on disk now."""
    about = json.loads((run / "predictions.json").read_text(encoding="utf-8"))
    return {"weights": file_digest(run / WEIGHTS)} | {name: _digest(about.get(name)) for name in FROZEN}


def require_unchanged(run: Path) -> dict[str, str]:
    """The digests that the run was frozen with, after comparing them with what stands on disk.

    Raises:
        InputError: weights, threshold, calibration or recipe are others than those the training ended with, or the run
            was never frozen.
    """
    frozen = read_state(run).frozen
    if not frozen:
        raise InputError(f"{run}: its state.json names no frozen weights (a run of an older version?); train it again")
    digests = frozen_digests(run)
    changed = [name for name in frozen if digests[name] != frozen[name]]
    if changed:
        files = ", ".join(sorted({WEIGHTS if name == "weights" else "predictions.json" for name in changed}))
        raise InputError(
            f"{run}: {', '.join(changed)} changed after the training ended ({files}); a test needs the frozen run"
        )
    return dict(frozen)


def labelled_rows(table: pd.DataFrame, learnt_from: Sequence[str] = NOT_A_TEST) -> dict[str, int]:
    """Number of labelled rows of each split that counts as a test.

    Args:
        table: `aln_status` and `split`.
        learnt_from: splits that are none, since the run learnt from them or cross-validated on them; to a run that
            learnt from another cohort every split is a test, whatever its name.
    """
    labelled = table[table["aln_status"].notna() & ~table["split"].isin(list(learnt_from))]
    return {str(split): len(rows) for split, rows in labelled.groupby("split", sort=True)}


def ledger_of(cohort: Cohort, ledger: Path | None = None) -> Path:
    """File of the cohort's openings: `ledger`, or `openings.jsonl` in the cohort folder."""
    return cohort.root / LEDGER if ledger is None else Path(ledger)


@contextmanager
def _held(path: Path) -> Iterator[TextIO]:
    """The ledger, open for reading and appending, kept from other processes.

    Raises:
        InputError: the file cannot be made or written there.
    """
    try:
        lock = await_lock(path)
    except OSError as error:
        raise InputError(_cannot(path, error.strerror)) from error
    with lock:
        yield lock.stream


def _append(stream: TextIO, entry: Plan | Opening) -> None:
    """One whole line on the disk; a line that a crash cut off before it is ended first."""
    stream.seek(0)
    text = stream.read()
    kind = next(kind for kind, form in KINDS.items() if isinstance(entry, form))
    stream.write(("\n" if text and not text.endswith("\n") else "") + json.dumps({"kind": kind, **vars(entry)}) + "\n")
    stream.flush()
    os.fsync(stream.fileno())


def _entries(stream: TextIO, path: Path) -> list[Entry]:
    stream.seek(0)
    entries: list[Entry] = []
    for number, line in enumerate(stream.read().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            plain = json.loads(line)
        except json.JSONDecodeError:
            say(f"{path} line {number} was cut off by a crash: it counts as an opening of every split")
            entries.append(CutOff())
            continue
        entry = _entry(plain)
        if entry is None:
            raise InputError(f"{path} line {number}: expected an opening or a plan, got {line[:60]!r}")
        entries.append(entry)
    return entries


def _entry(plain: Any) -> Plan | Opening | None:
    """A line as what it says it is; None where fields are missing."""
    form = KINDS.get(plain.get("kind", "")) if isinstance(plain, dict) else None
    if form is None or any(field.name not in plain for field in fields(form) if field.default is MISSING):
        return None
    return form(**{field.name: plain[field.name] for field in fields(form) if field.name in plain})


def require_writable(cohort: Cohort, ledger: Path | None = None, run: Path | None = None) -> None:
    """Refuse before the long work, not after it, where an opening could not be recorded.

    Raises:
        InputError: a ledger cannot be written.
    """
    for path in _ledgers(cohort, ledger, run):
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise InputError(_cannot(path, "it cannot be written"))


def _cannot(path: Path, why: str | None) -> str:
    return (
        f"{path}: the opening of a test split cannot be recorded there ({why}); --ledger FILE names another place, "
        "the same one for all runs"
    )


def _ledgers(cohort: Cohort, ledger: Path | None, run: Path | None) -> list[Path]:
    """The cohort's ledger first; the run's own copy beside it unless another place was named for read-only folders."""
    return [ledger_of(cohort, ledger), *([run / LEDGER] if run is not None and ledger is None else [])]


def openings(cohort: Cohort, ledger: Path | None = None) -> list[Entry]:
    """Every line of the cohort's ledger that concerns this cohort, plans and openings, oldest first."""
    path = ledger_of(cohort, ledger)
    if not path.is_file():
        return []
    with _held(path) as stream:
        return _of_cohort(_entries(stream, path), cohort, cohort_content(cohort))


def _of_cohort(entries: Sequence[Entry], cohort: Cohort, content: str) -> list[Entry]:
    """A changed label or split makes another content, not another cohort: the name holds the openings together."""
    return [e for e in entries if isinstance(e, CutOff) or content == e.cohort or cohort.name == e.cohort_name]


def declare_plan(
    cohort: Cohort,
    runs: Sequence[str],
    splits: Sequence[str],
    *,
    what: str,
    openings: int | None = None,
    ledger: Path | None = None,
) -> str:
    """Declare which runs may open which splits, before any does; the same plan again is the same id and no new line.

    Args:
        cohort: the cohort whose splits will be opened.
        runs: run ids (identities are known before training).
        splits: labelled test splits.
        what: the plan in words, such as `ladder of 4 steps` (printed in the report).
        openings: how many openings of each split the plan announces; by default one per run. A sweep that tests its
            chosen run alone announces 1.
        ledger: file to keep instead of the cohort folder's.

    Returns:
        The plan's id (12 hex digits).
    """
    content = cohort_content(cohort)
    announced = len(set(runs)) if openings is None else openings
    plan: dict[str, Any] = {
        "runs": sorted(set(runs)),
        "splits": sorted(set(splits)),
        "what": what,
        "openings": announced,
    }
    identity = _digest(plan | {"cohort": content})[:12]
    path = ledger_of(cohort, ledger)
    with _held(path) as stream:
        if not any(isinstance(e, Plan) and e.plan == identity for e in _entries(stream, path)):
            _append(stream, Plan(time=now(), plan=identity, cohort=content, cohort_name=cohort.name, **plan))
    return identity


def record_opening(
    cohort: Cohort,
    run_id: str,
    split: str,
    n_labelled: int,
    *,
    plan: str | None = None,
    run: Path | None = None,
    ledger: Path | None = None,
    missing: Mapping[str, int] | None = None,
) -> OpeningRecord:
    """Append one opening of a labelled test split, and say how it stands among the others.

    Args:
        cohort: the cohort that is opened.
        run_id: the run that opens it.
        split: the split.
        n_labelled: labelled rows scored.
        plan: id of a declared plan; where it is None, a plan that named this run and split beforehand is looked up.
        run: run directory that keeps a copy of the line.
        ledger: file to keep instead of both folders' files.
        missing: patients of the split that lacked each input that the run was trained with.

    Raises:
        InputError: the ledger cannot be written, or `plan` is not one that stands there for this run and split.
    """
    content = cohort_content(cohort)
    first, *copies = _ledgers(cohort, ledger, run)
    with _held(first) as stream:
        entries = _of_cohort(_entries(stream, first), cohort, content)
        before = [e for e in entries if isinstance(e, CutOff) or (isinstance(e, Opening) and e.split == split)]
        declared = _plan_for(entries, before, run_id, split, plan, first)
        announced = declared.plan if declared else None
        opening = Opening(now(), run_id, content, cohort.name, split, n_labelled, announced, missing)
        _append(stream, opening)
    for path in copies:
        with _held(path) as stream:
            _append(stream, opening)
    runs = [e.run_id for e in before]
    return OpeningRecord(
        opened=len(before) + 1,
        runs_before=len(set(runs) - {run_id}),
        by_this_run=runs.count(run_id) + 1,
        n_labelled=n_labelled,
        time=opening.time,
        declared=declared is not None,
        plan=opening.plan,
        plan_what=declared.what if declared else None,
        plan_time=declared.time if declared else None,
        contents=len({e.cohort for e in before} | {content}),
    )


def _plan_for(
    entries: Sequence[Entry],
    before: Sequence[Opening | CutOff],
    run_id: str,
    split: str,
    plan: str | None,
    path: Path,
) -> Plan | None:
    """The plan that announced this opening, unless other runs have used up the openings that it announced."""
    plans = [e for e in entries if isinstance(e, Plan) and run_id in e.runs and split in e.splits]
    if plan is not None:
        plans = [e for e in plans if e.plan == plan]
        if not plans:
            raise InputError(f"{path}: no plan {plan} was declared there for run {run_id} and split {split}")
    for declared in plans:
        under = {e.run_id for e in before if e.plan == declared.plan}
        if run_id in under or len(under) < declared.openings:
            return declared
    return None
