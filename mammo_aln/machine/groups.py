"""Control groups that this process is in: folders whose files limit its memory and its processor time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")


def own_groups() -> list[str]:
    """Read the lines of /proc/self/cgroup, `number:controllers:path`; controllers are empty in version 2."""
    file = Path("/proc/self/cgroup")
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def group_folders(lines: Sequence[str], controller: str, root: Path = GROUPS) -> Iterator[Path]:
    """Yield the folders of the groups that a controller limits, each with those above it.

    Args:
        lines: as `own_groups` reads them.
        controller: `cpu` or `memory`.
        root: where the groups are mounted.
    """
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounts = [root / controllers, root / controller] if controllers else [root]
        mount = next((folder for folder in mounts if folder.is_dir()), mounts[-1])
        folder = mount / path.strip("/")
        yield from (above for above in (folder, *folder.parents) if above.is_relative_to(mount))
