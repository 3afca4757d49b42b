"""Commands in forks of this process, which has loaded all that verbs load: begun in milliseconds, killed anywhere."""

from __future__ import annotations

import atexit
import ctypes
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hostile.torture_workers import fork_workers

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_CHILD_SUBREAPER = 36
WRITES = ("os.rename", "os.remove", "os.mkdir", "os.truncate", "os.rmdir", "os.link", "os.symlink", "sqlite3.connect")
TAIL = 4000
_STARTED: set[int] = set()
"""Commands whose end has not been taken in."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: exit code, negative where a signal ended it; None where it was ended for its time.
        said: end of its standard error.
        printed: its standard output.
        seconds: it took.
        processor_s: it took of a core, with the processes that it waited for.
        left: processes that were there after it.
    """

    code: int | None
    said: str
    printed: str
    seconds: float
    processor_s: float
    left: int = 0


class Running:
    """A command in a fork.

    Args:
        words: behind `mammo-aln`.
        folder: in which it runs.
        log: folder for what it says.
        before: called in the fork before it begins.
        at: called with each write's number, in the fork, just before that write.
        cold: run it in a new interpreter, as a shell does; no write is seen then.
    """

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        log: Path,
        before: Callable[[], None] = lambda: None,
        at: Callable[[int], None] | None = None,
        cold: bool = False,
    ) -> None:
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.log, self.begun = log, time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.process = os.fork()
        if self.process == 0:
            _run(words, folder, log, before, at, cold)
        _STARTED.add(self.process)
        self._handle = os.pidfd_open(self.process)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; tell whether it came."""
        return bool(select.select([self._handle], [], [], max(0.0, seconds))[0])

    def send(self, number: int, *, group: bool = False) -> None:
        """Send a signal to it, or to all its processes, if it still runs."""
        with suppress(ProcessLookupError):
            if group:
                os.killpg(self.process, number)
            else:
                signal.pidfd_send_signal(self._handle, number)

    def end(self, limit_s: float, grace_s: float = 0.0) -> Ended:
        """Wait for its end for so long; end it then, and whatever it left.

        Args:
            limit_s: seconds for it.
            grace_s: seconds for processes that it started.
        """
        in_time = self.wait(limit_s)
        if not in_time:
            self.send(signal.SIGKILL)
        _, status, usage = os.wait4(self.process, 0)
        _STARTED.discard(self.process)
        code = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - self.begun
        os.close(self._handle)
        left = end_leftovers(grace_s)
        said, printed = (
            (self.log / name).read_text(encoding="utf-8", errors="replace")[-TAIL:] for name in ("stderr", "stdout")
        )
        return Ended(code if in_time else None, said, printed, seconds, usage.ru_utime + usage.ru_stime, left)


def end_leftovers(grace_s: float) -> int:
    """End processes that a command left, once their time to end by themselves is over; tell how many there were."""
    until = time.monotonic() + grace_s
    while (left := _children()) and time.monotonic() < until:
        time.sleep(0.01)
    count = len(left)
    while left := _children():
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.002)
    return count


def _children() -> list[int]:
    """List living processes that commands left; dead ones are buried."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    left = [process for process in map(int, listed) if process not in _STARTED]
    return [process for process in left if not os.waitpid(process, os.WNOHANG)[0]]


def _run(
    words: Sequence[str],
    folder: Path,
    log: Path,
    before: Callable[[], None],
    at: Callable[[int], None] | None,
    cold: bool,
) -> None:
    code = 1
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.chdir(folder)
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(log / name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644), stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if not cold:
            fork_workers()
        before()
        if cold:
            os.execv(sys.executable, [sys.executable, "-m", "mammo_aln.cli", *words])
        if at is not None:
            _call_at_writes(folder, at)
        from mammo_aln.cli import main

        code = main(words)
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 1
    except BaseException:  # noqa: BLE001 - the interpreter would print it, too
        traceback.print_exc()
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it tears down what the verb did not load
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _call_at_writes(folder: Path, at: Callable[[int], None]) -> None:
    owner, count, root = os.getpid(), 0, str(folder)

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in WRITES:
            path = arguments[0]
        else:
            return
        if not isinstance(path, str | os.PathLike | bytes) or os.getpid() != owner:
            return
        name = os.fsdecode(path)
        if not os.path.isabs(name) or name.startswith(root):  # noqa: PTH117
            number, count = count, count + 1
            at(number)

    sys.addaudithook(hear)
