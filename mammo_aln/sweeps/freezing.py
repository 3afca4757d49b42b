"""The freezing of a plan in the place of the folder's former one: which cells stay, are dropped or are superseded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from mammo_aln.errors import InputError
from mammo_aln.files import make_folder
from mammo_aln.progress import counted, say
from mammo_aln.runs.identity import WITHOUT_INFLUENCE
from mammo_aln.settings.stored import plain_settings
from mammo_aln.sweeps.plan import Cell, Plan, names_in_words
from mammo_aln.sweeps.plan_file import PLAN, lock_plan, read_plan, write_plan
from mammo_aln.sweeps.withheld import BY_FILE, BY_HAND, reason_withheld, release, withheld, withhold


def freeze(plan: Plan) -> Plan:
    """Write a plan in place of the folder's former one; returns it, beside what left the sweep.

    The file decides: former cells that it no longer names are dropped, and come back with it. A cell that was dropped
    by hand stays so. Former cells of another cohort or of other settings are superseded. All keep their run folders.

    Raises:
        InputError: every cell was dropped by hand.
    """
    make_folder(plan.runs)
    with lock_plan(plan.out):
        if (plan.out / PLAN).is_file():
            plan = _beside(read_plan(plan.out), plan)
        if not plan.cells and plan.dropped and plan.search is None:
            raise InputError(
                f"{plan.out}: every cell of the sweep's file was dropped by hand;"
                " `mammo-aln sweep retry CELL` takes one up again"
            )
        write_plan(plan)
        kept_back = withheld(plan.out)
        for cell in plan.dropped:
            if cell.run_id not in kept_back:
                withhold(plan.out, [cell.run_id], cell.dropped or BY_FILE)
        ids = {cell.run_id for cell in plan.cells}
        back = {run_id for run_id in ids & kept_back if reason_withheld(plan.out, run_id) == BY_FILE}
        release(plan.out, back | (kept_back - ids - {cell.run_id for cell in plan.dropped}))
    return plan


def _beside(former: Plan, plan: Plan) -> Plan:
    """A new plan with what it leaves of the former one: cells that were dropped, and ids of the superseded."""
    by_hand = {cell.seat for cell in former.dropped if cell.dropped == BY_HAND}
    ids = {cell.run_id for cell in plan.cells}
    before = (*former.cells, *former.dropped)
    anew = _superseded(before, plan.cells) - ids
    left: list[Cell] = []
    touched, created = plan.touched, plan.created
    if former.of_this_code and former.content == plan.content:
        created = former.created
        touched = tuple(dict.fromkeys((*former.touched, *plan.touched)))
        rests = {_rest(cell, touched) for cell in plan.cells}
        left = [cell for cell in before if cell.run_id not in ids | anew and _rest(cell, touched) in rests]
    gone = {cell.run_id for cell in before} - ids - {cell.run_id for cell in left}
    if former.cells and not former.of_this_code:
        say(
            f"the former plan's {len(former.cells)} cells are of other code ({former.learning}; this is"
            f" {plan.learning}), which learns otherwise: they leave the table, and those planned now are trained"
            f" anew; their former runs stay in {plan.runs}"
        )
    elif superseded := anew & {cell.run_id for cell in former.cells}:
        say(
            f"{len(superseded)} of the former plan's {len(former.cells)} cells are other trainings now, as settings,"
            f" weights, crops or the code changed: they are trained anew; their former runs stay in {plan.runs}"
        )
    dropped = [replace(cell, dropped=cell.dropped or BY_FILE) for cell in left]
    if deleted := [cell.name for cell in left if cell.dropped is None]:
        say(
            f"{counted(len(deleted), 'cell is', 'cells are')} no longer in the sweep's file:"
            f" dropped, neither trained nor ranked (their runs"
            f" stay, and count again once the file names them): {names_in_words(deleted)}"
        )
    stays = [cell for cell in plan.cells if cell.seat in by_hand]
    if stays:
        names = names_in_words([cell.name for cell in stays])
        say(
            f"{counted(len(stays), 'cell stays', 'cells stay')} dropped, by hand"
            f" (`mammo-aln sweep retry CELL` takes them up again): {names}"
        )
    return replace(
        plan,
        cells=tuple(cell for cell in plan.cells if cell.seat not in by_hand),
        touched=touched,
        declared=former.declared,
        created=created,
        dropped=(*dropped, *(replace(cell, dropped=BY_HAND) for cell in stays)),
        superseded=tuple(
            dict.fromkeys((*(run_id for run_id in former.superseded if run_id not in ids), *sorted(gone)))
        ),
    )


def _rest(cell: Cell, touched: Sequence[str]) -> str:
    """Put everything of a cell that the grid, seeds and folds don't set into one canonical form."""
    plain = plain_settings(cell.settings)
    for section, keys in WITHOUT_INFLUENCE.items():
        for key in keys:
            plain[section].pop(key, None)
    plain.pop("seed")
    plain["data"].pop("fold")
    for name in touched:
        section, _, key = name.partition(".")
        plain.get(section, {}).pop(key, None)
    return json.dumps(plain, sort_keys=True)


def _superseded(former: Sequence[Cell], cells: Sequence[Cell]) -> set[str]:
    """Ids of former cells whose configuration is planned anew as another training; all its seeds and folds go together.

    Settings tell, and so does another id in the same place: content of weights or images, or the package, has changed.
    """
    ids = {(cell.configuration, cell.seed, cell.fold): cell.run_id for cell in cells}
    settings = {cell.configuration: _rest(cell, ()) for cell in cells}
    changed = set()
    for cell in former:
        here = ids.get((cell.configuration, cell.seed, cell.fold), cell.run_id)
        if here != cell.run_id or settings.get(cell.configuration, _rest(cell, ())) != _rest(cell, ()):
            changed.add(cell.configuration)
    return {cell.run_id for cell in former if cell.configuration in changed}
