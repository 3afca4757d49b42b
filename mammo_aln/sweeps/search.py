"""Search beyond the grid: Optuna asks for cells over ranges of settings; same executors, same board.

    search:
      trials: 40
      space:
        optim.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
        data.augment_strength: {low: 0.0, high: 2.0}
      storage: postgresql://...        # for many machines; by default a SQLite file in the sweep's folder
      seed: 0

Axes of a grid beside it are searched as well, by their values. A trial is judged by the mean validation AUC of its
cells over seeds and folds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mammo_aln.errors import InputError
from mammo_aln.files import make_folder
from mammo_aln.machine.locks import Lock, is_locked, take_lock
from mammo_aln.progress import say
from mammo_aln.runs.identity import learning_code
from mammo_aln.sweeps.plan import Cell, Plan, add_cells, read_plan
from mammo_aln.sweeps.planning.definition import (
    Axis,
    Choice,
    Definition,
    Label,
    Nested,
    label_of,
    merged,
    nested,
    points,
)
from mammo_aln.sweeps.planning.preflight import Planner, settings_of
from mammo_aln.sweeps.planning.space import Space
from mammo_aln.sweeps.standing.table import read_rows


@dataclass(frozen=True)
class Trial:
    """A trial that Optuna has asked for: its number, and its value on each axis and range."""

    number: int
    params: dict[str, Label]


def study_name(definition: Definition, space: Space, content: str) -> str:
    """Name the study of this definition and cohort; another base, range, label or code has another name."""
    axes = {axis.name: [choice.label for choice in axis.choices] for axis in definition.axes}
    about = [
        definition.base,
        definition.over,
        axes,
        space.to_json()["space"],
        definition.seeds,
        definition.folds,
        content,
        learning_code(),
    ]
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:12]


def open_study(name: str, space: Space, out: Path) -> Any:
    """Open the study of a name, in the sweep's folder or where `space` says; begin it where there is none."""
    try:
        import optuna
    except ImportError as error:
        raise InputError("search: needs Optuna: pip install 'mammo-aln[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = space.storage or f"sqlite:///{out.absolute() / 'search.db'}"
    storage = optuna.storages.RDBStorage(url, engine_kwargs=_patient(url))
    return optuna.create_study(
        study_name=name, storage=storage, sampler=sampler_of(space, 0), direction="maximize", load_if_exists=True
    )


def sampler_of(space: Space, number: int) -> Any:
    """Draw a trial from a seed of its own number, which the storage gives to one command: no two ask alike by seed."""
    from optuna.samplers import TPESampler

    seed = int(np.random.SeedSequence([space.seed, number]).generate_state(1)[0])
    return TPESampler(seed=seed, constant_liar=True)


def _patient(storage: str) -> dict[str, dict[str, int]]:
    """Have SQLite wait: it makes others wait while one writes."""
    return {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}


@dataclass
class Search:
    """Rounds of trials: as many at once as cells train at once.

    Attributes:
        definition: the sweep.
        space: what is varied.
        study: Optuna's.
        planner: gives cells their identities.
        plan: the sweep as planned so far.
        train: trains some cells of the plan.
        batch: trials of a round.
    """

    definition: Definition
    space: Space
    study: Any
    planner: Planner
    plan: Plan
    train: Callable[[Plan, Sequence[Cell]], None]
    batch: int
    claims: list[Lock] = field(default_factory=list)

    def run(self) -> Plan:
        """Run trials until there are as many as asked for; those that a killed command left are finished first."""
        left = self._abandoned()
        while left or self._open():
            trials = left or [self._ask() for _ in range(min(self.batch, self._open()))]
            left = []
            cells = [self._cells(trial) for trial in trials]
            self.plan = add_cells(self.plan, [cell for several in cells for cell in several])
            self.train(self.plan, [cell for several in cells for cell in several])
            values = {row.cell.run_id: row.val.value for row in read_rows(self.plan)}
            for trial, several in zip(trials, cells, strict=True):
                self._tell(trial.number, float(np.mean([values[cell.run_id] for cell in several])))
            for claim in self.claims:
                claim.close()
            self.claims.clear()
        return self.plan

    def _open(self) -> int:
        """Count the trials that nobody has asked for yet."""
        return max(0, self.space.trials - len(self.study.trials))

    def _claim_path(self, number: int) -> Path:
        return self.plan.out / "claims" / f"{self.study.study_name}-trial-{number}.lock"

    def _claim(self, number: int) -> None:
        make_folder(self.plan.out / "claims")
        if claim := take_lock(self._claim_path(number)):
            self.claims.append(claim)

    def _abandoned(self) -> list[Trial]:
        """List the trials that were asked for by a command that is gone."""
        left = []
        for trial in self.study.trials:
            if trial.state.is_finished() or is_locked(self._claim_path(trial.number)):
                continue
            if set(trial.params) != set(self.space.ranges) | {axis.name for axis in self.definition.axes}:
                self._tell(trial.number, float("nan"))  # killed before its parameters were drawn
                continue
            self._claim(trial.number)
            left.append(Trial(trial.number, dict(trial.params)))
        return left

    def _ask(self) -> Trial:
        trial = self.study.ask()
        self._claim(trial.number)
        self.study.sampler = sampler_of(self.space, trial.number)
        for axis in self.definition.axes:
            trial.suggest_categorical(axis.name, [str(choice.label) for choice in axis.choices])
        for name, given in self.space.ranges.items():
            scale = {key: value for key, value in given.to_json().items() if key in ("log", "step")}
            (trial.suggest_int if given.whole else trial.suggest_float)(name, given.low, given.high, **scale)
        return Trial(trial.number, dict(trial.params))

    def _cells(self, trial: Trial) -> list[Cell]:
        """Plan the cells of a trial: its point of the space, for every seed and fold."""
        axes = [
            Axis(axis.name, tuple(choice for choice in axis.choices if str(choice.label) == trial.params[axis.name]))
            for axis in self.definition.axes
        ]
        own: Nested = {}
        for name in self.space.ranges:
            own = merged(own, nested(name, trial.params[name]))
        axes.insert(0, Axis("trial", (Choice(self._label(trial), own),)))
        grid = list(points(replace(self.definition, axes=tuple(axes))))
        return self.planner.plan(grid, [settings_of(point) for point in grid], self.plan.runs)

    def _label(self, trial: Trial) -> str:
        """Name a trial by its number and what it varies; the grid's values stand in columns of their own."""
        values = (f"{name}={trial.params[name]:.4g}" for name in self.space.ranges)
        return " ".join([f"#{trial.number}", *values])

    def _tell(self, number: int, value: float) -> None:
        from optuna.trial import TrialState

        if np.isnan(value):
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
            return
        self.study.tell(number, value, skip_if_finished=True)
        best = self.study.best_trial
        shown = ", ".join(f"{key}={label_of(given)}" for key, given in best.params.items())
        say(f"trial {number}: mean validation AUC {value:.3f}; best so far {best.value:.3f} ({shown})")


def begun_plan(plan: Plan) -> Plan:
    """Take the folder's plan where it is of the same search, cohort and code: a search adds to it; else this empty one.

    Trials of another search are not ranked beside those of this one: they leave the table, which is said.
    """
    if not (plan.out / "plan.json").is_file():
        return plan
    there = read_plan(plan.out)
    if not (there.content == plan.content and there.of_this_code):
        return plan
    if _study_of(there) == _study_of(plan) or _study_of(there) == json.dumps((plan.search or {}).get("space")):
        return there
    if there.cells:
        say(
            f"the folder's {len(there.cells)} cells are of another search or of a grid (other ranges, grid, settings or"
            f" seeds): they leave the table; their runs stay in {plan.runs}"
        )
    return plan


def _study_of(plan: Plan) -> str:
    """Name a plan's study, or, as of a plan that does not tell, the ranges; a grid has none."""
    search = plan.search or {}
    return str(search.get("study") or json.dumps(search.get("space")))
