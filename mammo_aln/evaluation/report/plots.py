"""Figures of the report: each an SVG of its own, with labelled axes and a text that says what it shows."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from mammo_aln.evaluation.metric import Figures, Metric
from mammo_aln.evaluation.statistics.discrimination import Floats
from mammo_aln.files import written_whole

STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "svg.hashsalt": "mammo_aln",
}
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D1F", "#444444")
OF_SPLIT = {"train": "#7A7A7A", "val": "#E69F00", "internal_test": "#009E73", "external_test": "#D55E00"}
POSITIVE, NEGATIVE, MODEL = "#D55E00", "#0072B2", "#0072B2"
DASHES = ("-", "--", "-.", ":")
_MARGIN_INCHES = 0.06
_SQUARE, _LEFT, _LEGEND_LINE = 4.3, 0.85, 0.24  # inches: side of square axes, margin beside them, a legend's line


@dataclass(frozen=True)
class Picture:
    """An image for the page: a data URI, the text read where it cannot be seen, and the figure it was made of.

    `box` is what is drawn of that figure, in inches.
    """

    title: str
    uri: str
    alt: str
    figure: Figure | None = field(default=None, repr=False, compare=False)
    box: Bbox | None = field(default=None, repr=False, compare=False)

    def write(self, folder: Path, number: int | None = None) -> None:
        """Save the figure as SVG and PDF, named by its number and title; the same figure gives the same bytes."""
        if self.figure is None:
            return
        stem = re.sub(r"\W+", "_", self.title.lower()).strip("_")
        stem = stem if number is None else f"{number:02d}_{stem}"
        with written_whole(folder / f"{stem}.svg") as path:
            path.write_bytes(base64.b64decode(self.uri.partition(",")[2]))
        with written_whole(folder / f"{stem}.pdf") as path, mpl.rc_context(STYLE):
            self.figure.savefig(path, format="pdf", metadata={"CreationDate": None}, bbox_inches=self.box)


def colour(name: str, number: int) -> str:
    """The colour of a split or centre, the same in every figure."""
    return OF_SPLIT.get(name, COLOURS[number % len(COLOURS)])


def spoken(name: str) -> str:
    """A split's name as people say it."""
    return {"val": "validation", "train": "training"}.get(name, name.replace("_", " "))


def picture(figure: Figure, title: str, alt: str) -> Picture:
    """Freeze a figure as an SVG data URI with no date in it."""
    buffer, box = io.BytesIO(), _laid_out(figure)
    figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches=box)
    uri = "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(title, uri, alt, figure, box)


def _laid_out(figure: Figure) -> Bbox:
    """Lay a figure out once, in place of twice for each format; returns what is drawn of it, in inches."""
    figure.draw_without_rendering()
    figure.set_layout_engine(None)
    return figure.get_tightbbox().padded(_MARGIN_INCHES)


def canvas(width: float = 5.2, height: float = 4.6) -> tuple[Figure, Axes]:
    """An empty figure, without pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def number_text(value: float, digits: int) -> str:
    """A number as people write it: `∞` for infinite, a dash for none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}".replace("inf", "∞")


def figure_text(figure: Metric | Mapping[str, Any], digits: int = 2) -> str:
    """`0.81 (0.72 to 0.87)`, `1.00 (no interval)` where its limits would say nothing, or a dash where it is unknown."""
    metric = figure if isinstance(figure, Metric) else Metric.from_json(figure)
    if metric.value is None:
        return "–"
    text = number_text(float(metric.value), digits)
    if metric.limits is None:
        return f"{text} (no interval)" if "ci_low" in metric.details else text
    low, high = (number_text(float(limit), digits) for limit in metric.limits)
    return f"{text} ({low} to {high})"


def safer_auc(figures: Figures) -> Metric:
    """The AUC with the limits the report prints: exact at 0 or 1, else on the logit scale, else DeLong's."""
    for name in ("auc_clustered", "auc_exact", "auc_logit"):
        if name in figures and figures[name].value is not None:
            return figures[name]
    return figures["auc"]


def square(lines: int) -> tuple[Figure, Axes]:
    """A figure whose axes are a square of fixed size above `lines` lines of legend: such figures are of equal size."""
    below = 0.75 + _LEGEND_LINE * (lines + 1)
    width, height = _LEFT + _SQUARE + 0.2, below + _SQUARE + 0.4
    figure = Figure(figsize=(width, height))
    # A frame without ink, so that cutting the margins cuts figures of one size alike.
    figure.add_artist(Rectangle((0, 0), 1, 1, transform=figure.transFigure, fill=False, lw=0))
    return figure, figure.add_axes((_LEFT / width, below / height, _SQUARE / width, _SQUARE / height))


def _legend_below(figure: Figure, title: str) -> None:
    top = figure.axes[0].get_position().y0 - 0.6 / figure.get_figheight()
    figure.legend(title=title, loc="upper left", bbox_to_anchor=(0.02, top), alignment="left", borderaxespad=0.0)


def _dashes(number: int) -> str:
    return DASHES[(number // len(COLOURS)) % len(DASHES)]


@mpl.rc_context(STYLE)
def roc(curves: Mapping[str, pd.DataFrame], judged: Mapping[str, Figures], by: str, lines: int = 0) -> Picture:
    """ROC curves of splits, centres or models in one figure, the frozen threshold marked on each.

    Args:
        curves: name -> rows of roc.csv.
        judged: name -> its figures.
        by: `split`, `centre` or `model`, for the title.
        lines: lines kept for the legend, where figures beside each other are to be of equal size.
    """
    figure, axes = square(max(lines, len(curves)))
    axes.plot([0, 1], [0, 1], color="#999999", lw=1, ls=(0, (4, 4)))
    sentences = []
    for number, (name, rows) in enumerate(curves.items()):
        figures = judged[name]
        area = figure_text(safer_auc(figures))
        style: Any = {"color": colour(name, number), "ls": _dashes(number)}
        false_positive, sensitivity = 1 - rows["specificity"].astype(float), rows["sensitivity"].astype(float)
        axes.plot(false_positive, sensitivity, lw=2, label=f"{spoken(name)}: {area}", **style)
        at = [figures[key].value for key in ("specificity", "sensitivity")]
        if None not in at:
            axes.plot(1 - at[0], at[1], "o", ms=8, mfc="white", mew=2, color=style["color"], zorder=5)
        n, n_positive = figures["n"].value, figures["n_positive"].value
        sentences.append(f"{spoken(name)} (n = {n}, {n_positive} with the outcome): AUC {area}")
    axes.set(
        xlabel="1 − specificity (patients without the outcome called positive)",
        ylabel="sensitivity (patients with the outcome found)",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        title=f"by {by}",
    )
    _legend_below(figure, "AUC (95 % interval)")
    title = f"ROC curves by {by}"
    return picture(figure, title, f"{title}. {'; '.join(sentences)}. Circles mark the frozen threshold.")


@mpl.rc_context(STYLE)
def precision_recall(curves: Mapping[str, pd.DataFrame], judged: Mapping[str, Figures], lines: int = 0) -> Picture:
    """Precision over sensitivity of every split, its prevalence as a thin line: what a call of no skill reaches.

    Args:
        curves: name -> rows of precision_recall.csv.
        judged: name -> its figures.
        lines: lines kept for the legend.
    """
    figure, axes = square(max(lines, len(curves)))
    sentences = []
    for number, (name, rows) in enumerate(curves.items()):
        figures = judged[name]
        share = figures["n_positive"].value / figures["n"].value
        area = figure_text(figures["average_precision"])
        shade = colour(name, number)
        recall, precision = rows["sensitivity"].astype(float), rows["ppv"].astype(float)
        axes.step(recall, precision, lw=2, color=shade, ls=_dashes(number), label=f"{spoken(name)}: {area}")
        axes.axhline(share, color=shade, lw=1, ls=(0, (2, 3)))
        at = [figures[key].value for key in ("sensitivity", "ppv")]
        if None not in at:
            axes.plot(*at, "o", ms=8, mfc="white", mew=2, color=shade, zorder=5)
        sentences.append(f"{spoken(name)}: average precision {area}, prevalence {share:.2f}")
    axes.set(
        xlabel="sensitivity (patients with the outcome found)",
        ylabel="positive predictive value",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        title="precision and recall",
    )
    _legend_below(figure, "average precision (95 % interval)")
    text = f"Precision-recall curves by split. {'; '.join(sentences)}."
    return picture(
        figure, "Precision-recall curves", f"{text} Dotted lines: prevalence. Circles: the frozen threshold."
    )


@mpl.rc_context(STYLE)
def calibration(name: str, rows: pd.DataFrame, scores: Floats, figures: Figures) -> Picture:
    """Predicted against observed share, with the spread of scores below."""
    figure = Figure(figsize=(5.0, 5.4), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[5, 1])
    axes.plot([0, 1], [0, 1], color="#999999", lw=1, ls=(0, (4, 4)), label="perfect")
    smooth, bins = rows[rows["kind"] == "smooth"], rows[rows["kind"] == "bin"]
    if len(smooth):
        x, low, high = (smooth[column].to_numpy(float) for column in ("mean_score", "ci_low", "ci_high"))
        axes.fill_between(x, low, high, color=MODEL, alpha=0.15, lw=0, label="95 % band")
        axes.plot(x, smooth["observed"].to_numpy(float), color=MODEL, lw=2, label="smoothed")
    mean, seen = bins["mean_score"].to_numpy(float), bins["observed"].to_numpy(float)
    reach = np.abs(np.vstack([seen - bins["ci_low"].to_numpy(float), bins["ci_high"].to_numpy(float) - seen]))
    groups = "tenths of the patients" if len(bins) == 10 else f"{len(bins)} group{'s' * (len(bins) > 1)} of patients"
    axes.errorbar(mean, seen, yerr=reach, fmt="o", color="#333333", ms=4.5, lw=1, capsize=2, label=groups)
    axes.set(ylabel="observed share with the outcome", xlim=(-0.01, 1.01), ylim=(-0.02, 1.02), title=spoken(name))
    axes.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")
    below.hist(scores, bins=np.linspace(0, 1, 41), color="#888888")
    below.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=3))
    below.set(xlabel="predicted probability of the outcome", ylabel="patients")
    below.grid(visible=False)
    slope, offset = figure_text(figures["calibration_slope"]), figure_text(figures["calibration_in_the_large"])
    alt = f"Calibration, {spoken(name)}: slope {slope} (ideal 1), calibration in the large {offset} (ideal 0), "
    alt += f"expected calibration error {figure_text(figures['ece'], 3)}."
    return picture(figure, f"Calibration, {spoken(name)}", alt)


@mpl.rc_context(STYLE)
def calibrations(name: str, curves: Mapping[str, pd.DataFrame], judged: Mapping[str, Figures]) -> Picture:
    """Predicted against observed share of several models in one figure: smoothed, or groups where patients are few.

    Args:
        name: of the split.
        curves: name of each model -> rows of calibration.csv.
        judged: name of each model -> its figures.
    """
    figure, axes = square(len(curves) + 1)
    axes.plot([0, 1], [0, 1], color="#999999", lw=1, ls=(0, (4, 4)), label="perfect")
    sentences = []
    for number, (model, rows) in enumerate(curves.items()):
        smooth = rows[rows["kind"] == "smooth"]
        drawn = smooth if len(smooth) else rows[rows["kind"] == "bin"]
        slope = figure_text(judged[model]["calibration_slope"])
        x, y = (drawn[column].to_numpy(float) for column in ("mean_score", "observed"))
        style: Any = {"color": colour(model, number), "ls": _dashes(number), "marker": "" if len(smooth) else "o"}
        axes.plot(x, y, lw=2, label=f"{model}: slope {slope}", **style)
        offset = figure_text(judged[model]["calibration_in_the_large"])
        sentences.append(f"{model} slope {slope}, in the large {offset}")
    axes.set(
        xlabel="predicted probability of the outcome",
        ylabel="observed share with the outcome",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        title=f"calibration, {spoken(name)}",
    )
    _legend_below(figure, "calibration slope (95 % interval)")
    title = f"Calibration by model, {spoken(name)}"
    return picture(figure, title, f"{title} (ideal slope 1, in the large 0): {'; '.join(sentences)}.")


@mpl.rc_context(STYLE)
def decision(name: str, curves: Mapping[str, pd.DataFrame]) -> Picture:
    """Net benefit of acting on the score against operating on all or on none.

    Args:
        name: of the split.
        curves: name of each model -> rows of decision_curve.csv; a model alone has its 95 % band.
    """
    figure, axes = canvas(5.2, 4.4)
    data = {model: rows.drop(columns=["split", "center"]).astype(float) for model, rows in curves.items()}
    first = next(iter(data.values()))
    x = first["threshold"] * 100
    if len(data) == 1:
        low, high = first["ci_low"] * 100, first["ci_high"] * 100
        axes.fill_between(x, low, high, color=MODEL, alpha=0.15, lw=0, label="95 % band")
    axes.plot(x, first["treat_all"] * 100, color="#777777", lw=1.5, label="operate on all")
    axes.plot(x, first["treat_none"] * 100, color="#222222", lw=1.5, ls="--", label="operate on none")
    for number, (model, rows) in enumerate(data.items()):
        axes.plot(x, rows["model"] * 100, color=COLOURS[number % len(COLOURS)], lw=2.2, label=f"operate by {model}")
    top = max(float(rows[["model", "treat_all"]].max().max()) for rows in data.values()) * 100
    axes.set(
        xlabel="threshold probability at which one would operate (%)",
        ylabel="net benefit (true positives per 100 patients)",
        xlim=(0, 100),
        ylim=(-0.15 * top - 1, 1.12 * top + 1),
        title=spoken(name),
    )
    figure.legend(loc="outside lower center", ncols=2)
    title = f"Decision curve, {spoken(name)}" if len(data) == 1 else f"Decision curves by model, {spoken(name)}"
    sentences = [f"{model} {useful_range(rows)}" for model, rows in data.items()]
    return picture(figure, title, f"{title}: {'; '.join(sentences)}.")


def useful_range(data: pd.DataFrame) -> str:
    """The longest unbroken range of thresholds where the model beats both operating on all and on none, in words."""
    better = ((data["model"] > data["treat_all"]) & (data["model"] > 0)).to_numpy()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], better, [False]]).astype(int)))
    if not edges.size:
        return "beats neither operating on all nor on none at any threshold"
    begin, end = max(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[1] - run[0])
    low, high = (100 * float(data["threshold"].iloc[row]) for row in (begin, end - 1))
    return f"beats operating on all and on none at thresholds from {low:.0f} % to {high:.0f} %"


@mpl.rc_context(STYLE)
def distribution(name: str, scores: Floats, labels: Floats, threshold: float | None) -> Picture:
    """Spread of the scores in the two outcomes, mirrored, with the frozen threshold."""
    figure, axes = canvas(5.2, 4.2)
    low, high = (0.0, 1.0) if scores.min() >= 0 and scores.max() <= 1 else (float(scores.min()), float(scores.max()))
    edges = np.linspace(low, high if high > low else low + 1, 31)
    groups = ((labels == 1, POSITIVE, "with the outcome", 1), (labels == 0, NEGATIVE, "without it", -1))
    for chosen, shade, label, direction in groups:
        heights, _ = np.histogram(scores[chosen], bins=edges)
        widths = np.diff(edges)
        axes.bar(
            edges[:-1],
            direction * heights,
            widths,
            align="edge",
            color=shade,
            alpha=0.85,
            label=f"{label} (n = {chosen.sum()})",
        )
    axes.axhline(0, color="#333333", lw=1)
    if threshold is not None and np.isfinite(threshold):
        axes.axvline(threshold, color="#111111", lw=1.6, ls="--", label=f"frozen threshold {threshold:.3f}")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.set(xlabel="score", ylabel="patients", title=spoken(name))
    figure.legend(loc="outside lower center")
    middle = [f"{np.median(scores[chosen]):.2f}" if chosen.any() else "none" for chosen, *_ in groups]
    title = f"Scores, {spoken(name)}"
    alt = f"{title}: median {middle[0]} in patients with the outcome, {middle[1]} in those without."
    return picture(figure, title, alt)


@mpl.rc_context(STYLE)
def forest(
    title: str,
    rows: Sequence[tuple[str, Metric, str]],
    axis: str,
    line: float,
    *,
    most: float | None = None,
    digits: int = 2,
) -> Picture:
    """Estimates with intervals, one per row.

    Args:
        title: of the figure.
        rows: label, figure, text on the right.
        axis: label of the values.
        line: the reference.
        most: where the drawing ends, if an interval goes on beyond.
        digits: of the text read where the figure cannot be seen.
    """
    longest = max(len(words) for label, *_ in rows for words in label.split("\n"))
    figure, axes = canvas(max(5.6, 4.1 + 0.08 * longest), 1.2 + 0.34 * len(rows))
    for height, (_, metric, _) in enumerate(rows):
        if metric.value is None:
            axes.text(line, height, "too few patients", va="center", ha="center", fontsize=9, color="#777777")
            continue
        if metric.limits is not None:
            axes.plot(metric.limits, [height, height], color=MODEL, lw=1.8)
        axes.plot(metric.value, height, "s", color=MODEL, ms=6)
    axes.axvline(line, color="#999999", lw=1, ls=(0, (4, 4)))
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
    axes.set(xlabel=axis, ylim=(len(rows) - 0.4, -0.6), title=title)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    if most is not None:
        axes.set_xlim(right=most)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(rows)), [text for *_, text in rows])
    right.spines["right"].set_visible(False)
    right.tick_params(length=0)
    listed = "; ".join(
        f"{label}: {figure_text(metric, digits)}" for label, metric, _ in rows if metric.value is not None
    )
    return picture(figure, title, f"{title}. {listed}.")
