"""Scores of test patients without their outcomes, as the ledger of openings keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.tables import Cohort
from mammo_aln.errors import InputError
from mammo_aln.progress import say
from mammo_aln.runs.ledger import Scored, append, held, ledger_of, ledgers_of, named_digests
from mammo_aln.runs.record import now


def record_scored(
    cohort: Cohort,
    run_id: str,
    patients: Mapping[str, Sequence[str]],
    *,
    by: str,
    run: Path | None = None,
    ledger: Path | None = None,
) -> None:
    """Append that test patients got scores without their outcomes; where it cannot be written, that is said.

    Args:
        cohort: the cohort.
        run_id: the model.
        patients: names of the patients by split.
        by: the verb.
        run: run directory that keeps a copy.
        ledger: file to keep instead of both folders' files.
    """
    content, time = cohort_content(cohort), now()
    for split, names in patients.items():
        line = Scored(time, run_id, content, cohort.name, split, by, named_digests(cohort, names))
        for path in ledgers_of(cohort, ledger, run):
            own = path == ledger_of(cohort, ledger)
            try:
                with held(path) as stream:
                    append(stream, line if own else replace(line, patients=None))
            except InputError as error:
                say(f"note: {error}; no later report will tell that patients of {split} were scored here")
