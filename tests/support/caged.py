"""Faults that are brought about inside the process that decodes."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mammo_aln.crops import derive
from mammo_aln.crops.store.store import SegmentWriter
from mammo_aln.dicom import decode
from mammo_aln.machine.cage import kept_cage


@contextmanager
def in_the_kept_process(call: Callable[[], None]) -> Iterator[None]:
    """Call a function in the process that few images are decoded in; it ends behind the block."""
    with kept_cage() as kept:
        kept.give(None, call)
        kept.ended()
    try:
        yield
    finally:
        with kept_cage() as kept:
            kept.close(at_once=True)


def short_of_memory() -> None:
    """Let every decoder find no memory, under a bound of its user's own (`ulimit -v`), which no image is blamed for."""

    def no_memory(*_: object) -> None:
        raise MemoryError

    decode._single_frame = no_memory  # type: ignore[assignment]
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 100_000_000, hard))


def unable_to_write() -> None:
    """Let no segment of a crop store be written."""

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    SegmentWriter._append = refuse  # type: ignore[method-assign]


def killed_from_outside() -> None:
    """Have this process killed in the middle of the next decoding, as by a machine that is short of memory."""

    def killed(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    decode._single_frame = killed  # type: ignore[assignment]


def off_the_disk() -> None:
    """Let the disk give no image."""

    def fail(_: object) -> None:
        raise OSError(5, "Input/output error")

    decode.open_image = fail  # type: ignore[assignment]


def replaced_after_the_digest() -> None:
    """Put `other.dcm` in the place of `i0.dcm` once that was digested, by a rename as programs of transfer do."""
    whole = derive.content_digest

    def digest(path: Path) -> str:
        sha256 = whole(path)
        if path.name == "i0.dcm" and (other := path.with_name("other.dcm")).is_file():
            derive.derive = partial(_replaced, derive.derive, other, path)
        return sha256

    derive.content_digest = digest


def _replaced(whole: Callable[..., Any], other: Path, path: Path, *arguments: Any) -> Any:
    if other.is_file():
        other.replace(path)
    return whole(*arguments)
