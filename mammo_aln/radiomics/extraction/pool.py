"""Independent pieces of work on all cores: bounded queue, one thread each, results as they come."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from mammo_aln.machine.pool import end_with_parent, script_hidden

Task = TypeVar("Task")
QUEUED_PER_WORKER = 4
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
FEW = 2
"""Up to so many, starting processes takes longer than the work."""


def results_of(work: Callable[[Task], Any], tasks: list[Task], workers: int | None) -> Iterator[tuple[int, Any]]:
    """Yield (place in `tasks`, result) as pieces end, in no order.

    Args:
        work: a module's function; it is run in fresh processes unless there is little to do or one worker.
        tasks: its arguments.
        workers: processes; by default one per core.
    """
    count = min(workers or os.cpu_count() or 1, len(tasks))
    if count <= 1 or len(tasks) <= FEW:
        for place, task in enumerate(tasks):
            with _one_thread():
                result = work(task)
            yield place, result
        return
    context = multiprocessing.get_context("spawn")
    with _single_threaded(), ProcessPoolExecutor(count, context, initializer=_begin) as pool:
        running: dict[Future[Any], int] = {}
        waiting = iter(enumerate(tasks))
        for place, task in waiting:
            with script_hidden():
                running[pool.submit(work, task)] = place
            if len(running) >= count * QUEUED_PER_WORKER:
                yield from _ended(running)
        while running:
            yield from _ended(running)


def _ended(running: dict[Future[Any], int]) -> Iterator[tuple[int, Any]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        yield running.pop(future), future.result()


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Processes started inside keep their numeric libraries to one thread; as many of them run as there are cores."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in this process run in one thread too: their last digits depend on the number of threads."""
    import cv2
    import SimpleITK as sitk
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    _limit(1, 1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        _limit(*before)


def _limit(of_cv2: int, of_sitk: int) -> None:
    import cv2
    import SimpleITK as sitk

    cv2.setNumThreads(of_cv2)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(of_sitk)


def _begin() -> None:
    end_with_parent()
    _limit(1, 1)
