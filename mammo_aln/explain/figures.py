"""Figures of the page: shares of the inputs, what each input moved, and scores under moved boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mammo_aln.evaluation.report.plots import (
    COLOURS,
    NEGATIVE,
    POSITIVE,
    STYLE,
    Picture,
    canvas,
    figure_text,
    picture,
    spoken,
)
from mammo_aln.explain.contributions import Shares
from mammo_aln.explain.robustness import MOVES

LEAST_CHANGE = 0.001
"""The axis of changes of the score reaches at least so far: less is not worth magnifying."""


def change_text(figure: Mapping[str, Any], digits: int = 3) -> str:
    """`0.004 (0.002 to 0.006)`, or words where nothing changes or less than the last digit does."""
    if figure["value"] is None:
        return figure_text(figure, digits)
    largest = max(abs(figure[name]) for name in ("value", "ci_low", "ci_high"))
    if largest == 0:
        return "none"
    return f"below {10.0**-digits:g}" if largest < 0.5 * 10.0**-digits else figure_text(figure, digits)


def _whiskers(figures: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Lengths of interval bars below and above each value, (2, figures)."""
    return np.abs(np.array([[f["value"] - f["ci_low"], f["ci_high"] - f["value"]] for f in figures], float).T)


def _bars(
    splits: Mapping[str, Mapping[int, Mapping[str, Any]]], labels: Sequence[str], title: str, axis: str, row_inch: float
) -> tuple[Figure, Axes]:
    """Horizontal bars with intervals: per split, figures by the number of their label."""
    figure, axes = canvas(5.4, 1.5 + row_inch * len(labels) * max(1, len(splits)))
    height = 0.8 / max(1, len(splits))
    for nth, (split, figures) in enumerate(splits.items()):
        if figures:
            axes.barh(
                [row + (nth - (len(splits) - 1) / 2) * height for row in figures],
                [each["value"] for each in figures.values()],
                0.9 * height,
                xerr=_whiskers(list(figures.values())),
                color=COLOURS[nth % len(COLOURS)],
                error_kw={"capsize": 3, "lw": 1.2},
                label=spoken(split),
            )
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(axis)
    axes.grid(axis="y", visible=False)
    axes.set_title(title)
    if len(splits) > 1:
        figure.legend(loc="outside lower center", ncols=2)
    return figure, axes


@mpl.rc_context(STYLE)
def share_figure(splits: Mapping[str, Sequence[Mapping[str, Any]]], kind: str = "input") -> Picture:
    """Share of each input (or clinical feature, `kind`) per split, with its interval."""
    names = [entry["input"].replace("_", " ") for entry in next(iter(splits.values()))]
    shares = {
        split: {row: entry["share"] for row, entry in enumerate(entries) if entry["share"]["value"] is not None}
        for split, entries in splits.items()
    }
    axis = f"share of the {kind}s' mean |Shapley value| of the logit\n(95 % interval)"
    figure, axes = _bars(shares, names, f"Share of each {kind}", axis, 0.42)
    axes.set_xlim(0, 1)
    sentences = []
    for split, by_row in shares.items():
        listed = "; ".join(f"{names[row]} {figure_text(share)}" for row, share in by_row.items())
        sentences.append(f"{spoken(split)}: {listed or f'no {kind} moves the score'}")
    return picture(
        figure, f"Share of each {kind}", f"Share of each {kind} in moving the score. {'. '.join(sentences)}."
    )


@mpl.rc_context(STYLE)
def swarm_figure(shares: Shares, kind: str = "input") -> Picture:
    """Shapley value of each input (or clinical feature, `kind`) for each patient: one dot a patient."""
    figure, axes = canvas(5.4, 1.6 + 0.75 * len(shares.names))
    rng = np.random.default_rng(0)
    names = [name.replace("_", " ") for name in shares.names]
    sentences = []
    for row, name in enumerate(names):
        values = shares.logit[row][shares.present[:, row]]
        colours = np.where(values > 0, POSITIVE, NEGATIVE)
        axes.scatter(values, row + rng.uniform(-0.3, 0.3, len(values)), s=14, c=colours, alpha=0.7, lw=0)
        if len(values):
            low, high = np.quantile(values, [0.05, 0.95])
            sentences.append(f"{name} from {low:.2f} to {high:.2f} in nine of ten patients")
    axes.axvline(0, color="#444444", lw=1)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("Shapley value of the logit\nblue: away from the outcome; orange: towards it")
    axes.grid(axis="y", visible=False)
    axes.set_title(f"What each {kind} did, patient by patient")
    alt = f"One dot per patient that has the {kind}: how far it moved the logit. {'; '.join(sentences)}."
    return picture(figure, f"What each {kind} did", alt)


@mpl.rc_context(STYLE)
def jitter_figure(table: pd.DataFrame, box: str, threshold: float) -> Picture:
    """Scores of every patient as drawn and under all moves of one box, patients in the order of their score."""
    rows = table[table["box"] == box].sort_values("score", kind="stable").reset_index(drop=True)
    figure, axes = canvas(5.6, 4.2)
    every = rows[["score", *(f"score_{move.name}" for move in MOVES)]].to_numpy(float)
    flips = rows["flips"].to_numpy(bool)
    low, high, x = np.nanmin(every, axis=1), np.nanmax(every, axis=1), np.arange(1, len(rows) + 1)
    for which, colour, label in ((~flips, NEGATIVE, "decision kept"), (flips, POSITIVE, "decision flips")):
        if which.any():
            label = f"{label} ({int(which.sum())})"
            axes.vlines(x[which], low[which], high[which], color=colour, lw=2, alpha=0.6, label=label)
            axes.plot(x[which], rows["score"][which], ".", color=colour, ms=5)
    if np.isfinite(threshold):
        axes.axhline(threshold, color="#444444", lw=1.2, ls=(0, (4, 3)), label=f"threshold {threshold:.2f}")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_ylim(0, 1)
    axes.set_xlabel("patients, in the order of their score")
    axes.set_ylabel("score (probability of the outcome)")
    spoken_box = box.replace("_", " ")
    axes.set_title(f"Score when the box “{spoken_box}” is moved")
    figure.legend(loc="outside lower center", ncols=3)
    mean = rows["max"].mean()
    largest = change_text({"value": mean, "ci_low": mean, "ci_high": mean}) if mean < LEAST_CHANGE else f"{mean:.3f}"
    alt = (
        f"Dots: score with the box {spoken_box} as drawn; bars: its range over 2 mm shifts and 10 % size changes. "
        f"{len(rows)} patients; mean of the largest change {largest}; "
        f"the decision at the frozen threshold flips in {int(flips.sum())}."
    )
    return picture(figure, f"Box jitter, {spoken_box}", alt)


@mpl.rc_context(STYLE)
def moves_figure(splits: Mapping[str, Sequence[Mapping[str, Any]]], box: str) -> Picture:
    """Mean change of the score per move of one box, per split."""
    changes = {}
    for split, entries in splits.items():
        moves: Mapping[str, Any] = next((entry["moves"] for entry in entries if entry["box"] == box), {})
        changes[split] = {row: moves[move.name] for row, move in enumerate(MOVES) if move.name in moves}
    title = f"Change per move of “{box.replace('_', ' ')}”"
    axis = "mean |change of the score| (95 % interval)"
    figure, axes = _bars(changes, [move.words for move in MOVES], title, axis, 0.36)
    axes.set_xlim(0, max(axes.get_xlim()[1], LEAST_CHANGE))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    sentences = [
        f"{spoken(split)}: " + "; ".join(f"{MOVES[row].words} {change_text(change)}" for row, change in by_move.items())
        for split, by_move in changes.items()
        if by_move
    ]
    alt = f"Mean absolute change of the score per move. {'. '.join(sentences)}."
    return picture(figure, f"Change per move, {box}", alt)
