"""A pool of fresh processes, one thread each, from whatever script or notebook calls the package."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from mammo_aln.machine.cores import usable_cores
from mammo_aln.machine.signals import end_with_parent, interrupts_wait

Task = TypeVar("Task")
Result = TypeVar("Result")
QUEUED_PER_WORKER = 4
FEW = 2
"""Up to so many tasks, starting processes takes longer than the work."""
ONE_THREAD = dict.fromkeys(
    (
        *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
        *("OPENCV_FOR_THREADS_NUM", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"),
    ),
    "1",
)
"""As many processes run as there are cores; and the last digits of sums depend on the number of threads."""


class SpawnPool(ProcessPoolExecutor):
    """Processes that start afresh (a fork would copy the locks of the caller's threads) and end with their parent.

    They do not run the user's script again, so that it needs no `__main__` guard, and numeric libraries keep to one
    thread in each.

    Args:
        workers: number of processes.
        begin: a module's function that each process calls first.
        settings: its arguments.
        environment: variables that the processes see beside `ONE_THREAD`.
    """

    def __init__(
        self,
        workers: int,
        begin: Callable[..., None] | None = None,
        settings: Sequence[Any] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        super().__init__(workers, context, initializer=_begin, initargs=(begin, *settings))
        self._environment = {**ONE_THREAD, **(environment or {})}

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Queue a call; this is where processes start, one at a time, up to the number of workers."""
        with starting(self._environment):
            return super().submit(fn, *args, **kwargs)

    def __exit__(self, exc_type: object, *_: object) -> None:
        """Wait for what runs; what is queued is not begun where an exception (Ctrl-C) leaves the block."""
        self.shutdown(wait=True, cancel_futures=exc_type is not None)


def results_of(
    work: Callable[[Task], Result], tasks: Sequence[Task], workers: int | None = None, few: int = FEW
) -> Iterator[tuple[int, Result]]:
    """Yield (number of the task, result) as tasks end, in no order.

    Args:
        work: a module's function.
        tasks: its arguments.
        workers: processes; by default one per core.
        few: up to so many tasks are done in this process, as they are with one worker.
    """
    count = min(workers or usable_cores(), len(tasks))
    if count <= 1 or len(tasks) <= few:
        libraries: ThreadpoolController | None = None
        for number, task in enumerate(tasks):
            with _one_thread(libraries):
                result = work(task)
            libraries = libraries or ThreadpoolController()  # the first task has loaded them all
            yield number, result
        return
    with SpawnPool(count) as pool:
        running: dict[Future[Result], int] = {}
        for number, task in enumerate(tasks):
            running[pool.submit(work, task)] = number
            if len(running) >= count * QUEUED_PER_WORKER:
                yield from _ended(running)
        while running:
            yield from _ended(running)


def _ended(running: dict[Future[Result], int]) -> Iterator[tuple[int, Result]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        yield running.pop(future), future.result()


def _begin(begin: Callable[..., None] | None, *settings: Any) -> None:
    end_with_parent()
    if begin is not None:
        begin(*settings)


@contextmanager
def starting(variables: Mapping[str, str]) -> Iterator[None]:
    """Have processes that start in this block see these variables, not the user's script, and no Ctrl-C at first."""
    with _script_hidden(), _environment(variables), interrupts_wait():
        yield


@contextmanager
def _script_hidden() -> Iterator[None]:
    names = sys.modules["__main__"].__dict__
    hidden: dict[str, object] = {name: names.pop(name) for name in ("__file__", "__spec__") if name in names}
    names["__spec__"] = None
    try:
        yield
    finally:
        names.update(hidden)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _one_thread(libraries: ThreadpoolController | None) -> Iterator[None]:
    """Sums in this process run in one thread too, so that they equal those of a pool's process.

    Args:
        libraries: those of this process that have threads; None looks for them, which takes as long as a small image.
    """
    import cv2
    import SimpleITK as sitk

    before = cv2.getNumThreads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    cv2.setNumThreads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        with (libraries or ThreadpoolController()).limit(limits=1):
            yield
    finally:
        cv2.setNumThreads(before[0])
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before[1])
