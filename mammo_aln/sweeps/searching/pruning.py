"""Pruning: what goes worse than others at the same epoch is stopped there, for grids and searches alike.

Cells of one seed and fold are a lane. A configuration's lanes come one after another; at an epoch it is judged by the
mean of its best validation AUC so far over that lane and those before, against other configurations in the same lane.
So a configuration with one cell is judged by its best AUC so far. Whoever is judged to be stopped is withheld, with all
cells of its configuration that are not completed; its step is saved.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from mammo_aln.errors import InputError
from mammo_aln.files import make_folder
from mammo_aln.machine.locks import await_lock
from mammo_aln.progress import counted, say
from mammo_aln.runs.record import read_state
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.planning.pruner import EPOCHS, Pruner
from mammo_aln.sweeps.searching.rungs import Rungs
from mammo_aln.sweeps.standing.figures import figures_so_far
from mammo_aln.sweeps.withheld import exempted, pruned_at, release, withhold

LOOK_EVERY_S = 1.0
SHARE_OF_TIME = 0.1
"""Looks at thousands of cells take no more of the command's time than this."""


@dataclass
class Pruning:
    """Looks at the epochs of a sweep's cells, and withholds those that go worse than others.

    Attributes:
        pruner: which of Optuna's.
    """

    pruner: Pruner
    rungs: Rungs | None = None
    epochs: dict[str, int] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    next_look: float = 0.0

    def look(self, plan: Plan) -> None:
        """Judge what has been trained since the last look, about once a second."""
        if not plan.cells or (begun := time.monotonic()) < self.next_look:
            return
        make_folder(plan.out / "claims")
        with await_lock(plan.out / "claims" / "pruning.lock"):
            self.judge(plan)
        took = time.monotonic() - begun
        self.next_look = begun + max(LOOK_EVERY_S, took / SHARE_OF_TIME)

    def judge(self, plan: Plan) -> None:
        """Judge what has been trained since the last look; what has ended comes first, as it is compared with."""
        if self.rungs is None:
            self.rungs = Rungs(self.pruner, plan.cells[0].settings.trainer.max_epochs)
        members = lanes(plan.cells)
        spared = exempted(plan.out)
        open_cells = []
        for configuration in members.values():
            for lane, cell in enumerate(configuration):
                if cell.run_id in self.settled or not (plan.runs / cell.run_id / "metrics.csv").is_file():
                    continue
                if self._has_ended(plan, cell):
                    self._follow(plan, configuration, lane, spared, ended=True)
                else:
                    open_cells.append((lane, configuration))
        for lane, configuration in sorted(open_cells, key=lambda one: one[0]):
            if configuration[lane].run_id not in self.settled:
                self._follow(plan, configuration, lane, spared, ended=False)

    def _has_ended(self, plan: Plan, cell: Cell) -> bool:
        completed = read_state(plan.runs / cell.run_id).state == "completed"
        return completed or pruned_at(plan.out, cell.run_id) is not None

    def _follow(
        self, plan: Plan, configuration: Sequence[Cell], lane: int, spared: frozenset[str], *, ended: bool
    ) -> None:
        """Report a cell's new epochs; prune its configuration at the first where the pruner says so."""
        assert self.rungs is not None
        cell, before = configuration[lane], [self.best.get(cell.run_id) for cell in configuration[:lane]]
        known = [auc for auc in before if auc is not None]
        if len(known) < len(before):
            return  # the lanes before are not at their end
        aucs = figures_so_far(plan.runs / cell.run_id).val_aucs
        value = math.nan
        for epoch in range(1, len(aucs) + 1):
            so_far = [auc for auc in aucs[:epoch] if not math.isnan(auc)]
            value = (sum(known) + max(so_far)) / (lane + 1) if so_far else math.nan
            if epoch <= self.epochs.get(cell.run_id, 0):
                continue
            self.epochs[cell.run_id] = epoch
            falls = self.rungs.judge(lane, cell.run_id, epoch, value)
            if falls and not ended and cell.run_id not in spared and epoch < cell.settings.trainer.max_epochs:
                self._prune(plan, configuration, lane, epoch, value)
                return
        if ended and not math.isnan(value):
            is_pruned = pruned_at(plan.out, cell.run_id) is not None
            self.rungs.end(lane, cell.run_id, None if is_pruned else value)
            self.settled.add(cell.run_id)
            if not is_pruned:
                self.best[cell.run_id] = max(auc for auc in aucs if not math.isnan(auc))

    def _prune(self, plan: Plan, configuration: Sequence[Cell], lane: int, epoch: int, value: float) -> None:
        assert self.rungs is not None
        first = configuration[lane]
        reason = f"pruned at epoch {epoch} of {first.settings.trainer.max_epochs}: AUC {value:.3f} ({self.pruner.name})"
        about = {"epoch": epoch, "auc": value, "pruner": self.pruner.to_json()}
        withhold(plan.out, [first.run_id], reason, pruned=about)
        say(f"{first.name}: {reason}")
        self.rungs.end(lane, first.run_id, None)
        self.settled.add(first.run_id)
        for cell in configuration:
            if cell.run_id not in self.settled:
                of_it = f"its configuration was {reason}, in seed={first.seed}"
                of_it += f", fold={first.fold}" * (first.fold is not None)
                withhold(plan.out, [cell.run_id], of_it, pruned=about)
                self.settled.add(cell.run_id)


def lanes(cells: Sequence[Cell]) -> dict[tuple[tuple[str, str], ...], list[Cell]]:
    """Group cells by configuration, each in the order of its lanes: folds, and seeds within a fold."""
    groups: dict[tuple[tuple[str, str], ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.configuration].append(cell)
    return {key: sorted(members, key=lambda cell: (cell.fold or 0, cell.seed)) for key, members in groups.items()}


def lane_by_lane(cells: Sequence[Cell]) -> list[Cell]:
    """Order cells by lane: what is pruned in the first one is spared the others."""
    lane = {cell.run_id: number for members in lanes(cells).values() for number, cell in enumerate(members)}
    return sorted(cells, key=lambda cell: lane[cell.run_id])


def begin_pruning(plan: Plan, pruner: Pruner | None) -> Pruning | None:
    """Begin to prune a sweep, or go on; cells that another pruner has stopped go on, but those of a search.

    Raises:
        InputError: its cells train different numbers of epochs.
    """
    if pruner is not None and len({cell.settings.trainer.max_epochs for cell in plan.cells}) > 1:
        raise InputError(f"pruner: cells are compared epoch by epoch; expected one {EPOCHS} for all of them")
    plain = None if pruner is None else pruner.to_json()
    if plan.search is None:
        stopped = {cell.run_id: pruned_at(plan.out, cell.run_id) for cell in plan.cells}
        others = [run_id for run_id, pruned in stopped.items() if pruned is not None and pruned["pruner"] != plain]
        if others:
            release(plan.out, others)
            now = "no pruner" if pruner is None else "another pruner, or other options of it"
            say(
                f"the file names {now} now:"
                f" {counted(len(others), 'cell that was', 'cells that were')}"
                f" pruned by the former one {'goes' if len(others) == 1 else 'go'} on"
            )
    return None if pruner is None else Pruning(pruner)
