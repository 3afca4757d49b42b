"""Where a cell stands: not started, queued, starting, running, stopped, pruned, failed, completed, dropped, damaged."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mammo_aln.errors import InputError
from mammo_aln.machine.locks import is_locked
from mammo_aln.machine.slurm import QueuedJob, jobs_in_queue
from mammo_aln.progress import say
from mammo_aln.runs.lock import is_held
from mammo_aln.runs.record import State as RunState
from mammo_aln.runs.record import read_state
from mammo_aln.sweeps.cell import Failure, claim_of, failures
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.slurm.jobs import begun_cells
from mammo_aln.sweeps.slurm.records import read_job
from mammo_aln.sweeps.withheld import pruned_at, reason_withheld

State = Literal[
    "not_started", "queued", "starting", "running", "stopped", "pruned", "failed", "completed", "dropped", "damaged"
]
STATE_WORDS: Mapping[State, str] = {
    "completed": "completed",
    "running": "running",
    "starting": "starting",
    "queued": "queued",
    "not_started": "not started",
    "stopped": "stopped",
    "pruned": "pruned",
    "failed": "failed",
    "dropped": "dropped",
    "damaged": "damaged",
}
STOPPED = "stopped before its end; its last checkpoint goes on, and epochs after it are trained again"
BEHIND = "behind another cell of it"
"""Why a cell waits whose job trains several in turn."""
UNFINISHED = ("not_started", "queued", "starting", "running", "stopped")


@dataclass(frozen=True)
class Standing:
    """State of a cell.

    Attributes:
        state: its state.
        training_s: seconds of all tries that led to its weights, NaN before it is completed.
        failure: its last failure, also where it is tried again now.
        note: of a queued cell its job and why it waits; of a stopped, pruned or dropped one, why; of a
            damaged one, which file of it cannot be read.
        pruned_epoch: epoch at which a pruner stopped the cell, or its configuration.
        pruned_auc: validation AUC that it was judged by there.
    """

    state: State
    training_s: float = math.nan
    failure: Failure | None = None
    note: str = ""
    pruned_epoch: int | None = None
    pruned_auc: float = math.nan

    @property
    def is_unfinished(self) -> bool:
        """Tell whether the cell is still to be trained; a failure is an end, and so is pruning."""
        return self.state in UNFINISHED


def standing(plan: Plan, cell: Cell, *, own: bool = False, queue: Mapping[str, QueuedJob] | None = None) -> Standing:
    """Tell the state of a cell; what its records say of `running` counts only while a process holds its lock.

    Args:
        plan: the sweep.
        cell: the cell.
        own: this very process holds the cell's claim; it must not ask for that lock.
        queue: jobs in SLURM's queue, by id.
    """
    run = plan.runs / cell.run_id
    record = read_state(run)
    if cell.dropped is not None:
        return Standing("dropped", note=cell.dropped)
    if record.state == "completed":
        return Standing("completed", math.nan if record.training_s is None else record.training_s)
    tries = failures(plan, cell)
    last = tries[-1] if tries else None
    if is_held(run):
        return Standing("running", failure=last)
    if own or is_locked(claim_of(plan, cell)):
        return Standing("starting", failure=last)
    record_of_job = read_job(plan.out, cell.run_id) if queue is not None else None
    job = record_of_job.job if record_of_job is not None else None
    if job is not None and queue is not None and job in queue:
        waits = queue[job].waits
        begun = begun_cells(plan, job)
        if not waits and begun and cell.run_id not in begun:
            waits = BEHIND
        return Standing("queued" if waits else "starting", failure=last, note=f"job {job}" + f", {waits}" * bool(waits))
    if cell.fault:
        return Standing("failed", failure=Failure(cell.fault, again=False))
    reason = reason_withheld(plan.out, cell.run_id)
    if reason is not None:
        if (pruned := pruned_at(plan.out, cell.run_id)) is not None:
            epoch, auc = int(pruned["epoch"]), float(pruned["auc"])
            return Standing("pruned", failure=last, note=reason, pruned_epoch=epoch, pruned_auc=auc)
        return Standing("stopped", failure=last, note=reason)
    untold = record_of_job is not None and not record_of_job.settled
    gone = f"its SLURM job {job} has left the queue; the sweep's command tells how" * untold
    if _was_stopped(record, last):
        return Standing("stopped", failure=last, note=f"{STOPPED}; {gone}" if gone else STOPPED)
    if last is not None:
        return Standing("failed", failure=last)
    if record.state == "failed":  # by `mammo-aln train` beside the sweep, which keeps no list of failures
        return Standing("failed", failure=Failure(record.error or "failed"))
    return Standing("not_started", note=gone)


def _was_stopped(record: RunState, last: Failure | None) -> bool:
    """Tell whether the run's last attempt was left without a failure: by a signal, Ctrl-C or a kill."""
    if record.state not in ("running", "stopped"):
        return False
    updated, failed = record.updated or "", last.time if last is not None else ""
    # A process that is killed is told as a failure by whoever started it, maybe within the second.
    if record.state == "stopped" and (last is None or last.again):
        return updated >= failed
    return updated > failed  # a last time limit is recorded in the second in which its step was saved


def job_of(plan: Plan, cell: Cell) -> str | None:
    """Read the id of the SLURM job that a cell was given last."""
    record = read_job(plan.out, cell.run_id)
    return None if record is None else record.job


def queue_of(plan: Plan) -> Mapping[str, QueuedJob] | None:
    """Ask SLURM for this user's jobs, where the sweep has any; None, and a line, where it does not answer."""
    if next((plan.out / "slurm").glob("*.json"), None) is None:
        return {}
    if shutil.which("squeue") is None:
        say("squeue is not on this machine: cells that wait in SLURM's queue are shown as not started or stopped")
        return None
    try:
        return jobs_in_queue()
    except InputError as error:
        say(f"{error}; cells that wait in SLURM's queue are shown as not started or stopped")
        return None


def tables_touched(plan: Plan) -> bool:
    """Tell whether a table of the cohort was written after the plan, by its file's time: a look that costs nothing."""
    planned = datetime.fromisoformat(plan.created).timestamp()
    files = [*plan.cohort.glob("*.csv"), *plan.cohort.glob("*.xlsx"), plan.cohort / "cohort.yaml"]
    return any(not file.is_file() or file.stat().st_mtime > planned for file in files)
