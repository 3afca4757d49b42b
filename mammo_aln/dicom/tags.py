"""Tags of a header that may hold anything: typed values, or a name on the list of broken tags.

Both readers of headers use these rules, so that an odd spelling means one thing. Values of a tag are separated by `\\`,
whatever its VR; a number is what Python's float reads, without a decimal comma; a single number of a pair counts for
both. This module imports little: a pool's processes read headers with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

Pair = tuple[float, float]
Value = TypeVar("Value")
_TEXT_OR_VALUES = (str, bytes, list, tuple)


class Level(Protocol):
    """One level of a header, its top or an item of a sequence: pydicom's data set, or a dict by keyword."""

    def get(self, keyword: Any, default: Any = None, /) -> Any:
        """Value of the tag with this keyword, or the default."""


class TagReader:
    """Reads tags from a header that may hold anything; remembers the ones whose value cannot be understood."""

    def __init__(self, top: Level) -> None:
        self.top = top
        self.broken: list[str] = []
        frames = self.items("PerFrameFunctionalGroupsSequence")
        self._groups = self.items("SharedFunctionalGroupsSequence") + frames[:1]

    def raw(self, keyword: str, level: Level | None = None) -> Any:
        """A tag's value, None where it is absent, empty or unparsable."""
        try:
            value = (self.top if level is None else level).get(keyword)
        except Exception:  # noqa: BLE001 - pydicom converts lazily and may raise anything on bad bytes; the tag is named as broken
            self.broken.append(keyword)
            return None
        return None if value is None or (isinstance(value, _TEXT_OR_VALUES) and not value) else value

    def several(self, keyword: str, level: Level | None = None) -> list[Any]:
        """A tag's values as a list."""
        value = self.raw(keyword, level)
        if isinstance(value, str):
            return value.split("\\")
        if value is None:
            return []
        # a level iterates over its tags, too
        is_one = isinstance(value, bytes) or hasattr(value, "get") or not hasattr(value, "__iter__")
        return [value] if is_one else list(value)

    def numbers(self, keyword: str, level: Level | None = None, *, count: int | None = None) -> tuple[float, ...]:
        """Finite numbers; none of them, and the tag broken, where one is not a number or their count is not `count`."""
        values = self.several(keyword, level)
        if not values:
            return ()
        try:
            numbers = tuple(map(float, values))
        except (TypeError, ValueError, OverflowError):
            numbers = (math.nan,)
        if not all(map(math.isfinite, numbers)) or count not in (None, len(numbers)):
            self.broken.append(keyword)
            return ()
        return numbers

    def number(self, keyword: str, level: Level | None = None) -> float | None:
        """One finite number."""
        numbers = self.numbers(keyword, level, count=1)
        return numbers[0] if numbers else None

    def whole(self, keyword: str, default: int) -> int:
        """One whole number from 0 on; the default where there is none."""
        value = self.raw(keyword)
        number = value if isinstance(value, int) else self.number(keyword)
        return int(number) if number is not None and number >= 0 and number == int(number) else default

    def pair(self, keyword: str, level: Level | None = None) -> Pair | None:
        """Two finite numbers; a single one counts for both."""
        numbers = self.numbers(keyword, level)
        if len(numbers) == 1:
            return numbers[0], numbers[0]
        if len(numbers) != 2:
            if numbers:
                self.broken.append(keyword)
            return None
        return numbers[0], numbers[1]

    def text(self, keyword: str, level: Level | None = None) -> str:
        """All of a tag's text as it stands, without blanks and NULs around it; empty where absent."""
        return "\\".join(str(value) for value in self.several(keyword, level)).strip(" \0")

    def word(self, keyword: str, level: Level | None = None) -> str:
        """Upper-case printable text of the first value, without blanks around it; empty where absent."""
        values = self.several(keyword, level)
        if not values:
            return ""
        text = str(values[0])
        return (text if text.isprintable() else "".join(filter(str.isprintable, text))).strip().upper()

    def items(self, keyword: str, level: Level | None = None) -> list[Level]:
        """Items of a sequence."""
        items = self.several(keyword, level)
        return [item for item in items if hasattr(item, "get")] if items else items

    def levels(self, group: str) -> list[Level]:
        """Levels where a functional group's tag may stand: the top, the shared group, the first frame's group."""
        levels = [self.top]
        for frame in self._groups:
            levels += self.items(group, frame)
        return levels

    def first(self, read: Callable[[str, Level], Value | None], keyword: str, levels: Sequence[Level]) -> Value | None:
        """Read a tag at all these levels, as a broken one is to be named; the first value that stands."""
        stated = None
        for level in levels:
            value = read(keyword, level)
            if stated is None:
                stated = value
        return stated
