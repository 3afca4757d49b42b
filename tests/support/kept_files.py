"""What tests of kept tables share: calls that are counted, files changed under their old times, processes at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def counted(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[str]:
    """A list that grows by the name whenever a module's function is called."""
    calls: list[str] = []
    whole = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: calls.append(name.lstrip("_")) or whole(*args))
    return calls


@contextmanager
def same_times(path: Path) -> Iterator[None]:
    """Keep a file's times of access and change through the block."""
    status = path.stat()
    yield
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def two_at_once(work: Callable[..., None], *args: object, answers: int) -> list[Any]:
    """Have two processes do the same work, begun at once: `work(*args, begin, queue)`; the answers of both."""
    context = get_context("fork")
    begin, queue = context.Event(), context.Queue()
    both = [context.Process(target=work, args=(*args, begin, queue)) for _ in range(2)]
    for process in both:
        process.start()
    begin.set()
    given = [queue.get(timeout=60) for _ in range(answers)]
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    return given
