"""Where records stand in a store's segments, kept beside a table of crops so that no journal need be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StoreIndex:
    """Where some records of a store stand, so that a reader of these alone need not read the journals.

    Attributes:
        segments: names, in the order of the numbers in `rows`.
        keys: of the records.
        rows: int64 (records, columns), what the reader keeps of each.
        sizes: bytes of each segment's journal and pixels when this was taken; they only ever grow.
    """

    segments: tuple[str, ...]
    keys: tuple[str, ...]
    rows: NDArray[np.int64]
    sizes: tuple[tuple[int, int], ...]

    def holds(self, store: Path) -> bool:
        """True where each segment is still there, no shorter than it was."""
        try:
            sizes = segment_sizes(store, self.segments)
        except OSError:
            return False
        return all(now >= then for pair in zip(sizes, self.sizes, strict=True) for now, then in zip(*pair, strict=True))


def segment_sizes(store: Path, segments: Iterable[str]) -> list[tuple[int, int]]:
    """Bytes of each segment's journal and of its pixels; `OSError` where one is missing."""
    files = (store / "segments" / name for name in segments)
    return [(file.with_suffix(".jsonl").stat().st_size, file.with_suffix(".u16").stat().st_size) for file in files]
