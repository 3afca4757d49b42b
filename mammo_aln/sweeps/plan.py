"""The plan of a sweep: its cells with their identities, frozen in DIR/plan.json before the first one trains."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mammo_aln import __version__
from mammo_aln.errors import InputError
from mammo_aln.files import make_folder, write_json
from mammo_aln.machine.locks import Lock, await_lock
from mammo_aln.progress import counted, say
from mammo_aln.runs.identity import WITHOUT_INFLUENCE, learning_code
from mammo_aln.runs.record import code_revision, now
from mammo_aln.settings import Settings
from mammo_aln.settings.stored import as_they_ran, plain_settings, stored_settings
from mammo_aln.sweeps.planning.definition import Label, Nested, Point, label_of
from mammo_aln.sweeps.withheld import BY_FILE, BY_HAND, reason_withheld, release, withheld, withhold

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
NAMES_SHOWN = 5
"""Cells that a message names; of more it tells the number."""


@dataclass(frozen=True)
class Cell:
    """One training of a sweep.

    Attributes:
        run_id: identity, frozen when the sweep was planned.
        axes: the cell's place in the grid, as labels.
        shown: columns of its tables: labels, and what they set.
        seed: seed of the training.
        fold: fold of `data.folds`, or None.
        settings: all settings.
        fault: why the cell cannot be trained, found before the first one began.
        cost: a guess of how long a step takes, in processor seconds; decides only what begins first.
        dropped: why the cell is no longer of the sweep; None while it is.
    """

    run_id: str
    axes: dict[str, Label]
    shown: dict[str, Label]
    seed: int
    fold: int | None
    settings: Settings
    fault: str | None = None
    cost: float = 0.0
    dropped: str | None = None

    @property
    def name(self) -> str:
        """Name in messages."""
        return name_of(self.axes, self.seed, self.fold)

    @property
    def seat(self) -> tuple[object, ...]:
        """Configuration, seed and fold: no two cells of a sweep share them."""
        return (self.configuration, self.seed, self.fold)

    @property
    def configuration(self) -> tuple[tuple[str, str], ...]:
        """Place in the grid, which cells that differ in seed and fold alone have in common."""
        return tuple(sorted((key, str(value)) for key, value in self.axes.items()))

    def column(self, name: str) -> Label:
        """Label a table's column: what the grid set, else the setting of that name."""
        if name in self.shown:
            return self.shown[name]
        section, dot, key = name.partition(".")
        return label_of(getattr(getattr(self.settings, section), key)) if dot else ""


def name_of(axes: Mapping[str, Label], seed: int | None, fold: int | None = None) -> str:
    """Name a cell in messages: its place in the grid, its seed and its fold; without them, its configuration."""
    labels = {**axes, **({} if seed is None else {"seed": seed}), **({} if fold is None else {"fold": fold})}
    return ", ".join(f"{key}={value}" for key, value in labels.items())


def name_of_point(point: Point) -> str:
    """Name a point as the cell that it becomes is named."""
    data = point.settings.get("data")
    data = data if isinstance(data, dict) else {}
    return name_of(point.axes, point.settings.get("seed", 0), data.get("fold", 0) if data.get("folds") else None)


@dataclass(frozen=True)
class Plan:
    """All cells that a sweep's tables compare.

    Attributes:
        out: the sweep's folder.
        cohort: the cohort's folder.
        store: crop store, or None for the cohort's own.
        content: digest of the cohort's tables.
        cells: what is to be trained.
        touched: settings that the grid sets.
        opens_test: declared beforehand: a finished sweep judges every configuration on the test splits.
        search: what Optuna searches, if anything.
        command: the command line that planned it, for messages that say how to go on.
        declared: id of the declared plan in the cohort's ledger of test openings, if there is one.
        created: when, UTC.
        learning: code that the cells' identities were made by.
        dropped: cells that were taken out, by the file or by hand: neither trained nor ranked.
        superseded: ids of former cells that are other trainings now; their runs may stand in the folder.
        pruner: which of Optuna's stops cells before their last epoch, with its options; None where none does.
        cohort_name: what the cohort calls itself (`name:` of cohort.yaml); empty in plans of earlier versions.
    """

    out: Path
    cohort: Path
    store: Path | None
    content: str
    cells: tuple[Cell, ...]
    touched: tuple[str, ...] = ()
    opens_test: bool = False
    search: Nested | None = None
    command: str = "mammo-aln sweep run"
    declared: str | None = None
    created: str = field(default_factory=now)
    learning: str = field(default_factory=learning_code)
    dropped: tuple[Cell, ...] = ()
    superseded: tuple[str, ...] = ()
    pruner: Nested | None = None
    cohort_name: str = ""

    @property
    def of_this_code(self) -> bool:
        """True where this code trains the cells as planned; another one makes other runs of the same settings."""
        return self.learning == learning_code()

    @property
    def runs(self) -> Path:
        """Folder of the run directories."""
        return self.out / "runs"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that tell the cells apart, axes first."""
        return tuple(dict.fromkeys(name for cell in self.cells for name in cell.shown))

    def cell(self, run_id: str) -> Cell:
        """The cell of that identity, dropped or not."""
        return next(cell for cell in (*self.cells, *self.dropped) if cell.run_id == run_id)


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


def freeze(plan: Plan) -> Plan:
    """Write a plan in place of the folder's former one; returns it, beside what left the sweep.

    The file decides: former cells that it no longer names are dropped, and come back with it. A cell that was dropped
    by hand stays so. Former cells of another cohort or of other settings are superseded. All keep their run folders.

    Raises:
        InputError: every cell was dropped by hand.
    """
    make_folder(plan.runs)
    with _locked(plan.out):
        if (plan.out / PLAN).is_file():
            plan = _beside(read_plan(plan.out), plan)
        if not plan.cells and plan.dropped and plan.search is None:
            raise InputError(
                f"{plan.out}: every cell of the sweep's file was dropped by hand;"
                " `mammo-aln sweep retry CELL` takes one up again"
            )
        _write(plan)
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


def names_in_words(names: Sequence[str]) -> str:
    """Write a few names, and how many more there are."""
    more = len(names) - NAMES_SHOWN
    return "; ".join(names[:NAMES_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def change_cells(out: Path, run_ids: Collection[str], dropped: str | None) -> Plan:
    """Write a sweep's plan with some of its cells dropped for a reason, or, without one, back in it."""
    with _locked(out):
        plan = read_plan(out)
        cells = [cell for cell in plan.cells if cell.run_id not in run_ids]
        aside = [cell for cell in plan.dropped if cell.run_id not in run_ids]
        chosen = [replace(cell, dropped=dropped) for cell in (*plan.cells, *plan.dropped) if cell.run_id in run_ids]
        plan = replace(
            plan,
            cells=tuple(cells if dropped else [*cells, *chosen]),
            dropped=tuple([*aside, *chosen] if dropped else aside),
        )
        _write(plan)
    return plan


def announce(plan: Plan, declared: str | None) -> Plan:
    """Keep the id under which the plan stands in the cohort's ledger of test openings, and what it announced."""
    with _locked(plan.out):
        there = read_plan(plan.out)
        plan = replace(there, declared=declared, search=plan.search, opens_test=plan.opens_test, pruner=plan.pruner)
        if plan != there:
            _write(plan)
    return plan


def add_cells(plan: Plan, cells: Sequence[Cell]) -> Plan:
    """Write a plan that has more cells, beside those that another command may have added meanwhile."""
    with _locked(plan.out):
        there = read_plan(plan.out)
        planned = {cell.run_id for cell in (*there.cells, *there.dropped)}
        plan = replace(there, cells=(*there.cells, *(cell for cell in cells if cell.run_id not in planned)))
        _write(plan)
    return plan


def _write(plan: Plan) -> None:
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


def _locked(out: Path) -> Lock:
    """One command at a time changes the plan; the lock ends with its process."""
    try:
        return await_lock(out / ".plan.lock")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); expected a folder of your own") from error


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


def touched_settings(settings: Nested) -> Iterator[str]:
    """Name (`section.key`) what some nested settings set."""
    for section, values in settings.items():
        yield from (f"{section}.{key}" for key in values) if isinstance(values, Mapping) else (section,)


def stand_in_id(settings: Settings, content: str) -> str:
    """Name a cell whose identity cannot be known, because the file of its weights cannot be read."""
    text = json.dumps([plain_settings(settings), content, "no identity"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
