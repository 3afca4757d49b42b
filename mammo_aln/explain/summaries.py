"""From patients to a split: means with bootstrap intervals; rows of one patient (two sides) are drawn together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mammo_aln.crops.requests import PRIMARY
from mammo_aln.evaluation.statistics.operating import wilson
from mammo_aln.evaluation.statistics.resampling import percentile_interval
from mammo_aln.explain.contributions import Shares
from mammo_aln.explain.games import Floats
from mammo_aln.explain.robustness import MOVES

RESAMPLES = 2000
BLOCK = 100


def resampled_means(values: Floats, patients: Sequence[Any], *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Column means of bootstrap samples of patients.

    Args:
        values: (rows, columns).
        patients: who each row is of.
        resamples: number of samples.
        seed: draws them.

    Returns:
        (resamples, columns).
    """
    member = np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1]
    count = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    for first in range(0, resamples, BLOCK):
        block = means[first : first + BLOCK]
        drawn = np.stack([np.bincount(rng.integers(0, count, count), minlength=count) for _ in block])
        weights = drawn[:, member].astype(np.float64)
        block[:] = weights @ values / weights.sum(axis=1, keepdims=True)
    return means


def with_interval(value: float, samples: Floats) -> dict[str, Any]:
    """A figure with the percentile interval of its bootstrap samples."""
    low, high = percentile_interval(samples)
    return {"value": float(value), "ci_low": low, "ci_high": high, "method": "percentile bootstrap over patients"}


def summarise_shares(shares: Shares, patients: Sequence[str], *, seed: int = 0) -> list[dict[str, Any]]:
    """Summarise each input, or clinical feature, over the patients of a split.

    Returns:
        per input: `input`, `n_present`, `mean_absolute` (mean of |phi| of the logit), `share` (of the sum of these
        means over the inputs; null where no input moves anything), `mean` (mean of phi).
    """
    size, count = np.abs(shares.logit).T, len(shares.names)
    means = resampled_means(np.concatenate([size, shares.logit.T], axis=1), patients, seed=seed)
    total, totals = size.mean(axis=0).sum(), means[:, :count].sum(axis=1)
    moved = total > 0 and (totals > 0).all()
    return [
        {
            "input": name,
            "n_present": int(shares.present[:, nth].sum()),
            "mean_absolute": with_interval(size[:, nth].mean(), means[:, nth]),
            "share": with_interval(size[:, nth].mean() / total, means[:, nth] / totals)
            if moved
            else {"value": None, "reason": "no input moves the score"},
            "mean": with_interval(shares.logit[nth].mean(), means[:, count + nth]),
        }
        for nth, name in enumerate(shares.names)
    ]


def jitter_table(moved: pd.DataFrame, scores: Floats, threshold: float) -> pd.DataFrame:
    """One row per patient and drawn box from the long rows of `jitter_split`.

    Args:
        moved: rows with `index`, `box`, `move`, `score`, `reason`.
        scores: score as drawn, by `index`.
        threshold: frozen threshold; a patient is called positive from it on.

    Returns:
        `index`, `box`, `score`, one `score_MOVE` per move, `sd` (of the scores over all moves and as drawn), `max`
        (largest |change|), `flips` (some move crosses the threshold), `left_out` (why moves could not be made).
    """
    boxes = moved[moved["box"] != ""]
    names = [move.name for move in MOVES]
    wide = boxes.pivot(index=["index", "box"], columns="move", values="score").reindex(columns=names)
    reasons = boxes[boxes["reason"] != ""].groupby(["index", "box"])["reason"].agg(lambda r: "; ".join(sorted(set(r))))
    drawn = scores[wide.index.get_level_values("index").to_numpy(int)]
    after = wide.to_numpy(float)
    every = np.concatenate([drawn[:, None], after], axis=1)
    change = np.abs(after - drawn[:, None])
    possible = ~np.isnan(after)
    called = (after >= threshold) != (drawn >= threshold)[:, None]
    table = wide.rename(columns={name: f"score_{name}" for name in names}).reset_index()
    table.insert(2, "score", drawn)
    table["sd"] = np.nanstd(every, axis=1)
    table["max"] = np.where(possible, change, 0.0).max(axis=1)
    table["flips"] = (called & possible).any(axis=1)
    table["left_out"] = reasons.reindex(wide.index).fillna("").to_numpy() if len(boxes) else ""
    table.columns.name = None
    return table


def summarise_jitter(table: pd.DataFrame, patients: Sequence[Any], *, seed: int = 0) -> list[dict[str, Any]]:
    """A split's rows of `jitter_table`, per drawn box.

    Args:
        table: rows of one split.
        patients: who each row is of.
        seed: of the bootstrap.

    Returns:
        per box, the primary one first: `box`, `n`, means over patients `sd`, `max`, `flips` (share of patients, with
        Wilson's interval), `moves` (move -> mean |change|), `left_out` (reason -> patients).
    """
    summaries = []
    for box in sorted(set(table["box"]), key=lambda name: (name != PRIMARY, name)):
        of_box = (table["box"] == box).to_numpy()
        rows, who = table[of_box], np.asarray(patients, dtype=str)[of_box]
        figures = rows[["sd", "max"]].to_numpy(float)
        means = resampled_means(figures, who, seed=seed)
        flips = int(rows["flips"].sum())
        low, high = wilson(flips, len(rows))
        moves = {}
        for move in MOVES:
            change = np.abs(rows[f"score_{move.name}"] - rows["score"]).to_numpy(float)
            possible = ~np.isnan(change)
            if possible.any():
                samples = resampled_means(change[possible, None], who[possible], seed=seed)[:, 0]
                moves[move.name] = with_interval(change[possible].mean(), samples)
        summaries.append(
            {
                "box": box,
                "n": len(rows),
                "sd": with_interval(figures[:, 0].mean(), means[:, 0]),
                "max": with_interval(figures[:, 1].mean(), means[:, 1]),
                "flips": {"value": flips / len(rows), "ci_low": low, "ci_high": high, "method": "Wilson"},
                "moves": moves,
                "left_out": rows.loc[rows["left_out"] != "", "left_out"].value_counts().to_dict(),
            }
        )
    return summaries
