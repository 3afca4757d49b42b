"""The file of a sweep's plan, DIR/plan.json: written and changed by one command at a time, read by all."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mammo_aln import __version__
from mammo_aln.errors import InputError
from mammo_aln.files import write_json
from mammo_aln.machine.locks import Lock, await_lock
from mammo_aln.runs.record import code_revision
from mammo_aln.settings import Settings
from mammo_aln.settings.stored import as_they_ran, stored_settings
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.planning.definition import Nested

PLAN = "plan.json"
Form = Mapping[str, type | tuple[type, ...]]
NONE = type(None)
PLAN_FORM: Form = {
    "cohort": str,
    "store": (str, NONE),
    "content": str,
    "cells": list,
    "touched": list,
    "opens_test": bool,
    "search": (dict, NONE),
    "command": str,
    "declared": (str, NONE),
    "created": str,
}
LATER_PLAN_FORM: Form = {
    "dropped": list,
    "superseded": list,
    "pruner": (dict, NONE),
    "learning": str,
    "cohort_name": str,
}
SEARCH_FORM: Form = {"trials": int, "space": dict}
CELL_FORM: Form = {"run_id": str, "axes": dict, "shown": dict, "seed": int, "fold": (int, NONE), "settings": dict}
LATER_CELL_FORM: Form = {"fault": (str, NONE), "cost": (int, float), "dropped": (str, NONE)}


def read_plan(out: Path) -> Plan:
    """Read the plan of a sweep's folder.

    Raises:
        InputError: the folder holds no sweep, or one of another version's form.
    """
    path = out / PLAN
    if not path.is_file():
        raise InputError(
            f"{out}: no sweep was planned there ({PLAN} is missing); expected the folder given to `sweep run --out`"
        )
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: expected the JSON that `sweep run` wrote, got {error}; run `mammo-aln sweep run` with the sweep's"
            " file again after moving it away"
        ) from error
    try:
        _require_form(plain, PLAN_FORM, LATER_PLAN_FORM)
        if plain["search"] is not None:
            _require_form(plain["search"], SEARCH_FORM, {})
        return Plan(
            out,
            _absolute(plain["cohort"], out),
            _absolute(plain["store"], out) if plain["store"] else None,
            plain["content"],
            _cells(plain["cells"]),
            tuple(plain["touched"]),
            plain["opens_test"],
            plain["search"],
            plain["command"],
            plain["declared"],
            plain["created"],
            plain.get("learning", f"version {plain['package_version']}, before its learning had a number"),
            _cells(plain.get("dropped", [])),
            tuple(plain.get("superseded", [])),
            plain.get("pruner"),
            plain.get("cohort_name", ""),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: changed by hand, or written by another version than {__version__} ({error}); use that version, or"
            " another --out"
        ) from error


def _require_form(plain: Any, form: Form, later: Form) -> None:
    """Refuse a value of another kind; what only later versions wrote may be missing."""
    for name, kind in (*form.items(), *(entry for entry in later.items() if entry[0] in plain)):
        if not isinstance(plain[name], kind):
            raise TypeError(f"{name}: got {plain[name]!r:.60}")


def _cells(plain: Sequence[Nested]) -> tuple[Cell, ...]:
    for cell in plain:
        _require_form(cell, CELL_FORM, LATER_CELL_FORM)
    return tuple(
        Cell(**{**cell, "settings": stored_settings(Settings, as_they_ran(cell["settings"]))}) for cell in plain
    )


def change_cells(out: Path, run_ids: Collection[str], dropped: str | None) -> Plan:
    """Write a sweep's plan with some of its cells dropped for a reason, or, without one, back in it."""
    with lock_plan(out):
        plan = read_plan(out)
        cells = [cell for cell in plan.cells if cell.run_id not in run_ids]
        aside = [cell for cell in plan.dropped if cell.run_id not in run_ids]
        chosen = [replace(cell, dropped=dropped) for cell in (*plan.cells, *plan.dropped) if cell.run_id in run_ids]
        plan = replace(
            plan,
            cells=tuple(cells if dropped else [*cells, *chosen]),
            dropped=tuple([*aside, *chosen] if dropped else aside),
        )
        write_plan(plan)
    return plan


def announce(plan: Plan, declared: str | None) -> Plan:
    """Keep the id under which the plan stands in the cohort's ledger of test openings, and what it announced."""
    with lock_plan(plan.out):
        there = read_plan(plan.out)
        plan = replace(there, declared=declared, search=plan.search, opens_test=plan.opens_test, pruner=plan.pruner)
        if plan != there:
            write_plan(plan)
    return plan


def add_cells(plan: Plan, cells: Sequence[Cell]) -> Plan:
    """Write a plan that has more cells, beside those that another command may have added meanwhile."""
    with lock_plan(plan.out):
        there = read_plan(plan.out)
        planned = {cell.run_id for cell in (*there.cells, *there.dropped)}
        plan = replace(there, cells=(*there.cells, *(cell for cell in cells if cell.run_id not in planned)))
        write_plan(plan)
    return plan


def write_plan(plan: Plan) -> None:
    """Write a plan into its folder, with the version that wrote it; the caller holds the lock."""
    plain = asdict(plan)
    del plain["out"]
    plain |= {
        "cohort": _beside_sweep(plan.cohort, plan.out),
        "store": plan.store and _beside_sweep(plan.store, plan.out),
    }
    about = {"package_version": __version__, "code_revision": code_revision()}
    write_json(plan.out / PLAN, {**about, **plain})


def _beside_sweep(folder: Path, out: Path) -> str:
    """Write a folder as seen from the sweep's, where they have a folder in common: both may move, no path is told."""
    folder, out = folder.absolute(), out.absolute()
    has_common = len(Path(os.path.commonpath([folder, out])).parts) > 1
    return os.path.relpath(folder, out) if has_common else str(folder)


def _absolute(written: str, out: Path) -> Path:
    """Read what `_beside_sweep` wrote; former plans hold absolute paths."""
    return Path(os.path.normpath(out.absolute() / written))


def lock_plan(out: Path) -> Lock:
    """Take the plan's lock: one command at a time changes it; the lock ends with its process.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        return await_lock(out / ".plan.lock")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); expected a folder of your own") from error
