"""Learning curves as small multiples: a panel a model, a line a training, one scale for all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST_PANELS = 60
LEFT, RIGHT, TOP, BOTTOM = 22.0, 196.0, 6.0, 94.0
"""Frame of the lines in a panel of 200 by 100."""


@dataclass(frozen=True)
class Panel:
    """Curves of one model.

    Attributes:
        name: of it.
        lines: points of each training's polyline.
        best: mean of the trainings' best epochs, in words.
    """

    name: str
    lines: list[str]
    best: str


@dataclass(frozen=True)
class Curves:
    """Panels of several models.

    Attributes:
        panels: at most MOST_PANELS.
        ticks: AUCs of the thin lines, and their heights in a panel.
        epochs: at the right edge.
        more: models that have curves and no panel.
    """

    panels: list[Panel]
    ticks: list[tuple[str, float]]
    epochs: int
    more: int


def multiples(models: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> Curves:
    """Draw the curves of models.

    Args:
        models: each one's name, and the validation AUCs by epoch of each of its trainings; NaN where an epoch has none.
    """
    drawn = models[:MOST_PANELS]
    values = [value for _, trainings in drawn for aucs in trainings for value in aucs if not math.isnan(value)]
    low = min(0.5, math.floor(10 * min(values, default=0.5)) / 10)
    epochs = max((len(aucs) for _, trainings in drawn for aucs in trainings), default=1)
    panels = [
        Panel(name, [points_of(aucs, low, epochs) for aucs in trainings], _mean_of_best(trainings))
        for name, trainings in drawn
    ]
    ticks = [(f"{tick:.1f}", height(tick, low)) for tick in sorted({low, 0.5, 1.0})]
    return Curves(panels, ticks, epochs, len(models) - len(drawn))


def height(value: float, low: float) -> float:
    """Place an AUC between the frame's bottom, which is `low`, and its top, which is 1."""
    return round(BOTTOM - (BOTTOM - TOP) * (value - low) / (1 - low), 1)


def points_of(aucs: Sequence[float], low: float, epochs: int) -> str:
    """Write AUCs by epoch as points of a polyline; an epoch without one is left out."""
    step = (RIGHT - LEFT) / max(1, epochs - 1)
    return " ".join(
        f"{LEFT + step * epoch:.1f},{height(value, low)}" for epoch, value in enumerate(aucs) if not math.isnan(value)
    )


def _mean_of_best(trainings: Sequence[Sequence[float]]) -> str:
    best = [max((value for value in aucs if not math.isnan(value)), default=math.nan) for aucs in trainings]
    known = [value for value in best if not math.isnan(value)]
    return f"{sum(known) / len(known):.3f}" if known else "–"
