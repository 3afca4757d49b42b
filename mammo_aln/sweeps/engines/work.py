"""`sweep work`: train one cell of a list, or whichever nobody trains until none is left; its exit code tells an engine.

0: done. 1: a cell failed, another try may help. 2: it failed in a way that another try does not mend. 75: stopped by a
signal with its step saved, or held by another process for long; the same command goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mammo_aln.errors import ExitCode, InputError, Requeue
from mammo_aln.files import make_folder
from mammo_aln.machine.lease import EXPIRY_S
from mammo_aln.machine.locks import take_lock
from mammo_aln.progress import counted, say
from mammo_aln.runs.record import read_state
from mammo_aln.sweeps.cell import claim_of, exhausted, failures, log_of, train_cell
from mammo_aln.sweeps.engines.jobs import read_list
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.withheld import reason_withheld, withheld

if TYPE_CHECKING:
    from mammo_aln.cohort.tables import Cohort

POLL_S = 5.0
HELD_S = 2 * EXPIRY_S
"""How long a cell that another process holds is waited for: its former process may still be leaving, or be dead."""

LAST_WORDS_S = 1.0
"""How long a log is waited for behind a training."""


def work(file: Path, index: int | None, retries: int) -> int:
    """Train cells of a list.

    Args:
        file: the list.
        index: number of the one cell to train, from 0; None trains whichever is free, until each is completed or has
            failed for good, here or elsewhere.
        retries: how often a cell that failed is tried again; with `index` that is the engine's to decide.

    Returns:
        Exit code.

    Raises:
        InputError: no such list or index.
        Requeue: a signal stopped the training, whose step is saved.
    """
    from mammo_aln.training.stopping import STOP

    plan, cells = read_list(file)
    if index is not None and not 0 <= index < len(cells):
        raise InputError(f"--index {index}: {file} lists {counted(len(cells), 'cell')}, 0 to {len(cells) - 1}")
    make_folder(plan.out / "claims")
    with STOP.watched():
        if index is not None:
            return _train_one(plan, cells[index])
        return _train_free(plan, cells, retries)


def _train_one(plan: Plan, cell: Cell) -> int:
    end = time.monotonic() + HELD_S
    if cell.fault is not None:
        raise InputError(f"{cell.name}: {cell.fault}")
    while (result := _train(plan, cell, {})) == "held":
        if time.monotonic() > end:
            raise Requeue(f"{cell.name}: another process trains this cell")
        time.sleep(POLL_S)
    if result == "withheld":
        say(f"{cell.name}: {reason_withheld(plan.out, cell.run_id)}; nothing is left to do")
    if result in ("completed", "withheld"):
        return ExitCode.DONE
    failure = failures(plan, cell)[-1]
    say(f"{cell.name}: {failure.error}")
    return ExitCode.PROBLEMS if failure.again else ExitCode.WRONG_INPUT


def _train_free(plan: Plan, cells: Sequence[Cell], retries: int) -> int:
    waiting = [cell for cell in sorted(cells, key=lambda cell: -cell.cost) if cell.fault is None]
    before = {cell.run_id: len(failures(plan, cell)) for cell in waiting}
    cohorts: dict[bool, Cohort] = {}
    while waiting:
        trained, kept_back = False, withheld(plan.out)
        for cell in list(waiting):
            if (
                cell.run_id in kept_back
                or _is_completed(plan, cell)
                or exhausted(failures(plan, cell), before[cell.run_id], retries)
            ):
                waiting.remove(cell)
            elif _train(plan, cell, cohorts) != "held":
                trained = True
        if waiting and not trained:
            time.sleep(POLL_S)
    kept_back = withheld(plan.out)
    failed = [cell for cell in cells if cell.run_id not in kept_back and not _is_completed(plan, cell)]
    for cell in failed:
        tries = failures(plan, cell)
        say(f"FAILED {cell.name}: {cell.fault or (tries[-1].error if tries else 'not trained')}")
    return ExitCode.PROBLEMS if failed else ExitCode.DONE


def _is_completed(plan: Plan, cell: Cell) -> bool:
    return read_state(plan.runs / cell.run_id).state == "completed"


def _train(plan: Plan, cell: Cell, cohorts: dict[bool, Cohort]) -> str:
    """Train a cell under its claim, its words in its log and on standard error; `held` where another one has it."""
    claim = take_lock(claim_of(plan, cell))
    if claim is None:
        return "held"
    with claim:
        if _is_completed(plan, cell):
            return "completed"
        say(f"{cell.name}: run {cell.run_id}")
        with _logged(log_of(plan, cell)):
            result = train_cell(plan, cell, cohorts)
    say(f"{cell.name}: {result}")
    return result


@contextmanager
def _logged(log: Path) -> Iterator[None]:
    """Copy whatever is written to standard output and error in this block to a log; both go to standard error."""
    make_folder(log.parent)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [os.dup(1), os.dup(2)]
    # In a session of its own: a signal for this process and its group must not end the log before the last words.
    copier = subprocess.Popen(["tee", "-a", str(log)], stdin=subprocess.PIPE, stdout=2, start_new_session=True)
    assert copier.stdin is not None
    try:
        for number in (1, 2):
            os.dup2(copier.stdin.fileno(), number)
        copier.stdin.close()
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        # A process that the training left behind (Python's own resource tracker) holds the log open as long as this one
        # lives: the copier has the last words then, and ends later.
        with suppress(subprocess.TimeoutExpired):
            copier.wait(LAST_WORDS_S)
