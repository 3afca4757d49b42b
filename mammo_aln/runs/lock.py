"""One process at a time trains a run: it holds the run's directory."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mammo_aln.errors import InputError
from mammo_aln.files import unwritten
from mammo_aln.machine.lease import EXPIRY_S
from mammo_aln.machine.locks import is_locked, take_lock
from mammo_aln.progress import say


class RunIsHeld(InputError):
    """Another process trains this run now."""


@contextmanager
def held_alone(run: Path) -> Iterator[None]:
    """Keep other processes off a run while it is trained, on one machine and on all that see its disk.

    However the process ends, nothing stale is left: a POSIX lock on `.lock` is freed by the system at once, and a
    lease, on a disk whose locks do not bind all machines, ends with its holder or `lease.EXPIRY_S` seconds after its
    last beat. The file's text only says who holds the run.

    Raises:
        RunIsHeld: another process trains this run.
        InputError: its directory cannot be written: it is another person's, or its disk is read-only or full.
    """
    try:
        lock = take_lock(run / ".lock")
    except OSError as error:
        raise InputError(f"{run}: cannot be written ({error.strerror}); expected a folder of your own") from error
    if lock is None:
        text = (run / ".lock").read_text(encoding="utf-8", errors="replace")
        raise RunIsHeld(
            f"{run}: {text.strip() or 'another process'} is training this run; wait for it, or stop it first"
        )
    with lock:
        if lock.lease is not None:
            say(f"{run}: held by a lease; after a crash of this machine another one goes on {EXPIRY_S:g} s later")
        try:
            lock.stream.truncate(0)
            # Not through the stream, whose end would try once more to write what a full disk did not take.
            os.write(lock.stream.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())
        except OSError as error:
            raise unwritten(run / ".lock", error) from error
        yield
        lock.stream.truncate(0)


def is_held(run: Path) -> bool:
    """Ask whether another process trains this run now."""
    return is_locked(run / ".lock")
