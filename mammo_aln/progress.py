"""Progress of long work: a bar with rate and time left on a terminal, a plain line every 30 s elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
PLAIN_LINE_EVERY_S = 30.0


def track(items: Iterable[Item], *, total: int, what: str, unit: str = "it") -> Iterator[Item]:
    """Yield `items`, showing on standard error how far the work has come."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=what, unit=unit, file=sys.stderr)
        return
    begun = said = time.monotonic()
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - said >= PLAIN_LINE_EVERY_S:
            said = now
            rate = done / (now - begun)
            left_s = (total - done) / rate
            say(f"{what}: {done}/{total} {unit} ({rate:.3g} {unit}/s, {left_s:.0f} s left)")
    say(f"{what}: {done}/{total} {unit} in {time.monotonic() - begun:.1f} s")


def say(text: str) -> None:
    """One line to standard error; standard output is kept for what a command made."""
    print(text, file=sys.stderr, flush=True)
