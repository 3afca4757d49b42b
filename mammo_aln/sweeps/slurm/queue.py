"""The executor `slurm`: cells as jobs in arrays; what is pre-empted or out of time is requeued and goes on."""

from __future__ import annotations

import shlex
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mammo_aln.errors import InputError, Requeue
from mammo_aln.files import make_folder
from mammo_aln.machine.locks import await_lock
from mammo_aln.machine.slurm import Outage, QueuedJob, SchedulerSilentError, StuckJobs, jobs_in_queue, require_slurm
from mammo_aln.machine.slurm_ends import SETTLE_S, JobEnd, job_end
from mammo_aln.machine.slurm_jobs import submit
from mammo_aln.machine.slurm_request import request_of
from mammo_aln.progress import counted, say
from mammo_aln.runs.lock import is_held
from mammo_aln.runs.record import read_state
from mammo_aln.settings import ClusterConfig
from mammo_aln.sweeps.cell import Failure, Further, exhausted, failures, last_lines, log_of, record_failure
from mammo_aln.sweeps.plan import Cell, Plan, names_in_words
from mammo_aln.sweeps.slurm.asks import cluster_of_cell
from mammo_aln.sweeps.slurm.ends import verdict
from mammo_aln.sweeps.slurm.jobs import CellsJob, begun_cells
from mammo_aln.sweeps.slurm.records import FOLDER, JobRecord, read_job, record_job, settle_jobs
from mammo_aln.sweeps.withheld import reason_withheld, withheld, withhold

LAST_OF_A_JOB = 5
"""Lines of the job's own output that a failure keeps, beside those of the cell's log."""


@dataclass
class Queue:
    """A sweep's jobs. They outlive the command that submitted them: the same command finds them, or their ends, again.

    At most `cluster.max_jobs` of them are in SLURM's queue at once, over all arrays; others follow as they end.

    Attributes:
        plan: the sweep.
        cluster: what a job asks for.
        retries: how often a cell whose job died is submitted again.
        changed: called every few seconds, and with a cell when it is completed.
        before: failures of each cell when it was taken up.
        jobs: the job of each cell.
        queue: this user's jobs, as SLURM told them last.
        waiting: cells that are not over; `ended`: those that are, since somebody asked; `aside`: those that may return.
    """

    plan: Plan
    cluster: ClusterConfig
    retries: int
    changed: Callable[..., None]
    before: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    queue: dict[str, QueuedJob] = field(default_factory=dict)
    waiting: list[Cell] = field(default_factory=list)
    ended: list[Cell] = field(default_factory=list)
    aside: list[Cell] = field(default_factory=list)
    unsettled: dict[str, float] = field(default_factory=dict)
    stuck: StuckJobs = field(default_factory=StuckJobs)
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
                say(
                    f"{counted(len(left), 'job stays', 'jobs stay')} in SLURM's queue and go on;"
                    f" to stop them: scancel {' '.join(sorted(left))}"
                    " (their cells are left then until `mammo-aln sweep retry`)"
                )
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
                self.before[cell.run_id] = len(failures(self.plan, cell))
                self._read_job(cell)

    def _read_job(self, cell: Cell) -> JobRecord | None:
        """Read which job a cell was given last, maybe by another command."""
        record = read_job(self.plan.out, cell.run_id)
        if record is not None:
            self.jobs[cell.run_id] = record.job
        return record

    def _over(self, cell: Cell, *, for_good: bool = False) -> None:
        self.waiting.remove(cell)
        self.ended.append(cell)
        if not for_good:
            self.aside.append(cell)

    def _is_exhausted(self, cell: Cell) -> bool:
        tries = failures(self.plan, cell)
        self.before[cell.run_id] = min(self.before[cell.run_id], len(tries))  # `sweep retry` sets them aside
        return exhausted(tries, self.before[cell.run_id], self.retries)

    def _work(self) -> None:
        """Forget cells that are over, submit those that have no job; while SLURM is silent, only look at the disk."""
        for cell in list(self.waiting):
            if read_state(self.plan.runs / cell.run_id).state == "completed":
                self._over(cell, for_good=True)
                self.changed(cell, queue=self.queue)
        try:
            # One command at a time looks and submits: two would give a cell a job each, or tell an end twice.
            with await_lock(make_folder(self.plan.out / "claims") / "queue.lock"):
                self.queue = jobs_in_queue()
                self.stuck.tell(self.queue, self._alive())
                self._submit(self._without_job())
        except SchedulerSilentError as error:
            self.outage.bear(error)
            return
        self.outage.end()

    def _without_job(self) -> list[Cell]:
        """List the cells that a job is to be submitted for."""
        kept_back = withheld(self.plan.out)
        records = {cell.run_id: self._read_job(cell) for cell in self.waiting}
        free = [
            cell
            for cell in self.waiting
            if ((record := records[cell.run_id]) is None or record.job not in self.queue)
            and not is_held(self.plan.runs / cell.run_id)
        ]
        untold = {
            cell.run_id: record
            for cell in free
            if (record := records[cell.run_id]) is not None and not record.settled and cell.run_id not in kept_back
        }
        ends = {job: job_end(job) for job in sorted({record.job for record in untold.values()})}
        cells: list[Cell] = []
        left: dict[str, list[Cell]] = defaultdict(list)
        for cell in free:
            untold_job = untold.get(cell.run_id)
            if untold_job is not None and not self._is_understood(cell, untold_job, ends[untold_job.job]):
                continue
            reason = reason_withheld(self.plan.out, cell.run_id)
            if reason is not None:
                left[reason].append(cell)
                self._over(cell)
            elif self._is_exhausted(cell):
                self._over(cell)
            else:
                cells.append(cell)
        for reason, members in left.items():
            self._tell_left(reason, members)
        return cells

    def _is_understood(self, cell: Cell, record: JobRecord, end: JobEnd | None) -> bool:
        """Understand why a job left the queue without its cell; False where that is not known yet.

        It may have ended hours ago, while no command looked.
        """
        if end is not None and not end.is_over:
            return False  # of another user, or requeued at this moment
        tries = failures(self.plan, cell)
        if len(tries) > record.tries:  # recorded by the job itself
            say(f"{cell.name}: {tries[-1].error}")
        elif read_state(self.plan.runs / cell.run_id).state == "completed" or not self._has_settled(cell, end):
            return False
        else:
            self._judge(cell, record.job, end)
        settle_jobs(self.plan.out, [cell.run_id])
        return True

    def _has_settled(self, cell: Cell, end: JobEnd | None) -> bool:
        """Tell whether the records of a job that ended in good order would be seen on this machine by now."""
        if end is None or end.state != "COMPLETED":
            return True
        since = self.unsettled.setdefault(cell.run_id, time.monotonic())
        if time.monotonic() - since < SETTLE_S:
            return False
        del self.unsettled[cell.run_id]
        return True

    def _judge(self, cell: Cell, job: str, end: JobEnd | None) -> None:
        """Record a job's end as what it means for a cell, and say so."""
        log = self.folder / f"{job}_0_log.err"
        asked = cluster_of_cell(self.cluster, cell.axes, cell.settings)
        meaning = verdict(job, end, asked, began=log.is_file())
        begun = begun_cells(self.plan, job)
        if meaning.order is not None:
            withhold(self.plan.out, [cell.run_id], meaning.order)
        elif meaning.fault is None:
            say(f"{cell.name}: its SLURM job {job} was pre-empted with its step saved; it goes on in another one")
        elif not begun or cell.run_id in begun:
            lines = (*last_lines(log_of(self.plan, cell)), *last_lines(log, LAST_OF_A_JOB))
            record_failure(self.plan, cell, Failure(meaning.fault, lines))
            say(f"{cell.name}: {meaning.fault}")

    def _tell_left(self, reason: str, cells: Sequence[Cell]) -> None:
        """Say of cells that are withheld why, and what to type."""
        ids = " ".join(cell.run_id for cell in cells)
        retry = f"mammo-aln sweep retry {ids} --out {shlex.quote(str(self.plan.out))}"
        names = names_in_words([cell.name for cell in cells])
        say(f"{names}: {reason}; {'it is' if len(cells) == 1 else 'they are'} left as is, until `{retry}`")

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
                for cell in bundle:
                    self.jobs[cell.run_id] = job
                    record_job(self.plan.out, cell.run_id, job, len(failures(self.plan, cell)), cell.name)
            names = names_in_words([cell.name for bundle in bundles[: len(ids)] for cell in bundle])
            say(f"{counted(len(ids), 'job')} submitted: {ids[0]}{f' to {ids[-1]}' * (len(ids) > 1)} ({names})")

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
            say(
                f"{error}; {counted(len(self._alive()), 'job is', 'jobs are')} in the queue:"
                f" the others are submitted as these end"
            )
