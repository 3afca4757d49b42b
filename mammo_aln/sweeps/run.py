"""`sweep run`: plan, look at everything once, train what is not done, tell what failed and how to go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from mammo_aln.errors import Requeue
from mammo_aln.files import require_folder
from mammo_aln.machine.cores import usable_cores
from mammo_aln.machine.memory import free_memory_gb
from mammo_aln.machine.signals import requeued
from mammo_aln.machine.slurm import QueuedJob, require_controller
from mammo_aln.progress import counted, say
from mammo_aln.runs.record import read_state
from mammo_aln.settings import ClusterConfig
from mammo_aln.sweeps.collect import collect_sweep
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.local import Pool, alike, slots_by_memory, slots_here
from mammo_aln.sweeps.measure import footprints
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.plan_file import announce, read_plan
from mammo_aln.sweeps.planning.combinations import readable_settings, refuse_combinations
from mammo_aln.sweeps.planning.definition import Nested, Seeds, points, read_definition
from mammo_aln.sweeps.planning.preflight import Planner, plan_sweep, require_sound_cohort
from mammo_aln.sweeps.planning.room import PROCESS_GB
from mammo_aln.sweeps.planning.weights import asking_points, with_weights
from mammo_aln.sweeps.sealed import declare
from mammo_aln.sweeps.searching.begin import plan_search, refuse_varied_pretraining
from mammo_aln.sweeps.searching.pruning import Pruning, begin_pruning, lane_by_lane
from mammo_aln.sweeps.searching.search import Search
from mammo_aln.sweeps.slurm.asks import PRETRAIN, cluster_of, require_asks, require_fits
from mammo_aln.sweeps.standing.arithmetic import differences
from mammo_aln.sweeps.standing.board import area_text, duration, fix_of, resume_command, summary, write_board
from mammo_aln.sweeps.standing.states import STATE_WORDS
from mammo_aln.sweeps.standing.table import completed_cells, read_rows, write_cells
from mammo_aln.training.attempt import tidied

BOARD_EVERY_S = 5.0
TELL_EVERY_S = 60.0


@dataclass
class Watch:
    """Keeps the board fresh and tells what was completed while an executor works."""

    plan: Plan
    total: int
    at_once: int = 0
    reported: set[str] = field(default_factory=set)
    drawn: float = 0.0
    said: float = field(default_factory=time.monotonic)

    def __call__(
        self,
        ended: Cell | None = None,
        own: frozenset[str] = frozenset(),
        queue: Mapping[str, QueuedJob] | None = None,
    ) -> None:
        """Called about once a second, and with a cell when it is completed."""
        due = time.monotonic() - self.drawn >= BOARD_EVERY_S
        if not due and ended is None:
            return
        rows = read_rows(self.plan, own, queue)
        write_board(self.plan, rows, live=True, at_once=self.at_once)
        self.drawn = time.monotonic()
        if ended is not None and ended.run_id not in self.reported:
            self.reported.add(ended.run_id)
            row = next(row for row in rows if row.cell.run_id == ended.run_id)
            say(f"{ended.name}: val AUC {area_text(row)}, {duration(row.training_s)}")
        if time.monotonic() - self.said >= TELL_EVERY_S or ended is not None:
            self.said = time.monotonic()
            say(summary(rows, self.at_once))


def run_sweep(
    file: Path,
    cohort: Path,
    out: Path,
    *,
    store: Path | None = None,
    executor: Literal["local", "slurm"] = "local",
    slots: int | Literal["auto"] | None = None,
    retries: int = 2,
    seeds: Seeds | None = None,
    pretrained: Path | None = None,
    cluster: ClusterConfig = ClusterConfig(),
    over: Nested | None = None,
    command: str = "mammo-aln sweep run",
) -> int | Path:
    """Train every cell of a sweep that is not done; returns the folder, or 1 where a cell failed for good.

    Args:
        file: the sweep's YAML file.
        cohort: cohort folder.
        out: the sweep's folder.
        store: crop store; by default `.crops` in the cohort folder.
        executor: where cells train.
        slots: cells that train at once on this machine; `auto` measures their memory and places them by it.
        retries: how often a cell is tried again.
        seeds: in place of the file's.
        pretrained: weights for the cells whose file says `model.pretrained: sweep`.
        cluster: what a SLURM job asks for.
        over: settings that win over the file's.
        command: the command line, for messages that say how to go on.

    Raises:
        InputError: whatever keeps every cell from its training; nothing is written then but crops.
    """
    require_folder("--out", out)
    definition = read_definition(file, over, seeds)
    if executor == "slurm":
        require_asks(cluster, definition.axes)
        require_controller()
    planner = Planner(cohort, store, here=executor == "local")
    asked = list(points(definition))
    readable = readable_settings(asked)
    if executor == "slurm" and definition.search is None:
        require_fits(cluster, [(point.axes, settings) for point, settings in zip(asked, readable, strict=True)])
    asking_points(asked, definition, pretrained)
    planner.require_folds(readable)
    require_sound_cohort(cohort, readable, store)
    refuse_combinations(asked, planner)
    if pretrained is None:
        refuse_varied_pretraining(definition, asked)
    begins = with_weights(
        asked,
        definition,
        cohort,
        out,
        pretrained=pretrained,
        store=store,
        cluster=cluster_of(cluster, PRETRAIN) if executor == "slurm" else None,
    )
    if definition.search is not None:
        search = plan_search(
            definition, definition.search, begins, planner, out, command, executor=executor, retries=retries
        )
        search.plan = plan = announce(search.plan, declare(search.plan))
        work: Callable[[], object] = partial(
            train_search, search, executor=executor, slots=slots, retries=retries, cluster=cluster
        )
    else:
        here = 0 if executor == "slurm" else slots if isinstance(slots, int) else 1
        plan = plan_sweep(
            definition,
            begins,
            cohort,
            out,
            store=store,
            slots=here,
            elsewhere=cluster.max_jobs,
            check=False,
            planner=planner,
        )
        pruner = definition.pruner.to_json() if definition.pruner else None
        plan = freeze(replace(plan, command=command, pruner=pruner))
        plan = announce(plan, declare(plan))
        pruning = begin_pruning(plan, definition.pruner)
        work = partial(
            train_cells, plan, plan.cells, pruning, executor=executor, slots=slots, retries=retries, cluster=cluster
        )
    done = sum(read_state(plan.runs / cell.run_id).state == "completed" for cell in plan.cells)
    say(f"{counted(len(plan.cells), 'cell')}, {done} of them completed already; board: {plan.out / 'board.html'}")
    with requeued():
        try:
            work()
        except (KeyboardInterrupt, Requeue):
            plan = read_plan(plan.out)
            say(f"{summary(read_rows(plan))}. Everything is resumable; the same command goes on: {command}")
            raise
        finally:
            plan = read_plan(plan.out)
            rows = read_rows(plan)
            write_board(plan, rows, live=False)
            write_cells(plan, rows)
    result = conclude(plan)
    if result != 1 and plan.opens_test:
        collect_sweep(plan.out)
    return result


def train_cells(
    plan: Plan,
    cells: Sequence[Cell],
    pruning: Pruning | None,
    *,
    executor: Literal["local", "slurm"],
    slots: int | Literal["auto"] | None,
    retries: int,
    cluster: ClusterConfig,
) -> None:
    """Have an executor train what is not completed of some cells, and a pruner stop those that go worse than others."""
    done = {cell.run_id for cell in cells if read_state(plan.runs / cell.run_id).state == "completed"}
    for cell in cells:
        if cell.run_id in done:
            tidied(plan.runs / cell.run_id, cell.settings)
    waiting = [cell for cell in cells if cell.run_id not in done and not cell.fault]
    if not waiting:
        return
    watch = Watch(plan, len(plan.cells))

    def prune(free: int, ended: Sequence[Cell]) -> Sequence[Cell]:
        if pruning is not None:
            pruning.look(plan)
        return ()

    if pruning is not None:
        waiting = lane_by_lane(waiting)
    if executor == "slurm":
        from mammo_aln.sweeps.slurm.queue import Queue

        Queue(plan, cluster, retries, watch).run(waiting, prune)
        return
    # A slot has the devices of its cells: those that need others train after them, in slots of their own.
    pools = [_pool(plan, group, slots, retries, watch) for group in alike(waiting)]
    for pool, group in zip(pools, alike(waiting), strict=True):
        trainer = group[0].settings.trainer
        on = f", each on {trainer.devices} devices" if trainer.devices > 1 else ""
        say(f"{counted(len(group), 'cell')} to train in {counted(len(pool.slots), 'slot')}{on}")
        watch.at_once = len(pool.slots)
        pool.further, pool.longest_first = prune, pruning is None
        pool.run(group)


def train_search(
    search: Search,
    *,
    executor: Literal["local", "slurm"],
    slots: int | Literal["auto"] | None,
    retries: int,
    cluster: ClusterConfig,
) -> None:
    """Have an executor train a search's trials, each asked for when there is room for it."""
    watch = Watch(search.plan, 0)

    def further(free: int, ended: Sequence[Cell]) -> Sequence[Cell]:
        cells = search.further(free, ended)
        watch.plan = search.plan
        return cells

    if executor == "slurm":
        from mammo_aln.sweeps.slurm.queue import Queue

        say(f"at most {search.at_once} trials are trained at once (search.at_once), so that later ones learn from them")
        Queue(search.plan, cluster, retries, watch).run([], further)
        return
    first = further(1, [])
    if not first:
        return
    pool = _pool(search.plan, first, slots, retries, watch, most=search.space.trials * len(first))
    pool.further = further
    say(f"trials are trained in {counted(len(pool.slots), 'slot')}")
    watch.at_once = len(pool.slots)
    pool.run(first)


def _pool(
    plan: Plan,
    cells: Sequence[Cell],
    slots: int | Literal["auto"] | None,
    retries: int,
    watch: Watch,
    most: int | None = None,
) -> Pool:
    """Slots of this machine for cells that agree in devices and accelerator; `most`, where more will follow."""
    trainer = cells[0].settings.trainer
    cores = usable_cores()
    count = len(cells) if most is None else most
    if slots == "auto" and trainer.devices == 1:
        first = slots_here(trainer, None, 1, 0.0, 0.0, cores)[0]

        def measure(cells: Sequence[Cell]) -> dict[str, float]:
            return footprints(plan, cells, first.environment)

        needs_gb = measure(cells)
        typical = max(needs_gb.values())
        needs = [needs_gb[cell.run_id] for cell in cells] + [typical] * (count - len(cells))
        here = slots_by_memory(trainer, needs, cores)
        return Pool(plan, here, retries, watch, needs_gb, measure=measure)
    asked = slots if isinstance(slots, int) else None
    return Pool(plan, slots_here(trainer, asked, count, PROCESS_GB, free_memory_gb(), cores), retries, watch)


def conclude(plan: Plan) -> int | Path:
    """Tell of every cell that is not completed, and of its fix; 1 if there is any, else the sweep's folder."""
    rows = read_rows(plan)
    left = [row for row in rows if row.standing.state not in ("completed", "pruned")]
    for row in left:
        state, failure = row.standing.state, row.standing.failure
        if state != "failed" or failure is None:
            note = f": {row.standing.note}" * bool(row.standing.note)
            say(f"{STATE_WORDS[state].upper()} {row.cell.name} (run {row.cell.run_id}){note}")
            continue
        say(f"FAILED {row.cell.name} (run {row.cell.run_id}): {failure.error}")
        for line in failure.lines:
            say(f"    | {line}")
        say(f"  fix: {fix_of(plan, row)}; then: {resume_command(plan, row)}")
    if otherwise := differences(plan, completed_cells(rows)):
        say(otherwise)
    say(summary(rows))
    return 1 if left else plan.out
