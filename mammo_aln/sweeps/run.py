"""`sweep run`: plan, look at everything once, train what is not done, tell what failed and how to go on."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from mammo_aln.config import ClusterConfig
from mammo_aln.errors import InputError
from mammo_aln.files import make_folder
from mammo_aln.progress import say
from mammo_aln.runs import read_state
from mammo_aln.sweeps.board import area_text, duration, resume_command, summary, write_board
from mammo_aln.sweeps.collect import collect_sweep, declare
from mammo_aln.sweeps.definition import FROM_SWEEP, Definition, points, read_definition
from mammo_aln.sweeps.local import Pool, slots_here
from mammo_aln.sweeps.plan import Cell, Plan, announce, freeze
from mammo_aln.sweeps.preflight import PROCESS_GB, free_memory_gb, plan_sweep
from mammo_aln.sweeps.table import rows, write_cells

BOARD_EVERY_S = 5.0
TELL_EVERY_S = 60.0


@dataclass
class Watch:
    """Keeps the board fresh and tells what was completed while an executor works."""

    plan: Plan
    total: int
    told: set[str] = field(default_factory=set)
    drawn: float = 0.0
    said: float = field(default_factory=time.monotonic)

    def __call__(self, ended: Cell | None = None, own: frozenset[str] = frozenset()) -> None:
        """Called about once a second, and with a cell when it is completed."""
        due = time.monotonic() - self.drawn >= BOARD_EVERY_S
        if not due and ended is None:
            return
        found = rows(self.plan, own)
        write_board(self.plan, found, live=True)
        self.drawn = time.monotonic()
        if ended is not None and ended.run_id not in self.told:
            self.told.add(ended.run_id)
            row = next(row for row in found if row.cell.run_id == ended.run_id)
            say(f"{ended.name}: val AUC {area_text(row)}, {duration(row.training_s)}")
        if time.monotonic() - self.said >= TELL_EVERY_S or ended is not None:
            self.said = time.monotonic()
            say(summary(found))


def run_sweep(
    file: Path,
    cohort: Path,
    out: Path,
    *,
    store: Path | None = None,
    executor: Literal["local", "slurm"] = "local",
    slots: int | None = None,
    retries: int = 2,
    seeds: Sequence[int] | None = None,
    pretrained: Path | None = None,
    cluster: ClusterConfig = ClusterConfig(),
    over: dict[str, Any] | None = None,
    command: str = "mammo-aln sweep run",
) -> int | Path:
    """Train every cell of a sweep that is not done; returns the folder, or 1 where a cell failed for good.

    Args:
        file: the sweep's YAML file.
        cohort: cohort folder.
        out: the sweep's folder.
        store: crop store; by default `.crops` in the cohort folder.
        executor: where cells train.
        slots: cells that train at once on this machine.
        retries: how often a cell is tried again.
        seeds: in place of the file's.
        pretrained: weights for the cells whose file says `model.pretrained: sweep`.
        cluster: what a SLURM job asks for.
        over: settings that win over the file's.
        command: the command line, for messages that say how to go on.

    Raises:
        InputError: whatever keeps every cell from its training; nothing is written then but crops.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: expected a folder, a file stands there")
    definition = with_weights(read_definition(file, over, seeds), pretrained)
    here = slots if executor == "local" else 0
    plan = plan_sweep(definition, cohort, out, store=store, slots=here or 1)
    plan = freeze(replace(plan, command=command))
    plan = announce(plan, declare(plan))
    done = sum(read_state(plan.runs / cell.run_id)["state"] == "completed" for cell in plan.cells)
    say(f"{len(plan.cells)} cells, {done} of them completed already; board: {plan.out / 'board.html'}")
    with sigterm_as_ctrl_c():
        try:
            train_cells(plan, plan.cells, executor=executor, slots=slots, retries=retries, cluster=cluster)
        except KeyboardInterrupt:
            say(f"{summary(rows(plan))}. Everything is resumable; the same command goes on: {command}")
            raise
        finally:
            found = rows(plan)
            write_board(plan, found, live=False)
            write_cells(plan, found)
    result = conclude(plan)
    if result != 1 and plan.opens_test:
        collect_sweep(plan.out)
    return result


def train_cells(
    plan: Plan,
    cells: Sequence[Cell],
    *,
    executor: Literal["local", "slurm"],
    slots: int | None,
    retries: int,
    cluster: ClusterConfig,
) -> None:
    """Have an executor train what is not completed of some cells."""
    waiting = [cell for cell in cells if read_state(plan.runs / cell.run_id)["state"] != "completed" and not cell.fault]
    if not waiting:
        return
    watch = Watch(plan, len(plan.cells))
    if executor == "slurm":
        from mammo_aln.sweeps.cluster import Queue

        Queue(plan, cluster, retries, watch).run(waiting)
        return
    make_folder(plan.out / "claims")
    trainer = waiting[0].typed_settings().trainer
    pool = Pool(plan, slots_here(trainer, slots, len(waiting), PROCESS_GB, free_memory_gb()), retries, watch)
    say(f"{len(waiting)} cells to train in {len(pool.slots)} slot(s)")
    pool.run(waiting)


def conclude(plan: Plan) -> int | Path:
    """Tell of every cell that failed and of its fix; 1 if there is any, else the sweep's folder."""
    found = rows(plan)
    failed = [row for row in found if row.standing.state != "completed"]
    for row in failed:
        failure = row.standing.failure
        say(f"FAILED {row.cell.name} (run {row.cell.run_id}): {failure.error if failure else 'not trained'}")
        for line in failure.lines if failure else ():
            say(f"    | {line}")
        if failure:
            say(f"  fix: {failure.fix}; then: {resume_command(plan, row)}")
    say(summary(found))
    return 1 if failed else plan.out


def with_weights(definition: Definition, pretrained: Path | None) -> Definition:
    """The definition with the path of the weights wherever it says `model.pretrained: sweep`.

    Raises:
        InputError: a step asks for weights and there are none, or none asks for those that were given.
    """
    asking = [point for point in points(definition) if point.settings.get("model", {}).get("pretrained") == FROM_SWEEP]
    if not asking:
        if pretrained is not None:
            raise InputError("--pretrained: no cell of this sweep says model.pretrained: sweep")
        return definition
    if pretrained is None:
        names = ", ".join(dict.fromkeys(str(point.axes.get("step", "")) for point in asking))
        raise InputError(
            f"these steps begin from pre-trained weights: {names}; name the file by --pretrained FILE "
            "(`mammo-aln pretrain` makes one)"
        )

    def filled(settings: dict[str, Any]) -> dict[str, Any]:
        model = settings.get("model", {})
        if model.get("pretrained") != FROM_SWEEP:
            return settings
        return {**settings, "model": {**model, "pretrained": str(pretrained)}}

    axes = tuple(
        replace(axis, choices=tuple(replace(choice, settings=filled(choice.settings)) for choice in axis.choices))
        for axis in definition.axes
    )
    return replace(definition, base=filled(definition.base), axes=axes, over=filled(definition.over))


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """A polite end (SIGTERM: a job's time is up, a container stops) leaves as orderly as Ctrl-C."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt("stopped by a signal")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
