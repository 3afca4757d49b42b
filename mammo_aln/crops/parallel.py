"""Making crops in many processes: bounded memory, no main guard needed, a crashing decoder costs one image."""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from mammo_aln.crops.derive import derive_group, take_contents
from mammo_aln.crops.keys import CropJob, Held, look_up
from mammo_aln.crops.requests import ImagePlan
from mammo_aln.crops.store.records import ContentRecord
from mammo_aln.crops.store.store import CropStore, SegmentWriter
from mammo_aln.machine.cores import usable_cores
from mammo_aln.machine.pool import QUEUED_PER_WORKER, SpawnPool
from mammo_aln.progress import track

CRASHED = "the decoder crashed on this file"

FEW_GROUPS = 4
"""Up to so many, starting processes takes longer than the work."""

Group = tuple[ImagePlan, ...]


def make_crops(groups: list[Group], job: CropJob, store: CropStore, workers: int | None) -> dict[str, str]:
    """Make the missing crops of groups of images; returns image_id -> why it failed.

    A group takes one step, or two where the store was not empty and does not know one of its files: the file may stand
    under a new path, so its content is digested first, and this process, the only one that reads the store, sees what
    is missing then. Few groups are worked on in this process.
    """
    failures: dict[str, str] = {}
    workers = workers or usable_cores()
    if not groups:
        return failures
    steps = _Steps(groups, job, store)
    few = len(groups) <= FEW_GROUPS or workers <= 1
    ended = _here(steps) if few else _pooled(steps, min(workers, len(groups)))
    unit = "image" if len(groups) == sum(len(group) for group in groups) else "group"
    for group_failures in track(ended, total=len(groups), what="crops", unit=unit):
        failures |= group_failures
    return failures


@dataclass(frozen=True)
class Step:
    """One group's next step: making its missing crops, or, with `contents_only`, digesting its files."""

    group: Group
    held: Held
    contents_only: bool = False


def take_step(step: Step, job: CropJob, writer: SegmentWriter) -> Mapping[str, str]:
    """Carry out a step in whichever process; nothing of the store is read.

    Returns:
        why images of the group failed (image_id -> reason); with `contents_only` the SHA-256 of its files by their key.
    """
    if step.contents_only:
        return take_contents(step.group, step.held, writer).of_files
    return derive_group(step.group, job, step.held, writer)


class _Steps:
    """Steps of all groups in turn, each planned by what the store, which other builds may fill too, holds by then."""

    def __init__(self, groups: Iterable[Group], job: CropJob, store: CropStore) -> None:
        self.job = job
        self.store = store
        self._waiting = deque(groups)
        self._digests_first = len(store) > 0
        self._digested: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def next(self) -> Step:
        """Plan the next step."""
        group = self._waiting.popleft()
        step = self.making_crops(group)
        known = len(step.held.contents) == len({image.path for image in group})
        if not self._digests_first or known or group[0].image_id in self._digested:
            return step
        return Step(group, step.held, contents_only=True)

    def making_crops(self, group: Group) -> Step:
        """A group's last step, with all that the store holds of it now."""
        self.store.refresh()
        return Step(group, look_up(group, self.job, self.store))

    def end(self, step: Step, result: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
        """Take in a step's result: yields the group's failures, or puts a digested group first in the queue."""
        if not step.contents_only:
            yield result
            return
        for key, sha256 in result.items():
            self.store.remember(ContentRecord(key, sha256))
        self._digested.add(step.group[0].image_id)
        self._waiting.appendleft(step.group)


def _here(steps: _Steps) -> Iterator[Mapping[str, str]]:
    writer = SegmentWriter(steps.job.store)
    while steps:
        step = steps.next()
        yield from steps.end(step, take_step(step, steps.job, writer))
    writer.close()


def _pooled(steps: _Steps, workers: int) -> Iterator[Mapping[str, str]]:
    """Failures of each group, as they end. A group whose process dies is tried once more, alone."""
    suspects: list[Group] = []
    while steps:
        with _pool(steps.job, workers) as pool:
            running: dict[Future[Mapping[str, str]], Step] = {}
            try:
                while steps or running:
                    while steps and len(running) < workers * QUEUED_PER_WORKER:
                        planned = steps.next()
                        suspects.append(planned.group)  # until it is submitted: the pool may be broken by now
                        running[pool.submit(work, planned)] = planned
                        suspects.pop()
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        yield from steps.end(running.pop(future), result)
            except BrokenProcessPool:
                suspects += [step.group for step in running.values()]
    for group in suspects:
        with _pool(steps.job, 1) as pool:
            try:
                failures = pool.submit(work, steps.making_crops(group)).result()
            except BrokenProcessPool:
                failures = {image.image_id: CRASHED for image in group}
        yield failures


def _pool(job: CropJob, workers: int) -> SpawnPool:
    """Start processes that ask the system for huge pages (glibc 2.35 on).

    A JPEG 2000 decoder touches 100 MB an image, and fetching that in pages of 4 kB takes a tenth of its time.
    """
    tunables = ":".join([*filter(None, [os.environ.get("GLIBC_TUNABLES")]), "glibc.malloc.hugetlb=1"])
    return SpawnPool(workers, begin, (job,), {"GLIBC_TUNABLES": tunables})


_M_MMAP_THRESHOLD = -3
_RETURNED_FROM_BYTES = 1 << 24


def _return_large_blocks() -> None:
    """Make glibc hand every image-sized block back to the system at once.

    Left alone, it raises its threshold after the first image, keeps such blocks in its heap, and the gaps between them
    cost half an image of memory in every worker.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _RETURNED_FROM_BYTES)


_OF_THIS_PROCESS: dict[str, tuple[CropJob, SegmentWriter]] = {}


def begin(job: CropJob) -> None:
    """Prepare a worker process: one segment of the store."""
    _return_large_blocks()
    _OF_THIS_PROCESS["job"] = (job, SegmentWriter(job.store))


def work(step: Step) -> Mapping[str, str]:
    """Carry out a step in a worker process."""
    return take_step(step, *_OF_THIS_PROCESS["job"])
