"""A test's past as far as ledgers hold it: who was scored before, and what is missing from the ledgers themselves.

Nothing here prevents an opening that no ledger saw: on a copy of the cohort, by another program, or with every ledger
taken away. A report tells when the ledger begins, so that a reader knows from when on openings are known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mammo_aln.errors import InputError
from mammo_aln.progress import say
from mammo_aln.runs.ledger import Entry, Opening, Scored, read_entries
from mammo_aln.runs.record import read_state


@dataclass(frozen=True)
class Before:
    """Patients of a split who got scores before, under another split's name or without their outcomes.

    Attributes:
        patients: how many of them.
        run_id: by which model.
        split: as which split.
        by: the verb; `opening` where their outcomes stood beside the scores.
        time: when.
    """

    patients: int
    run_id: str
    split: str
    by: str
    time: str


@dataclass(frozen=True)
class Past:
    """Facts of an opening's ledgers.

    Attributes:
        begins: time of the first line that the ledger holds; of this opening where it holds none before it.
        trained: when the run's training ended, where its directory says.
        broken: lines that do not follow the line above them: some were changed, added or taken out.
        lost: openings of this split that the ledger lacks, and the run's own copy, or the cohort's ledger where another
            one is kept, holds.
        before: other scores of these patients, see `Before`; the last one of each run, split and verb.
        patients: how many there are.
        under_other_names: openings that the cohort's own ledger holds of a cohort of another name and other tables.
    """

    begins: str
    trained: str | None
    broken: int
    lost: int
    before: tuple[Before, ...]
    patients: int
    under_other_names: int


def trained_until(run: Path | None) -> str | None:
    """Tell when a run's training ended."""
    return read_state(run).ended if run is not None else None


def past_of(
    entries: Sequence[Entry], opening: Opening, broken: Sequence[int], lost: int, trained: str | None, *, own: bool
) -> Past:
    """Gather what stands in a ledger before an opening that concerns its patients.

    Args:
        entries: every line of the ledger.
        opening: the opening.
        broken: lines that do not follow the line above them.
        lost: openings that the ledger lacks.
        trained: when the run's training ended.
        own: the ledger is the cohort folder's, and not one of several cohorts.
    """
    names = set(opening.patients or ())
    before: dict[tuple[str, ...], Before] = {}
    for entry in entries:
        if not isinstance(entry, Opening | Scored) or not entry.patients:
            continue
        if isinstance(entry, Opening) and entry.split == opening.split:
            continue  # counted among the openings
        if shared := len(names & set(entry.patients)):
            by = "opening" if isinstance(entry, Opening) else entry.by
            before[entry.run_id, entry.split, by] = Before(shared, entry.run_id, entry.split, by, entry.time)
    begins = next((entry.time for entry in entries if entry.time), opening.time)
    renamed = [
        entry
        for entry in entries
        if isinstance(entry, Opening) and entry.cohort_name != opening.cohort_name and entry.cohort != opening.cohort
    ]
    return Past(begins, trained, len(broken), lost, tuple(before.values()), len(names), len(renamed) if own else 0)


def refuse_changed(entries: Sequence[Entry], run_id: str, frozen: str | None, path: Path) -> None:
    """Refuse a run whose frozen files are others than at its own last opening: their digests were edited to fit."""
    former = [e for e in entries if isinstance(e, Opening) and e.run_id == run_id and e.frozen]
    if frozen and former and former[-1].frozen != frozen:
        raise InputError(
            f"{path}: run {run_id} opened {former[-1].split} on {former[-1].time} with other weights, threshold,"
            " calibration or recipe than it has now; bring its files back from a copy (a scrubbed copy cannot stand in"
            " for the run where that was tested)"
        )


def tell_other_training(entries: Sequence[Entry], run_id: str, frozen: str | None) -> None:
    """Say that a model of this id, and of other bytes, opened a test: another training, or files that were edited."""
    former = [e for e in entries if isinstance(e, Opening) and e.run_id == run_id and e.frozen]
    if frozen and former and former[-1].frozen != frozen:
        say(
            f"{run_id}: a model of this id opened {former[-1].split} on {former[-1].time} with other weights,"
            " threshold, calibration or recipe: another training of these settings, or a copy that was changed since"
        )


def lines_elsewhere(entries: Sequence[Entry], copies: Sequence[Path], ledger: Path) -> list[Entry]:
    """Lines of other files that a ledger lacks; files that are not there hold none."""
    every = Counter(map(_mark, entries))
    lacking: list[Entry] = []
    for path in copies:
        if not path.is_file() or path.resolve() == ledger.resolve():
            continue
        try:
            with path.open(encoding="utf-8") as stream:  # it may be a folder that only this may be done in
                theirs = read_entries(stream, path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        known = every.copy()
        for entry in theirs:
            if known[_mark(entry)]:
                known[_mark(entry)] -= 1
            elif isinstance(entry, Opening | Scored):
                lacking.append(entry)
        every |= Counter(map(_mark, theirs))
    return lacking


def _mark(entry: Entry) -> tuple[object, ...]:
    return (
        type(entry).__name__,
        entry.time,
        entry.run_id if isinstance(entry, Opening | Scored) else None,
        entry.split if isinstance(entry, Opening | Scored) else None,
    )
