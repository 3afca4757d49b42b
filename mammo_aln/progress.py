"""Progress of long work: a bar with rate and time left on a terminal, a plain line every 30 s elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

Item = TypeVar("Item")
PLAIN_LINE_EVERY_S = 30.0


class Progress:
    """Show on standard error how far some work has come, whenever `advance` says that more is done."""

    def __init__(self, *, total: int, what: str, unit: str = "it", done: int = 0) -> None:
        self.total, self.what, self.unit, self.done = total, what, unit, done
        self._done_before = done
        self._begun = self._said = time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, desc=what, unit=unit, file=sys.stderr)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count work as done; `note` is shown beside the bar or in the line."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
            if note:
                self._bar.set_postfix_str(note)
            return
        now = time.monotonic()
        if now - self._said >= PLAIN_LINE_EVERY_S:
            self._said = now
            rate = (self.done - self._done_before) / (now - self._begun)
            left = f", {(self.total - self.done) / rate:.0f} s left" if rate else ""
            line = f"{self.what}: {self.done}/{self.total} {self.unit} ({rate:.3g} {self.unit}/s{left})"
            say(line + (f"; {note}" if note else ""))

    def end(self, note: str = "") -> None:
        """Leave the last state on the terminal, or a last line in the log."""
        if self._bar is not None:
            self._bar.close()
            return
        line = f"{self.what}: {self.done}/{self.total} {self.unit} in {time.monotonic() - self._begun:.1f} s"
        say(line + (f"; {note}" if note else ""))


def track(items: Iterable[Item], *, total: int, what: str, unit: str = "it") -> Iterator[Item]:
    """Yield `items`, showing on standard error how far the work has come."""
    progress = Progress(total=total, what=what, unit=unit)
    for item in items:
        yield item
        progress.advance()
    progress.end()


def say(text: str) -> None:
    """One line to standard error; standard output is kept for what a command made."""
    print(text, file=sys.stderr, flush=True)


@cache
def say_once(text: str) -> None:
    """Say a line that many members, batches or networks of one process would repeat."""
    say(text)


def counted(number: int, one: str, several: str = "") -> str:
    """Write a number of things: `1 cell`, `2 cells`; words that follow the noun stand in both forms."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def byte_text(count: int) -> str:
    """Write a number of bytes in MB, from 1 GB on in GB (1e9 bytes)."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Pad the cells of lines to columns, two blanks apart."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
