"""Figures of choice.html: the spread that each factor makes, and the marginal means of each axis."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mammo_aln.evaluation.metric import LIMITS, Metric
from mammo_aln.evaluation.report.plots import Picture, figure_text, forest
from mammo_aln.sweeps.choosing.components import Component
from mammo_aln.sweeps.choosing.factors import Factors, LevelMean

MOST_LEVELS = 24
"""Levels of an axis beyond which its means stand in the table alone."""


def factor_pictures(factors: Factors) -> list[Picture]:
    """Draw the factors of a sweep: first their spread, then each axis's marginal means in the sweep's order."""
    pictures = []
    known = [component for component in factors.components if component.sd is not None]
    if known:
        # A fold's or a seed's upper limit may be far beyond all else.
        most = 2.5 * max(component.sd or 0.0 for component in known) or None
        pictures.append(_forest("Spread of AUCs by factor", known, "standard deviation of AUC (95 %)", 0.0, most))
    for axis, means in itertools.groupby(factors.levels, key=lambda mean: mean.axis):
        levels = list(means)
        if len(levels) <= MOST_LEVELS:
            average = sum(level.val_auc for level in levels) / len(levels)
            pictures.append(_forest(axis, levels, "marginal mean of validation AUC (95 %)", average))
    return pictures


def _forest(
    title: str, rows: Sequence[Component | LevelMean], label: str, line: float, most: float | None = None
) -> Picture:
    metrics = [(name_of(row), _metric(row)) for row in rows]
    return forest(
        title, [(name, metric, figure_text(metric, 3)) for name, metric in metrics], label, line, most=most, digits=3
    )


def name_of(row: Component | LevelMean) -> str:
    """Name a factor or a level, in two lines where one would be long."""
    return (row.factor if isinstance(row, Component) else row.level).replace(" × ", "\n× ").replace(", ", ",\n")


def _metric(row: Component | LevelMean) -> Metric:
    value = row.sd if isinstance(row, Component) else row.val_auc
    return Metric(value, {} if row.low is None else dict(zip(LIMITS, (row.low, row.high), strict=True)))
