"""Figures of the signatures: nomogram, odds ratios, LASSO, stability, Shapley values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from mammo_aln.evaluation.report.plots import COLOURS, MODEL, STYLE, Picture, canvas, picture, spoken
from mammo_aln.radiomics.signatures.nomogram import Nomogram

MOST_ROWS = 20


def short(name: str, most: int = 44) -> str:
    """A feature's name that fits beside a figure: its middle left out."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def named(row: pd.Series) -> str:
    """A design column as people read it: the variable, and the level that is set against its reference."""
    variable, term = str(row["variable"]), str(row["term"])
    return variable if term == variable else f"{variable}: {term.removeprefix(variable)}"


@mpl.rc_context(STYLE)
def nomogram(layout: Nomogram, title: str, levels: Mapping[str, Sequence[str]]) -> Picture:
    """Points per variable on top, total points and probability below.

    Args:
        layout: axes and scales.
        title: of the figure.
        levels: names of an ordinal feature's places, by variable.
    """
    rows = ["points", *(axis.name for axis in layout.axes), "total points", "probability"]
    figure = Figure(figsize=(8.2, 0.62 * len(rows) + 0.7), layout="constrained")
    axes = figure.add_subplot()
    widest = float(layout.total[-1])
    low = min(0.0, float(layout.probability_points.min(initial=0.0)))
    span = widest - low

    def scale(row: int, places: Any, texts: list[str], stretch: float, offset: float = 0.0) -> None:
        x = (np.asarray(places, float) - offset) * stretch
        axes.plot([x.min(), x.max()], [-row, -row], color="#333333", lw=1.2)
        ends = {0.18: -np.inf, -0.1: -np.inf}  # where the last text above and below the line ended
        order = np.argsort(x, kind="stable")
        for tick in x:
            axes.plot([tick, tick], [-row, -row + 0.13], color="#333333", lw=1)
        for place in order:
            half = 0.008 * (1 + len(texts[place]))
            # too near its neighbour above: below the line; too near there as well: the tick alone
            side = next((side for side, end in ends.items() if x[place] - half > end), None)
            if side is not None:
                align = "bottom" if side > 0 else "top"
                axes.text(x[place], -row + side, texts[place], ha="center", va=align, fontsize=8.5)
                ends[side] = x[place] + half

    hundred = np.arange(0, 101, 10)
    scale(0, hundred, [str(tick) for tick in hundred], 1 / 100)
    for row, axis in enumerate(layout.axes, start=1):
        names = levels.get(axis.name)
        texts = [str(tick) if isinstance(tick, str) else f"{tick:g}" for tick in axis.ticks]
        if names:
            texts = [names[int(text)] for text in texts]
        scale(row, axis.points, texts, 1 / 100)
    scale(len(rows) - 2, layout.total, [f"{tick:g}" for tick in layout.total], 1 / span, low)
    texts = [f"{tick:g}" for tick in layout.probability]
    if texts:
        scale(len(rows) - 1, layout.probability_points, texts, 1 / span, low)
    axes.set_yticks([-row for row in range(len(rows))], [short(name, 26) for name in rows])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(NullLocator())
    axes.set(xlim=(-0.03, 1.03), ylim=(-len(rows) + 0.4, 0.75), title=title)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    ranges = "; ".join(f"{axis.name} {axis.points.min():.0f} to {axis.points.max():.0f} points" for axis in layout.axes)
    return picture(figure, title, f"{title}. {ranges}. Add the points, read the probability of residual disease below.")


@mpl.rc_context(STYLE)
def odds_forest(table: pd.DataFrame, title: str) -> Picture:
    """Multivariable odds ratios with their limits on a log scale."""
    rows = table[table["model"] == "multivariable"].reset_index(drop=True)
    figure, axes = canvas(6.0, 1.3 + 0.34 * len(rows))
    finite = rows[["ci_low", "ci_high", "odds_ratio"]].replace([np.inf, -np.inf], np.nan)
    lowest, highest = max(1e-3, float(finite.min().min())), min(1e3, float(finite.max().max()))
    for place, (_, row) in enumerate(rows.iterrows()):
        low, high = max(row["ci_low"], lowest / 1.2), min(row["ci_high"], highest * 1.2)
        axes.plot([low, high], [place, place], color=MODEL, lw=1.8)
        axes.plot(row["odds_ratio"], place, "s", color=MODEL, ms=6)
    axes.axvline(1.0, color="#999999", lw=1, ls=(0, (4, 4)))
    axes.set_xscale("log")
    every = (0.01, 0.1, 1, 10, 100) if highest > 50 * lowest else (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
    ticks = [tick for tick in every if lowest / 1.5 <= tick <= highest * 1.5]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(range(len(rows)), [short(named(row), 30) for _, row in rows.iterrows()])
    axes.set(xlabel="odds ratio of residual disease (95 % interval)", ylim=(len(rows) - 0.4, -0.6), title=title)
    axes.grid(visible=False, axis="y")
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(rows)), [f"p = {p:.2g}" for p in rows["p_wald"]])
    right.spines["right"].set_visible(False)
    right.tick_params(length=0)
    told = "; ".join(
        f"{named(row)} {row['odds_ratio']:.2f} ({row['ci_low']:.2f} to {row['ci_high']:.2f})"
        for _, row in rows.iterrows()
    )
    return picture(figure, title, f"{title}. {told}.")


@mpl.rc_context(STYLE)
def lasso_curve(table: pd.DataFrame, chosen: int, title: str) -> Picture:
    """Cross-validated deviance along the penalty, with the number of features kept."""
    figure, axes = canvas(5.4, 4.4)
    x = np.log10(table["penalty"].to_numpy(float))
    mean, se = table["deviance"].to_numpy(float), table["se"].to_numpy(float)
    axes.fill_between(x, mean - se, mean + se, color=MODEL, alpha=0.15, lw=0, label="one standard error")
    axes.plot(x, mean, color=MODEL, lw=2, label="mean deviance")
    axes.axvline(
        x[chosen], color="#111111", lw=1.4, ls="--", label=f"chosen: {table['features'].iloc[chosen]} features"
    )
    axes.set(xlabel="log10 of the penalty λ", ylabel="cross-validated deviance per patient", title=title)
    above = axes.secondary_xaxis("top")
    ticks = np.linspace(0, len(x) - 1, 6).astype(int)
    above.set_xticks(x[ticks], [str(table["features"].iloc[tick]) for tick in ticks])
    above.set_xlabel("features kept", fontsize=10)
    axes.legend(loc="upper left")
    return picture(figure, title, f"{title}: least at λ = {10 ** x[int(np.argmin(mean))]:.3g}.")


@mpl.rc_context(STYLE)
def frequencies(table: pd.DataFrame, title: str, index: float) -> Picture:
    """How often each feature was selected on resampled patients."""
    rows = table.head(MOST_ROWS)
    figure, axes = canvas(7.2, 1.3 + 0.27 * len(rows))
    colours = [MODEL if chosen else "#BBBBBB" for chosen in rows["selected"]]
    axes.barh(range(len(rows)), 100 * rows["frequency"], color=colours)
    axes.set_yticks(range(len(rows)), [short(name) for name in rows["feature"]], fontsize=8.5)
    axes.set(xlabel="selected on % of resamples (blue: in the model)", xlim=(0, 100), title=title)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    return picture(figure, title, f"{title}: Nogueira's index {index:.2f} (1 = always the same features, 0 = chance).")


@mpl.rc_context(STYLE)
def beeswarm(table: pd.DataFrame, title: str, seed: int = 0, scale: str = "log-odds") -> Picture:
    """Shapley values of the features that matter most: one point per patient, coloured by the feature's value."""
    order = table.groupby("feature")["shap"].apply(lambda values: values.abs().mean()).sort_values(ascending=False)
    names = list(order.index[:MOST_ROWS])
    figure, axes = canvas(7.2, 1.5 + 0.33 * len(names))
    rng = np.random.default_rng(seed)
    for place, name in enumerate(names):
        rows = table[table["feature"] == name]
        shade = np.clip(rows["value"].to_numpy(float), -2, 2)
        height = place + rng.uniform(-0.28, 0.28, len(rows))
        points = axes.scatter(rows["shap"], height, c=shade, cmap="coolwarm", vmin=-2, vmax=2, s=9, lw=0)
    axes.axvline(0, color="#999999", lw=1)
    axes.set_yticks(range(len(names)), [short(name) for name in names], fontsize=8.5)
    axes.set(xlabel=f"change of the {scale} of residual disease", ylim=(len(names) - 0.4, -0.6), title=title)
    axes.grid(visible=False, axis="y")
    bar = figure.colorbar(points, ax=axes, ticks=[-2, 0, 2], pad=0.01, aspect=30)
    bar.ax.set_yticklabels(["low", "mean", "high"])
    top = ", ".join(f"{name} {order[name]:.2f}" for name in names[:3])
    return picture(figure, title, f"{title}. Largest mean changes: {top}.")


@mpl.rc_context(STYLE)
def classifier_bars(table: pd.DataFrame, title: str) -> Picture:
    """Inner and nested AUC of every classifier."""
    figure, axes = canvas(5.6, 1.3 + 0.36 * len(table))
    place = np.arange(len(table))
    for offset, column, shade in ((-0.18, "inner_auc", COLOURS[5]), (0.18, "nested_auc", MODEL)):
        axes.barh(place + offset, table[column], height=0.34, color=shade, label=spoken(column).replace("auc", "AUC"))
    names = [
        f"{name.replace('_', ' ')}{' ✓' if chosen else ''}"
        for name, chosen in zip(table["classifier"], table["chosen"], strict=True)
    ]
    axes.set_yticks(place, names)
    axes.axvline(0.5, color="#999999", lw=1, ls=(0, (4, 4)))
    axes.set(xlabel="AUC (✓ = chosen by inner folds)", xlim=(0.3, 1.0), title=title)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=2)
    best = table.loc[table["chosen"], "classifier"].tolist()
    return picture(figure, title, f"{title}: chosen {', '.join(best)}.")
