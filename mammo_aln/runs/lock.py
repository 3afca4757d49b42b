"""One process at a time trains a run: a POSIX lock on its directory."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mammo_aln.errors import InputError
from mammo_aln.progress import say


class RunIsHeld(InputError):
    """Another process trains this run now."""


@contextmanager
def held_alone(run: Path) -> Iterator[None]:
    """Keep other processes off a run while it is trained; the operating system frees it when this process ends.

    However the process ends, nothing stale is left: what holds is a POSIX lock on `.lock`, on one machine and
    across the machines of a network disk; the file's text only says who holds it.

    Raises:
        RunIsHeld: another process trains this run.
    """
    with (run / ".lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise RunIsHeld(f"{run}: {holder} is training this run; wait for it, or stop it first") from error
        except OSError as error:
            say(f"{run}: this disk keeps no locks ({error.strerror}); make sure that no other process trains this run")
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield
        lock.truncate(0)


def is_held(run: Path) -> bool:
    """Ask whether another process trains this run now."""
    return is_locked(run / ".lock")


def is_locked(lock: Path) -> bool:
    """Ask the system whether another process holds this POSIX lock; the lock itself is never taken.

    A process that holds the lock must not ask: to close the file once more would free it.
    """
    try:
        with lock.open("rb+") as stream:
            # struct flock of 64-bit Linux: type, whence, start, length, pid
            request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = fcntl.fcntl(stream, fcntl.F_GETLK, request)
    except OSError:
        return False  # no such run yet, or a disk that keeps no locks
    return bool(struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK)
