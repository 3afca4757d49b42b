"""Figures of the page: shares of the inputs, what each input moved, and scores under moved boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
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
from mammo_aln.explain.robustness import MOVES


def _whiskers(entries: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Lengths of interval bars below and above each value, (2, entries)."""
    return np.abs(np.array([[e["value"] - e["ci_low"], e["ci_high"] - e["value"]] for e in entries], float).T)


@mpl.rc_context(STYLE)
def share_figure(splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> Picture:
    """Share of each input per split, with its interval."""
    inputs = [entry["input"] for entry in next(iter(splits.values()))]
    figure, axes = canvas(5.4, 1.5 + 0.42 * len(inputs) * len(splits))
    height = 0.8 / len(splits)
    told = []
    for nth, (split, entries) in enumerate(splits.items()):
        known = [(place, entry["share"]) for place, entry in enumerate(entries) if entry["share"]["value"] is not None]
        if not known:
            told.append(f"{spoken(split)}: no input moves the score")
            continue
        places = [place + (nth - (len(splits) - 1) / 2) * height for place, _ in known]
        shares = [share for _, share in known]
        label = f"{spoken(split)}"
        axes.barh(
            places,
            [share["value"] for share in shares],
            0.9 * height,
            xerr=_whiskers(shares),
            color=COLOURS[nth % len(COLOURS)],
            error_kw={"capsize": 3, "lw": 1.2},
            label=label,
        )
        listed = "; ".join(f"{inputs[place].replace('_', ' ')} {figure_text(share)}" for place, share in known)
        told.append(f"{spoken(split)}: {listed}")
    axes.set_yticks(range(len(inputs)), [name.replace("_", " ") for name in inputs])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the mean |Shapley value| of the logit (95 % interval)")
    axes.grid(axis="y", visible=False)
    axes.set_title("Share of each input")
    if len(splits) > 1:
        figure.legend(loc="outside lower center", ncols=2)
    return picture(figure, "Share of each input", f"Share of each input in moving the score. {'. '.join(told)}.")


@mpl.rc_context(STYLE)
def swarm_figure(inputs: Sequence[str], shapley: NDArray[np.float64], present: NDArray[np.bool_]) -> Picture:
    """Shapley value of each input for each patient: one dot a patient."""
    figure, axes = canvas(5.4, 1.6 + 0.75 * len(inputs))
    rng = np.random.default_rng(0)
    told = []
    for place, name in enumerate(inputs):
        values = shapley[place][present[:, place]]
        up = rng.uniform(-0.3, 0.3, len(values))
        colours = np.where(values > 0, POSITIVE, NEGATIVE)
        axes.scatter(values, place + up, s=14, c=colours, alpha=0.7, lw=0)
        if len(values):
            low, high = np.quantile(values, [0.05, 0.95])
            told.append(f"{name.replace('_', ' ')} from {low:.2f} to {high:.2f} in nine of ten patients")
    axes.axvline(0, color="#444444", lw=1)
    axes.set_yticks(range(len(inputs)), [name.replace("_", " ") for name in inputs])
    axes.set_ylim(len(inputs) - 0.5, -0.5)
    axes.set_xlabel("Shapley value of the logit\nblue: towards ypN0; orange: towards residual disease")
    axes.grid(axis="y", visible=False)
    axes.set_title("What each input did, patient by patient")
    alt = f"One dot per patient that has the input: how far the input moved the logit. {'; '.join(told)}."
    return picture(figure, "What each input did", alt)


@mpl.rc_context(STYLE)
def jitter_figure(table: pd.DataFrame, box: str, threshold: float) -> Picture:
    """Scores of every patient as drawn and under all moves of one box, patients in the order of their score."""
    rows = table[table["box"] == box].sort_values("score", kind="stable").reset_index(drop=True)
    figure, axes = canvas(5.6, 4.2)
    every = rows[["score", *(f"score_{move.name}" for move in MOVES)]].to_numpy(float)
    flips = rows["flips"].to_numpy(bool)
    low, high, x = np.nanmin(every, axis=1), np.nanmax(every, axis=1), np.arange(len(rows))
    for which, colour, label in ((~flips, NEGATIVE, "decision kept"), (flips, POSITIVE, "decision flips")):
        if which.any():
            label = f"{label} ({int(which.sum())})"
            axes.vlines(x[which], low[which], high[which], color=colour, lw=2, alpha=0.6, label=label)
            axes.plot(x[which], rows["score"][which], ".", color=colour, ms=5)
    if np.isfinite(threshold):
        axes.axhline(threshold, color="#444444", lw=1.2, ls=(0, (4, 3)), label=f"threshold {threshold:.2f}")
    axes.set_ylim(0, 1)
    axes.set_xlabel("patients, in the order of their score")
    axes.set_ylabel("score (probability of residual disease)")
    spoken_box = box.replace("_", " ")
    axes.set_title(f"Score when the box “{spoken_box}” is moved")
    figure.legend(loc="outside lower center", ncols=3)
    alt = (
        f"Dots: score with the box {spoken_box} as drawn; bars: its range over 2 mm shifts and 10 % size changes. "
        f"{len(rows)} patients; mean of the largest change {rows['max'].mean():.3f}; "
        f"the decision at the frozen threshold flips in {int(flips.sum())}."
    )
    return picture(figure, f"Box jitter, {spoken_box}", alt)


@mpl.rc_context(STYLE)
def moves_figure(splits: Mapping[str, Sequence[Mapping[str, Any]]], box: str) -> Picture:
    """Mean change of the score per move of one box, per split."""
    figure, axes = canvas(5.4, 1.5 + 0.36 * len(MOVES) * max(1, len(splits)))
    height = 0.8 / len(splits)
    told = []
    for nth, (split, entries) in enumerate(splits.items()):
        found: Mapping[str, Any] = next((entry["moves"] for entry in entries if entry["box"] == box), {})
        known = [(place, found[move.name]) for place, move in enumerate(MOVES) if move.name in found]
        if not known:
            continue
        axes.barh(
            [place + (nth - (len(splits) - 1) / 2) * height for place, _ in known],
            [entry["value"] for _, entry in known],
            0.9 * height,
            xerr=_whiskers([entry for _, entry in known]),
            color=COLOURS[nth % len(COLOURS)],
            error_kw={"capsize": 3, "lw": 1.2},
            label=spoken(split),
        )
        told.append(f"{spoken(split)}: " + "; ".join(f"{MOVES[p].words} {figure_text(e, 3)}" for p, e in known))
    axes.set_yticks(range(len(MOVES)), [move.words for move in MOVES])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("mean |change of the score| (95 % interval)")
    axes.grid(axis="y", visible=False)
    axes.set_title(f"Change per move of “{box.replace('_', ' ')}”")
    if len(splits) > 1:
        figure.legend(loc="outside lower center", ncols=2)
    return picture(figure, f"Change per move, {box}", f"Mean absolute change of the score per move. {'. '.join(told)}.")
