"""Deaths of processes by their own faults or by bounds of time and memory, in words.

In a process that nothing has let die (`may_die`) the bounds bound nothing.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mammo_aln.settings import PixelConfig

WALL_FACTOR = 10.0
"""Work that waits instead of computing may take so many times as long."""
OVERTIME = (signal.SIGPROF, signal.SIGALRM)
"""What ends work that computed, and work that waited, for too long: no decoder's own loop holds them back."""
OWN_FAULT = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS)
"""Signals that code brings on itself; any other one came from outside, as when the machine's memory was full."""
PANICS = "pyo3_runtime"
"""Module of the exception that a panic of Rust code becomes; it is no `Exception`."""
CRASHED = "the decoder crashed on this file"
OVERLONG = "decoding this file took more than"
ENDED = "the process that decoded this file was ended from outside"
REASONS = (CRASHED, OVERLONG, ENDED)
"""Beginnings of `reason_of`."""
_STATUS = Path("/proc/self/statm")
_OF_THIS_PROCESS = {"may die": False}


def may_die() -> None:
    """Let bounds end this process; it writes no core file when it crashes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _OF_THIS_PROCESS["may die"] = True


@contextmanager
def bounded_time(processor_s: float) -> Iterator[None]:
    """End this process by a signal of `OVERTIME` where the block computes for longer, or waits `WALL_FACTOR` times so.

    Time of the processor, not of the clock: on a busy machine or a slow disk no sound file is too slow.
    """
    if not _OF_THIS_PROCESS["may die"]:
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, processor_s)
    signal.setitimer(signal.ITIMER_REAL, WALL_FACTOR * processor_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def bounded_memory(more_bytes: int) -> Iterator[bool]:
    """Let the block take so many bytes of address space beside what the process has; yields False without a bound.

    More raises `MemoryError`, or ends the process where a library does not look at what it was given. A bound that the
    user has set stays.
    """
    if not _OF_THIS_PROCESS["may die"] or not _STATUS.is_file():
        yield False
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = int(_STATUS.read_text().split()[0]) * resource.getpagesize() + more_bytes
    if soft != resource.RLIM_INFINITY and soft <= bound:
        yield False
        return
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    try:
        yield True
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@dataclass(frozen=True)
class Death:
    """End of a process, or a panic in it, in the middle of a call.

    Attributes:
        signal: number of the signal that ended it; 0 where it left by itself or panicked.
        doing: what the call said last (`doing`); empty where it said nothing.
    """

    signal: int
    doing: str = ""

    @property
    def overtime(self) -> bool:
        """True where it ran into its bound of time."""
        return self.signal in OVERTIME

    @property
    def from_outside(self) -> bool:
        """True where nothing says that the call itself brought it about."""
        return self.signal == signal.SIGALRM or (self.signal > 0 and self.signal not in (*OWN_FAULT, *OVERTIME))

    @property
    def name(self) -> str:
        """The signal's name; empty where there was none."""
        return signal.Signals(self.signal).name if self.signal in list(signal.Signals) else ""


def reason_of(death: Death, pixels: PixelConfig) -> str:
    """Say why an image is left out that a process died of."""
    if death.overtime and not death.from_outside:
        return f"{OVERLONG} {pixels.decode_timeout_s:g} s of processor time (pixels.decode_timeout_s)"
    if death.overtime:
        return f"{ENDED}: it waited for too long"
    if death.from_outside:
        return f"{ENDED} ({death.name}): was the memory full?"
    return f"{CRASHED} ({death.name})" if death.name else CRASHED
