"""The executor `slurm`: cells as jobs in arrays; what is pre-empted or out of time is requeued and goes on."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mammo_aln.errors import InputError, Requeue
from mammo_aln.files import write_json
from mammo_aln.machine.slurm import (
    JobEnd,
    Outage,
    QueuedJob,
    SchedulerSilentError,
    job_end,
    jobs_in_queue,
    require_slurm,
)
from mammo_aln.machine.slurm_jobs import submit
from mammo_aln.machine.slurm_request import request_of
from mammo_aln.progress import say
from mammo_aln.runs.lock import is_held
from mammo_aln.runs.record import read_state
from mammo_aln.settings import ClusterConfig
from mammo_aln.sweeps.cell import Failure, Further, exhausted, failures, last_lines, log_of, record_failure
from mammo_aln.sweeps.plan import Cell, Plan, names_in_words
from mammo_aln.sweeps.slurm.asks import cluster_of_cell
from mammo_aln.sweeps.slurm.ends import JOB_CANCELLED, verdict
from mammo_aln.sweeps.slurm.jobs import FOLDER, CellsJob, begun_cells
from mammo_aln.sweeps.withheld import reason_withheld, withheld, withhold

SETTLE_S = 60.0
"""How long the records of a job that ended in good order may take to be seen on this machine."""
LAST_OF_A_JOB = 5
"""Lines of the job's own output that a failure keeps, beside those of the cell's log."""
STUCK: Mapping[str, str] = {
    "PartitionTimeLimit": "ask for less time (cluster.time_min), or another partition",
    "PartitionNodeLimit": "ask for fewer nodes, or another partition",
    "BadConstraints": "no node of the partition has all that cluster.extra asks for",
    "JobHeldUser": "somebody holds them: scontrol release JOB",
    "JobHeldAdmin": "the administrator holds them",
    "launch failed requeued held": "a node did not start them: scontrol release JOB",
    "job requeued in held state": "somebody holds them: scontrol release JOB",
}
"""SLURM's reasons for which a job waits for ever, each with what helps."""


@dataclass
class Queue:
    """A sweep's jobs. They outlive the command that submitted them: the same command finds them again.

    At most `cluster.max_jobs` of them are in SLURM's queue at once, over all arrays; others follow as they end.

    Attributes:
        plan: the sweep.
        cluster: what a job asks for.
        retries: how often a cell whose job died is submitted again.
        changed: called every few seconds, and with a cell when it is completed.
        before: failures of each cell when it was taken up; `seen`: when they were looked at last.
        jobs: the job of each cell; `watched` those that this command has seen in the queue.
        queue: this user's jobs, as SLURM told them last.
        waiting: cells that are not over; `ended`: those that are, since somebody asked; `aside`: those that may return.
    """

    plan: Plan
    cluster: ClusterConfig
    retries: int
    changed: Callable[..., None]
    before: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    watched: set[str] = field(default_factory=set)
    queue: dict[str, QueuedJob] = field(default_factory=dict)
    waiting: list[Cell] = field(default_factory=list)
    ended: list[Cell] = field(default_factory=list)
    aside: list[Cell] = field(default_factory=list)
    unsettled: dict[str, float] = field(default_factory=dict)
    reasons: set[str] = field(default_factory=set)
    outage: Outage = field(default_factory=Outage)
    crowded_s: float = -1e9

    @property
    def folder(self) -> Path:
        """Folder of the jobs' records and of their output."""
        return self.plan.out / FOLDER

    def run(self, cells: Sequence[Cell], further: Further | None = None) -> None:
        """Submit what is not completed; ends when each cell is completed, withheld or has failed for good.

        Args:
            cells: the cells.
            further: asked every few seconds for more of them; the work ends when none is left and it has none.

        Raises:
            InputError: SLURM refuses the jobs, or has not answered for an hour.
        """
        require_slurm()
        self._take_up(cells)
        try:
            self._work()
            while self._more(further) or self.waiting:
                time.sleep(self.cluster.poll_s)
                self._work()
                self.changed(None, queue=self.queue)
        except (KeyboardInterrupt, Requeue, InputError):
            if left := self._alive():
                say(f"{len(left)} jobs stay in SLURM's queue and go on; to stop them: scancel {' '.join(sorted(left))}")
            raise

    def _alive(self) -> set[str]:
        """List the sweep's jobs in SLURM's queue."""
        return {job for job in self.jobs.values() if job in self.queue}

    def _more(self, further: Further | None) -> bool:
        """Take up the cells that `further` has by now, or that `sweep retry` gives back."""
        kept_back = withheld(self.plan.out)
        back = [cell for cell in self.aside if cell.run_id not in kept_back and not self._is_exhausted(cell)]
        self.aside = [cell for cell in self.aside if cell not in back]
        self.waiting += back
        if further is None:
            return bool(back)
        ended, self.ended = self.ended, []
        cells = further(max(0, self.cluster.max_jobs - len(self._alive())), ended)
        waiting = {cell.run_id for cell in self.waiting}
        self._take_up([cell for cell in cells if cell.run_id not in waiting])
        return bool(back or cells)

    def _take_up(self, cells: Sequence[Cell]) -> None:
        """Wait for some cells too; those that have a job already keep it."""
        for cell in cells:
            if cell.fault is None:
                self.waiting.append(cell)
                self.before[cell.run_id] = self.seen[cell.run_id] = len(failures(self.plan, cell))
                self._read_job(cell)

    def _read_job(self, cell: Cell) -> str | None:
        """Read which job a cell was given last, maybe by another command."""
        record = self.folder / f"{cell.run_id}.json"
        if record.is_file():
            self.jobs[cell.run_id] = json.loads(record.read_text(encoding="utf-8"))["job"]
        return self.jobs.get(cell.run_id)

    def _over(self, cell: Cell, *, for_good: bool = False) -> None:
        self.waiting.remove(cell)
        self.ended.append(cell)
        if not for_good:
            self.aside.append(cell)

    def _is_exhausted(self, cell: Cell) -> bool:
        tries = failures(self.plan, cell)
        self.before[cell.run_id] = min(self.before[cell.run_id], len(tries))  # `sweep retry` sets them aside
        self.seen[cell.run_id] = min(self.seen[cell.run_id], len(tries))
        return exhausted(tries, self.before[cell.run_id], self.retries)

    def _work(self) -> None:
        """Forget cells that are over, submit those that have no job; while SLURM is silent, only look at the disk."""
        for cell in list(self.waiting):
            if read_state(self.plan.runs / cell.run_id).state == "completed":
                self._over(cell, for_good=True)
                self.changed(cell, queue=self.queue)
        try:
            self.queue = jobs_in_queue()
            self._tell_stuck()
            self._submit(self._without_job())
        except SchedulerSilentError as error:
            self.outage.bear(error)
            return
        self.outage.end()

    def _without_job(self) -> list[Cell]:
        """List the cells that a job is to be submitted for."""
        kept_back = withheld(self.plan.out)
        ends: dict[str, JobEnd | None] = {}
        cells = []
        for cell in list(self.waiting):
            job = self._read_job(cell)
            if job is not None and job in self.queue:
                self.watched.add(job)
                continue
            if is_held(self.plan.runs / cell.run_id):
                continue
            if cell.run_id not in kept_back and job in self.watched and job is not None:
                if job not in ends:
                    ends[job] = job_end(job)
                if not self._is_understood(cell, job, ends[job]):
                    continue
            reason = reason_withheld(self.plan.out, cell.run_id)
            if reason is not None:
                say(f"{cell.name}: {reason}; it is left as it is, until `mammo-aln sweep retry {cell.run_id}`")
                self._over(cell)
            elif self._is_exhausted(cell):
                self._over(cell)
            else:
                cells.append(cell)
        return cells

    def _is_understood(self, cell: Cell, job: str, end: JobEnd | None) -> bool:
        """Understand why a job left the queue without its cell; False where its records may not be seen here yet."""
        tries = failures(self.plan, cell)
        if len(tries) > self.seen[cell.run_id]:  # recorded by the job itself
            self.seen[cell.run_id] = len(tries)
            say(f"{cell.name}: {tries[-1].error}")
            return True
        if read_state(self.plan.runs / cell.run_id).state == "completed":
            return False
        if end is not None and end.state == "COMPLETED":
            since = self.unsettled.setdefault(cell.run_id, time.monotonic())
            if time.monotonic() - since < SETTLE_S:
                return False
            del self.unsettled[cell.run_id]
        meaning = verdict(job, end, cluster_of_cell(self.cluster, cell.axes, cell.settings))
        begun = begun_cells(self.plan, job)
        if meaning.cancelled:
            withhold(self.plan.out, [cell.run_id], JOB_CANCELLED)
        elif meaning.fault is None:
            say(f"{cell.name}: its SLURM job {job} was pre-empted with its step saved; it goes on in another one")
        elif not begun or cell.run_id in begun:
            error = last_lines(self.folder / f"{job}_0_log.err", LAST_OF_A_JOB)
            record_failure(self.plan, cell, Failure(meaning.fault, (*last_lines(log_of(self.plan, cell)), *error)))
            self.seen[cell.run_id] += 1
            say(f"{cell.name}: {meaning.fault}")
        self.watched.discard(job)
        return True

    def _tell_stuck(self) -> None:
        """Tell once of jobs that SLURM will never start as they are."""
        for job in sorted(self._alive()):
            reason = self.queue[job].reason.strip("()")
            if reason in STUCK and reason not in self.reasons:
                self.reasons.add(reason)
                say(f"SLURM does not start job {job} ({reason}), nor others like it: {STUCK[reason]}")

    def _submit(self, cells: Sequence[Cell]) -> None:
        """Submit as many jobs as there is room for under `cluster.max_jobs`."""
        room = self.cluster.max_jobs - len(self._alive())
        for cluster, bundles in self._bundles(cells):
            if room <= 0:
                return
            trainer, workers = bundles[0][0].settings.trainer, bundles[0][0].settings.data.num_workers
            bundles = bundles[:room]
            try:
                ids = submit(
                    [CellsJob(self.plan.out, [cell.run_id for cell in bundle]) for bundle in bundles],
                    self.folder,
                    cluster.job_name,
                    cluster,
                    nodes=trainer.num_nodes,
                    tasks_per_node=trainer.devices,
                    request=request_of(trainer, workers, cluster),
                )
            except SchedulerSilentError:
                raise
            except InputError as error:
                if not self._alive():
                    raise
                self._tell_crowded(error)
                return
            room -= len(ids)
            for job, bundle in zip(ids, bundles, strict=False):  # SLURM may have taken the first of them only
                self.queue[job] = QueuedJob("PENDING", "")
                self.watched.add(job)
                for cell in bundle:
                    self.jobs[cell.run_id] = job
                    write_json(self.folder / f"{cell.run_id}.json", {"job": job, "cell": cell.name})
            names = names_in_words([cell.name for bundle in bundles[: len(ids)] for cell in bundle])
            say(f"{len(ids)} jobs submitted: {ids[0]} to {ids[-1]} ({names})")

    def _bundles(self, cells: Sequence[Cell]) -> Iterator[tuple[ClusterConfig, list[list[Cell]]]]:
        """Group cells whose jobs ask for the same, and share each group out to jobs."""
        groups: dict[str, list[Cell]] = defaultdict(list)
        clusters: dict[str, ClusterConfig] = {}
        for cell in cells:
            cluster = cluster_of_cell(self.cluster, cell.axes, cell.settings)
            key = repr((cluster, cell.settings.trainer, cell.settings.data.num_workers))
            groups[key].append(cell)
            clusters[key] = cluster
        for key, members in groups.items():
            size = clusters[key].cells_per_job
            yield clusters[key], [members[first : first + size] for first in range(0, len(members), size)]

    def _tell_crowded(self, error: InputError) -> None:
        """Tell once a minute that SLURM takes no more jobs while some of this sweep's are in its queue."""
        if time.monotonic() - self.crowded_s > 60:
            self.crowded_s = time.monotonic()
            say(f"{error}; {len(self._alive())} jobs are in the queue: the others are submitted as these end")
