"""One process at a time: a POSIX lock where the disk keeps one for all machines, else a lease beside the file.

A process that holds a lease holds the POSIX lock as well where there is one, and one that takes the lock looks for a
lease: so that commands which judge a disk differently still see each other.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from pathlib import Path
from typing import TextIO

from mammo_aln.errors import InputError
from mammo_aln.machine.lease import Lease, is_leased, take_lease
from mammo_aln.machine.mounts import mount_of

VARIABLE = "MAMMO_ALN_LOCKS"
"""Environment variable: `posix` or `lease` for every disk, whatever the mount says."""
POLL_S = 0.1
_OWN: dict[tuple[str, int], object] = {}
"""Files that this process holds or is taking, by path and its id, with a sign of the taker's: to open and close one of
them again would free its POSIX lock, which knows no threads."""


class Lock:
    """A name that this process holds, until `close` or its end.

    Attributes:
        path: the file that is held.
        stream: the file, open for reading and appending.
    """

    def __init__(self, path: Path, stream: TextIO, lease: Lease | None) -> None:
        self.path, self.stream, self.lease = path, stream, lease

    def close(self) -> None:
        """Let go."""
        if self.lease is not None:
            self.lease.close()
        self.stream.close()
        _OWN.pop(_name(self.path), None)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def uses_leases(folder: Path) -> bool:
    """Decide between POSIX locks and leases for the files of a folder, by its mount or `MAMMO_ALN_LOCKS`.

    Raises:
        InputError: the variable says neither `posix` nor `lease`.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", "posix", "lease"):
        raise InputError(f"{VARIABLE}={asked}: expected posix or lease")
    if asked:
        return asked == "lease"
    mount = mount_of(folder)
    return mount is not None and not mount.has_locks


def take_lock(path: Path) -> Lock | None:
    """Take a file for its caller alone; None where another process, or this very one, holds it.

    However the process ends, nothing stale is left: the system frees a POSIX lock at once, and a lease ends when its
    holder is known to be gone, at the latest `lease.EXPIRY_S` seconds later.

    Args:
        path: the file, in a folder that exists; made where it is missing.

    Raises:
        InputError: no lease can be taken beside it.
        OSError: the file cannot be opened for writing.
    """
    name, taker = _name(path), object()
    if _OWN.setdefault(name, taker) is not taker:  # in one step, as threads of this process may ask at once
        return None
    lock = None
    try:
        lock = _take(path)
    finally:
        if lock is None:
            del _OWN[name]
    return lock


def _take(path: Path) -> Lock | None:
    stream = path.open("a+", encoding="utf-8")
    lease = None
    try:
        with_lease = uses_leases(path.parent)
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            stream.close()
            return None
        except OSError:
            with_lease = True  # this disk keeps no locks at all
        folder = lease_folder(path)
        if with_lease:
            lease = take_lease(folder)
        if (with_lease and lease is None) or (not with_lease and is_leased(folder)):
            stream.close()
            return None
    except BaseException:
        stream.close()
        raise
    return Lock(path, stream, lease)


def await_lock(path: Path) -> Lock:
    """Take a file for this process alone, once nobody else holds it.

    Raises:
        InputError: see `take_lock`.
        OSError: see `take_lock`.
    """
    while (lock := take_lock(path)) is None:
        time.sleep(POLL_S)
    return lock


def is_locked(path: Path) -> bool:
    """Ask whether a process holds a file now, this one included; it is never taken."""
    if _is_own(path):
        return True
    try:
        with path.open("rb+") as stream:
            # struct flock of 64-bit Linux: type, whence, start, length, pid
            request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = fcntl.fcntl(stream, fcntl.F_GETLK, request)
        if struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK:
            return True
    except FileNotFoundError:
        return False
    except OSError:
        pass  # a disk that keeps no locks, or a file that may only be read: the lease tells
    return is_leased(lease_folder(path))


def _is_own(path: Path) -> bool:
    return _name(path) in _OWN


def _name(path: Path) -> tuple[str, int]:
    """Name a file as this process holds it; a forked child holds nothing of its parent's."""
    return os.path.realpath(path), os.getpid()


def lease_folder(path: Path) -> Path:
    """Name the folder of the lease that stands for a file's lock."""
    return path.with_name(f".{path.name.lstrip('.')}.lease")
