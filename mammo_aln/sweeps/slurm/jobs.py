"""The work of one SLURM job of a sweep: a cell, or several short ones in turn."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mammo_aln.files import make_folder
from mammo_aln.machine.slurm_jobs import RequeuedJob, job_id
from mammo_aln.runs.record import now, read_state
from mammo_aln.sweeps.cell import Failure, Result, log_of, record_failure, train_cell
from mammo_aln.sweeps.plan import Cell, Plan
from mammo_aln.sweeps.plan_file import read_plan
from mammo_aln.sweeps.slurm.records import FOLDER, unsettle_job

if TYPE_CHECKING:
    from mammo_aln.cohort.tables import Cohort

HELD_S = 120.0
"""How long a job waits for a cell that another process holds: a requeued job's former self may still be leaving."""
HELD_POLL_S = 5.0


class CellsJob(RequeuedJob):
    """Cells that one job trains in turn; imports and tables are read once for all of them.

    Args:
        out: the sweep's folder.
        run_ids: the cells.
    """

    def __init__(self, out: Path, run_ids: Sequence[str]) -> None:
        self.out, self.run_ids = str(out), tuple(run_ids)
        self.at: str | None = None

    def work(self) -> str:
        """Train what is not completed, or go on with it; every task of a job on several nodes takes part.

        A cell that breaks this process ends the job, so that the next one begins in a process of its own.
        """
        plan = read_plan(Path(self.out))
        cohorts: dict[bool, Cohort] = {}
        result: Result = "completed"
        for run_id in self.run_ids:
            cell = plan.cell(run_id)
            if read_state(plan.runs / run_id).state == "completed":
                continue
            self.at = run_id
            note_begun(plan, cell)
            with log_kept(plan, cell):
                result = _trained(plan, cell, cohorts)
            if result == "broken":
                break
        return result

    def over_limit(self, words: str) -> None:
        """Record it as a failure of the cell that the job is at, which no other try mends."""
        super().over_limit(words)
        plan = read_plan(Path(self.out))
        record_failure(plan, plan.cell(self.at or self.run_ids[0]), Failure(words, again=False))


def _trained(plan: Plan, cell: Cell, cohorts: dict[bool, Cohort]) -> Result:
    import torch

    loaders = cell.settings.data.num_workers
    cores = int(os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    torch.set_num_threads(max(1, cores - (0 if loaders == "auto" else loaders)))  # loaders have the others
    end = time.monotonic() + HELD_S
    while (result := train_cell(plan, cell, cohorts)) == "held" and time.monotonic() < end:
        time.sleep(HELD_POLL_S)
    return result


@contextmanager
def log_kept(plan: Plan, cell: Cell) -> Iterator[None]:
    """Send what this process says to the cell's log, each task of the job to one of its own."""
    rank = int(os.environ.get("SLURM_PROCID", "0"))
    log = log_of(plan, cell)
    log = make_folder(log.parent) / (f"{log.stem}.rank{rank}.log" if rank else log.name)
    sys.stdout.flush()
    sys.stderr.flush()
    before = {number: os.dup(number) for number in (1, 2)}
    with log.open("ab", buffering=0) as stream:
        stream.write(f"{now()} {cell.name}, SLURM job {job_id()}\n".encode())
        for number in before:
            os.dup2(stream.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, former in before.items():
            os.dup2(former, number)
            os.close(former)


def note_begun(plan: Plan, cell: Cell) -> None:
    """Note that this job has begun a cell: those that it never came to are not to blame for its end."""
    if int(os.environ.get("SLURM_PROCID", "0")) == 0:
        unsettle_job(plan.out, cell.run_id)
        with begun_file(plan, job_id()).open("a", encoding="utf-8") as stream:
            stream.write(f"{cell.run_id}\n")


def begun_file(plan: Plan, job: str) -> Path:
    """Name the file that lists the cells that a job has begun."""
    return plan.out / FOLDER / f"{job}.begun"


def begun_cells(plan: Plan, job: str) -> frozenset[str]:
    """Read the ids of the cells that a job has begun; none where it ended before its first one."""
    file = begun_file(plan, job)
    return frozenset(file.read_text(encoding="utf-8").split()) if file.is_file() else frozenset()
