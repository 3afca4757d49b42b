"""A figure as it is stored: an object with `value`, or null and the reason why it is unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from mammo_aln.evaluation.statistics.discrimination import Interval

LIMITS = ("ci_low", "ci_high")


@dataclass(frozen=True)
class Metric:
    """One figure of metrics.json or comparisons.json.

    Attributes:
        value: unrounded, or None where it is unknown.
        details: what else is stored of it, in that order: 95 % limits (`ci_low`, `ci_high`) with their `method`, the
            `reason` why it is unknown, and what its own method adds (counts, resamples, degrees of freedom, ...).
    """

    value: Any
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def limits(self) -> tuple[float, float] | None:
        """Its 95 % limits, or None where it has none."""
        low, high = (self.details.get(name) for name in LIMITS)
        return None if low is None or high is None or math.isnan(low) else (low, high)

    @property
    def reason(self) -> str:
        """Why it is unknown or lacks an interval, or nothing."""
        return str(self.details.get("reason", ""))

    def also(self, **details: Any) -> Self:
        """The same figure with more stored of it."""
        return type(self)(self.value, {**self.details, **details})

    def to_json(self) -> dict[str, Any]:
        """The object that is stored."""
        stored = {name: item.to_json() if isinstance(item, Metric) else item for name, item in self.details.items()}
        return {"value": self.value, **stored}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `to_json` made."""
        return cls(stored["value"], {name: item for name, item in stored.items() if name != "value"})


Figures = dict[str, Metric]
"""Figures of one set of rows by name, as a split or centre of metrics.json holds them."""


def unknown(reason: str) -> Metric:
    """A figure that these data cannot give."""
    return Metric(None, {"reason": reason})


NO_WIDTH = "these patients give one and the same value however they are drawn: too few, or all alike"


def with_interval(interval: Interval, **details: Any) -> Metric:
    """A figure with its limits; limits of no width say nothing of uncertainty, so the reason stands in their place."""
    if interval.low == interval.high:
        lacking = {**dict.fromkeys(LIMITS), "method": interval.method, "reason": NO_WIDTH}
        return Metric(interval.value, lacking | details)
    limits = {"ci_low": interval.low, "ci_high": interval.high, "method": interval.method}
    return Metric(interval.value, limits | details)
