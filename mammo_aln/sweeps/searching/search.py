"""Search beyond the grid: Optuna asks for cells over ranges of settings; same executors, same board.

    search:
      trials: 40
      space:
        optim.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
        data.augment_strength: {low: 0.0, high: 2.0}
      at_once: 8                       # trials that are trained at once
      storage: postgresql://...        # for many machines; by default a SQLite file in the sweep's folder
      seed: 0

Axes of a grid beside it are searched as well, by their values. A trial is judged by the mean validation AUC of its
cells over seeds and folds. It is asked for when a slot or a job is free, and told when its last cell ends. One whose
cell failed stays open: the next command, or `sweep retry`, goes on with it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mammo_aln.errors import InputError
from mammo_aln.files import make_folder
from mammo_aln.machine.locks import Lock, await_lock, is_locked, take_lock
from mammo_aln.progress import say
from mammo_aln.runs.record import read_state
from mammo_aln.sweeps.cell import exhausted, failures
from mammo_aln.sweeps.plan import Cell, Plan, names_in_words
from mammo_aln.sweeps.plan_file import add_cells, read_plan
from mammo_aln.sweeps.planning.definition import (
    FROM_SWEEP,
    Axis,
    Choice,
    Definition,
    Nested,
    Point,
    label_of,
    merged,
    nested,
    points,
)
from mammo_aln.sweeps.planning.preflight import Planner, settings_of
from mammo_aln.sweeps.planning.space import Space
from mammo_aln.sweeps.searching.pruning import Pruning, lane_by_lane
from mammo_aln.sweeps.searching.study import FOLDER, Trial, ask, is_drawn, tell_failed, tell_pruned
from mammo_aln.sweeps.standing.table import read_rows
from mammo_aln.sweeps.withheld import exempted, pruned_at, withheld

TRIAL = "trial"
"""Axis of a search's cells that names their trial."""
POLL_S = 1.0


@dataclass
class OpenTrial:
    """A trial that this command is at.

    Attributes:
        trial: what Optuna asked for.
        cells: its cells.
        left: ids of those in training.
        claim: keeps other commands from it.
        later: cells that begin when those have ended: where a pruner may spare them.
    """

    trial: Trial
    cells: list[Cell]
    left: set[str]
    claim: Lock
    later: list[Cell]


@dataclass
class Search:
    """A study's trials as cells that an executor asks for, one after another.

    Attributes:
        definition: the sweep.
        space: what is varied.
        study: Optuna's.
        planner: gives cells their identities.
        plan: the sweep as planned so far.
        retries: how often the executor tries a cell again.
        at_once: trials that are trained at once, by all commands together.
        begins: the grid's points with their weights filled in; a trial begins from those of its place in the grid.
        pruning: stops trials that go worse than others; the cells of a trial train one after another then.
    """

    definition: Definition
    space: Space
    study: Any
    planner: Planner
    plan: Plan
    retries: int
    at_once: int
    begins: Sequence[Point] = ()
    pruning: Pruning | None = None
    open: dict[int, OpenTrial] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    unsound: int = 0

    def __post_init__(self) -> None:
        self.before = {cell.run_id: len(failures(self.plan, cell)) for cell in self.plan.cells}
        self.weights = {_place(point): point.settings["model"]["pretrained"] for point in self.begins if _has(point)}
        self.folder = str(self.plan.out) if self.space.storage else ""
        make_folder(self.plan.out / "claims")

    def further(self, free: int, ended: Sequence[Cell]) -> list[Cell]:
        """Tell Optuna of the trials that have ended; give the cells of those to be trained now, none where all are.

        Args:
            free: cells that may begin.
            ended: cells that have ended since the last call: completed, withheld or failed for good.

        Raises:
            InputError: the first trial cannot be trained.
        """
        if self.pruning is not None:
            self.pruning.look(self.plan)
        cells: list[Cell] = []
        for trial in list(self.open.values()):
            trial.left.difference_update(cell.run_id for cell in ended)
            cells += self._following(trial)
            self._conclude_where_ended(trial)
        if free > len(cells):
            cells += self._spared()
        while len(cells) < free and (opened := self._next()):
            in_training = {run_id for other in self.open.values() for run_id in other.left}
            cells += [cell for cell in opened.cells if cell.run_id in opened.left - in_training]
            self.open[opened.trial.number] = opened
            self._conclude_where_ended(opened)
        if free and not cells and not self.open:
            return self._of_others()
        return cells

    def _next(self) -> OpenTrial | None:
        """Take up the next trial; one whose settings cannot be trained is told as failed and passed over."""
        while claimed := self._claimed():
            trial, claim = claimed
            try:
                cells = self._cells(trial)
            except InputError as error:
                tell_failed(self.study, trial.number)
                claim.close()
                if not self.plan.cells:
                    raise
                self.unsound += 1
                say(f"trial {self._label(trial)}: cannot be trained: {error}")
                continue
            self.plan = add_cells(self.plan, cells)
            todo = [cell for cell in cells if read_state(self.plan.runs / cell.run_id).state != "completed"]
            if self.pruning is not None:
                todo = [] if any(pruned_at(self.plan.out, cell.run_id) for cell in todo) else lane_by_lane(todo)
            first = todo if self.pruning is None else todo[:1]
            return OpenTrial(trial, cells, {cell.run_id for cell in first}, claim, todo[len(first) :])
        return None

    def _claimed(self) -> tuple[Trial, Lock] | None:
        """Claim a trial that a command left, else ask for another, while fewer than `at_once` are in training."""
        with await_lock(self.plan.out / "claims" / f"{self.study.study_name}.lock"):
            running = self._running()
            if sum(is_locked(self._claim_path(trial)) for trial in running) >= self.at_once:
                return None
            for trial in running:
                if is_locked(self._claim_path(trial)):
                    continue
                if not is_drawn(trial.params, self.definition, self.space):
                    tell_failed(self.study, trial.number)  # its command was killed before its values were drawn
                elif not self._is_given_up(trial) and (claim := take_lock(self._claim_path(trial))):
                    return trial, claim
            if self._asked() + self.unsound >= self.space.trials:
                return None
            trial = ask(self.study, self.definition, self.space, self.folder)
            claim = take_lock(self._claim_path(trial))
            assert claim is not None, "a number is given to one command"
            return trial, claim

    def _running(self) -> list[Trial]:
        """List this folder's trials that were asked for and not told."""
        return [
            Trial(trial.number, dict(trial.params))
            for trial in self.study.trials
            if not trial.state.is_finished() and trial.user_attrs.get(FOLDER, self.folder) == self.folder
        ]

    def _asked(self) -> int:
        """Count trials that are in training or told; those that failed are none."""
        return sum(trial.state.name != "FAIL" for trial in self.study.trials)

    def _claim_path(self, trial: Trial) -> Path:
        return self.plan.out / "claims" / f"{self.study.study_name}-trial-{trial.number}.lock"

    def _is_given_up(self, trial: Trial) -> bool:
        """Tell whether a cell of a trial is withheld, or has failed for good since this command began."""
        plan = read_plan(self.plan.out)
        kept_back = withheld(plan.out)
        for cell in (*plan.cells, *plan.dropped):
            if cell.axes.get(TRIAL) != self._label(trial):
                continue
            tries = failures(plan, cell)
            before = min(self.before.get(cell.run_id, 0), len(tries))
            if pruned_at(plan.out, cell.run_id) is not None:
                return False  # Optuna is still to be told
            if cell.run_id in kept_back or exhausted(tries, before, self.retries):
                return True
        return False

    def _following(self, opened: OpenTrial) -> list[Cell]:
        """Give the next cell of a trial whose former ones are completed."""
        if opened.left or not opened.later:
            return []
        waits = {cell.run_id for cell in opened.later}
        former = [cell for cell in opened.cells if cell.run_id not in waits]
        if any(read_state(self.plan.runs / cell.run_id).state != "completed" for cell in former):
            opened.later.clear()
            return []
        cell = opened.later.pop(0)
        opened.left.add(cell.run_id)
        return [cell]

    def _spared(self) -> list[Cell]:
        """Give cells of pruned trials that were tried again by hand, once each; Optuna is told nothing more of them."""
        ids = exempted(self.plan.out) - self.shared - {run_id for trial in self.open.values() for run_id in trial.left}
        cells = [cell for cell in self.plan.cells if cell.run_id in ids]
        self.shared.update(cell.run_id for cell in cells)
        return [cell for cell in cells if read_state(self.plan.runs / cell.run_id).state != "completed"]

    def _of_others(self) -> list[Cell]:
        """Give the cells of trials that other commands are at, once each: whoever is free trains them."""
        while busy := [trial for trial in self._running() if is_locked(self._claim_path(trial))]:
            self.plan = read_plan(self.plan.out)
            labels = {self._label(trial) for trial in busy}
            theirs = [cell for cell in self.plan.cells if cell.axes.get(TRIAL) in labels]
            if theirs:
                cells = [cell for cell in theirs if cell.run_id not in self.shared]
                self.shared.update(cell.run_id for cell in cells)
                return cells
            time.sleep(POLL_S)  # asked for, and not planned yet
        return []

    def _cells(self, trial: Trial) -> list[Cell]:
        """Plan the cells of a trial: its point of the space, for every seed and fold."""
        axes = [
            Axis(axis.name, tuple(choice for choice in axis.choices if str(choice.label) == trial.params[axis.name]))
            for axis in self.definition.axes
        ]
        own: Nested = {}
        for name in self.space.ranges:
            own = merged(own, nested(name, trial.params[name]))
        axes.insert(0, Axis(TRIAL, (Choice(self._label(trial), own),)))
        grid = [self._weighted(point) for point in points(replace(self.definition, axes=tuple(axes)))]
        return self.planner.plan(grid, [settings_of(point) for point in grid], self.plan.runs)

    def _weighted(self, point: Point) -> Point:
        """Fill in the weights that were made or given for the point's place in the grid."""
        model = point.settings.get("model", {})
        if model.get("pretrained") != FROM_SWEEP:
            return point
        weighted = {**model, "pretrained": self.weights[_place(point)]}
        return replace(point, settings={**point.settings, "model": weighted})

    def _label(self, trial: Trial) -> str:
        """Name a trial by its number and what it varies; the grid's values stand in columns of their own."""
        values = (f"{name}={trial.params[name]:.4g}" for name in self.space.ranges)
        return " ".join([f"#{trial.number}", *values])

    def _conclude_where_ended(self, opened: OpenTrial) -> None:
        """Tell Optuna the mean validation AUC of a trial's cells; one with a cell that has none stays open."""
        if opened.left:
            return
        number = opened.trial.number
        del self.open[number]
        rows = read_rows(replace(self.plan, cells=tuple(opened.cells)))
        lacking = [row.cell.name for row in rows if row.standing.state != "completed"]
        stops = [pruned_at(self.plan.out, row.cell.run_id) for row in rows if row.standing.state != "completed"]
        if pruned := next((stop for stop in stops if stop is not None), None):
            tell_pruned(self.study, number, int(pruned["epoch"]), float(pruned["auc"]))
        elif lacking:
            say(
                f"trial {number} has no value yet, as these cells did not complete: {names_in_words(lacking)};"
                " `mammo-aln sweep retry` or the next command goes on with it"
            )
        else:
            self._tell(number, float(np.mean([row.val.value for row in rows])))
        opened.claim.close()

    def _tell(self, number: int, value: float) -> None:
        self.study.tell(number, value, skip_if_finished=True)
        best = self.study.best_trial
        shown = ", ".join(f"{key}={label_of(given)}" for key, given in best.params.items())
        say(f"trial {number}: mean validation AUC {value:.3f}; best so far {best.value:.3f} ({shown})")


def _place(point: Point) -> tuple[tuple[str, str], ...]:
    """Place in the grid, whatever the trial."""
    return tuple(sorted((name, str(label)) for name, label in point.axes.items() if name != TRIAL))


def _has(point: Point) -> bool:
    """Tell whether a point's network begins from weights."""
    return bool(point.settings.get("model", {}).get("pretrained", False))
