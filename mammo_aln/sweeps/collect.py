"""`sweep collect`: cells.csv, the choice by validation alone, and only then, if asked, its sealed test."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mammo_aln.errors import InputError
from mammo_aln.machine.locks import Lock, await_lock, take_lock
from mammo_aln.progress import counted, say
from mammo_aln.sweeps.choosing.configurations import (
    Configuration,
    configurations,
    epoch_choice,
    factors,
    rank_configurations,
    with_scores_read,
)
from mammo_aln.sweeps.choosing.page import write_choice, write_choice_page
from mammo_aln.sweeps.choosing.words import describe
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.plan_file import announce, read_plan
from mammo_aln.sweeps.reports import reports_of
from mammo_aln.sweeps.sealed import bind_choice, declare, open_tests, tests_all
from mammo_aln.sweeps.standing.arithmetic import differences
from mammo_aln.sweeps.standing.board import write_board
from mammo_aln.sweeps.standing.cohort_now import changed_cohort
from mammo_aln.sweeps.standing.table import completed_cells, counts, damaged_cells, read_rows, write_cells

RESAMPLES = 2000


def collect_sweep(out: Path, *, test: bool = False, allow_missing: bool = False, resamples: int = RESAMPLES) -> Path:
    """Write DIR/cells.csv, choice.json and choice.html; with `test` also DIR/test.

    One command at a time does so in a folder: another one waits, and finds what this one has opened.

    Args:
        out: the sweep's folder.
        test: open the test splits with the chosen configuration (with every step, where the sweep has steps).
        allow_missing: score test patients who lack what the runs were trained with.
        resamples: bootstrap resamples.

    Raises:
        InputError: no sweep, no completed configuration, or `test` while cells are still to be trained or the cohort's
            tables are others than they were trained on.
    """
    read_plan(out)
    with _alone(out):
        return _collect(out, test=test, allow_missing=allow_missing, resamples=resamples)


def _alone(out: Path) -> Lock:
    """Wait until no other command collects the sweep; the lock ends with its process."""
    path = out / ".collect.lock"
    try:
        lock = take_lock(path)
        if lock is None:
            say(f"{out}: another command collects this sweep now; this one goes on when it has ended")
            lock = await_lock(path)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); expected a folder of your own") from error
    return lock


def _collect(out: Path, *, test: bool, allow_missing: bool, resamples: int) -> Path:
    plan = read_plan(out)
    changed = changed_cohort(plan)
    if changed:
        say(changed)
    rows = [with_scores_read(row) for row in read_rows(plan)]
    if damaged := damaged_cells(rows):
        say("\n".join([*damaged, f"{counted(len(damaged), 'cell')} left out: bring the files back from a copy"]))
    if otherwise := differences(plan, completed_cells(rows)):
        say(otherwise)
    cells = write_cells(plan, rows)
    write_board(plan, rows, live=counts(rows)["running"] > 0)
    every = configurations(rows)
    complete = [configuration for configuration in every if configuration.is_complete]
    pruned = [epoch for configuration in every if (epoch := configuration.pruned_epoch) is not None]
    lacking = [one.name for one in every if not one.is_complete and one.pruned_epoch is None]
    if lacking:
        say(f"{len(lacking)} of {len(every)} configurations are not completed and not ranked: {', '.join(lacking)}")
    if not complete:
        raise InputError(
            f"{out}: no configuration is completed; `mammo-aln sweep status --out {shlex.quote(str(out))}` says why"
        )
    ranking = rank_configurations(complete, resamples)
    epochs = epoch_choice(complete[ranking.best])
    choice = describe(complete, ranking, epochs, factors(complete, ranking, resamples), len(every), resamples, pruned)
    write_choice(plan, choice, rows, reports_of(out))
    say("\n".join(choice.sentences))
    unfinished = sum(row.standing.is_unfinished for row in rows)
    tested = complete if tests_all(plan) else [complete[ranking.best]]
    if test or plan.opens_test:
        if unfinished:
            raise InputError(
                f"the test splits stay sealed while {counted(unfinished, 'cell is', 'cells are')} still to be trained; "
                f"go on with: {plan.command}"
            )
        if damaged:
            raise InputError(
                f"the test splits stay sealed while a cell cannot be read: {damaged[0]}; or take it out by"
                " mammo-aln sweep drop"
            )
        if changed:
            raise InputError(f"the test splits stay sealed: {changed}")
        plan = announce(plan, declare(plan))
        bind_choice(plan, tested, len(complete))
        open_tests(plan, tested, resamples, allow_missing=allow_missing)
        write_choice_page(plan, choice, rows, reports_of(out))
    elif not unfinished and not changed and not damaged:
        _bind_or_say(plan, tested, len(complete))
    return cells


def _bind_or_say(plan: Plan, tested: Sequence[Configuration], ranked: int) -> None:
    """Bind the choice, so that it stands before any opening by hand; the choice itself needs no ledger."""
    try:
        bind_choice(plan, tested, ranked)
    except InputError as error:
        say(f"the choice is not written to the cohort's ledger: {error}")
