"""The ledger of a cohort: plans declared beforehand, what validation chose under them, and openings of test splits.

A labelled test split is opened when a model's scores and its outcomes come together. Every opening is a line of
`openings.jsonl` in the cohort folder, so that openings by all runs are seen together, and of the file of that name in
the run directory. A plan (a sweep, search or ladder) is a line of the same file, written before the openings that it
announces; so is the choice that says which of the plan's models is to open, and what scored test patients without an
outcome. Each line holds the digest of the line above it: one that was taken out, added or changed between others is
seen. Lines lost from the end, and a file lost whole, are seen only where the run's own copy holds them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TextIO

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.tables import Cohort
from mammo_aln.errors import InputError
from mammo_aln.machine.locks import await_lock
from mammo_aln.progress import say

LEDGER = "openings.jsonl"
CHAIN = "after"
"""Key of a line: digest of the line above it."""


@dataclass(frozen=True)
class Plan:
    """A line of the ledger: which models may open which splits, written before any does.

    Args:
        time: of the declaration.
        plan: its id.
        cohort: digest of the cohort's tables then.
        cohort_name: the cohort's name.
        runs: ids of the models; none where they are not known beforehand, as of a search.
        splits: labelled test splits.
        what: the plan in words.
        openings: how many models it announces to open each split.
    """

    time: str
    plan: str
    cohort: str
    cohort_name: str
    runs: list[str]
    splits: list[str]
    what: str
    openings: int

    @property
    def awaits_choice(self) -> bool:
        """Tell whether it leaves to validation which of its models open the splits."""
        return self.openings < len(self.runs) or not self.runs


@dataclass(frozen=True)
class Choice:
    """A line of the ledger: the models of a plan that are to open its splits, as validation chose them.

    Args:
        time: of the choice.
        plan: id of the plan.
        cohort: digest of the cohort's tables then.
        cohort_name: the cohort's name.
        runs: ids of the chosen models.
        ranked: number of models that they were chosen from.
    """

    time: str
    plan: str
    cohort: str
    cohort_name: str
    runs: list[str]
    ranked: int


@dataclass(frozen=True)
class Opening:
    """A line of the ledger: a run's scores and a split's outcomes came together; `plan` had announced it, or None.

    `missing` counts the patients that lacked each input, `patients` are digests of their names (see `named_digests`;
    none in a run's copy), `frozen` is the digest of the model that scored; None in lines of an earlier version.
    """

    time: str
    run_id: str
    cohort: str
    cohort_name: str
    split: str
    n_labelled: int | None = None
    plan: str | None = None
    missing: Mapping[str, int] | None = None
    patients: list[str] | None = None
    frozen: str | None = None


@dataclass(frozen=True)
class Scored:
    """A line of the ledger: test patients got scores, and their outcomes were not set beside them.

    Args:
        time: of the scoring.
        run_id: the model.
        cohort: digest of the cohort's tables then.
        cohort_name: the cohort's name.
        split: their split.
        by: the verb.
        patients: digests of their names, see `named_digests`; none in a run's copy.
    """

    time: str
    run_id: str
    cohort: str
    cohort_name: str
    split: str
    by: str
    patients: list[str] | None = None


@dataclass(frozen=True)
class CutOff:
    """A line of the ledger that a crash left unfinished: it counts as an opening of every split, by no known run."""

    run_id: None = None
    plan: None = None
    time: None = None
    cohort: str = ""


Line = Plan | Choice | Opening | Scored
Entry = Line | CutOff
KINDS: dict[str, type[Line]] = {"plan": Plan, "choice": Choice, "opening": Opening, "scored": Scored}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value.values()))


CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "str": (_is_text, "text"),
    "int": (_is_count, "a whole number"),
    "list[str]": (_is_texts, "a list of texts"),
    "Mapping[str, int]": (_is_counts, "whole numbers by name"),
}
"""Of each annotation of the ledger's lines: what holds it, and its words."""


def ledger_of(cohort: Cohort, ledger: Path | None = None) -> Path:
    """File of the cohort's openings: `ledger`, or `openings.jsonl` in the cohort folder."""
    return cohort.root / LEDGER if ledger is None else Path(ledger)


@contextmanager
def held(path: Path) -> Iterator[TextIO]:
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


def append(stream: TextIO, entry: Line) -> None:
    """Write one whole line to the disk; a line that a crash cut off before it is ended first."""
    text = _text(stream)
    kind = next(kind for kind, form in KINDS.items() if isinstance(entry, form))
    plain = {"kind": kind, **vars(entry), CHAIN: _link(_lines(text)[-1:])}
    line = (("\n" if text and not text.endswith("\n") else "") + json.dumps(plain) + "\n").encode()
    size = os.fstat(stream.fileno()).st_size
    try:
        while line:  # not by the stream, which would write on when it is closed
            line = line[os.write(stream.fileno(), line) :]
        os.fsync(stream.fileno())
    except OSError:
        os.ftruncate(stream.fileno(), size)  # half a line would count as an opening
        raise


def _lines(text: str) -> list[tuple[int, str]]:
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _link(above: Sequence[tuple[int, str]]) -> str:
    return hashlib.sha256("".join(line.strip() for _, line in above).encode()).hexdigest()[:32]


def broken_links(stream: TextIO) -> list[int]:
    """Numbers of lines that do not follow the line above them as they were written; those of earlier versions do."""
    lines = _lines(_text(stream))
    broken, linked = [], False
    for nth, (number, line) in enumerate(lines):
        try:
            plain = json.loads(line)
        except (ValueError, RecursionError):
            continue  # cut off by a crash, which `read_entries` says
        stated = plain.get(CHAIN) if isinstance(plain, dict) else None
        if stated != _link(lines[nth - 1 : nth] if nth else []) and (linked or stated is not None):
            broken.append(number)
        linked |= stated is not None
    return broken


def named_digests(cohort: Cohort, patients: Iterable[str]) -> list[str]:
    """Digests of patients' names, by which a ledger knows them again whatever their split is called."""
    return sorted({hashlib.sha256(f"{cohort.name}\n{name}".encode()).hexdigest()[:12] for name in patients})


def read_entries(stream: TextIO, path: Path) -> list[Entry]:
    """Read every line, of all cohorts, oldest first.

    Raises:
        InputError: the file is no text, or a line none of the ledger's.
    """
    entries: list[Entry] = []
    for number, line in enumerate(_text(stream).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entries.append(_entry(json.loads(line)))
        except json.JSONDecodeError:
            say(f"{path} line {number} was cut off by a crash: it counts as an opening of every split")
            entries.append(CutOff())
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path} line {number}: expected an opening, a plan or a choice, got {line[:60]!r}: {error}; "
                "restore the line as it was written"
            ) from error
    return entries


def _text(stream: TextIO) -> str:
    stream.seek(0)
    try:
        return stream.read().removeprefix("\ufeff")  # an editor may have put a byte order mark there
    except UnicodeDecodeError as error:
        raise InputError(
            f"{stream.name}: expected lines of JSON in UTF-8, got the byte {error.object[error.start]:#04x} at"
            f" {error.start}; restore the file as it was written"
        ) from error


def _entry(plain: Any) -> Line:
    """Read a line as what it says it is.

    Raises:
        ValueError: what it holds is not that.
    """
    kind = plain.get("kind") if isinstance(plain, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}")
    form = KINDS[kind]
    for field in fields(form):
        if field.name not in plain:
            if field.default is MISSING:
                raise ValueError(f"{field.name} is missing")
            continue
        annotation, optional = str(field.type).removesuffix(" | None"), str(field.type).endswith(" | None")
        holds, words = CHECKS[annotation]
        if not (holds(plain[field.name]) or (optional and plain[field.name] is None)):
            raise ValueError(f"{field.name}: expected {words}")
    return form(**{field.name: plain[field.name] for field in fields(form) if field.name in plain})


def require_writable(cohort: Cohort, ledger: Path | None = None, run: Path | None = None) -> None:
    """Refuse before the long work, not after it, where an opening could not be recorded.

    Raises:
        InputError: a ledger cannot be written.
    """
    for path in ledgers_of(cohort, ledger, run):
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise InputError(_cannot(path, "it cannot be written"))


def _cannot(path: Path, why: str | None) -> str:
    return (
        f"{path}: the opening of a test split cannot be recorded there ({why}); `predict --ledger FILE` names "
        "another place, the same one for all runs; for a sweep, copy the cohort's tables (not its images) to a folder "
        "of your own and give that by --cohort: no cell is trained anew"
    )


def ledgers_of(cohort: Cohort, ledger: Path | None, run: Path | None) -> list[Path]:
    """Name the cohort's ledger, then the run's own copy unless another file was named for read-only folders."""
    return [ledger_of(cohort, ledger), *([run / LEDGER] if run is not None and ledger is None else [])]


def ledger_entries(cohort: Cohort, ledger: Path | None = None) -> list[Entry]:
    """Every line of the cohort's ledger that concerns this cohort, plans and openings, oldest first."""
    path = ledger_of(cohort, ledger)
    if not path.is_file():
        return []
    with held(path) as stream:
        return of_cohort(read_entries(stream, path), cohort, cohort_content(cohort))


def of_cohort(entries: Sequence[Entry], cohort: Cohort, content: str) -> list[Entry]:
    """Pick the entries of a cohort: its name holds them together where a changed label made another content."""
    return [e for e in entries if isinstance(e, CutOff) or content == e.cohort or cohort.name == e.cohort_name]
