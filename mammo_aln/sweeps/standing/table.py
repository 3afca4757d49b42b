"""A sweep's cells as a table: where each stands, and its validation AUC with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mammo_aln.errors import InputError
from mammo_aln.evaluation.area import Area
from mammo_aln.files import write_csv
from mammo_aln.machine.slurm import QueuedJob
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.planning.definition import Label
from mammo_aln.sweeps.standing.arithmetic import arithmetics, column_of
from mammo_aln.sweeps.standing.figures import Figures, completed_figures, figures_so_far
from mammo_aln.sweeps.standing.states import STATE_WORDS, Standing, standing


@dataclass(frozen=True)
class Row:
    """One cell of the table.

    Attributes:
        cell: the cell.
        standing: its state and records.
        val: AUC on its validation patients.
        train: AUC on its training patients.
        predictions: file of its scores on both.
        val_aucs: validation AUC of each epoch done.
        epoch_s: seconds of a training epoch, NaN where none is done.
    """

    cell: Cell
    standing: Standing
    val: Area
    train: Area
    predictions: Path
    val_aucs: tuple[float, ...]
    epoch_s: float

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return len(self.val_aucs)

    @property
    def max_epochs(self) -> int:
        """Epochs that the cell trains at most."""
        return self.cell.settings.trainer.max_epochs

    @property
    def training_s(self) -> float:
        """Seconds of all tries that led to its weights, NaN before it is completed."""
        return self.standing.training_s


def read_rows(plan: Plan, own: frozenset[str] = frozenset(), queue: Mapping[str, QueuedJob] | None = None) -> list[Row]:
    """Read every cell as it stands now.

    Args:
        plan: the sweep.
        own: ids of the cells that this very process has in its slots.
        queue: jobs in SLURM's queue, by id.
    """
    return _rows(plan, plan.cells, own, queue)


def dropped_rows(plan: Plan) -> list[Row]:
    """Read the cells that were dropped from the sweep; no figure of theirs is told."""
    return _rows(plan, plan.dropped, frozenset(), None)


def _rows(plan: Plan, cells: Sequence[Cell], own: frozenset[str], queue: Mapping[str, QueuedJob] | None) -> list[Row]:
    states = [_standing(plan, cell, own=cell.run_id in own, queue=queue) for cell in cells]
    completed = [cell.run_id for cell, state in zip(cells, states, strict=True) if state.state == "completed"]
    figures = completed_figures(plan.runs, completed, plan.out) if completed else {}
    return [
        _row(plan.runs / cell.run_id, cell, state, figures.get(cell.run_id))
        for cell, state in zip(cells, states, strict=True)
    ]


def _standing(plan: Plan, cell: Cell, *, own: bool, queue: Mapping[str, QueuedJob] | None) -> Standing:
    """Tell the state of a cell; of one whose records cannot be read, that they cannot."""
    try:
        return standing(plan, cell, own=own, queue=queue)
    except InputError as error:
        return Standing("damaged", note=str(error))


def _row(run: Path, cell: Cell, state: Standing, completed: Figures | InputError | None) -> Row:
    try:
        if isinstance(completed, InputError):
            raise completed
        figures = completed or (Figures() if state.state == "damaged" else figures_so_far(run))
    except InputError as error:
        state, figures = Standing("damaged", note=str(error)), Figures()
    return Row(cell, state, figures.val, figures.train, run / "predictions.csv", figures.val_aucs, figures.epoch_s)


def damaged_cells(rows: Sequence[Row]) -> list[str]:
    """Say of each cell whose records cannot be read which file it is, and why, in a line."""
    return [f"{row.cell.name}: damaged: {row.standing.note}" for row in rows if row.standing.state == "damaged"]


def cells_table(plan: Plan, rows: list[Row]) -> pd.DataFrame:
    """Make the table of cells.csv: nothing in it but `training_s` depends on when or where a cell was trained.

    Cells that were dropped follow behind the others, without an AUC. Of a sweep with a pruner it tells at which epoch,
    and by which AUC, a cell was pruned; where cells were computed otherwise, a column tells how each was.
    """
    computed = column_of(arithmetics(plan, completed_cells(rows)))
    records: list[dict[str, Label]] = []
    for row in [*rows, *dropped_rows(plan)]:
        cell = row.cell
        own: dict[str, Label] = {name: cell.column(name) for name in plan.columns}
        records.append(
            {"run_id": cell.run_id, "state": row.standing.state}
            | own
            | {
                "seed": cell.seed,
                "fold": "" if cell.fold is None else cell.fold,
                "n_val": row.val.n or "",
                "val_auc": row.val.value,
                "val_auc_low": row.val.low,
                "val_auc_high": row.val.high,
                "train_auc": row.train.value,
                "epochs": row.epochs,
                "training_s": row.training_s,
                **(_pruned(row.standing) if plan.pruner is not None else {}),
                **({"arithmetic": computed.get(cell.run_id, "")} if computed else {}),
                "error": _error(row.standing),
            }
        )
    return pd.DataFrame(records)


def _error(state: Standing) -> str:
    if state.state == "damaged":
        return state.note
    return state.failure.error if state.state == "failed" and state.failure else ""


def completed_cells(rows: Sequence[Row]) -> list[Cell]:
    """List the cells that are completed."""
    return [row.cell for row in rows if row.standing.state == "completed"]


def _pruned(standing: Standing) -> dict[str, Label]:
    return {"pruned_epoch": standing.pruned_epoch or "", "pruned_auc": standing.pruned_auc}


def write_cells(plan: Plan, rows: list[Row]) -> Path:
    """Write DIR/cells.csv."""
    path = plan.out / "cells.csv"
    write_csv(path, cells_table(plan, rows))
    return path


def counts(rows: list[Row]) -> dict[str, int]:
    """Count the cells in each state."""
    return {state: sum(row.standing.state == state for row in rows) for state in STATE_WORDS}


def seconds_left(rows: list[Row], at_once: int = 0) -> float:
    """Estimate how long the sweep still takes, from completed cells and running epochs; NaN where neither is known.

    Args:
        rows: its cells.
        at_once: cells that train at once, where that is known: as many as are running now, else.
    """
    done = [row.training_s for row in rows if row.training_s > 0]
    running = [row for row in rows if row.standing.state == "running"]
    waiting = sum(row.standing.state in ("not_started", "queued", "starting", "stopped") for row in rows)
    at_once = min(max(at_once, len(running)), len(running) + waiting)
    here = [row.epoch_s * (row.max_epochs - row.epochs) for row in running]
    estimates = [value for value in here if not math.isnan(value)]
    if not at_once or (waiting and not done) or (not estimates and not done):
        return math.nan
    typical = float(np.mean(done)) if done else 0.0
    return (sum(estimates) + typical * (waiting + len(here) - len(estimates))) / at_once
