"""A job's end understood: as its cell's failure, as an order of the user's, or as nothing to do with the cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mammo_aln.errors import ExitCode
from mammo_aln.machine.slurm import JobEnd
from mammo_aln.machine.slurm_request import time_limit_min
from mammo_aln.settings import ClusterConfig

JOB_CANCELLED = "its SLURM job was cancelled (scancel)"
"""Why a cell is withheld whose job somebody has taken from SLURM's queue."""
SIGNALLED = 128
"""A shell's exit code for a command that signal n ended is this and n."""

Words = Callable[[JobEnd, ClusterConfig], str]


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


def _unfinished(end: JobEnd, cluster: ClusterConfig) -> str:
    return "ended in good order, but its cell is not completed; another process may have held it"


FAULTS: Mapping[str, Words] = {
    "TIMEOUT": _time_limit,
    "OUT_OF_MEMORY": _memory,
    "NODE_FAIL": _node,
    "BOOT_FAIL": _node,
    "COMPLETED": _unfinished,
}
"""SLURM's words for the end of a job, each with what it means for a cell that is not completed."""


@dataclass(frozen=True)
class Verdict:
    """Meaning of a job's end for a cell that it has not completed.

    Attributes:
        cancelled: somebody took the job out; the cell is left until it is asked for.
        fault: what failed, in words; None where nothing did, and the cell goes on in another job.
    """

    cancelled: bool = False
    fault: str | None = None


def verdict(job: str, end: JobEnd | None, cluster: ClusterConfig) -> Verdict:
    """Understand a job's end, of a cell that recorded no failure itself."""
    if end is None:
        return Verdict(
            fault=f"its SLURM job {job} ended without a word (killed, cancelled, or its node was lost);"
            " SLURM does not know it any more"
        )
    if end.state == "CANCELLED":
        return Verdict(cancelled=True)
    if end.state == "PREEMPTED" or (end.state == "FAILED" and end.exit_code == ExitCode.AGAIN):
        return Verdict()
    if end.state in FAULTS:
        return Verdict(fault=f"its SLURM job {job} {FAULTS[end.state](end, cluster)}")
    number = end.signal or max(0, end.exit_code - SIGNALLED)
    how = f"signal {number}" if number else f"exit code {end.exit_code}"
    return Verdict(fault=f"its SLURM job {job} ended by {how} ({end.state})")
