"""Figures of the report: each an SVG of its own, with labelled axes and a text that says what it shows."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mammo_aln.evaluation.statistics.discrimination import Floats

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


@dataclass(frozen=True)
class Picture:
    """An image for the page: a data URI, and the text read where it cannot be seen."""

    title: str
    uri: str
    alt: str


def colour(name: str, place: int) -> str:
    """The colour of a split or centre, the same in every figure."""
    return OF_SPLIT.get(name, COLOURS[place % len(COLOURS)])


def spoken(name: str) -> str:
    """A split's name as people say it."""
    return {"val": "validation", "train": "training"}.get(name, name.replace("_", " "))


def picture(figure: Figure, title: str, alt: str) -> Picture:
    """Freeze a figure as an SVG data URI with no date in it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.06)
    return Picture(title, "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode(), alt)


def canvas(width: float = 5.2, height: float = 4.6) -> tuple[Figure, Axes]:
    """An empty figure, without pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def figure_text(metric: Mapping[str, Any], digits: int = 2) -> str:
    """`0.81 (0.72 to 0.87)`, or a dash where the figure is unknown."""
    value = metric.get("value")
    if value is None:
        return "–"
    if metric.get("ci_low") is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({metric['ci_low']:.{digits}f} to {metric['ci_high']:.{digits}f})"


def safer_auc(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """The AUC with the limits the report prints: exact at 0 or 1, else on the logit scale, else DeLong's."""
    for name in ("auc_clustered", "auc_exact", "auc_logit"):
        if metrics.get(name, {}).get("value") is not None:
            return metrics[name]
    return metrics["auc"]


@mpl.rc_context(STYLE)
def roc(curves: Mapping[str, pd.DataFrame], judged: Mapping[str, Mapping[str, Any]], by: str) -> Picture:
    """ROC curves of splits or centres in one figure, the frozen threshold marked on each.

    Args:
        curves: name -> rows of roc.csv.
        judged: name -> its metrics.
        by: `split` or `centre`, for the title.
    """
    figure, axes = canvas(5.4, 5.4 + 0.26 * len(curves))
    axes.plot([0, 1], [0, 1], color="#999999", lw=1, ls=(0, (4, 4)))
    spokens = []
    for place, (name, rows) in enumerate(curves.items()):
        metrics = judged[name]
        label = f"{spoken(name)}: {figure_text(safer_auc(metrics))}"
        style: Any = {"color": colour(name, place), "ls": DASHES[(place // len(COLOURS)) % len(DASHES)]}
        axes.plot(1 - rows["specificity"].astype(float), rows["sensitivity"].astype(float), lw=2, label=label, **style)
        if metrics["sensitivity"]["value"] is not None and metrics["specificity"]["value"] is not None:
            point = (1 - metrics["specificity"]["value"], metrics["sensitivity"]["value"])
            axes.plot(*point, "o", ms=8, mfc="white", mew=2, color=style["color"], zorder=5)
        n, n_positive = metrics["n"]["value"], metrics["n_positive"]["value"]
        spokens.append(
            f"{spoken(name)} (n = {n}, {n_positive} with residual disease): AUC {figure_text(safer_auc(metrics))}"
        )
    axes.set(
        xlabel="1 − specificity (ypN0 patients called positive)",
        ylabel="sensitivity (patients with residual disease found)",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
        title=f"by {by}",
    )
    figure.legend(title="AUC (95 % interval)", loc="outside lower center", alignment="left")
    title = f"ROC curves by {by}"
    return picture(figure, title, f"{title}. {'; '.join(spokens)}. Circles mark the frozen threshold.")


@mpl.rc_context(STYLE)
def calibration(name: str, rows: pd.DataFrame, scores: Floats, metrics: Mapping[str, Any]) -> Picture:
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
    axes.errorbar(
        mean, seen, yerr=reach, fmt="o", color="#333333", ms=4.5, lw=1, capsize=2, label="tenths of the patients"
    )
    axes.set(ylabel="observed share with residual disease", xlim=(-0.01, 1.01), ylim=(-0.02, 1.02), title=spoken(name))
    axes.legend(loc="upper left", frameon=True, framealpha=0.85, edgecolor="none")
    below.hist(scores, bins=np.linspace(0, 1, 41), color="#888888")
    below.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=3))
    below.set(xlabel="predicted probability of residual disease", ylabel="patients")
    below.grid(visible=False)
    slope, offset = figure_text(metrics["calibration_slope"]), figure_text(metrics["calibration_in_the_large"])
    alt = f"Calibration, {spoken(name)}: slope {slope} (ideal 1), calibration in the large {offset} (ideal 0), "
    return picture(
        figure, f"Calibration, {spoken(name)}", alt + f"expected calibration error {figure_text(metrics['ece'], 3)}."
    )


@mpl.rc_context(STYLE)
def decision(name: str, rows: pd.DataFrame) -> Picture:
    """Net benefit of acting on the score against operating on all or on none."""
    figure, axes = canvas(5.2, 4.4)
    data = rows.drop(columns=["split", "center"]).astype(float)
    x = data["threshold"] * 100
    axes.fill_between(x, data["ci_low"] * 100, data["ci_high"] * 100, color=MODEL, alpha=0.15, lw=0, label="95 % band")
    axes.plot(x, data["treat_all"] * 100, color="#777777", lw=1.5, label="operate on all")
    axes.plot(x, data["treat_none"] * 100, color="#222222", lw=1.5, ls="--", label="operate on none")
    axes.plot(x, data["model"] * 100, color=MODEL, lw=2.2, label="operate by the model")
    top = max(float(data["model"].max()), float(data["treat_all"].max())) * 100
    axes.set(
        xlabel="threshold probability at which one would operate (%)",
        ylabel="net benefit (true positives per 100 patients)",
        xlim=(0, 100),
        ylim=(-0.15 * top - 1, 1.12 * top + 1),
        title=spoken(name),
    )
    axes.legend(loc="upper right")
    title = f"Decision curve, {spoken(name)}"
    return picture(figure, title, f"{title}: {useful_range(data)}.")


def useful_range(data: pd.DataFrame) -> str:
    """The longest unbroken range of thresholds where the model beats both operating on all and on none, in words."""
    better = ((data["model"] > data["treat_all"]) & (data["model"] > 0)).to_numpy()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], better, [False]]).astype(int)))
    if not edges.size:
        return "the model beats neither operating on all nor on none at any threshold"
    begin, end = max(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[1] - run[0])
    low, high = (100 * float(data["threshold"].iloc[place]) for place in (begin, end - 1))
    return f"the model beats operating on all and on none at thresholds from {low:.0f} % to {high:.0f} %"


@mpl.rc_context(STYLE)
def distribution(name: str, scores: Floats, labels: Floats, threshold: float | None) -> Picture:
    """How scores spread in the two outcomes, mirrored, with the frozen threshold."""
    figure, axes = canvas(5.2, 4.2)
    low, high = (0.0, 1.0) if scores.min() >= 0 and scores.max() <= 1 else (float(scores.min()), float(scores.max()))
    edges = np.linspace(low, high if high > low else low + 1, 31)
    groups = ((labels == 1, POSITIVE, "residual disease", 1), (labels == 0, NEGATIVE, "no residual disease (ypN0)", -1))
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
    alt = f"{title}: median {middle[0]} in patients with residual disease, {middle[1]} in ypN0 patients."
    return picture(figure, title, alt)


@mpl.rc_context(STYLE)
def forest(title: str, rows: Sequence[tuple[str, Mapping[str, Any], str]], axis: str, line: float) -> Picture:
    """Estimates with intervals, one per row: (label, metric, text on the right); `line` is the reference."""
    figure, axes = canvas(5.6, 1.2 + 0.34 * len(rows))
    known = [row for row in rows if row[1].get("value") is not None]
    for place, (_, metric, _) in enumerate(rows):
        if metric.get("value") is None:
            axes.text(line, place, "too few patients", va="center", ha="center", fontsize=9, color="#777777")
            continue
        if metric.get("ci_low") is not None:
            axes.plot([metric["ci_low"], metric["ci_high"]], [place, place], color=MODEL, lw=1.8)
        axes.plot(metric["value"], place, "s", color=MODEL, ms=6)
    axes.axvline(line, color="#999999", lw=1, ls=(0, (4, 4)))
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
    axes.set(xlabel=axis, ylim=(len(rows) - 0.4, -0.6), title=title)
    axes.grid(visible=False, axis="y")
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(rows)), [text for *_, text in rows])
    right.spines["right"].set_visible(False)
    right.tick_params(length=0)
    return picture(
        figure, title, f"{title}. " + "; ".join(f"{label}: {figure_text(metric)}" for label, metric, _ in known) + "."
    )
