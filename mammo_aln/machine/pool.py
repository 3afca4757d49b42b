"""Starting processes from whatever script or notebook calls the package."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def script_hidden() -> Iterator[None]:
    """Processes started inside do not run the user's script again, so that it needs no `__main__` guard."""
    names = sys.modules["__main__"].__dict__
    hidden: dict[str, Any] = {name: names.pop(name) for name in ("__file__", "__spec__") if name in names}
    names["__spec__"] = None
    try:
        yield
    finally:
        names.update(hidden)


def end_with_parent() -> None:
    """Have this process of a pool end at once when the process that started it has gone, by kill -9 too."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_and_end() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait_and_end, daemon=True).start()
