"""Tags of a data set that may hold anything: typed values, or a name on the list of broken tags."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

Pair = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Lut:
    """A lookup table of the modality or VOI module.

    Args:
        entries: output values, unsigned.
        first: input value that maps to the first entry.
        bits: bits of an entry, from the descriptor.
    """

    entries: np.ndarray
    first: int
    bits: int


@dataclass(frozen=True)
class VoiWindow:
    """Window of the VOI LUT module (PS3.3 section C.11.2): centre and width in modality units."""

    center: float
    width: float
    function: str


class TagReader:
    """Reads tags from a data set that may hold anything; remembers the ones whose value cannot be understood."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.broken: list[str] = []

    def raw(self, keyword: str, dataset: Dataset | None = None) -> Any:
        """A tag's value, None where it is absent, empty or unparsable."""
        dataset = self.dataset if dataset is None else dataset
        try:
            value = dataset.get(keyword)
        except Exception:  # noqa: BLE001 - pydicom converts lazily and may raise anything on bad bytes; the tag is named as broken
            self.broken.append(keyword)
            return None
        return None if value is None or (isinstance(value, str | bytes | list | tuple) and len(value) == 0) else value

    def several(self, keyword: str, dataset: Dataset | None = None) -> list[Any]:
        """A tag's values as a list."""
        value = self.raw(keyword, dataset)
        if value is None:
            return []
        return list(value) if not isinstance(value, str | bytes | Dataset) and hasattr(value, "__iter__") else [value]

    def numbers(self, keyword: str, dataset: Dataset | None = None, *, count: int | None = None) -> tuple[float, ...]:
        """Finite numbers; none of them, and the tag broken, where one is not a number or their count is not `count`."""
        values = self.several(keyword, dataset)
        try:
            found = tuple(float(value) for value in values)
        except (TypeError, ValueError, OverflowError):
            found = (math.nan,)
        if values and (not all(map(math.isfinite, found)) or count not in (None, len(found))):
            self.broken.append(keyword)
            return ()
        return found

    def number(self, keyword: str, dataset: Dataset | None = None) -> float | None:
        """One finite number."""
        found = self.numbers(keyword, dataset, count=1)
        return found[0] if found else None

    def pair(self, keyword: str, dataset: Dataset | None = None) -> Pair | None:
        """Two finite numbers; a single one counts for both."""
        found = self.numbers(keyword, dataset)
        if len(found) == 1:
            return found[0], found[0]
        if len(found) != 2:
            if found:
                self.broken.append(keyword)
            return None
        return found[0], found[1]

    def word(self, keyword: str, dataset: Dataset | None = None) -> str:
        """Upper-case printable text without blanks around it; empty where absent."""
        values = self.several(keyword, dataset)
        return "".join(filter(str.isprintable, str(values[0]))).strip().upper() if values else ""

    def items(self, keyword: str, dataset: Dataset | None = None) -> list[Dataset]:
        """Items of a sequence."""
        return [item for item in self.several(keyword, dataset) if isinstance(item, Dataset)]

    def places(self, group: str) -> list[Dataset]:
        """Data sets where a functional group's tag may stand: the top level, the shared group, the first frame's
        group."""
        frames = [*self.items("SharedFunctionalGroupsSequence"), *self.items("PerFrameFunctionalGroupsSequence")[:1]]
        return [self.dataset, *(item for frame in frames for item in self.items(group, frame))]

    def lut(self, item: Dataset) -> Lut | None:
        """One item of a LUT sequence; None where descriptor and data do not fit (the tag is then broken)."""
        descriptor = [int(value) for value in self.numbers("LUTDescriptor", item, count=3)]
        data = self.raw("LUTData", item)
        if not descriptor or data is None:
            self.broken.append("LUTData")
            return None
        count, first, bits = descriptor[0] % 65536 or 65536, descriptor[1], descriptor[2]
        entries = np.asarray([0])
        if isinstance(data, bytes):
            entries = (
                np.frombuffer(data[:count], np.uint8)
                if len(data) - count in (0, 1)
                else np.frombuffer(data, "<u2", len(data) // 2)
            )
        elif all(isinstance(value, int) for value in data):
            entries = np.asarray(data) & 0xFFFF
        if len(entries) != count or not 1 <= bits <= 16:
            self.broken.append("LUTData")
            return None
        return Lut(entries.astype(np.float64), first, bits)
