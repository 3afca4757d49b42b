"""Processes in a cage: what one of them dies of costs its own call alone, and another one takes its place.

A pool of `concurrent.futures` breaks as a whole when one of its processes dies, and does not tell of what. Here each
process has a pipe of its own, so that the call it died in is known, and what that call said last.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Generic, TypeVar

from mammo_aln.errors import InputError
from mammo_aln.machine.cores import usable_cores
from mammo_aln.machine.deaths import PANICS, Death, may_die
from mammo_aln.machine.pool import ONE_THREAD, starting
from mammo_aln.machine.signals import end_with_parent

Tag = TypeVar("Tag")
Task = TypeVar("Task")
Result = TypeVar("Result")
EXPIRED = 83
"""Exit code of a process that nobody has called for a while."""
IDLE_S = 60.0


@dataclass
class _Cell(Generic[Tag]):
    """One process, and the call that it has."""

    process: SpawnProcess
    pipe: Connection
    call: tuple[Tag, tuple[Any, ...]] | None = None
    doing: str = ""
    ready: bool = False


class Cage(Generic[Tag]):
    """Calls in processes of their own, in no order; leaving the block ends them.

    Args:
        size: number of processes; each starts when it is needed.
        environment: variables that they see beside one thread for each numeric library.
        idle_s: how long a process waits for a call before it leaves.
    """

    def __init__(self, size: int, environment: Mapping[str, str] | None = None, idle_s: float | None = None) -> None:
        self._size, self._idle_s = size, idle_s
        self._environment = {**ONE_THREAD, **(environment or {})}
        self._cells: list[_Cell[Tag]] = []
        self._waiting: deque[tuple[Tag, tuple[Any, ...]]] = deque()

    def __enter__(self) -> Cage[Tag]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(at_once=kind is not None)

    @property
    def busy(self) -> bool:
        """True where a call has not ended."""
        return bool(self._waiting) or any(cell.call for cell in self._cells)

    @property
    def has_room(self) -> bool:
        """True where a process has no call, or none waits: one that waits begins in the moment another ends."""
        return len(self._waiting) + sum(cell.call is not None for cell in self._cells) < 2 * self._size

    def give(self, tag: Tag, function: Callable[..., Any], *arguments: Any) -> None:
        """Queue a call of a module's function; `tag` comes back with its end."""
        self._waiting.append((tag, (function, *arguments)))
        self._assign()

    def ended(self) -> list[tuple[Tag, Any]]:
        """Wait until calls have ended: each one's tag and result, or its `Death`; what a call raises is raised here."""
        ends: list[tuple[Tag, Any]] = []
        while not ends and self.busy:
            self._assign()
            cells = [cell for cell in self._cells if cell.call is not None]
            ready = multiprocessing.connection.wait([each for c in cells for each in (c.pipe, c.process.sentinel)])
            for cell in cells:
                if cell.pipe in ready or cell.process.sentinel in ready:
                    ends += self._heard(cell)
            self._assign()
        return ends

    def close(self, *, at_once: bool = False) -> None:
        """End all processes; `at_once` in the middle of their calls, too."""
        self._waiting.clear()
        for cell in self._cells:
            if at_once:
                cell.process.kill()
            cell.pipe.close()
        for cell in self._cells:
            cell.process.join()
        self._cells.clear()

    def _assign(self) -> None:
        while self._waiting:
            cell = next((cell for cell in self._cells if cell.call is None), None)
            if cell is None and len(self._cells) < self._size:
                cell = self._started()
            if cell is None:
                return
            cell.call = self._waiting.popleft()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has left; its end is heard below
                cell.pipe.send(cell.call[1])

    def _started(self) -> _Cell[Tag]:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, self._idle_s), daemon=True)
        with starting(self._environment):
            process.start()
        theirs.close()
        self._cells.append(_Cell(process, ours))
        return self._cells[-1]

    def _heard(self, cell: _Cell[Tag]) -> list[tuple[Tag, Any]]:
        """Take in what a process says, or that it is gone."""
        assert cell.call is not None
        try:
            if not cell.pipe.poll():
                raise EOFError
            kind, value = cell.pipe.recv()
        except (EOFError, OSError):
            return self._gone(cell)
        if kind == "ready":
            cell.ready = True
            return []
        if kind == "doing":
            cell.doing = value
            return []
        tag = cell.call[0]
        end = Death(0, cell.doing) if kind == "panic" else value
        cell.call, cell.doing = None, ""
        if kind == "raised":
            raise value
        return [(tag, end)]

    def _gone(self, cell: _Cell[Tag]) -> list[tuple[Tag, Any]]:
        assert cell.call is not None
        cell.process.join()
        cell.pipe.close()
        self._cells.remove(cell)
        code = cell.process.exitcode or 0
        if code == EXPIRED:
            self._waiting.appendleft(cell.call)
            return []
        if code == -signal.SIGINT:
            raise KeyboardInterrupt
        if not cell.ready:
            raise RuntimeError(f"a process could not start (exit code {code})")
        return [(cell.call[0], Death(max(0, -code), cell.doing))]


def caged(
    work: Callable[[Task], Result], tasks: Sequence[Task], workers: int | None = None, few: int = 1
) -> Iterator[tuple[int, Result | Death]]:
    """Yield (number of the task, its result or the death that it was) as tasks end, in no order.

    Args:
        work: a module's function.
        tasks: its arguments.
        workers: processes; by default one per core.
        few: up to so many tasks go to one process, which later calls find again.
    """
    count = min(workers or usable_cores(), len(tasks))
    with kept_cage() if count <= 1 or len(tasks) <= few else Cage(count) as cage:
        numbers = iter(range(len(tasks)))
        number = next(numbers, None)
        while number is not None or cage.busy:
            while number is not None and cage.has_room:
                cage.give(number, work, tasks[number])
                number = next(numbers, None)
            yield from cage.ended()


_KEPT: dict[str, Cage[Any]] = {}
os.register_at_fork(after_in_child=_KEPT.clear)


@contextlib.contextmanager
def kept_cage(environment: Mapping[str, str] | None = None) -> Iterator[Cage[Any]]:
    """Lend a cage of one process that outlives the block for a while, since its start takes longer than a call.

    Args:
        environment: variables that it sees where it is started by this block.
    """
    folder = os.getcwd()  # noqa: PTH109  # relative paths in calls mean this folder
    cage = _KEPT.pop(folder, None) or Cage(1, environment, IDLE_S)
    try:
        yield cage
    except BaseException:
        cage.close(at_once=True)
        raise
    if cage.busy or folder in _KEPT:
        cage.close(at_once=True)
        return
    for other in list(_KEPT):
        _KEPT.pop(other).close()
    _KEPT[folder] = cage


_OF_THIS_PROCESS: dict[str, Connection] = {}


def doing(words: str) -> None:
    """Say what this call does now: its death will tell."""
    if pipe := _OF_THIS_PROCESS.get("pipe"):
        pipe.send(("doing", words))


def _serve(pipe: Connection, idle_s: float | None) -> None:
    """Answer calls until the pipe is closed. What decoders print on their way down is nobody's: it goes nowhere."""
    end_with_parent()
    may_die()
    _OF_THIS_PROCESS["pipe"] = pipe
    pipe.send(("ready", None))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while pipe.poll(idle_s):
            function, *arguments = pipe.recv()
            pipe.send(_answer(function, arguments))
        os._exit(EXPIRED)


def _answer(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[str, Any]:
    try:
        return "result", function(*arguments)
    except BaseException as error:  # noqa: BLE001 - raised again in the process that called
        if type(error).__module__ == PANICS:
            return "panic", None
        if not isinstance(error, InputError):
            error.add_note(traceback.format_exc())
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - exceptions of other libraries may not survive a pickle, by any error
            return "raised", RuntimeError("".join(traceback.format_exception(error)))
        return "raised", error
