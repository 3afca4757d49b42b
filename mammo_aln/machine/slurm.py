"""SLURM asked: whether it is there and what is in its queue; its silence is borne for a while."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mammo_aln.errors import InputError
from mammo_aln.progress import say

POLL_S = 5.0
ANSWER_S = 60.0
"""How long one of SLURM's commands may take."""
BORNE_S = 3600.0
"""How long a silence of SLURM is borne: a controller that is restarted, or whose machine is."""
SAID_EVERY_S = 60.0
SILENCE = re.compile(
    r"unable to contact slurm controller|socket timed out|zero bytes were transmitted|connection refused"
    r"|connection reset|connection timed out|communication connection failure|temporarily unable|try again later",
    re.IGNORECASE,
)
"""SLURM's words where its controller does not answer, or not now."""
COMMANDS = ("sbatch", "squeue", "srun", "scontrol")
STUCK: Mapping[str, str] = {
    "PartitionConfig": "the partition has no room for what they ask: fewer cores (cluster.cpus_per_task), GPUs, memory"
    " (cluster.mem_gb) or nodes, or another partition (cluster.partition)",
    "PartitionDown|PartitionInactive": "the partition starts no job: another one (cluster.partition), or ask its"
    " administrator",
    "AccountNotAllowed|InvalidAccount": "the partition does not take this account: another cluster.account or"
    " cluster.partition",
    "QOSNotAllowed|InvalidQOS": "the partition or account does not take this quality of service: another qos in"
    " cluster.extra",
    r"(QOS|Assoc)Max\w+Per(Job|Node)\w*|QOSTimeLimit|MaxMemPerLimit": "they ask for more than a job may have: less time"
    " (cluster.time_min), or fewer cores, GPUs or memory",
    r"QOSMin\w+": "they ask for less than the quality of service takes: more cores, GPUs or memory",
    "DependencyNeverSatisfied": "what they wait for has failed: scancel them, then the same command",
    "ReservationDeleted": "the reservation is not there any more: another one in cluster.extra, or none",
    "JobHoldMaxRequeue": "they were requeued too often: scontrol release JOB",
    "PartitionTimeLimit": "ask for less time (cluster.time_min), or another partition",
    "PartitionNodeLimit": "ask for fewer nodes, or another partition",
    "BadConstraints": "no node of the partition has all that cluster.extra asks for",
    "JobHeldUser": "somebody holds them: scontrol release JOB",
    "JobHeldAdmin": "the administrator holds them",
    "launch failed requeued held": "a node did not start them: scontrol release JOB",
    "job requeued in held state": "somebody holds them: scontrol release JOB",
}
"""SLURM's reasons for which a job waits for ever, as regular expressions, each with what helps."""
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "SUSPENDED")
"""SLURM's words for a job that is in the queue and does not run."""


class SchedulerSilentError(InputError):
    """SLURM did not answer a question; it may a moment later."""


def is_silence(words: str) -> bool:
    """Tell whether an error of SLURM's commands says that its controller does not answer now."""
    return SILENCE.search(words) is not None


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
    ping = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, check=False).stdout
    if down := controllers_down(ping):
        raise InputError(
            f"SLURM's controller does not answer from here ({', '.join(down)} DOWN): no job can be submitted; try again"
            " when `scontrol ping` says UP, or do without SLURM"
        )


def controllers_down(ping: str) -> list[str]:
    """Read the controllers' hosts from what `scontrol ping` prints where none is up; nothing where any is."""
    states = re.findall(r"^Slurmctld\(.*?\) at (\S+?) (?:is|are) (UP|DOWN)", ping, re.MULTILINE)
    return [] if any(state == "UP" for _, state in states) else [host for host, _ in states]


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

    squeue, unlike sacct, answers on every cluster, with accounting or without. The user is named by number: within a
    container the variables that name one may be another's.

    Raises:
        SchedulerSilentError: squeue does not answer.
    """
    words = ["squeue", "--noheader", "--array", "--format=%i|%T|%r", f"--user={os.getuid()}"]
    fields = (line.split("|", 2) for line in answer(words).splitlines() if line.count("|") >= 2)
    return {job: QueuedJob(state, reason) for job, state, reason in fields}


def cancel_jobs(ids: Sequence[str]) -> None:
    """Take jobs from SLURM's queue.

    Raises:
        InputError: scancel refuses.
    """
    done = subprocess.run(["scancel", *ids], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"scancel refuses: {' '.join(done.stderr.split())}")


def answer(words: Sequence[str]) -> str:
    """Return what a question to SLURM prints.

    Raises:
        SchedulerSilentError: it fails, or takes longer than `ANSWER_S`.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=ANSWER_S)
    except subprocess.TimeoutExpired as error:
        raise SchedulerSilentError(f"{words[0]} has not answered for {ANSWER_S:.0f} s") from error
    if done.returncode:
        raise SchedulerSilentError(f"{words[0]} does not answer: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout


@dataclass
class Outage:
    """A silence of SLURM, which is borne for an hour: its jobs go on meanwhile. It is told once a minute.

    Attributes:
        since: when it began, on the monotonic clock; None while SLURM answers.
        said: when it was told last.
    """

    since: float | None = None
    said: float = 0.0

    def bear(self, error: SchedulerSilentError) -> None:
        """Take note of one more question that was not answered.

        Raises:
            InputError: it has lasted for an hour.
        """
        clock = time.monotonic()
        if self.since is None:
            self.since = clock
        elif clock - self.said < SAID_EVERY_S:
            return
        silent_min = (clock - self.since) / 60
        if clock - self.since > BORNE_S:
            raise InputError(
                f"SLURM has not answered for {silent_min:.0f} min ({error}); its jobs may go on: give the same command"
                " again when `scontrol ping` says UP"
            ) from error
        self.said = clock
        say(
            f"{error}; silent for {silent_min:.0f} min, its jobs go on; this command waits up to {BORNE_S / 60:.0f} min"
        )

    def end(self) -> None:
        """Take note of an answer."""
        if self.since is not None:
            say(f"SLURM answers again, after {time.monotonic() - self.since:.0f} s")
        self.since = None


@dataclass
class StuckJobs:
    """Jobs that SLURM will never start as they are, each reason told once.

    Attributes:
        reasons: told already.
    """

    reasons: set[str] = field(default_factory=set)

    def tell(self, queue: Mapping[str, QueuedJob], jobs: Collection[str]) -> None:
        """Say of some jobs in the queue which of them wait for ever, and what helps."""
        for job in sorted(jobs):
            reason = queue[job].reason.strip("()") if job in queue else ""
            fix = next((STUCK[pattern] for pattern in STUCK if re.fullmatch(pattern, reason)), None)
            if fix is not None and reason not in self.reasons:
                self.reasons.add(reason)
                say(f"SLURM does not start job {job} ({reason}), nor others like it: {fix}")
