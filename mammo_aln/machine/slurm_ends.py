"""Ends of SLURM's jobs: asked for, waited for, and told in words."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mammo_aln.errors import ExitCode, Requeue
from mammo_aln.machine.slurm import (
    ANSWER_S,
    POLL_S,
    Outage,
    SchedulerSilentError,
    StuckJobs,
    answer,
    is_silence,
    jobs_in_queue,
)
from mammo_aln.machine.slurm_request import time_limit_min
from mammo_aln.progress import Progress, counted, say
from mammo_aln.settings import ClusterConfig

Left = TypeVar("Left")

ENDED = (
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "OUT_OF_MEMORY",
    "NODE_FAIL",
    "BOOT_FAIL",
    "PREEMPTED",
    "DEADLINE",
    "REVOKED",
)
"""SLURM's words for a job that is over; all others are of one that waits, runs or comes back."""
UNKNOWN = re.compile(r"invalid job id|job \S+ not found", re.IGNORECASE)
"""Words of scontrol for a job that it does not know; the second ones for a task of an array that was cancelled while it
waited, which is forgotten at once."""
SETTLE_S = 60.0
"""How long what a job that ended in good order has left may take to be seen on this machine."""
SIGNALLED = 128
"""A shell's exit code for a command that signal n ended is this and n."""
LAST_SIGNAL = 64


@dataclass(frozen=True)
class JobEnd:
    """End of a job that has left the queue.

    Attributes:
        state: SLURM's word for it (`TIMEOUT`, `CANCELLED`, `NODE_FAIL`, `COMPLETED`).
        exit_code: of its script.
        signal: that ended the script, 0 where none did.
    """

    state: str
    exit_code: int = 0
    signal: int = 0

    @property
    def is_over(self) -> bool:
        """Tell whether the job has ended: one of another user, or one that is requeued just now, is in no queue."""
        return self.state in ENDED

    @property
    def goes_on(self) -> bool:
        """Tell whether the job was stopped through no fault of its own, its state saved."""
        return self.state == "PREEMPTED" or (self.state == "FAILED" and self.exit_code == ExitCode.AGAIN)


def job_end(job: str) -> JobEnd | None:
    """Ask SLURM how a job ended: its controller, which remembers it for MinJobAge, or the accounting.

    Returns:
        None where neither knows the job any more.

    Raises:
        SchedulerSilentError: the controller or the accounting does not answer.
    """
    try:
        text = answer(["scontrol", "--oneliner", "show", "job", job])
    except SchedulerSilentError as error:
        if UNKNOWN.search(str(error)) is None:
            raise
        text = ""
    state, code = re.search(r"\bJobState=(\S+)", text), re.search(r"\bExitCode=(\d+):(\d+)", text)
    if state and code:
        return JobEnd(state.group(1), int(code.group(1)), int(code.group(2)))
    if shutil.which("sacct") is None:
        return None
    words = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=State,ExitCode"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=ANSWER_S)
    except subprocess.TimeoutExpired as error:
        raise SchedulerSilentError(f"sacct has not answered for {ANSWER_S:.0f} s") from error
    if done.returncode and is_silence(done.stderr):
        raise SchedulerSilentError(f"sacct does not answer: {' '.join(done.stderr.split())}")
    ends = re.findall(r"^([A-Z_]+)[^|]*\|(\d+):(\d+)", done.stdout, re.MULTILINE)
    return JobEnd(ends[-1][0], int(ends[-1][1]), int(ends[-1][2])) if ends else None


def await_jobs(ids: Sequence[str], what: str, poll_s: float = POLL_S) -> dict[str, JobEnd | None]:
    """Wait until none of some jobs is queued any more; returns their ends, None of one that SLURM has forgotten.

    Raises:
        InputError: SLURM has not answered for an hour.
    """
    progress = Progress(total=len(ids), what=what, unit="job")
    ends: dict[str, JobEnd | None] = {}
    outage, stuck = Outage(), StuckJobs()
    try:
        while left := [job for job in ids if job not in ends]:
            time.sleep(poll_s)
            before = len(ends)
            try:
                queue = jobs_in_queue()
                stuck.tell(queue, left)
                for job in left:
                    if job not in queue and ((end := job_end(job)) is None or end.is_over):
                        ends[job] = end
            except SchedulerSilentError as error:
                outage.bear(error)
                continue
            finally:
                progress.advance(len(ends) - before)
            outage.end()
    except (KeyboardInterrupt, Requeue):
        say(
            f"{counted(len(left), 'job stays', 'jobs stay')} in SLURM's queue and go on;"
            f" to stop them: scancel {' '.join(left)}"
        )
        raise
    progress.end()
    return ends


def await_left(look: Callable[[], Left | None], end: JobEnd | None, poll_s: float = POLL_S) -> Left | None:
    """Look for what a job has left, for `SETTLE_S` where it ended in good order; None where it is not there."""
    until = time.monotonic() + SETTLE_S * (end is not None and end.state == "COMPLETED")
    while (left := look()) is None and time.monotonic() < until:
        time.sleep(poll_s)
    return left


def _time_limit(end: JobEnd, cluster: ClusterConfig) -> str:
    return (
        f"was ended at its time limit of {time_limit_min(cluster)} min, before its step was saved (it is warned"
        f" cluster.signal_lead_s={cluster.signal_lead_s} s before)"
    )


def _memory(end: JobEnd, cluster: ClusterConfig) -> str:
    asked = "the partition's default" if cluster.mem_gb is None else f"{cluster.mem_gb} GB"
    return f"used more memory than it had asked for (cluster.mem_gb: {asked})"


def _node(end: JobEnd, cluster: ClusterConfig) -> str:
    return f"lost its node ({end.state})"


WORDS: Mapping[str, Callable[[JobEnd, ClusterConfig], str]] = {
    "TIMEOUT": _time_limit,
    "OUT_OF_MEMORY": _memory,
    "NODE_FAIL": _node,
    "BOOT_FAIL": _node,
    "CANCELLED": lambda end, cluster: "was cancelled (scancel)",
    "COMPLETED": lambda end, cluster: "ended in good order",
}
"""SLURM's words for the end of a job, each in plain ones."""


def end_in_words(end: JobEnd | None, cluster: ClusterConfig) -> str:
    """Tell how a job ended; the words follow its id."""
    if end is None:
        return "ended without a word (killed, cancelled, or its node was lost); SLURM does not know it any more"
    if end.goes_on:
        return "was pre-empted, or stopped by a signal, with its state saved"
    if end.state in WORDS:
        return WORDS[end.state](end, cluster)
    is_signal = SIGNALLED < end.exit_code <= SIGNALLED + LAST_SIGNAL
    number = end.signal or (end.exit_code - SIGNALLED if is_signal else 0)
    how = f"signal {number}" if number else f"exit code {end.exit_code}"
    return f"ended by {how} ({end.state})"
