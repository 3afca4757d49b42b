"""`check COHORT --run RUN`: everything that a frozen run needs of another cohort, told at once, before any decode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mammo_aln.cohort.tables import with_split
from mammo_aln.errors import InputError
from mammo_aln.inference.ensemble import ensemble_of, read_member
from mammo_aln.inference.needs import needs_of
from mammo_aln.inference.opened import learnt_from, open_members
from mammo_aln.inference.predict import chosen_splits
from mammo_aln.progress import say
from mammo_aln.runs.record import read_settings
from mammo_aln.runs.seal import require_unchanged
from mammo_aln.training.data.base import read_for


def check_against_runs(runs: Sequence[Path], cohort_folder: Path) -> list[str]:
    """Say what a cohort does not give completed runs; headers are read at most, no pixels.

    Args:
        runs: run directories; several are one model.
        cohort_folder: the cohort.

    Returns:
        Whatever `predict` would refuse, one line each.
    """
    members = [read_member(run) for run in runs]
    for member in members:
        require_unchanged(member.run)
    if len(members) > 1:
        ensemble_of(members)
    refused: dict[str, None] = {}
    notes: dict[str, None] = {}
    names = ", ".join(member.run_id for member in members)
    try:
        cohort = with_split(read_for(read_settings(members[0].run).model.inputs, cohort_folder, keep=False))
        splits = chosen_splits(cohort, None)
        opened = open_members(members, cohort, splits, None)
        own = learnt_from(opened, cohort)
        for each in opened:
            needs = needs_of(each.data, cohort, splits, each.outcome, allow_missing=False)
            often = [lack.in_words(each.data.profile) for lack in needs.inputs.too_often(own)]
            refused |= dict.fromkeys([*needs.faults, *needs.absent, *often])
            notes |= dict.fromkeys([*needs.notes, *(line for line in needs.inputs.lines() if line not in often)])
    except InputError as error:
        refused[str(error)] = None
    for line in notes:
        say(f"flag: {line}")
    say(
        f"run {names}: {len(refused)} {'need' if len(refused) == 1 else 'needs'} that this cohort does not meet"
        if refused
        else f"run {names}: this cohort gives what it needs"
    )
    for line in refused:
        say(f"  {line}")
    return list(refused)
