"""Making crops in many processes: bounded memory, no main guard needed, a crashing decoder costs one image."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import cv2

from mammo_aln.crops.derive import Known, derive_group, image_keys
from mammo_aln.crops.regions import ImagePlan
from mammo_aln.crops.store.known import known_records
from mammo_aln.crops.store.store import CropStore, SegmentWriter
from mammo_aln.machine.pool import end_with_parent, script_hidden
from mammo_aln.progress import track
from mammo_aln.settings import CropConfig, PixelConfig

FEW_GROUPS = 4
"""Up to so many, starting processes takes longer than the work."""

QUEUED_PER_WORKER = 4
_CRASHED = "the decoder crashed on this file"

Group = tuple[ImagePlan, ...]


def make_crops(
    groups: list[Group], pixels: PixelConfig, crop: CropConfig, store: CropStore, workers: int | None
) -> dict[str, str]:
    """Derive groups of images, in this process where they are few; returns image_id -> why it failed."""
    failures: dict[str, str] = {}
    workers = workers or os.cpu_count() or 1
    if not groups:
        return failures
    todo = _ToDo(groups, pixels, crop, store)
    unit = "image" if len(groups) == sum(len(group) for group in groups) else "group"
    if len(groups) <= FEW_GROUPS or workers <= 1:
        done = _here(todo, SegmentWriter(store.path))
    else:
        done = _pooled(todo, min(workers, len(groups)))
    for found in track(done, total=len(groups), what="crops", unit=unit):
        failures |= found
    return failures


@dataclass(frozen=True)
class Task:
    """One group and what the store holds of it. With `files_only` its files are only told apart by their content."""

    group: Group
    known: Known = field(default_factory=dict)
    files_only: bool = False


class _ToDo:
    """Groups in turn, each with what the store, which other processes may fill too, holds of it by then.

    Where the store was not empty, a file may be known under another path: its content is looked at first, and only
    then does this process, the one that reads the store, know what is missing.
    """

    def __init__(self, groups: Iterable[Group], pixels: PixelConfig, crop: CropConfig, store: CropStore) -> None:
        self.settings = (pixels, crop)
        self.store = store
        self._left = list(reversed(list(groups)))
        self._looks_first = len(store) > 0
        self._looked_at: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._left)

    def take(self) -> Task:
        """The next task."""
        task = self.with_all_known(self._left.pop())
        seen = sum(record["kind"] == "content" for record in task.known.values())
        look = self._looks_first and seen < len(task.group) and task.group[0].image_id not in self._looked_at
        return replace(task, files_only=look)

    def with_all_known(self, group: Group) -> Task:
        """A group with what the store holds of it now."""
        self.store.refresh()
        return Task(group, known_records(group, *self.settings, self.store))

    def give_back(self, group: Group, contents: Iterable[dict[str, Any]]) -> None:
        """A group whose files were looked at is the next one."""
        for record in contents:
            self.store.tell(record)
        self._looked_at.add(group[0].image_id)
        self._left.append(group)


@dataclass(frozen=True)
class Done:
    """What became of a task: why images failed, or what its files hold where they alone were looked at."""

    failures: dict[str, str]
    contents: tuple[dict[str, Any], ...] = ()


def _done(task: Task, settings: tuple[PixelConfig, CropConfig], writer: SegmentWriter) -> Done:
    if task.files_only:
        image_keys(task.group, settings[0], task.known, writer)
        return Done({}, tuple(record for record in task.known.values() if record["kind"] == "content"))
    return Done(derive_group(task.group, *settings, task.known, writer))


def _here(todo: _ToDo, writer: SegmentWriter) -> Iterator[dict[str, str]]:
    while todo:
        task = todo.take()
        found = _done(task, todo.settings, writer)
        if task.files_only:
            todo.give_back(task.group, found.contents)
        else:
            yield found.failures
    writer.close()


def _pooled(todo: _ToDo, workers: int) -> Iterator[dict[str, str]]:
    """Failures of each group, as they end. A group whose process dies is tried once more, alone."""
    suspects: list[Group] = []
    settings = (str(todo.store.path), *todo.settings)
    while todo:
        with _pool(settings, workers) as pool:
            running: dict[Future[Done], Task] = {}
            try:
                while todo or running:
                    while todo and len(running) < workers * QUEUED_PER_WORKER:
                        task = todo.take()
                        with script_hidden(), _huge_pages():
                            running[pool.submit(_work, task)] = task
                    ended, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        found, task = future.result(), running[future]
                        del running[future]
                        if task.files_only:
                            todo.give_back(task.group, found.contents)
                        else:
                            yield found.failures
            except BrokenProcessPool:
                suspects += [task.group for task in running.values()]
    for group in suspects:
        with _pool(settings, 1) as pool:
            try:
                with script_hidden(), _huge_pages():
                    future = pool.submit(_work, todo.with_all_known(group))
                failures = future.result().failures
            except BrokenProcessPool:
                failures = {image.image_id: _CRASHED for image in group}
        yield failures


def _pool(settings: tuple[Any, ...], workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=settings)


@contextmanager
def _huge_pages() -> Iterator[None]:
    """Processes started inside ask the system for huge pages (glibc 2.35 on): a JPEG 2000 decoder touches 100 MB an
    image, and fetching that in pages of 4 kB takes a tenth of its time."""
    before = os.environ.get("GLIBC_TUNABLES")
    os.environ["GLIBC_TUNABLES"] = ":".join([*([before] if before else []), "glibc.malloc.hugetlb=1"])
    try:
        yield
    finally:
        if before is None:
            del os.environ["GLIBC_TUNABLES"]
        else:
            os.environ["GLIBC_TUNABLES"] = before


_OF_THIS_PROCESS: dict[str, tuple[tuple[PixelConfig, CropConfig], SegmentWriter]] = {}


_M_MMAP_THRESHOLD = -3
_RETURNED_FROM_BYTES = 1 << 24


def _return_large_blocks() -> None:
    """Make glibc hand every image-sized block back to the system at once.

    Left alone, it raises its threshold after the first image, keeps such blocks in its heap, and the gaps between them
    cost half an image of memory in every worker.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _RETURNED_FROM_BYTES)


def _begin(path: str, pixels: PixelConfig, crop: CropConfig) -> None:
    end_with_parent()
    _return_large_blocks()
    cv2.setNumThreads(1)
    _OF_THIS_PROCESS["settings"] = ((pixels, crop), SegmentWriter(path))


def _work(task: Task) -> Done:
    return _done(task, *_OF_THIS_PROCESS["settings"])
