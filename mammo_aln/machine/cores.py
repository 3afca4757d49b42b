"""Number of processor cores that this process may use: the one rule for every pool of processes and threads."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mammo_aln.machine.groups import GROUPS, group_folders, own_groups

MOST_LOADERS = 8
"""Loader processes that `auto` starts at most: as many fill the fastest card."""
FEWEST_CORES = 4
"""Cores of a rank from which loader processes have room beside the process that trains."""
FEWEST_BATCHES = 8
"""Batches from which the start of loader processes pays."""


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


def loader_processes(
    asked: int | Literal["auto"], *, on_gpu: bool, batches: int, ranks: int = 1, cores: int | None = None
) -> int:
    """Number of loader processes of one rank: as asked, or what `auto` means here.

    `auto` leaves the training process a core of its own and starts no process where a CPU computes the network, which
    needs the cores itself, where a rank has fewer than 4 cores, or where there are fewer than 8 batches to load.

    Args:
        asked: `data.num_workers`.
        on_gpu: whether a GPU computes the network.
        batches: batches that the loader gives.
        ranks: processes of the training on this machine, which share its cores.
        cores: cores that they share; by default those that this process may use.
    """
    if asked != "auto":
        return asked
    share = (usable_cores() if cores is None else cores) // max(1, ranks)
    if not on_gpu or share < FEWEST_CORES or batches < FEWEST_BATCHES:
        return 0
    return min(MOST_LOADERS, share - 1)
