"""Memory that new processes can have, of the machine, its CUDA devices and every control group of this process."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mammo_aln.machine.groups import GROUPS, group_folders, own_groups

FILES = (("memory.max", "memory.current", "inactive_file"),
         ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))  # fmt: skip
"""Names of limit, use, and file cache that is given up on demand: control groups of version 2, then of version 1."""

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # names and numbers of glibc's malloc.h


def keep_freed_memory() -> None:
    """Make glibc keep the memory that this process frees, for its next use; does nothing where there is no glibc.

    Left alone it gives tensors of a training step back to the system, which clears every page anew in the next step.
    The most that the process held at once stays the same; it holds that until it ends.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)  # never


def free_memory_gb() -> float:
    """Gigabytes (1e9 bytes) that are free, on the machine or under the tightest limit of a container or SLURM job."""
    info = Path("/proc/meminfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    free = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    if not free:
        free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    return max(0.0, min([*free, *free_of_groups(own_groups())]) / 1e9)


def peak_memory_gb() -> float:
    """Gigabytes (1e9 bytes) of memory that this program had at its largest.

    Linux counts in `ru_maxrss` what the process held before it became this program: a copy of the one that started it.
    """
    status = Path("/proc/self/status")
    for line in status.read_text(encoding="utf-8").splitlines() if status.is_file() else []:
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1]) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9


def free_of_groups(groups: Sequence[str], root: Path = GROUPS) -> Iterator[int]:
    """Yield the free bytes under each limit that control groups and their parents set.

    Args:
        groups: lines of /proc/self/cgroup.
        root: where control groups are mounted.
    """
    for folder in group_folders(groups, "memory", root):
        for limit, used, cache in FILES:
            if not (folder / limit).is_file() or not (folder / used).is_file():
                continue
            most = (folder / limit).read_text().strip()
            if most == "max":
                continue
            stat = folder / "memory.stat"
            entries = [line.split() for line in stat.read_text().splitlines()] if stat.is_file() else []
            given_up = sum(int(size) for name, size in entries if name == cache)
            yield int(most) - int((folder / used).read_text()) + given_up


def free_gpu_memory_gb(device: str) -> float:
    """Gigabytes (1e9 bytes) that are free on a device.

    Args:
        device: its entry in CUDA_VISIBLE_DEVICES, as `hardware.visible_gpus` names it.
    """
    import torch

    from mammo_aln.machine.hardware import visible_gpus

    free, _ = torch.cuda.mem_get_info(visible_gpus().index(device))
    return free / 1e9


def release_gpu_memory() -> None:
    """Give back what torch keeps of ended trainings: the cache of one process is what another one lacks."""
    import torch

    gc.collect()  # a trainer, its module and its loops refer to one another
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
