"""Nested cross-validation: outer folds judge what inner folds chose, in parallel, every fold from its own seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from mammo_aln.evaluation.statistics.discrimination import auc
from mammo_aln.machine.cores import usable_cores
from mammo_aln.progress import Progress
from mammo_aln.radiomics.signatures.learn import Floats, Learnt, Recipe, dealt
from mammo_aln.settings import FitConfig


@dataclass(frozen=True)
class Rows:
    """Training rows of one signature: features, outcomes, patients."""

    table: pd.DataFrame
    labels: Floats
    groups: np.ndarray


@dataclass(frozen=True)
class Nested:
    """What outer folds say of one signature.

    Args:
        logit: mean over repeats of each row's out-of-fold log-odds, shape (n,).
        score: the same of its calibrated score.
        threshold: median of the folds' thresholds.
        chosen: how often each classifier was chosen.
        auc: classifier -> out-of-fold AUC, mean over repeats; `procedure` is the whole, choice included.
    """

    logit: Floats
    score: Floats
    threshold: float
    chosen: dict[str, int]
    auc: dict[str, float]


def seed_of(seed: int, *path: int) -> int:
    """An independent seed per place in the procedure."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0] % (2**31))


def _judge_fold(
    recipe: Recipe, rows: Rows, inside: np.ndarray, out: np.ndarray, settings: FitConfig, seed: int
) -> dict[str, Any]:
    learnt = recipe.learn(rows.table.iloc[inside], rows.labels[inside], rows.groups[inside], settings, seed)
    table = rows.table.iloc[out]
    return {
        "logit": learnt.predict(table),
        "score": learnt.score(table),
        "threshold": learnt.threshold["value"],
        "chosen": learnt.chosen,
        "rivals": {name: predict(table) for name, predict in learnt.rivals.items()},
    }


def _learn_all(recipe: Recipe, rows: Rows, settings: FitConfig, seed: int) -> Learnt:
    return recipe.learn(rows.table, rows.labels, rows.groups, settings, seed)


def learn_and_judge(
    recipes: Mapping[str, Recipe],
    rows: Mapping[str, Rows],
    settings: FitConfig,
    *,
    repeats: int,
    seed: int,
    workers: int | None = None,
) -> tuple[dict[str, Learnt], dict[str, Nested]]:
    """Fit every signature on all its rows, and judge each by nested cross-validation on the same rows.

    Signatures of the same patients share their outer folds.

    Args:
        recipes: signature -> how it is made.
        rows: signature -> its training rows.
        settings: of the fit.
        repeats: repetitions of the outer folds.
        seed: everything is drawn from it.
        workers: processes; by default one per core.
    """
    tasks, places = [], []
    for name, recipe in recipes.items():
        tasks.append(delayed(_learn_all)(recipe, rows[name], settings, seed_of(seed, 0)))
        places.append((name, -1, np.empty(0, int)))
        for repeat in range(repeats):
            outer = dealt(rows[name].labels, rows[name].groups, settings.folds, seed_of(seed, 1, repeat))
            for fold, (inside, out) in enumerate(outer):
                inner_seed = seed_of(seed, 2, repeat, fold)
                tasks.append(delayed(_judge_fold)(recipe, rows[name], inside, out, settings, inner_seed))
                places.append((name, repeat, out))
    progress = Progress(total=len(tasks), what="nested cross-validation", unit="fold")
    run = Parallel(n_jobs=workers or usable_cores(), return_as="generator")
    done = []
    with threadpool_limits(1):  # as in the processes that joblib starts; small matrices gain nothing from more
        for result in run(tasks):
            done.append(result)
            progress.advance()
    progress.end()
    learnt = {name: found for (name, repeat, _), found in zip(places, done, strict=True) if repeat < 0}
    parts: dict[str, list[tuple[int, np.ndarray, dict[str, Any]]]] = {name: [] for name in recipes}
    for (name, repeat, out), found in zip(places, done, strict=True):
        if repeat >= 0:
            parts[name].append((repeat, out, found))
    return learnt, {name: _pooled(found, rows[name].labels, repeats) for name, found in parts.items()}


def _pooled(parts: list[tuple[int, np.ndarray, dict[str, Any]]], labels: Floats, repeats: int) -> Nested:
    logit, score = np.zeros((repeats, labels.size)), np.zeros((repeats, labels.size))
    by_fold: dict[str, list[tuple[float, int]]] = {}
    chosen: dict[str, int] = {}
    for repeat, out, found in parts:
        logit[repeat, out], score[repeat, out] = found["logit"], found["score"]
        chosen[found["chosen"]] = chosen.get(found["chosen"], 0) + 1
        if 0 < labels[out].sum() < out.size:
            for name, values in {**found["rivals"], "procedure": found["logit"]}.items():
                by_fold.setdefault(name, []).append((auc(values, labels[out]), out.size))
    areas = {
        name: float(np.average([area for area, _ in found], weights=[size for _, size in found]))
        for name, found in by_fold.items()
    }
    threshold = float(np.median([found["threshold"] for *_, found in parts]))
    return Nested(logit.mean(axis=0), score.mean(axis=0), threshold, chosen, areas)
