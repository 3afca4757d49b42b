"""Jobs on SLURM: work that is pickled, submitted in arrays, warned before its time is up, and requeued."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mammo_aln.errors import ExitCode, InputError, Requeue, shortened
from mammo_aln.files import make_folder, write_text
from mammo_aln.machine.signals import WARNINGS, requeued
from mammo_aln.machine.slurm import SchedulerSilentError, answer, is_silence, require_slurm
from mammo_aln.machine.slurm_request import AS_THE_CLUSTER, Request, time_limit_min
from mammo_aln.progress import say
from mammo_aln.settings import ClusterConfig
from mammo_aln.settings.limits import CONTROL

EARLY_S = 120.0
"""A warning may come so much earlier than asked for: SLURM looks once a minute, and a job's start takes a while."""
OWN_SIGNAL_S = 5.0
"""How long a rank that another one asked to leave waits for the signal that says why."""
FIRST_LEAVES_S = 20.0
"""How long the other tasks of a job let the first one leave before them."""
BEGUN_AT = "MAMMO_ALN_JOB_BEGUN"
"""Variable of a job's script: when it began, in seconds since 1970."""
OWN_OPTIONS = {"time": "cluster.time", "signal": "cluster.signal_lead_s", "array": "cluster.max_jobs"}
"""Options of sbatch that are settings here; jobs rely on them."""
MAX_ARRAY_SIZE = 1001
"""SLURM's own default."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Names that a shell can export."""
JOB_VARIABLES = re.compile(r"(SLURM(?!_CONF$)|SRUN|PMI|PMIX|SUBMITIT)_?")


@dataclass(frozen=True)
class Terms:
    """Terms on which a job runs.

    Attributes:
        folder: where its notes stand, beside its output.
        time_min: minutes until SLURM ends it.
        signal_lead_s: seconds between the warning and that end.
        requeues: how often it comes back from it.
    """

    folder: Path
    time_min: int
    signal_lead_s: int
    requeues: int


class RequeuedJob(ABC):
    """Work that submitit pickles, and that goes on when its job is requeued: its state is on disk.

    Attributes:
        terms: set when it is submitted.
    """

    terms: Terms | None = None

    @abstractmethod
    def work(self) -> object:
        """Do the work, or what is left of it."""

    def over_limit(self, words: str) -> None:
        """Record that the job has run into its time limit too often; here it is printed."""
        print(words, file=sys.stderr, flush=True)

    def __call__(self) -> object:
        """Do the work; a warning or the end of its time lets it leave as soon as it has saved its state."""
        with requeued():
            try:
                return self.work()
            except Requeue as stopped:
                self._leave(str(stopped))
        raise SystemExit(ExitCode.AGAIN)

    def _leave(self, reason: str) -> None:
        """Have the job's script requeue it, unless it was cancelled or has met too many time limits."""
        try:
            if "SIG" not in reason:
                time.sleep(OWN_SIGNAL_S)
        except Requeue as stopped:
            reason = str(stopped)
        if self.terms is None:
            return
        job, note = os.environ.get("SLURM_JOB_ID", ""), self.terms.folder / f"requeue.{os.environ.get('SLURM_JOB_ID')}"
        if int(os.environ.get("SLURM_PROCID", "0")) > 0:
            end = time.monotonic() + FIRST_LEAVES_S
            while not note.exists() and time.monotonic() < end:
                time.sleep(0.5)
            return
        warned = any(number.name in reason for number in WARNINGS)
        count = self._limits_met(job) if warned else 0
        if count > self.terms.requeues:
            self.over_limit(
                f"its SLURM job {job_id()} has run into its time limit of {self.terms.time_min} min {count} times"
                f" (cluster.requeues={self.terms.requeues}); its steps are saved"
            )
            raise SystemExit(ExitCode.PROBLEMS)
        write_text(note, f"{reason}\n")

    def _limits_met(self, job: str) -> int:
        """Count this job's time limits, this one too if it is one; an earlier warning is a pre-emption."""
        assert self.terms is not None
        file = self.terms.folder / f"limits.{job}"
        count = int(file.read_text(encoding="utf-8")) if file.is_file() else 0
        elapsed_s = time.time() - float(os.environ.get(BEGUN_AT, "0"))
        if elapsed_s >= 60 * self.terms.time_min - self.terms.signal_lead_s - EARLY_S:
            count += 1
            write_text(file, f"{count}\n")
        return count


def job_id() -> str:
    """Name this process's job as squeue does (`12_0`)."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")


def submit(
    jobs: Sequence[RequeuedJob],
    folder: Path,
    name: str,
    cluster: ClusterConfig,
    *,
    nodes: int = 1,
    tasks_per_node: int = 1,
    request: Request = AS_THE_CLUSTER,
) -> list[str]:
    """Submit jobs as arrays, none longer than SLURM's MaxArraySize; they are requeued when pre-empted or out of time.

    Args:
        jobs: each is pickled, and called in a process of its own on every task of its SLURM job.
        folder: where submitit keeps what it needs and the jobs' output.
        name: of the jobs.
        cluster: what a job asks for.
        nodes: of each job.
        tasks_per_node: processes of each job on a node.
        request: cores and GPUs, where `cluster` does not state them.

    Returns:
        Ids as squeue shows them (`12_0`), in the order of `jobs`; fewer where SLURM takes no more of them now.

    Raises:
        InputError: no SLURM here, or it refuses the jobs.
        SchedulerSilentError: SLURM does not answer, and no job was submitted.
    """
    require_slurm()
    if CONTROL.search(f"{folder.absolute()}{name}"):
        raise InputError(f"{str(folder)!r}: a job's script names this folder; expected one without control characters")
    terms = Terms(make_folder(folder).absolute(), time_limit_min(cluster), cluster.signal_lead_s, cluster.requeues)
    for job in jobs:
        job.terms = terms
    executor = _executor(terms, name, cluster, nodes=nodes, tasks_per_node=tasks_per_node, request=request)
    ids: list[str] = []
    longest = max_array_size()
    while len(ids) < len(jobs):
        several = jobs[len(ids) : len(ids) + longest]
        try:
            ids += _submitted(executor, several, max(1, cluster.max_jobs * len(several) // len(jobs)))
        except InputError as error:
            if len(several) > 1 and _is_limit(str(error)):
                longest = len(several) // 2  # a limit on this user's jobs may have room for fewer
                continue
            if not ids:
                raise
            say(f"{len(ids)} of {len(jobs)} jobs are submitted, and no more of them now: {error}")
            break
    return ids


def _submitted(executor: object, jobs: Sequence[RequeuedJob], at_once: int) -> list[str]:
    import submitit

    assert isinstance(executor, submitit.SlurmExecutor)
    executor.update_parameters(array_parallelism=at_once)
    try:
        with _outside_own_job(), executor.batch():
            submitted = [executor.submit(job) for job in jobs]
    except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
        words = " ".join(str(error).split())[-500:]
        if is_silence(words):
            raise SchedulerSilentError(f"sbatch does not reach SLURM: {words}") from error
        raise InputError(f"SLURM refuses the jobs: {words}") from error
    return [job.job_id for job in submitted]


def _is_limit(words: str) -> bool:
    """Tell whether SLURM refuses jobs for their number."""
    return (
        re.search(r"violates accounting/QOS policy|MaxSubmit|submit limit|job limit", words, re.IGNORECASE) is not None
    )


def _executor(
    terms: Terms, name: str, cluster: ClusterConfig, *, nodes: int, tasks_per_node: int, request: Request
) -> object:
    """Make submitit's executor, whose scripts hold these settings."""
    import submitit

    require_sound(cluster)
    executor = submitit.SlurmExecutor(folder=terms.folder, python=cluster.python)
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
        time=terms.time_min,
        nodes=nodes,
        ntasks_per_node=tasks_per_node,
        signal_delay_s=terms.signal_lead_s,
        wckey=cluster.wckey,  # submitit sends one of its own where none is named
        setup=_lines_before(cluster),
        teardown=_lines_after(terms.folder),
        srun_args=list(cluster.srun_args),
        additional_parameters={"requeue": True, **cluster.extra},
        **{key: value for key, value in asked.items() if value is not None},
    )
    return executor


def require_sound(cluster: ClusterConfig) -> None:
    """Look at what jobs ask for before the first one is submitted.

    Raises:
        InputError: a time that is none or too short for its warning, an option of sbatch that jobs rely on, or a
            variable that no shell can set.
    """
    limit_s = 60 * time_limit_min(cluster)
    if limit_s <= cluster.signal_lead_s:
        raise InputError(
            f"cluster.signal_lead_s: {cluster.signal_lead_s} s before its limit of {limit_s} s, a job would be warned"
            " before it begins; expected less, or a greater cluster.time_min"
        )
    for key, setting in OWN_OPTIONS.items():
        if key in cluster.extra:
            raise InputError(f"cluster.extra: {key}: the jobs rely on it; expected {setting} instead")
    for name in cluster.environment:
        if not VARIABLE.fullmatch(name):
            raise InputError(
                f"cluster.environment: {shortened(name)}: expected the name of a variable (letters, digits and _, no"
                " digit first), such as NCCL_DEBUG"
            )


def _lines_before(cluster: ClusterConfig) -> list[str]:
    """Write the lines of a job's script before its command."""
    variables = [f"export {name}={shlex.quote(str(value))}" for name, value in cluster.environment.items()]
    return [f"{BEGUN_AT}=$(date +%s)", f"export {BEGUN_AT}", *variables, *cluster.setup]


def _lines_after(folder: Path) -> list[str]:
    """Write the lines behind it: the script requeues the job that asked for it, outside any container.

    A job that leaves in the grace time of a pre-emption is not requeued by SLURM itself. One that runs no more as SLURM
    has it was cancelled, or comes back anyway. A task is named by its array: the number of an array's last task is that
    of the whole array. SLURM may be restarting just then: it is asked until the job's time is up.
    """
    return [
        "code=$?",
        f"note={shlex.quote(str(folder))}/requeue.$SLURM_JOB_ID",
        "job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",
        "job=${job:-$SLURM_JOB_ID}",
        'if [ $code -ne 0 ] && [ -e "$note" ]; then',
        '  rm -f "$note"',
        "  until state=$(scontrol --oneliner show job \"$job\" | grep -o 'JobState=[A-Z]*'); do sleep 5; done",
        '  if [ "$state" = JobState=RUNNING ]; then until scontrol requeue "$job"; do sleep 5; done; fi',
        "fi",
        "exit $code",
    ]


@contextmanager
def _outside_own_job() -> Iterator[None]:
    """Submit as from a login node: a job's own variables would go to the jobs that it submits."""
    inside = "SLURM_JOB_ID" in os.environ
    own = {name: os.environ.pop(name) for name in list(os.environ) if inside and JOB_VARIABLES.match(name)}
    try:
        yield
    finally:
        os.environ.update(own)


@lru_cache(maxsize=1)
def max_array_size() -> int:
    """Ask SLURM how many jobs an array may have; 1 where arrays are switched off."""
    size = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer(["scontrol", "show", "config"]), re.MULTILINE)
    return max(1, int(size.group(1))) if size else MAX_ARRAY_SIZE
