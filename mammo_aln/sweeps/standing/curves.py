"""Learning curves of a sweep as small multiples: a panel a configuration, a line a training, one scale for all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mammo_aln.sweeps.standing.table import Row

MOST_PANELS = 60
LEFT, RIGHT, TOP, BOTTOM = 22.0, 196.0, 6.0, 94.0
"""Frame of the lines in a panel of 200 by 100."""


@dataclass(frozen=True)
class Panel:
    """Curves of one configuration.

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
    """Panels of a sweep.

    Attributes:
        panels: at most MOST_PANELS.
        ticks: AUCs of the thin lines, and their heights in a panel.
        epochs: at the right edge.
        more: configurations that have curves and no panel.
    """

    panels: list[Panel]
    ticks: list[tuple[str, float]]
    epochs: int
    more: int


def curves_of(rows: Sequence[Row]) -> Curves:
    """Draw the curves of cells that have done two epochs, configurations in the order in which the rows name them."""
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        if len(row.val_aucs) > 1:
            groups.setdefault(row.cell.configuration, []).append(row)
    drawn = list(groups.values())[:MOST_PANELS]
    values = [value for members in drawn for row in members for value in row.val_aucs if not math.isnan(value)]
    low = min(0.5, math.floor(10 * min(values, default=0.5)) / 10)
    epochs = max((row.epochs for members in drawn for row in members), default=1)
    panels = [
        Panel(
            ", ".join(f"{key}={value}" for key, value in members[0].cell.axes.items()) or "all",
            [points_of(row.val_aucs, low, epochs) for row in members],
            _mean_of_best(members),
        )
        for members in drawn
    ]
    ticks = [(f"{tick:.1f}", height(tick, low)) for tick in sorted({low, 0.5, 1.0})]
    return Curves(panels, ticks, epochs, len(groups) - len(drawn))


def height(value: float, low: float) -> float:
    """Place an AUC between the frame's bottom, which is `low`, and its top, which is 1."""
    return round(BOTTOM - (BOTTOM - TOP) * (value - low) / (1 - low), 1)


def points_of(aucs: Sequence[float], low: float, epochs: int) -> str:
    """Write AUCs by epoch as points of a polyline; an epoch without one is left out."""
    step = (RIGHT - LEFT) / max(1, epochs - 1)
    return " ".join(
        f"{LEFT + step * epoch:.1f},{height(value, low)}" for epoch, value in enumerate(aucs) if not math.isnan(value)
    )


def _mean_of_best(members: Sequence[Row]) -> str:
    best = [max((value for value in row.val_aucs if not math.isnan(value)), default=math.nan) for row in members]
    known = [value for value in best if not math.isnan(value)]
    return f"{sum(known) / len(known):.3f}" if known else "–"
