"""Mounts: the disk below a folder, and whether its POSIX locks reach every process that sees it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
OF_ONE_MACHINE = frozenset(
    ("bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "vfat", "xfs", "zfs")
)
"""Disks that one machine alone writes: its own kernel keeps their locks."""
SHARED_WITH_LOCKS = frozenset(["nfs", "nfs4", "ceph", "gpfs", "gfs2", "ocfs2", "fuse.glusterfs"])
"""Disks of many machines whose locks are kept by the server, unless `LOCAL_OPTIONS` say otherwise."""
LOCAL_OPTIONS = frozenset(["nolock", "local_lock=posix", "local_lock=all", "localflock"])
"""Mount options by which a shared disk grants locks to each machine apart, or to none."""

ESCAPED = re.compile(r"\\([0-7]{3})")
"""A blank, tab, end of line or backslash in a name: `\\040` for the blank; all other letters stand as they are."""


@dataclass(frozen=True)
class Mount:
    """A mounted disk: where it hangs, its type as the kernel names it, and its options."""

    point: Path
    type: str
    options: frozenset[str]

    @property
    def has_locks(self) -> bool:
        """Tell whether a POSIX lock on it is positively known to bind every process that sees the file.

        Lustre keeps them under the option `flock` alone. Of FUSE, 9p, SMB, BeeGFS and whatever is not listed here the
        mount does not tell: many grant a lock to each machine apart, without an error.
        """
        if self.type == "lustre":
            return "flock" in self.options
        return self.type in OF_ONE_MACHINE or (self.type in SHARED_WITH_LOCKS and not self.options & LOCAL_OPTIONS)


def mount_of(folder: Path) -> Mount | None:
    """Look up the disk that holds a folder, or would hold it once it is made; None where the system does not tell."""
    if not MOUNTS.is_file():
        return None
    mounts = read_mounts(MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
    path = folder.resolve()
    return next((mounts[above] for above in (path, *path.parents) if above in mounts), None)


def read_mounts(text: str) -> dict[Path, Mount]:
    """Read a table in the form of `/proc/self/mountinfo`; what is mounted last on a point hides what was there."""
    mounts = {}
    for line in filter(None, text.split("\n")):  # names may hold other ends of lines, and blanks of other kinds
        before, _, after = line.partition(" - ")
        fields, (kind, _, *super_options) = before.split(" "), after.split(" ")
        options = frozenset(",".join([fields[5], *super_options]).split(","))
        point = Path(ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[4]))
        mounts[point] = Mount(point, kind, options)
    return mounts
