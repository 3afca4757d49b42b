"""Number of processor cores that this process may use: the one rule for every pool of processes and threads."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from mammo_aln.machine.groups import GROUPS, group_folders, own_groups


def usable_cores(groups: Sequence[str] | None = None, root: Path = GROUPS) -> int:
    """Count the cores of the process's CPU affinity, or of a tighter quota of a container or SLURM job; at least 1.

    Args:
        groups: the process's control groups; by default its own.
        root: where control groups are mounted.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    folders = group_folders(own_groups() if groups is None else groups, "cpu", root)
    quotas = [quota for folder in folders if (quota := _quota(folder)) is not None]
    return max(1, min([cores, *(math.ceil(quota) for quota in quotas)]))


def _quota(folder: Path) -> float | None:
    """Cores that a control group may use at once, or None where it has no limit; version 2, then version 1."""
    if (folder / "cpu.max").is_file():
        quota, period = (folder / "cpu.max").read_text().split()
    elif (folder / "cpu.cfs_quota_us").is_file():
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    else:
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)
