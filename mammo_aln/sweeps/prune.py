"""`sweep prune`: what a sweep's folder holds beyond need, listed, and removed on request."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mammo_aln.errors import InputError
from mammo_aln.files import read_json
from mammo_aln.progress import byte_text, say
from mammo_aln.runs.ledger import LEDGER
from mammo_aln.runs.lock import is_held
from mammo_aln.runs.record import read_state
from mammo_aln.sweeps.orders import cells_named
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.plan_file import read_plan

LAST = "checkpoints/last.ckpt"


@dataclass(frozen=True)
class Spare:
    """Files that nothing of the sweep needs.

    Attributes:
        run_id: their run.
        path: a run's folder, or a checkpoint of it.
        what: in words.
    """

    run_id: str
    path: Path
    what: str

    @property
    def size_bytes(self) -> int:
        """Bytes that it holds."""
        files = [self.path] if self.path.is_file() else [file for file in self.path.rglob("*") if file.is_file()]
        return sum(file.stat().st_size for file in files)


def prune_sweep(out: Path, words: Sequence[str], *, remove: bool) -> Path:
    """List what can go, with its size, and remove it where asked; returns the sweep's folder.

    Without words: `last.ckpt` of completed cells, and runs of superseded cells. Words name cells, or ids of superseded
    runs; the run of a dropped cell goes only by its name.

    Raises:
        InputError: no sweep, a word that is not one cell's, or a run that must stay.
    """
    plan = read_plan(out)
    spares, kept = _named(plan, words) if words else _all(plan)
    total = 0
    for spare in spares:
        size = spare.size_bytes
        total += size
        say(f"{spare.path.relative_to(plan.out)}: {spare.what}, {byte_text(size)}")
        if remove:
            _remove(spare.path)
    for run_id, reason in kept.items():
        say(f"runs/{run_id}: stays: {reason}")
    if not spares:
        say("nothing to remove")
    elif remove:
        say(f"{byte_text(total)} removed")
    else:
        command = shlex.join(["mammo-aln", "sweep", "prune", *words, "--out", str(out), "--remove"])
        say(f"{byte_text(total)} in all; nothing was removed: {command}")
    return plan.out


def _all(plan: Plan) -> tuple[list[Spare], dict[str, str]]:
    spares, damaged = [], {}
    for cell in plan.cells:
        try:
            if _is_completed(plan, cell.run_id):
                last = plan.runs / cell.run_id / LAST
                spares.append(Spare(cell.run_id, last, f"last checkpoint of {cell.name}, which is completed"))
        except InputError as error:
            damaged[cell.run_id] = f"damaged: {error}"
    spares += [Spare(run_id, plan.runs / run_id, "run of a superseded cell") for run_id in plan.superseded]
    spares = [spare for spare in spares if spare.path.exists()]
    reasons = damaged | {spare.run_id: reason for spare in spares if (reason := _must_stay(plan, spare))}
    return [spare for spare in spares if spare.run_id not in reasons], reasons


def _named(plan: Plan, words: Sequence[str]) -> tuple[list[Spare], dict[str, str]]:
    spares = []
    for word in words:
        if word in plan.superseded:
            spares.append(Spare(word, plan.runs / word, "run of a superseded cell"))
            continue
        (cell,) = cells_named(plan, [word])
        run = plan.runs / cell.run_id
        if cell.dropped is not None:
            spares.append(Spare(cell.run_id, run, f"run of {cell.name}, {cell.dropped}"))
        elif _is_completed(plan, cell.run_id):
            spares.append(Spare(cell.run_id, run / LAST, f"last checkpoint of {cell.name}, which is completed"))
        else:
            raise InputError(f"{cell.name}: it is a cell of the sweep that is not completed; `sweep drop` it first")
    for spare in spares:
        if reason := _must_stay(plan, spare):
            raise InputError(f"{spare.path}: stays: {reason}")
    return [spare for spare in spares if spare.path.exists()], {}


def _is_completed(plan: Plan, run_id: str) -> bool:
    return read_state(plan.runs / run_id).state == "completed"


def _must_stay(plan: Plan, spare: Spare) -> str | None:
    """Say why files may not go; None where they may."""
    run = plan.runs / spare.run_id
    if is_held(run):
        return "a process holds it"
    if spare.path == run and ((run / LEDGER).is_file() or spare.run_id in _tested(plan)):
        return "it has opened a test split, and is the evidence of what it said"
    return None


def _tested(plan: Plan) -> frozenset[str]:
    """Ids of runs that the sweep's own tests scored, alone or as members of an ensemble."""
    ids: set[str] = set()
    for path in plan.out.glob("test*/**/*.json"):
        plain = read_json(path)
        if isinstance(plain, dict):
            ids.update(plain.get("members") or [])
            ids.add(str(plain.get("run_id")))
    return frozenset(ids)


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be removed ({error.strerror})") from error
