"""Charts of a run's validation for trackers: ROC, precision and recall, calibration, confusion at the threshold.

Pictures, not W&B's tables: it stages a table in the user's home folder, whose name it then keeps in the run's record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mammo_aln.evaluation.statistics.operating import Counts
from mammo_aln.training.trackers.outcome import Outcome

SIDE_IN, DPI = 4.0, 100


def draw_charts(outcome: Outcome) -> Mapping[str, Image.Image]:
    """Draw each curve that the outcome has, and its confusion; RGBA pictures of 400 px by 400 px, by name."""
    charts = {name: _drawn(partial(DRAWN[name], rows=rows)) for name, rows in outcome.curves.items()}
    if outcome.confusion is not None:
        charts["confusion"] = _drawn(partial(_confusion, counts=outcome.confusion))
    return charts


def _drawn(draw: Callable[[Axes], None]) -> Image.Image:
    figure = Figure(figsize=(SIDE_IN, SIDE_IN), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw(axes)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba()).copy())


def _roc(axes: Axes, rows: pd.DataFrame) -> None:
    axes.plot([0, 1], [0, 1], color="0.7", lw=0.8)
    axes.plot(1 - rows["specificity"].astype(float), rows["sensitivity"].astype(float), marker=".")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC, validation", aspect="equal")


def _precision_recall(axes: Axes, rows: pd.DataFrame) -> None:
    axes.plot(rows["sensitivity"].astype(float), rows["ppv"].astype(float), marker=".")
    axes.set(xlabel="sensitivity (recall)", ylabel="PPV (precision)", title="Precision and recall, validation")
    axes.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), aspect="equal")


def _calibration(axes: Axes, rows: pd.DataFrame) -> None:
    """Groups of patients with Wilson's limits, and the smooth curve where the table has one."""
    bins, smooth = (rows[rows["kind"] == kind] for kind in ("bin", "smooth"))
    axes.plot([0, 1], [0, 1], color="0.7", lw=0.8)
    axes.vlines(bins["mean_score"], bins["ci_low"], bins["ci_high"])
    axes.plot(bins["mean_score"], bins["observed"], "o")
    axes.plot(smooth["mean_score"], smooth["observed"])
    axes.set(xlabel="mean score", ylabel="observed share", title="Calibration, validation", aspect="equal")


def _confusion(axes: Axes, counts: Counts) -> None:
    table = [[counts.tn, counts.fp], [counts.fn, counts.tp]]
    axes.imshow(table, cmap="Blues", vmin=0, vmax=2 * max(1, *table[0], *table[1]))
    for row, column in np.ndindex(2, 2):
        axes.text(column, row, str(table[row][column]), ha="center", va="center")
    axes.set(xlabel="called at the frozen threshold", ylabel="outcome", title="Confusion, validation")
    axes.set_xticks([0, 1], ["negative", "positive"])
    axes.set_yticks([0, 1], ["negative", "positive"])


DRAWN: dict[str, Callable[..., None]] = {
    "roc": _roc,
    "precision_recall": _precision_recall,
    "calibration": _calibration,
}
