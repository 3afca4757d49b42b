"""Orders for single cells of a sweep: `sweep drop`, `retry`, `cancel` and `log`."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from mammo_aln.errors import InputError
from mammo_aln.machine.slurm import cancel_jobs
from mammo_aln.progress import say
from mammo_aln.runs.lock import is_held
from mammo_aln.runs.record import read_state
from mammo_aln.sweeps.cell import failures, last_lines, log_of, set_failures_aside
from mammo_aln.sweeps.plan import Cell, Plan, names_in_words
from mammo_aln.sweeps.plan_file import change_cells, read_plan
from mammo_aln.sweeps.standing.states import job_of, queue_of
from mammo_aln.sweeps.withheld import BY_HAND, CANCELLED, exempt, pruned_at, release, withheld, withhold

SHORTEST_ID = 4
"""Digits of a run's id that may stand for it."""
NEAREST = 3
"""Names that are offered in place of one that no cell has."""
ALIKE = 0.6
"""Likeness (difflib's ratio) from which a name is offered."""


def cells_named(plan: Plan, words: Sequence[str]) -> list[Cell]:
    """Find cells, dropped ones too, by id, by name, or by a part of either that no other cell has.

    Raises:
        InputError: a word is no cell's, or several cells'.
    """
    cells = (*plan.cells, *plan.dropped)
    chosen: dict[str, Cell] = {}
    for word in words:
        matches = [cell for cell in cells if word in (cell.run_id, cell.name)] or [
            cell for cell in cells if word in cell.name or (len(word) >= SHORTEST_ID and cell.run_id.startswith(word))
        ]
        if not word or not matches:
            near = _nearest(word, cells)
            raise InputError(
                f"CELL {word!r}: no cell of {plan.out} has this id or a name with this part"
                + (f"; near: {'; '.join(near)}" if near else "")
                + f". `mammo-aln sweep status --out {shlex.quote(str(plan.out))}` lists them"
            )
        if len(matches) > 1:
            raise InputError(
                f"CELL {word!r}: {len(matches)} cells have this part:"
                f" {names_in_words([cell.name for cell in matches])}."
                f" Name one, or all of them by their ids: {' '.join(cell.run_id for cell in matches)}"
            )
        chosen[matches[0].run_id] = matches[0]
    return list(chosen.values())


def _nearest(word: str, cells: Sequence[Cell]) -> list[str]:
    """Find the few names or ids of cells that are like a word, whole or in one of their labels."""
    names: dict[str, str] = {}
    for cell in cells:
        labels = (label for pair in cell.name.split(", ") for label in (pair, pair.partition("=")[2]))
        names |= dict.fromkeys((*labels, cell.name), cell.name) | {cell.run_id: cell.run_id}
    likest = get_close_matches(word, names, n=NEAREST, cutoff=ALIKE)
    return list(dict.fromkeys(names[each] for each in likest))


def drop_cells(out: Path, words: Sequence[str]) -> Path:
    """Take cells out of a sweep: they are neither trained nor ranked; a training of one saves its step and ends.

    Raises:
        InputError: no sweep, or a word that is not one cell's.
    """
    plan = read_plan(out)
    cells = cells_named(plan, words)
    run_ids = [cell.run_id for cell in cells]
    withhold(plan.out, run_ids, BY_HAND)
    _unqueue(plan, cells)
    plan = change_cells(plan.out, run_ids, BY_HAND)
    for cell in cells:
        say(f"{cell.name}: dropped, neither trained nor ranked{_leaving(plan, cell)}; its run stays in {plan.runs}")
    return plan.out


def cancel_cells(out: Path, words: Sequence[str]) -> Path:
    """Stop the training of cells, with their step saved, and keep all commands from them until `sweep retry`.

    Raises:
        InputError: no sweep, or a word that is not one cell's.
    """
    plan = read_plan(out)
    cells = cells_named(plan, words)
    open_cells = []
    for cell in cells:
        if cell.dropped is not None:
            say(f"{cell.name}: {cell.dropped} already")
        elif read_state(plan.runs / cell.run_id).state == "completed":
            say(f"{cell.name}: completed already; `mammo-aln sweep drop` takes it out of the ranking")
        else:
            open_cells.append(cell)
    withhold(plan.out, [cell.run_id for cell in open_cells], CANCELLED)
    _unqueue(plan, open_cells)
    for cell in open_cells:
        say(f"{cell.name}: cancelled{_leaving(plan, cell)}; `mammo-aln sweep retry` takes it up again")
    return plan.out


def retry_cells(out: Path, words: Sequence[str]) -> Path:
    """Have cells that failed, were cancelled, pruned or dropped trained again, by a command that runs or the next one.

    No pruner stops a cell again that was pruned.

    Raises:
        InputError: no sweep, or a word that is not one cell's, or one of a cell that the sweep's file does not name.
    """
    plan = read_plan(out)
    cells = cells_named(plan, words)
    for cell in cells:
        if cell.dropped not in (None, BY_HAND):
            raise InputError(f"{cell.name}: {cell.dropped}; write it back there, then: {plan.command}")
    kept_back = withheld(plan.out)
    if pruned := [cell.run_id for cell in cells if pruned_at(plan.out, cell.run_id) is not None]:
        exempt(plan.out, pruned)
    for cell in cells:
        if read_state(plan.runs / cell.run_id).state == "completed":
            again = "nothing is to be tried again" if cell.dropped is None else "it counts again, without a training"
            say(f"{cell.name}: completed; {again}")
        elif cell.dropped is None and cell.fault:
            say(f"{cell.name}: cannot be trained: {cell.fault}; mend that, then: {plan.command}")
        elif cell.dropped is None and cell.run_id not in kept_back and not failures(plan, cell):
            say(f"{cell.name}: nothing keeps it from being trained; {plan.command}")
        else:
            set_failures_aside(plan, cell)
            to_do = "to be trained to its end" if cell.run_id in pruned else "to be tried again"
            say(f"{cell.name}: {to_do}, by a command that trains this sweep now, or by: {plan.command}")
    if back := [cell.run_id for cell in cells if cell.dropped is not None]:
        plan = change_cells(plan.out, back, None)
    release(plan.out, [cell.run_id for cell in cells])
    return plan.out


def log_lines(out: Path, words: Sequence[str], lines: int) -> str:
    """Tell the last lines of what cells said; returns the logs' paths, a line each.

    Raises:
        InputError: no sweep, a word that is not one cell's, or a cell that has not said anything.
    """
    plan = read_plan(out)
    paths = []
    for cell in cells_named(plan, words):
        path = _log(plan, cell)
        if path is None:
            raise InputError(f"{cell.name}: it has no log yet; it has not been trained")
        say(f"{cell.name}: {path}")
        for line in last_lines(path, lines):
            say(f"    | {line}")
        paths.append(str(path))
    return "\n".join(paths)


def _log(plan: Plan, cell: Cell) -> Path | None:
    """Find what was written last: the cell's own log, or those of its SLURM job."""
    paths = [log_of(plan, cell)]
    if (job := job_of(plan, cell)) is not None:
        paths += [plan.out / "slurm" / f"{job}_0_log.{kind}" for kind in ("err", "out")]
    there = [path for path in paths if path.is_file() and path.stat().st_size]
    return max(there, key=lambda path: path.stat().st_mtime, default=None)


def _leaving(plan: Plan, cell: Cell) -> str:
    return "; it is being trained, and leaves at its next step" * is_held(plan.runs / cell.run_id)


def _unqueue(plan: Plan, cells: Sequence[Cell]) -> None:
    """Take the cells' jobs that wait from SLURM's queue; one that begins meanwhile finds its cell withheld."""
    jobs = {job for cell in cells if (job := job_of(plan, cell)) is not None}
    if jobs:  # a job may train others too, which it goes on with
        jobs -= {job_of(plan, cell) for cell in plan.cells if cell not in cells}
    if not jobs:
        return
    waiting = [job for job, queued in (queue_of(plan) or {}).items() if job in jobs and queued.waits]
    if not waiting:
        return
    if shutil.which("scancel") is None:
        say(f"scancel is not on this machine: {', '.join(waiting)} stay queued, and end as soon as they begin")
        return
    try:
        cancel_jobs(waiting)
    except InputError as error:
        say(f"{error}; {', '.join(waiting)} stay queued, and end as soon as they begin")
