"""Signals: handlers for a while, and processes that end with the one that started them."""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mammo_aln.errors import Requeue

WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
"""Sent by SLURM before a job's time is up; submitit asks it for the second."""
LEAVE = (signal.SIGTERM, *WARNINGS)
"""Sent by a scheduler that wants a process to save its work and leave."""
SAVE_S = 15.0
"""How long a training may take to save its step once it was asked to leave."""
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)  # opened here: between fork and exec nothing may be loaded


@contextmanager
def handled(numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle signals in this block, and as before behind it; only the main thread may."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Hold Ctrl-C back in this block, and in processes that start in it until `end_with_parent`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def requeued() -> Iterator[None]:
    """Answer a scheduler's signals in this block by `Requeue`; a thread other than the main one leaves them alone.

    A training's own handler stands in front of it while it trains.
    """
    owner = os.getpid()

    def leave(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker inherits this handler and has nothing to save
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise Requeue(f"stopped by {signal.Signals(number).name}")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with handled(LEAVE, leave):
        yield


def leave_in_time(process: subprocess.Popen[Any]) -> None:
    """Ask a training's process to save its step and leave; kill it where that takes longer than `SAVE_S`."""
    process.terminate()
    try:
        process.wait(SAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def die_with_parent() -> None:
    """Have Linux kill this process when the one that started it is gone, however that ended (a Popen's preexec_fn)."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_parent() -> None:
    """Have this process of a pool end at once when the process that started it has gone, by kill -9 too.

    Ctrl-C ends it without a traceback; the process that started it says what stopped.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def wait_and_end() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait_and_end, daemon=True).start()


def kill_own_group() -> None:
    """End this process at once, with every process of its group where it leads one."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
