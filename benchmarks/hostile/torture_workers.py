"""Workers as forks: a spawned interpreter loads for seconds what a fork has; it holds what it is given, and no more."""

from __future__ import annotations

import gc
import multiprocessing.context
import multiprocessing.popen_fork
import multiprocessing.process
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import stat
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import FunctionType, ModuleType

DEPTH = 8


def fork_workers() -> None:
    """Fork where this process would spawn; a worker's copies of its parent's pipes and sockets lead nowhere.

    Otherwise no worker would see its parent's end, since its siblings would keep the parent's pipes open.
    """
    contexts = multiprocessing.context._concrete_contexts
    contexts["spawn"] = contexts["fork"]
    multiprocessing.popen_fork.Popen._launch = _launch


def _launch(self: multiprocessing.popen_fork.Popen, process: multiprocessing.process.BaseProcess) -> None:
    """Fork as multiprocessing does; it knows which handles are its own."""
    ended, end = os.pipe()
    parent_ended, parent_end = os.pipe()
    self.pid = os.fork()
    if self.pid:
        os.close(end)
        os.close(parent_ended)
        self.finalizer = multiprocessing.util.Finalize(self, multiprocessing.util.close_fds, (ended, parent_end))
        self.sentinel = ended
        return
    code = 1
    try:
        kept = {0, 1, 2, end, parent_ended, multiprocessing.resource_tracker._resource_tracker._fd}
        kept |= _given((process._args, process._kwargs))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for handle in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
            with suppress(OSError):
                if handle not in kept and _is_pipe(os.fstat(handle).st_mode):
                    os.dup2(nowhere, handle, inheritable=False)
        os.close(nowhere)
        code = process._bootstrap(parent_sentinel=parent_ended)
    finally:
        os._exit(code)


def _is_pipe(mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _given(arguments: object) -> set[int]:
    """List the handles of connections that a worker's arguments hold."""
    handles: set[int] = set()
    seen, level = {id(arguments)}, [arguments]
    for _ in range(DEPTH):
        below = []
        for each in gc.get_referents(*level):
            if id(each) not in seen and not isinstance(each, type | FunctionType | ModuleType | Path):
                seen.add(id(each))
                below.append(each)
                if isinstance(each, Connection) and not each.closed:
                    handles.add(each.fileno())
        level = below
    return handles
