"""Causes of a cell's failure that are known by its error, each with a fix that works."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace

from mammo_aln.settings.steps import shaping_step, step_shape
from mammo_aln.sweeps.cell import Failure, log_of
from mammo_aln.sweeps.plan import Cell, Plan

SMALLER = 4
"""A part of a step that needs less memory: one in so many of its patients."""


@dataclass(frozen=True)
class Cause:
    """A kind of failure.

    Attributes:
        pattern: regular expression that its error matches, whatever the case.
        fix: words that say what to do; `{out}` is the sweep's folder, `{cell}` the cell's id, `{less_memory}` what
            takes less of it.
    """

    pattern: str
    fix: str


CAUSES = (
    Cause(r"file too large", "let a file be larger, by what the error names"),
    Cause(r"no space left|disk quota", "make room: mammo-aln sweep prune --out {out}"),
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
    Cause(r"memory|signal 9\b", "{less_memory}"),
)
"""In order: the first that matches speaks."""


def goes_on_alone(plan: Plan, cell: Cell) -> bool:
    """Tell whether `mammo-aln train` goes on with a cell by itself: this code has begun it here, no job has."""
    by_job = (plan.out / "slurm" / f"{cell.run_id}.json").is_file()
    return (plan.runs / cell.run_id / "config.yaml").is_file() and not by_job and plan.of_this_code


def less_memory(plan: Plan, cell: Cell) -> str:
    """Say what takes less memory, and whether the cell stays the same training with it or becomes another cell."""
    settings = cell.settings
    whole = step_shape(settings).at_once
    smaller = replace(settings, data=replace(settings.data, micro_batch=max(1, whole // SMALLER)))
    patients, another = smaller.data.micro_batch, "model.grad_checkpointing"
    if whole == 1:
        change = f"{another}: true, in the sweep's file, makes it another cell"
        return f"less memory: fewer --slots, with which it stays the same training; {change}"
    if shaping_step(smaller) != shaping_step(settings):
        change = f"data.micro_batch: {patients} or {another}: true, in the sweep's file, makes it another cell"
        return f"less memory: fewer --slots, with which it stays the same training; {change}"
    where = (
        f"--data.micro_batch={patients} behind the command"
        if goes_on_alone(plan, cell)
        else f"data.micro_batch: {patients} in the sweep's file, for cells of its network"
    )
    change = f"{another}: true, in the sweep's file, makes it another cell"
    return f"less memory: {where}, or fewer --slots, with which it stays the same training; {change}"


def fix_in_words(plan: Plan, cell: Cell, failure: Failure) -> str:
    """Say what to do about a failed cell before it is tried again; where nobody knows, that none is known."""
    out = shlex.quote(str(plan.out))
    for cause in CAUSES:
        if re.search(cause.pattern, failure.error, re.IGNORECASE):
            return cause.fix.format(out=out, cell=cell.run_id, less_memory=less_memory(plan, cell))
    if not failure.again:
        return "correct the file or the setting that the error names, in the cohort or in the sweep's file"
    log = shlex.quote(str(log_of(plan, cell)))
    return (
        f"none is known: its log tells where it broke (less {log}); another try may go well, else leave it out:"
        f" mammo-aln sweep drop {cell.run_id} --out {out}"
    )
