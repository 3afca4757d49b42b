"""Causes of a cell's failure that are known by its error, each with a fix that works."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from mammo_aln.sweeps.cell import Failure, log_of
from mammo_aln.sweeps.plan import Cell, Plan

LESS_MEMORY = "less memory: --optim.accumulate=4, --model.grad_checkpointing=true, or fewer --slots"


@dataclass(frozen=True)
class Cause:
    """A kind of failure.

    Attributes:
        pattern: regular expression that its error matches, whatever the case.
        fix: words that say what to do; `{out}` is the sweep's folder, `{cell}` the cell's id.
    """

    pattern: str
    fix: str


CAUSES = (
    Cause(r"no space left|disk quota|file too large", "make room: mammo-aln sweep prune --out {out}"),
    Cause(r"signal 7\b|bus error|shared memory", "more shared memory (/dev/shm), or --data.num_workers=0"),
    Cause(r"planned as run|its images or crops changed", "the cohort changed since the plan: plan the sweep anew"),
    Cause(
        r"diverged|not finite",
        "a lower optim.lr, or what the error names, in the sweep's file, which makes it another cell; or leave it out:"
        " mammo-aln sweep drop {cell} --out {out}",
    ),
    Cause(
        r"time limit",
        "more time, by a greater --cluster.time_min or an earlier warning (--cluster.signal_lead_s); it goes on from"
        " its last checkpoint",
    ),
    Cause(r"cluster\.mem_gb", "more memory, by a greater --cluster.mem_gb; or a smaller --data.num_workers"),
    Cause(r"memory|signal 9\b", LESS_MEMORY),
)
"""In order: the first that matches speaks."""


def fix_in_words(plan: Plan, cell: Cell, failure: Failure) -> str:
    """Say what to do about a failed cell before it is tried again; where nobody knows, that none is known."""
    out = shlex.quote(str(plan.out))
    for cause in CAUSES:
        if re.search(cause.pattern, failure.error, re.IGNORECASE):
            return cause.fix.format(out=out, cell=cell.run_id)
    if not failure.again:
        return "correct the file or the setting that the error names, in the cohort or in the sweep's file"
    log = shlex.quote(str(log_of(plan, cell)))
    return (
        f"none is known: its log tells where it broke (less {log}); another try may go well, else leave it out:"
        f" mammo-aln sweep drop {cell.run_id} --out {out}"
    )
