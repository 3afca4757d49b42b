"""Figures of the signatures: nomogram, odds ratios, LASSO, stability, Shapley values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import ArrayLike

from mammo_aln.evaluation.report.plots import COLOURS, MODEL, STYLE, Picture, canvas, picture, spoken
from mammo_aln.radiomics.signatures.labels import label, term_labels, wrapped
from mammo_aln.radiomics.signatures.nomogram import Nomogram

MOST_ROWS = 20
LINE_HEIGHT = 0.19  # inches, of small text
ABOVE, BELOW = 0.18, -0.1  # of a nomogram's line: where its texts stand
LETTER = 0.011  # half the width of a letter on a nomogram whose lines have length 1


def _rows(axes: Axes, names: Sequence[str], size: float | None = None) -> None:
    """Name horizontal rows, the first on top."""
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _height(names: Sequence[str], least: float) -> float:
    """Inches that rows of wrapped names take."""
    return sum(max(least, LINE_HEIGHT * (name.count("\n") + 1)) for name in names)


@mpl.rc_context(STYLE)
def nomogram(layout: Nomogram, title: str, levels: Mapping[str, Sequence[str]]) -> Picture:
    """Points per variable on top, total points and probability below.

    Args:
        layout: axes and scales.
        title: of the figure.
        levels: names of an ordinal feature's levels, by variable.
    """
    names = ["points", *(label(axis.name) for axis in layout.axes), "total points", "probability"]
    figure = Figure(figsize=(6.4, 0.6 * len(names) + 0.7), layout="constrained")
    axes = figure.add_subplot()
    low = min(0.0, float(layout.probability_points.min(initial=0.0)))
    span = float(layout.total[-1]) - low
    hundred = np.arange(0, 101, 10)
    _scale(axes, 0, hundred / 100, [str(tick) for tick in hundred])
    for row, axis in enumerate(layout.axes, start=1):
        texts = [str(tick) if isinstance(tick, str) else f"{tick:g}" for tick in axis.ticks]
        if axis.name in levels:
            texts = [levels[axis.name][int(text)] for text in texts]
        _scale(axes, row, axis.points / 100, texts)
    _scale(axes, len(names) - 2, (layout.total - low) / span, [f"{tick:g}" for tick in layout.total])
    if layout.probability.size:
        texts = [f"{tick:g}" for tick in layout.probability]
        _scale(axes, len(names) - 1, (layout.probability_points - low) / span, texts)
    axes.set_yticks([-row for row in range(len(names))], [wrapped(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(NullLocator())
    axes.set(xlim=(-0.03, 1.03), ylim=(-len(names) + 0.4, 0.75), title=title)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    ranges = "; ".join(
        f"{label(axis.name)} {axis.points.min():.0f} to {axis.points.max():.0f} points" for axis in layout.axes
    )
    return picture(figure, title, f"{title}. {ranges}. Add the points, read the probability of the outcome below.")


def _scale(axes: Axes, row: int, positions: ArrayLike, texts: Sequence[str]) -> None:
    """Draw one line of a nomogram with its ticks.

    A text that is too near its neighbour stands below the line; one without room there is left to its tick.
    """
    x = np.asarray(positions, float)
    axes.plot([x.min(), x.max()], [-row, -row], color="#333333", lw=1.2)
    axes.vlines(x, -row, -row + 0.13, color="#333333", lw=1)
    last_end = {ABOVE: -np.inf, BELOW: -np.inf}
    for tick in np.argsort(x, kind="stable"):
        half = LETTER * (1 + len(texts[tick]))
        side = next((side for side, end in last_end.items() if x[tick] - half > end), None)
        if side is not None:
            align = "bottom" if side > 0 else "top"
            axes.text(x[tick], -row + side, texts[tick], ha="center", va=align, fontsize=8.5)
            last_end[side] = x[tick] + half


def drawn_ratios(table: pd.DataFrame) -> pd.Series:
    """Mark the multivariable odds ratios that have a figure."""
    return (table["model"] == "multivariable") & table["odds_ratio"].notna()


@mpl.rc_context(STYLE)
def odds_forest(table: pd.DataFrame, title: str) -> Picture:
    """Multivariable odds ratios with their limits on a log scale."""
    rows = table[drawn_ratios(table)].reset_index(drop=True)
    names = term_labels(rows)
    figure, axes = canvas(6.0, 1.3 + 0.34 * len(rows))
    ratio, low, high = (rows[column].to_numpy(float) for column in ("odds_ratio", "ci_low", "ci_high"))
    finite = np.concatenate([values[np.isfinite(values)] for values in (ratio, low, high)])
    lowest, highest = max(1e-3, float(finite.min())), min(1e3, float(finite.max()))
    rank = np.arange(len(rows))
    axes.hlines(rank, np.maximum(low, lowest / 1.2), np.minimum(high, highest * 1.2), color=MODEL, lw=1.8)
    axes.plot(ratio, rank, "s", color=MODEL, ms=6)
    axes.axvline(1.0, color="#999999", lw=1, ls=(0, (4, 4)))
    axes.set_xscale("log")
    every = (0.01, 0.1, 1, 10, 100) if highest > 50 * lowest else (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
    ticks = [tick for tick in every if lowest / 1.5 <= tick <= highest * 1.5]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set(xlabel="odds ratio of the outcome (95 % interval)", title=title)
    _rows(axes, names)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(rows)), [f"p = {p:.2g}" for p in rows["p_term"]])
    right.spines["right"].set_visible(False)
    right.tick_params(length=0)
    texts = [f"{name} {r:.2f} ({a:.2f} to {b:.2f})" for name, r, a, b in zip(names, ratio, low, high, strict=True)]
    return picture(figure, title, f"{title}. {'; '.join(texts)}.")


def at_the_edge(deviance: ArrayLike) -> str:
    """Sentence for a curve whose least deviance lies at an end of the penalties; empty where it lies between them."""
    least = int(np.argmin(np.asarray(deviance)))
    if least == 0:
        return "The least deviance is at the largest penalty: no set of features predicts better than none."
    if least == len(np.asarray(deviance)) - 1:
        return "The least deviance is at the smallest penalty of the path: a smaller one might do better still."
    return ""


@mpl.rc_context(STYLE)
def lasso_curve(table: pd.DataFrame, chosen: int, title: str) -> Picture:
    """Cross-validated deviance along the penalty, with the number of features kept."""
    figure, axes = canvas(5.4, 4.9)
    x, counts = np.log10(table["penalty"].to_numpy(float)), table["features"].tolist()
    mean, se = table["deviance"].to_numpy(float), table["se"].to_numpy(float)
    axes.fill_between(x, mean - se, mean + se, color=MODEL, alpha=0.15, lw=0, label="one standard error")
    axes.plot(x, mean, color=MODEL, lw=2, label="mean deviance")
    axes.axvline(x[chosen], color="#111111", lw=1.4, ls="--", label=f"chosen: {counts[chosen]} features")
    axes.set(xlabel="log10 of the penalty λ", ylabel="cross-validated deviance per patient", title=title)
    above = axes.secondary_xaxis("top")
    ticks = np.linspace(0, len(x) - 1, 6).astype(int)
    above.set_xticks(x[ticks], [str(counts[tick]) for tick in ticks])
    above.set_xlabel("features kept", fontsize=10)
    figure.legend(loc="outside lower center", ncols=3)
    alt = f"{title}: least deviance at λ = {10 ** x[int(np.argmin(mean))]:.3g}. {at_the_edge(mean)}"
    return picture(figure, title, alt.strip())


@mpl.rc_context(STYLE)
def frequencies(table: pd.DataFrame, title: str, index: float) -> Picture:
    """Share of resamples that selected each feature."""
    rows = table.head(MOST_ROWS)
    names = [wrapped(name) for name in rows["feature"]]
    figure, axes = canvas(6.2, 1.3 + _height(names, 0.27))
    colours = [MODEL if chosen else "#BBBBBB" for chosen in rows["selected"]]
    axes.barh(range(len(rows)), 100 * rows["frequency"], color=colours)
    _rows(axes, names, 8.5)
    axes.set(xlabel="selected on % of resamples (blue: in the model)", xlim=(0, 100), title=title)
    return picture(figure, title, f"{title}: Nogueira's index {index:.2f} (1 = always the same features, 0 = chance).")


@mpl.rc_context(STYLE)
def beeswarm(table: pd.DataFrame, title: str, seed: int = 0, scale: str = "log-odds") -> Picture:
    """Shapley values of the features that matter most: one point per patient, coloured by the feature's value."""
    order = table.groupby("feature")["shap"].apply(lambda values: values.abs().mean()).sort_values(ascending=False)
    features = list(order.index[:MOST_ROWS])
    names = [wrapped(name) for name in features]
    figure, axes = canvas(6.2, 1.5 + _height(names, 0.33))
    rng = np.random.default_rng(seed)
    for rank, feature in enumerate(features):
        rows = table[table["feature"] == feature]
        shade = np.clip(rows["value"].to_numpy(float), -2, 2)
        height = rank + rng.uniform(-0.28, 0.28, len(rows))
        points = axes.scatter(rows["shap"], height, c=shade, cmap="coolwarm", vmin=-2, vmax=2, s=9, lw=0)
    axes.axvline(0, color="#999999", lw=1)
    _rows(axes, names, 8.5)
    axes.set(xlabel=f"change of the {scale} of the outcome", title=title)
    bar = figure.colorbar(points, ax=axes, ticks=[-2, 0, 2], pad=0.01, aspect=30)
    bar.ax.set_yticklabels(["low", "mean", "high"])
    top = ", ".join(f"{label(name)} {order[name]:.2f}" for name in features[:3])
    return picture(figure, title, f"{title}. Largest mean changes: {top}.")


@mpl.rc_context(STYLE)
def classifier_bars(table: pd.DataFrame, title: str) -> Picture:
    """Inner and nested AUC of every classifier."""
    figure, axes = canvas(5.6, 1.3 + 0.36 * len(table))
    rank = np.arange(len(table))
    for offset, column, shade in ((-0.18, "inner_auc", COLOURS[5]), (0.18, "nested_auc", MODEL)):
        axes.barh(rank + offset, table[column], height=0.34, color=shade, label=spoken(column).replace("auc", "AUC"))
    marks = ["  ✓" if chosen else "" for chosen in table["chosen"]]
    _rows(axes, [label(name) + mark for name, mark in zip(table["classifier"], marks, strict=True)])
    axes.axvline(0.5, color="#999999", lw=1, ls=(0, (4, 4)))
    axes.set(xlabel="AUC (✓ = chosen by inner folds)", xlim=(0.3, 1.0), title=title)
    figure.legend(loc="outside lower center", ncols=2)
    best = [label(name) for name in table.loc[table["chosen"], "classifier"]]
    return picture(figure, title, f"{title}: chosen {', '.join(best)}.")
