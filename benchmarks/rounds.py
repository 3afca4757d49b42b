"""Times of works that take turns, round after round: median and range."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """Seconds of one work, one figure a round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.seconds)

    def words(self, unit: float = 1.0, digits: int = 1, suffix: str = "") -> str:
        """Median and range in units of `unit` seconds."""
        median, low, high = (f"{value / unit:.{digits}f}" for value in (self.median, *self.range))
        return f"{median}{suffix} ({low} to {high})"

    @property
    def range(self) -> tuple[float, float]:
        """Fewest and most seconds."""
        return min(self.seconds), max(self.seconds)

    def each(self, count: int) -> Times:
        """Seconds of one of `count` things that a round holds."""
        return Times(tuple(seconds / count for seconds in self.seconds))


def clocked(work: Callable[[], object], calls: int = 1) -> float:
    """Wall-clock seconds per call, the queue of a GPU included."""
    begun = time.perf_counter()
    for _ in range(calls):
        work()
    torch = sys.modules.get("torch")  # importing it here would count as memory of what is measured
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) / calls


def in_turn(rounds: int, *works: Callable[[], float], warm_up: bool = True) -> list[Times]:
    """Let every work measure itself once a round, so that a slow minute favours none.

    Args:
        rounds: rounds that count.
        works: each returns its own seconds (`clocked`).
        warm_up: begin with a round that does not count.
    """
    rows = [[work() for work in works] for _ in range(rounds + warm_up)][int(warm_up) :]
    return [Times(tuple(seconds)) for seconds in zip(*rows, strict=True)]
