"""Making crops in many processes: bounded memory, no main guard needed, a crashing decoder costs one image."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import cv2

from mammo_aln.config import CropConfig, PixelConfig
from mammo_aln.imaging.derive import derive_group
from mammo_aln.imaging.regions import ImagePlan
from mammo_aln.imaging.store import CropStore, SegmentWriter
from mammo_aln.progress import track
from mammo_aln.spawning import script_hidden

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
    count = sum(len(group) for group in groups)
    if len(groups) <= FEW_GROUPS or workers <= 1:
        writer = SegmentWriter(store.path)
        for group in track(groups, total=len(groups), what="crops", unit="image" if count == len(groups) else "group"):
            failures |= derive_group(group, pixels, crop, store, writer)
        writer.close()
        return failures
    settings = (str(store.path), pixels, crop)
    done = _pooled(groups, settings, min(workers, len(groups)))
    for found in track(done, total=len(groups), what="crops", unit="image" if count == len(groups) else "group"):
        failures |= found
    return failures


def _pooled(groups: list[Group], settings: tuple[Any, ...], workers: int) -> Iterator[dict[str, str]]:
    """Failures of each group, as they end. A group whose process dies is tried once more, alone."""
    suspects: list[Group] = []
    left = list(reversed(groups))
    while left:
        with _pool(settings, workers) as pool:
            running: dict[Future[dict[str, str]], Group] = {}
            try:
                while left or running:
                    while left and len(running) < workers * QUEUED_PER_WORKER:
                        with script_hidden(), _huge_pages():
                            running[pool.submit(_work, left[-1])] = left[-1]
                        left.pop()
                    ended, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        found = future.result()
                        del running[future]
                        yield found
            except BrokenProcessPool:
                suspects += running.values()
    for group in suspects:
        with _pool(settings, 1) as pool:
            try:
                with script_hidden(), _huge_pages():
                    future = pool.submit(_work, group)
                found = future.result()
            except BrokenProcessPool:
                found = {image.image_id: _CRASHED for image in group}
        yield found


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


_OF_THIS_PROCESS: dict[str, tuple[PixelConfig, CropConfig, CropStore, SegmentWriter]] = {}


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
    _return_large_blocks()
    cv2.setNumThreads(1)
    _OF_THIS_PROCESS["settings"] = (pixels, crop, CropStore(path), SegmentWriter(path))


def _work(group: Group) -> dict[str, str]:
    return derive_group(group, *_OF_THIS_PROCESS["settings"])
