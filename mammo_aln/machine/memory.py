"""Memory that new processes can have: of the machine, and of every control group that this process is in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
FILES = (("memory.max", "memory.current", "inactive_file"),
         ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))  # fmt: skip
"""Names of limit, use, and file cache that is given up on demand: control groups of version 2, then of version 1."""


def free_memory_gb() -> float:
    """Gigabytes (1e9 bytes) that are free, on the machine or under the tightest limit of a container or SLURM job."""
    info = Path("/proc/meminfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    free = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    if not free:
        free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    told = Path("/proc/self/cgroup")
    groups = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    return max(0.0, min([*free, *free_of_groups(groups, GROUPS)]) / 1e9)


def free_of_groups(lines: list[str], root: Path) -> Iterator[int]:
    """Free bytes under each limit that the groups of /proc/self/cgroup and their parents set.

    Args:
        lines: `number:controllers:path`; controllers are empty in version 2.
        root: where the groups are mounted.
    """
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount = root / "memory" if controllers else root
        place = mount / path.strip("/")
        for folder in (place, *place.parents):
            if not folder.is_relative_to(mount):
                break
            yield from _free_of_group(folder)


def _free_of_group(folder: Path) -> Iterator[int]:
    for limit, used, cache in FILES:
        if not (folder / limit).is_file() or not (folder / used).is_file():
            continue
        most = (folder / limit).read_text().strip()
        if most == "max":
            continue
        stat = folder / "memory.stat"
        kept = [line.split() for line in stat.read_text().splitlines()] if stat.is_file() else []
        given_up = sum(int(words[1]) for words in kept if words[0] == cache)
        yield int(most) - int((folder / used).read_text()) + given_up
