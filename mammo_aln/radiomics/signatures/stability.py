"""Stability of a selection: frequencies over resampled patients, and the index of Nogueira et al."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from mammo_aln.machine.cores import usable_cores

SAMPLES_AT_ONCE = 10


@dataclass(frozen=True)
class Stability:
    """Nogueira's index with its 95 % limits: 1 = always the same features, 0 = as by chance; NaN where none varies."""

    value: float
    low: float
    high: float
    variance: float


def nogueira(chosen: ArrayLike) -> Stability:
    """Stability of feature sets of any sizes (Nogueira, Sechidis and Brown 2018, JMLR 18(174)).

    `1 - mean_f(s_f^2) / (k/d (1 - k/d))`, where s_f^2 = M/(M-1) p_f (1 - p_f) is the variance of feature f's selection
    over the M sets, k the mean number of features, d the number there are.

    Args:
        chosen: shape (M, d), true where set i holds feature f.
    """
    z = np.asarray(chosen, dtype=float)
    m, d = z.shape
    share, size = z.mean(axis=0), z.sum(axis=1)
    mean = float(size.mean())
    chance = mean / d * (1 - mean / d)
    if m < 2 or chance <= 0:
        return Stability(math.nan, math.nan, math.nan, math.nan)
    value = 1.0 - m / (m - 1) * float(np.mean(share * (1 - share))) / chance
    influence = z @ share / d - size * mean / d**2 + value / 2 * (2 * size * mean / d**2 - size / d - mean / d + 1)
    influence = influence / chance  # of each set
    variance = 4.0 / m**2 * float(np.sum((influence - influence.mean()) ** 2))
    half = float(stats.norm.ppf(0.975)) * math.sqrt(variance)
    return Stability(value, value - half, min(1.0, value + half), variance)


def resampled_selections(
    pipeline: Pipeline,
    table: pd.DataFrame,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    resamples: int,
    seed: int,
    workers: int | None = None,
) -> pd.DataFrame:
    """Repeat the selection on bootstrap samples of patients: a (resamples, columns) table of 1 (kept) and 0.

    The steps that look at the outcome are repeated (rank test, redundancy, LASSO); those before them are kept as fitted
    on all rows, and the LASSO keeps the share of its largest penalty that cross-validation chose there.

    Args:
        pipeline: fitted selection whose last step is the LASSO.
        table: training features.
        labels: outcomes.
        groups: patient of each row; whole patients are drawn.
        resamples: number of samples.
        seed: draws them.
        workers: processes; by default one per core.
    """
    rng = np.random.default_rng(seed)
    names, member = np.unique(groups, return_inverse=True)
    first = list(pipeline.named_steps).index("rank_test")
    ready = pipeline[:first].transform(table)
    fixed = clone(pipeline[first:])
    fixed.set_params(lasso__penalty_share=pipeline.named_steps["lasso"].penalty_share_)
    column_of = {name: number for number, name in enumerate(table.columns)}
    rows_of = [np.flatnonzero(member == number) for number in range(names.size)]
    samples = []
    for _ in range(resamples):
        rows = np.concatenate([rows_of[number] for number in rng.integers(0, names.size, names.size)])
        while not 1 < labels[rows].sum() < rows.size - 1:
            rows = np.concatenate([rows_of[number] for number in rng.integers(0, names.size, names.size)])
        samples.append(rows)
    kept = np.zeros((resamples, table.shape[1]), dtype=np.int8)
    run = Parallel(n_jobs=workers or usable_cores(), return_as="generator", batch_size=SAMPLES_AT_ONCE)
    with threadpool_limits(1):  # as in the processes that joblib starts
        for sample, names_kept in enumerate(run(delayed(_kept)(fixed, ready, labels, rows) for rows in samples)):
            kept[sample, [column_of[name] for name in names_kept]] = 1
    return pd.DataFrame(kept, columns=table.columns)


def _kept(selection: Pipeline, table: pd.DataFrame, labels: np.ndarray, rows: np.ndarray) -> list[str]:
    kept: list[str] = clone(selection).fit(table.iloc[rows], labels[rows]).named_steps["lasso"].kept_
    return kept
