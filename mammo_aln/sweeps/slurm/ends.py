"""A job's end understood: as its cell's failure, as an order of the user's, or as nothing to do with the cell."""

from __future__ import annotations

from dataclasses import dataclass

from mammo_aln.machine.slurm_ends import JobEnd, end_in_words
from mammo_aln.settings import ClusterConfig

JOB_CANCELLED = "its SLURM job was cancelled (scancel)"
"""Why a cell is withheld whose job somebody has taken from SLURM's queue."""
NEVER_BEGAN = "its SLURM job left the queue before it began, as scancel does, and SLURM does not know it any more"
"""Why a cell is withheld whose job has left no trace: a job that fails has begun."""


@dataclass(frozen=True)
class Verdict:
    """Meaning of a job's end for a cell that it has not completed.

    Attributes:
        order: somebody took the job out, in words; the cell is left until it is asked for.
        fault: what failed, in words.

    Without either the cell goes on in another job.
    """

    order: str | None = None
    fault: str | None = None


def verdict(job: str, end: JobEnd | None, cluster: ClusterConfig, *, began: bool) -> Verdict:
    """Understand a job's end, of a cell that recorded no failure itself.

    Args:
        job: its id.
        end: as SLURM knows it; None where it knows the job no more.
        cluster: what the job had asked for.
        began: it has left output.
    """
    if end is None and not began:
        return Verdict(order=NEVER_BEGAN)
    if end is not None and end.state == "CANCELLED":
        return Verdict(order=JOB_CANCELLED)
    if end is not None and end.goes_on:
        return Verdict()
    unfinished = "; its cell is not completed: another process may have held it"
    more = unfinished if end is not None and end.state == "COMPLETED" else ""
    return Verdict(fault=f"its SLURM job {job} {end_in_words(end, cluster)}{more}")
