"""Work as SLURM jobs: arrays through submitit, and what is left in the queue."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammo_aln.errors import InputError
from mammo_aln.files import make_folder
from mammo_aln.machine.signals import WARNINGS
from mammo_aln.machine.slurm_request import AS_THE_CLUSTER, Request
from mammo_aln.progress import Progress
from mammo_aln.settings import ClusterConfig

POLL_S = 5.0
TASK_WAITS_S = 60.0
COMMANDS = ("sbatch", "squeue", "srun", "scontrol")
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "SUSPENDED")
"""SLURM's words for a job that is in the queue and does not run."""


def require_slurm() -> None:
    """`InputError` where SLURM's commands or submitit are missing."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        raise InputError(f"SLURM's {', '.join(missing)} not found here; submit from a login node of the cluster")
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise InputError("jobs on SLURM need submitit: pip install 'mammo-aln[slurm]'") from error


def require_controller() -> None:
    """Ask SLURM's controllers for a sign of life; `scontrol ping` answers at once, where sbatch waits long.

    Raises:
        InputError: each of them is down, or not reached from here.
    """
    require_slurm()
    answer = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, check=False).stdout
    if down := controllers_down(answer):
        raise InputError(
            f"SLURM's controller does not answer from here ({', '.join(down)} DOWN): no job can be submitted; try again"
            " when `scontrol ping` says UP, or do without SLURM"
        )


def controllers_down(answer: str) -> list[str]:
    """Read the controllers' hosts from what `scontrol ping` prints where none is up; nothing where any is."""
    states = re.findall(r"^Slurmctld\(.*?\) at (\S+?) (?:is|are) (UP|DOWN)", answer, re.MULTILINE)
    return [] if any(state == "UP" for _, state in states) else [host for host, _ in states]


def submit(
    calls: Sequence[Callable[[], Any]],
    folder: Path,
    name: str,
    cluster: ClusterConfig,
    *,
    nodes: int = 1,
    tasks_per_node: int = 1,
    request: Request = AS_THE_CLUSTER,
) -> list[str]:
    """Submit calls as one array; those that have a method `checkpoint` are requeued when pre-empted or out of time.

    Args:
        calls: each is pickled, and called in a process of its own on every task of its job.
        folder: where submitit keeps what it needs and the jobs' output.
        name: of the jobs.
        cluster: what a job asks for.
        nodes: of each job.
        tasks_per_node: processes of each job on a node.
        request: cores and GPUs, where `cluster` does not state them.

    Returns:
        Ids as squeue shows them (`12_0`), in the order of `calls`.

    Raises:
        InputError: no SLURM here, or it refuses the jobs.
    """
    require_slurm()
    import submitit

    executor = submitit.SlurmExecutor(folder=make_folder(folder), max_num_timeout=cluster.requeues)
    gpus = request.gpus_per_node if cluster.gpus_per_node is None else cluster.gpus_per_node
    asked = {
        "partition": cluster.partition,
        "account": cluster.account,
        "mem": f"{cluster.mem_gb}GB" if cluster.mem_gb else None,
        "cpus_per_task": cluster.cpus_per_task or request.cpus_per_task,
        "gpus_per_node": gpus or None,
    }
    executor.update_parameters(
        job_name=name,
        time=cluster.time_min,
        nodes=nodes,
        ntasks_per_node=tasks_per_node,
        array_parallelism=cluster.max_jobs,
        additional_parameters={"requeue": True, **cluster.extra},
        **{key: value for key, value in asked.items() if value is not None},
    )
    try:
        with executor.batch():
            jobs = [executor.submit(call) for call in calls]
    except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
        raise InputError(f"SLURM refuses the jobs: {' '.join(str(error).split())[-500:]}") from error
    return [job.job_id for job in jobs]


class RequeuedJob(ABC):
    """A call that submitit pickles and makes once more when the job is requeued: its state is on disk."""

    @abstractmethod
    def __call__(self) -> object:
        """Do the work, or what is left of it."""

    def checkpoint(self) -> Any:
        """Answer submitit, which asks for what it is to run next."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def requeue(warning: str) -> None:
    """Have submitit requeue this job, now that what it was at is saved; ends the process, of every task.

    A training takes submitit's signal for itself, so that no step is cut in two; here it is sent once more, to the
    handler that submitit had put there. It counts time-outs and may refuse (`cluster.requeues`).

    Args:
        warning: name of the signal that ended the work. Another one than a scheduler's warning does nothing: after
            SIGTERM it is SLURM that decides whether the job comes back.
    """
    number = getattr(signal, warning, None)
    if number not in WARNINGS or not callable(signal.getsignal(number)):
        return
    os.kill(os.getpid(), number)
    # Only the first task requeues. The others stay until SLURM ends the step: one that left might take it along.
    time.sleep(TASK_WAITS_S)


def queued() -> set[str]:
    """Ids of this user's jobs that wait or run, array tasks one by one.

    squeue, unlike sacct, answers on every cluster, with accounting or without.
    """
    return set(_squeue("%i").split())


@dataclass(frozen=True)
class QueuedJob:
    """A job in SLURM's queue.

    Attributes:
        state: SLURM's word for it, such as `PENDING`.
        reason: why it is in that state, in SLURM's words (`Priority`, `Resources`, `PartitionTimeLimit`).
    """

    state: str
    reason: str

    @property
    def waits(self) -> str:
        """Say why the job waits; empty where it has begun."""
        return self.reason.strip("()") or "pending" if self.state in WAITING else ""


def jobs_in_queue() -> dict[str, QueuedJob]:
    """Read the state of this user's jobs that wait or run, by id, array tasks one by one.

    Raises:
        InputError: squeue does not answer.
    """
    fields = (line.split("|", 2) for line in _squeue("%i|%T|%r").splitlines() if line.count("|") >= 2)
    return {job: QueuedJob(state, reason) for job, state, reason in fields}


def cancel_jobs(ids: Sequence[str]) -> None:
    """Take jobs from SLURM's queue.

    Raises:
        InputError: scancel refuses.
    """
    done = subprocess.run(["scancel", *ids], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"scancel refuses: {' '.join(done.stderr.split())}")


def _squeue(form: str) -> str:
    words = ["squeue", "--noheader", "--array", f"--format={form}", f"--user={getpass.getuser()}"]
    for last in (False, False, True):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        if last:
            raise InputError(f"squeue does not answer: {' '.join(done.stderr.split())}")
        time.sleep(POLL_S)  # a controller that restarts
    return done.stdout


def await_jobs(ids: Sequence[str], what: str) -> None:
    """Wait until none of some jobs is queued any more."""
    progress = Progress(total=len(ids), what=what, unit="job")
    left = set(ids)
    while left:
        time.sleep(POLL_S)
        ended = left - queued()
        left -= ended
        progress.advance(len(ended))
    progress.end()
