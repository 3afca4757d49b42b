"""`--plan_on_node`: the sweep's command in a SLURM job of its own, so that a login node neither plans nor crops."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mammo_aln.errors import InputError
from mammo_aln.files import make_folder, read_object, write_json
from mammo_aln.machine.slurm import Outage, SchedulerSilentError, StuckJobs, jobs_in_queue, require_controller
from mammo_aln.machine.slurm_ends import await_left, end_in_words, job_end
from mammo_aln.machine.slurm_jobs import RequeuedJob, submit
from mammo_aln.progress import say
from mammo_aln.settings import ClusterConfig
from mammo_aln.sweeps.cell import last_lines
from mammo_aln.sweeps.planning.definition import Definition
from mammo_aln.sweeps.slurm.asks import PLAN, cluster_of, require_asks
from mammo_aln.sweeps.slurm.records import FOLDER, read_job, record_job

JOB = "plan"
"""Name of the record of the job."""
RESULT = "plan_on_node.json"
"""File beside the job's output that holds what its command returned."""


class SweepJob(RequeuedJob):
    """A sweep's command; requeued, it finds its jobs again.

    Args:
        command: plans, submits and follows.
        result: file for what it returns.
    """

    def __init__(self, command: Callable[[], int | Path], result: Path) -> None:
        self.command, self.result = command, result

    def work(self) -> None:
        """Run the command, and write what it returned, or why its input was wrong."""
        try:
            returned = self.command()
        except InputError as error:
            write_json(self.result, {"error": str(error)})
            return
        write_json(self.result, {"returned": returned if isinstance(returned, int) else str(returned)})


def sweep_on_node(
    command: Callable[[], int | Path], definition: Definition, out: Path, cluster: ClusterConfig
) -> int | Path:
    """Run a sweep's command in a job, show what it says, and return what it returns.

    Where a job of a former command is at it, that one is shown, with what it was given then.

    Args:
        command: the command, which can be pickled.
        definition: its sweep.
        out: the sweep's folder.
        cluster: settings of the jobs; `cluster.where: plan` are this one's, which asks for no GPU unless that says so.

    Raises:
        InputError: of the command, or the job ended without a result.
    """
    require_asks(cluster, definition.axes)
    require_controller()
    own = cluster_of(cluster, PLAN)
    if "gpus_per_node" not in cluster.where.get(PLAN, {}):
        own = replace(own, gpus_per_node=0)
    folder = make_folder(out.absolute() / FOLDER)
    result = folder / RESULT
    former = read_job(out, JOB)
    if former is not None and former.job in jobs_in_queue():
        job = former.job
        say(
            f"job {job} plans and follows this sweep already, as it was asked to then; for another file or other flags:"
            f" scancel {job} first (the jobs of cells go on), then the same command"
        )
    else:
        result.unlink(missing_ok=True)
        (job,) = submit([SweepJob(command, result)], folder, f"{cluster.job_name}-plan", own)
        record_job(out, JOB, job)
    log = folder / f"{job}_0_log.err"
    say(f"job {job} plans and follows the sweep; what it says stands in {log}; this command may be left by Ctrl-C")
    _follow(job, log, cluster.poll_s)
    end = job_end(job)
    if await_left(lambda: result if result.is_file() else None, end, cluster.poll_s) is None:
        last = (*last_lines(log, 1), "")[0]
        raise InputError(f"its SLURM job {job} {end_in_words(end, own)}, without a result: {last} (see {log})")
    outcome = read_object(result)
    if "error" in outcome:
        raise InputError(str(outcome["error"]))
    returned = outcome["returned"]
    return returned if isinstance(returned, int) else Path(returned)


def _follow(job: str, log: Path, poll_s: float) -> None:
    """Show what a job says until it has left the queue."""
    outage, stuck, shown, there = Outage(), StuckJobs(), 0, True
    while there:
        time.sleep(poll_s)
        try:
            queue = jobs_in_queue()
            there = job in queue
            stuck.tell(queue, [job])
        except SchedulerSilentError as error:
            outage.bear(error)
        else:
            outage.end()
        if log.is_file():
            with log.open("rb") as stream:
                stream.seek(shown)
                text = stream.read()
            whole = text if not there else text[: text.rfind(b"\n") + 1]
            shown += len(whole)
            for line in whole.decode(errors="replace").splitlines():
                say(line)
