"""Crops from processes that may die: bounded memory and time, no main guard, a crashing decoder costs one image."""

from __future__ import annotations

import ctypes
import os
import sys
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from mammo_aln.crops.derive import derive_group, take_contents
from mammo_aln.crops.keys import CropJob, Held, look_up, refusal_key
from mammo_aln.crops.requests import ImagePlan
from mammo_aln.crops.store.records import ContentRecord, RefusedContent
from mammo_aln.crops.store.store import CropStore, SegmentWriter, StoreUnwritable
from mammo_aln.dicom.archive import file_key
from mammo_aln.dicom.read import DisplayImage
from mammo_aln.errors import UnreadableDicom
from mammo_aln.machine.cage import Cage, caged, kept_cage
from mammo_aln.machine.cores import usable_cores
from mammo_aln.machine.deaths import Death, reason_of
from mammo_aln.progress import track
from mammo_aln.settings import PixelConfig

FEW_GROUPS = 4
"""Up to so many, starting processes takes longer than the work."""

Group = tuple[ImagePlan, ...]


def make_crops(groups: list[Group], job: CropJob, store: CropStore, workers: int | None) -> dict[str, str]:
    """Make the missing crops of groups of images; returns image_id -> why it failed.

    A group takes one step, or two where the store was not empty and does not know one of its files: the file may stand
    under a new path, so its content is digested first, and this process, the only one that reads the store, sees what
    is missing then. No file is decoded in this process; few groups share the one process that is kept for such.
    """
    failures: dict[str, str] = {}
    workers = workers or usable_cores()
    if not groups:
        return failures
    steps = _Steps(groups, job, store)
    few = len(groups) <= FEW_GROUPS or workers <= 1
    unit = "image" if len(groups) == sum(len(group) for group in groups) else "group"
    with kept_cage(_tuned()) if few else Cage(min(workers, len(groups)), _tuned()) as cage:
        for group_failures in track(_caged(steps, cage, uuid.uuid4().hex), total=len(groups), what="crops", unit=unit):
            failures |= group_failures
        if few:
            cage.give(None, end)
            cage.ended()
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
        self._died: set[str] = set()
        self._refused: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def next(self) -> Step:
        """Plan the next step."""
        group = self._waiting.popleft()
        self.store.refresh()
        held = look_up(group, self.job, self.store)
        of_group = {image.image_id: reason for image in group if (reason := self._refused.get(image.image_id))}
        step = Step(group, replace(held, refused={**held.refused, **of_group}))
        known = len(step.held.contents) == len({image.path for image in group})
        if not self._digests_first or known or group[0].image_id in self._digested:
            return step
        return Step(group, step.held, contents_only=True)

    def end(self, step: Step, result: Mapping[str, str] | Death) -> Iterator[Mapping[str, str]]:
        """Take in a step's end: yields the group's failures, or puts a group that has more to do first in the queue."""
        if isinstance(result, Death):
            self._refuse(step.group, result)
            if all(image.image_id in self._refused for image in step.group):
                yield {image.image_id: self._refused[image.image_id] for image in step.group}
                return
        elif step.contents_only:
            for key, sha256 in result.items():
                self.store.remember(ContentRecord(key, sha256))
            self._digested.add(step.group[0].image_id)
        else:
            yield result
            return
        self._waiting.appendleft(step.group)

    def _refuse(self, group: Group, death: Death) -> None:
        """Leave out what a process died of twice, or of time once; the store remembers what the file itself did."""
        named = [image for image in group if image.image_id == death.doing and death.doing not in self._refused]
        images = named or list(group)
        for image in images:
            if image.image_id not in self._died and not death.overtime:
                self._died.add(image.image_id)
                continue
            reason = self._refused[image.image_id] = reason_of(death, self.job.pixels)
            if not death.from_outside:
                self._remember(image, reason)

    def _remember(self, image: ImagePlan, reason: str) -> None:
        self.store.refresh()
        with suppress(OSError, StoreUnwritable):  # what cannot be remembered is tried again by the next start
            key = file_key(image.path)
            if key in self.store:
                content = self.store.content(key).sha256
                writer = SegmentWriter(self.store.path)
                writer.append([RefusedContent(refusal_key(content, self.job.pixels), reason)])
                writer.close()


def _caged(steps: _Steps, cage: Cage[Step], build: str) -> Iterator[Mapping[str, str]]:
    """Failures of each group, as they end."""
    while steps or cage.busy:
        while steps and cage.has_room:
            step = steps.next()
            cage.give(step, work, step, steps.job, build)
        for step, result in cage.ended():
            yield from steps.end(step, result)


def read_apart(image: ImagePlan, pixels: PixelConfig) -> DisplayImage:
    """Read an image's pixels in a process that may die of them.

    Raises:
        InputError: the file cannot be read as an image, or its decoder died of it.
    """
    ((_, display),) = caged(_read, [(image, pixels)])
    if isinstance(display, Death):
        raise UnreadableDicom(f"{image.path}: {reason_of(display, pixels)}")
    return display


def _read(task: tuple[ImagePlan, PixelConfig]) -> DisplayImage:
    image, pixels = task
    return image.read(pixels)


def _tuned() -> Mapping[str, str]:
    """Environment of processes that ask the system for huge pages (glibc 2.35 on).

    A JPEG 2000 decoder touches 100 MB an image, and fetching that in pages of 4 kB takes a tenth of its time.
    """
    tunables = ":".join([*filter(None, [os.environ.get("GLIBC_TUNABLES")]), "glibc.malloc.hugetlb=1"])
    return {"GLIBC_TUNABLES": tunables}


_M_MMAP_THRESHOLD = -3
_RETURNED_FROM_BYTES = 1 << 24


def _return_large_blocks() -> None:
    """Make glibc hand every image-sized block back to the system at once.

    Left alone, it raises its threshold after the first image, keeps such blocks in its heap, and the gaps between them
    cost half an image of memory in every worker.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _RETURNED_FROM_BYTES)


_OF_THIS_PROCESS: dict[str, SegmentWriter] = {}


def work(step: Step, job: CropJob, build: str) -> Mapping[str, str]:
    """Carry out a step in a caged process, which writes one segment of the store in each build."""
    if build not in _OF_THIS_PROCESS:
        end()
        _return_large_blocks()
        _OF_THIS_PROCESS[build] = SegmentWriter(job.store)
    return take_step(step, job, _OF_THIS_PROCESS[build])


def end() -> None:
    """Close the segment of the build that this process worked on."""
    for writer in _OF_THIS_PROCESS.values():
        writer.close()
    _OF_THIS_PROCESS.clear()
