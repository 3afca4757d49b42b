"""What is under attack: a reader, the sound files whose mutations it is fed, and how many of all inputs it gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Inputs: TypeAlias = "Callable[[int], tuple[Path, bytes]]"
"""Makes, or brings back, an input by its number: the file that it comes from, and its bytes."""
SMALL = 600_000
"""Bytes of the largest file that is mutated: larger ones are decoded too slowly to be many."""


class Died(Exception):
    """A caged process died of the file, and the command left the image out with the reason that this says."""


class Fault(Exception):
    """The command went on or ended in words, and these words are those for a fault of the product itself."""


@dataclass(frozen=True)
class Target:
    """A reader under attack.

    Attributes:
        name: what it is called on the page.
        files: sound files that belong to it.
        read: reads the file at a path, and may refuse it by `InputError` alone.
        share: of all inputs, beside the other readers' shares; more for faster readers.
    """

    name: str
    files: Sequence[Path]
    read: Callable[[Path], object]
    share: int = 1


def sizable(paths: Iterable[Path]) -> list[Path]:
    """Sort out folders, empty and large files; the order is that of names, wherever they lie."""
    small = (path for path in paths if path.is_file() and 0 < path.stat().st_size <= SMALL)
    return sorted(small, key=lambda path: (path.name, path.stat().st_size, str(path)))
