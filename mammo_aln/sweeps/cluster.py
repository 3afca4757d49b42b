"""The executor `slurm`: cells as job arrays; what is pre-empted or out of time is requeued and goes on."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mammo_aln.errors import Requeue
from mammo_aln.files import write_json
from mammo_aln.machine.slurm import POLL_S, QueuedJob, RequeuedJob, jobs_in_queue, requeue, require_slurm, submit
from mammo_aln.machine.slurm_request import request_of
from mammo_aln.progress import say
from mammo_aln.runs.lock import is_held
from mammo_aln.runs.record import read_state
from mammo_aln.settings import ClusterConfig, TrainerConfig
from mammo_aln.sweeps.cell import Failure, Further, exhausted, failures, last_lines, record_failure, train_cell
from mammo_aln.sweeps.plan import Cell, Plan, read_plan
from mammo_aln.sweeps.withheld import reason_withheld, withheld

HELD_S = 120.0
"""How long a job waits for a cell that another process holds: a requeued job's former self may still be leaving."""


class CellJob(RequeuedJob):
    """One cell as a job; submitit pickles it, and asks `checkpoint` what to run when the job is requeued."""

    def __init__(self, out: Path, run_id: str) -> None:
        self.out, self.run_id = str(out), run_id

    def __call__(self) -> str:
        """Train the cell, or go on with it; every task of a job on several nodes takes part."""
        import torch

        from mammo_aln.training.stopping import STOP

        plan = read_plan(Path(self.out))
        cell = plan.cell(self.run_id)
        loaders = cell.settings.data.num_workers
        cores = int(os.environ.get("SLURM_CPUS_PER_TASK", "1"))
        torch.set_num_threads(max(1, cores - (0 if loaders == "auto" else loaders)))  # loaders have the others
        end = time.monotonic() + HELD_S
        try:
            while (result := train_cell(plan, cell, {})) == "held" and time.monotonic() < end:
                time.sleep(POLL_S)
        except Requeue:
            requeue(STOP.signal_name)
            raise
        return result


@dataclass
class Queue:
    """A sweep's jobs. They outlive the command that submitted them: the same command finds them again.

    At most `cluster.max_jobs` of them are in SLURM's queue at once, over all arrays; others follow as they end.

    Attributes:
        plan: the sweep.
        cluster: what a job asks for.
        retries: how often a cell whose job died is submitted again.
        changed: called every few seconds, and with a cell when it is completed.
    """

    plan: Plan
    cluster: ClusterConfig
    retries: int
    changed: Callable[..., None]
    before: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    queue: dict[str, QueuedJob] = field(default_factory=dict)
    watched: set[str] = field(default_factory=set)
    waiting: list[Cell] = field(default_factory=list)
    ended: list[Cell] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Folder of the jobs' records and of their output."""
        return self.plan.out / "slurm"

    def run(self, cells: Sequence[Cell], further: Further | None = None) -> None:
        """Submit what is not completed; ends when each cell is completed, withheld or has failed for good.

        Args:
            cells: the cells.
            further: asked every few seconds for more of them; the work ends when none is left and it has none.
        """
        require_slurm()
        self._take_up(cells)
        try:
            self._work()
            while self._more(further) or self.waiting:
                time.sleep(POLL_S)
                self._work()
                self.changed(None, queue=self.queue)
        except KeyboardInterrupt:
            left = [self.jobs[cell.run_id] for cell in self.waiting if cell.run_id in self.jobs]
            say(f"{len(left)} jobs stay in SLURM's queue and go on; to stop them: scancel {' '.join(left)}")
            raise

    def _more(self, further: Further | None) -> bool:
        """Take up the cells that `further` has by now."""
        if further is None:
            return False
        ended, self.ended = self.ended, []
        cells = further(max(0, self.cluster.max_jobs - len(self.waiting)), ended)
        self._take_up(cells)
        return bool(cells)

    def _take_up(self, cells: Sequence[Cell]) -> None:
        """Wait for some cells too; those that have a job already keep it."""
        for cell in cells:
            if cell.fault is not None:
                continue
            self.waiting.append(cell)
            self.before[cell.run_id] = self.seen[cell.run_id] = len(failures(self.plan, cell))
            record = self.folder / f"{cell.run_id}.json"
            if record.is_file():
                self.jobs[cell.run_id] = json.loads(record.read_text(encoding="utf-8"))["job"]

    def _over(self, cell: Cell) -> None:
        self.waiting.remove(cell)
        self.ended.append(cell)

    def _work(self) -> None:
        """Forget cells that are over, submit those that have no job."""
        self.queue = there = jobs_in_queue()
        kept_back = withheld(self.plan.out)
        to_submit = []
        for cell in list(self.waiting):
            if read_state(self.plan.runs / cell.run_id).state == "completed":
                self._over(cell)
                self.changed(cell, queue=there)
                continue
            job = self.jobs.get(cell.run_id)
            if job in there:
                self.watched.add(job)
            if job in there or is_held(self.plan.runs / cell.run_id):
                continue
            if cell.run_id in kept_back:
                say(f"{cell.name}: {reason_withheld(self.plan.out, cell.run_id)}; it is left as it is")
                self._over(cell)
                continue
            if job in self.watched:
                self._ended(cell, job)
            if exhausted(failures(self.plan, cell), self.before[cell.run_id], self.retries):
                self._over(cell)
                continue
            to_submit.append(cell)
        in_queue = sum(job in there for job in self.jobs.values())
        self._submit(to_submit[: max(0, self.cluster.max_jobs - in_queue)])

    def _ended(self, cell: Cell, job: str) -> None:
        """A job that left the queue without its cell: what it recorded, or that it recorded nothing."""
        tries = failures(self.plan, cell)
        if len(tries) == self.seen[cell.run_id]:
            lines = last_lines(self.folder / f"{job}_0_log.err") or last_lines(self.folder / f"{job}_0_log.out")
            error = f"its SLURM job {job} ended without a word (killed, cancelled, or its node was lost)"
            record_failure(self.plan, cell, Failure(error, lines))
            tries = failures(self.plan, cell)
        self.seen[cell.run_id] = len(tries)
        say(f"{cell.name}: {tries[-1].error}")

    def _submit(self, cells: Sequence[Cell]) -> None:
        groups: dict[tuple[TrainerConfig, int | Literal["auto"]], list[Cell]] = defaultdict(list)
        for cell in cells:
            groups[cell.settings.trainer, cell.settings.data.num_workers].append(cell)
        for (trainer, workers), members in groups.items():
            ids = submit(
                [CellJob(self.plan.out, cell.run_id) for cell in members],
                self.folder,
                "mammo-aln-sweep",
                self.cluster,
                nodes=trainer.num_nodes,
                tasks_per_node=trainer.devices,
                request=request_of(trainer, workers, self.cluster),
            )
            for cell, job in zip(members, ids, strict=True):
                self.jobs[cell.run_id] = job
                self.watched.add(job)
                write_json(self.folder / f"{cell.run_id}.json", {"job": job, "cell": cell.name})
            say(f"{len(members)} jobs submitted: {ids[0]} to {ids[-1]}")
