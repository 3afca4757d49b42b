"""Starting processes from whatever script or notebook calls the package."""

from __future__ import annotations

import sys
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
