"""Nested cross-validation: outer folds judge what inner folds chose, in parallel, every fold from its own seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from mammo_aln.evaluation.statistics.cross_validated import CrossValidated, cross_validated
from mammo_aln.machine.cores import usable_cores
from mammo_aln.progress import Progress
from mammo_aln.radiomics.signatures.learn import Floats, Learnt, Recipe, dealt
from mammo_aln.settings import FitConfig

PROCEDURE = "procedure"
NOTHING_JUDGED = CrossValidated((), np.empty(0), np.empty((0, 0)))


@dataclass(frozen=True)
class Rows:
    """Training rows of one signature: features, outcomes, patients."""

    table: pd.DataFrame
    labels: Floats
    groups: np.ndarray


@dataclass(frozen=True)
class Nested:
    """Judgement of one signature by outer folds.

    Args:
        logit: mean over repeats of each row's out-of-fold log-odds, shape (n,).
        score: the same of its calibrated score.
        threshold: median of the folds' thresholds.
        chosen: number of folds that chose each classifier.
        auc: classifier -> out-of-fold AUC, mean over repeats; `procedure` is the whole, choice included.
        judged: the same AUCs with their covariance; of no classifier where nothing was judged.
    """

    logit: Floats
    score: Floats
    threshold: float
    chosen: dict[str, int]
    auc: dict[str, float]
    judged: CrossValidated = NOTHING_JUDGED


@dataclass(frozen=True)
class HeldOut:
    """One outer fold's held-out rows as its signature scores them.

    Args:
        rows: their positions.
        logit: log-odds.
        score: calibrated probability.
        threshold: frozen by the inner folds.
        chosen: the classifier.
        rivals: log-odds by classifier.
    """

    rows: np.ndarray
    logit: Floats
    score: Floats
    threshold: float
    chosen: str
    rivals: Mapping[str, Floats]


def seed_of(seed: int, *path: int) -> int:
    """An independent seed for each step of the procedure."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0] % (2**31))


def _judge_fold(
    recipe: Recipe, rows: Rows, inside: np.ndarray, out: np.ndarray, settings: FitConfig, seed: int
) -> HeldOut:
    learnt = recipe.learn(rows.table.iloc[inside], rows.labels[inside], rows.groups[inside], settings, seed)
    table = rows.table.iloc[out]
    rivals = {name: predict(table) for name, predict in learnt.rivals.items()}
    threshold = learnt.frozen.threshold["value"]
    return HeldOut(out, learnt.predict(table), learnt.score(table), threshold, learnt.chosen, rivals)


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
        recipes: signature -> its recipe.
        rows: signature -> its training rows.
        settings: of the fit.
        repeats: repetitions of the outer folds.
        seed: everything is drawn from it.
        workers: processes; by default one per core.
    """
    tasks, owners = [], []
    for name, recipe in recipes.items():
        tasks.append(delayed(_learn_all)(recipe, rows[name], settings, seed_of(seed, 0)))
        owners.append((name, -1))
        for repeat in range(repeats):
            outer = dealt(rows[name].labels, rows[name].groups, settings.folds, seed_of(seed, 1, repeat))
            for fold, (inside, out) in enumerate(outer):
                inner_seed = seed_of(seed, 2, repeat, fold)
                tasks.append(delayed(_judge_fold)(recipe, rows[name], inside, out, settings, inner_seed))
                owners.append((name, repeat))
    progress = Progress(total=len(tasks), what="nested cross-validation", unit="fold")
    run = Parallel(n_jobs=workers or usable_cores(), return_as="generator")
    done = []
    with threadpool_limits(1):  # as in the processes that joblib starts; small matrices gain nothing from more
        for result in run(tasks):
            done.append(result)
            progress.advance()
    progress.end()
    learnt: dict[str, Learnt] = {}
    held_out: dict[str, list[tuple[int, HeldOut]]] = {name: [] for name in recipes}
    for (name, repeat), result in zip(owners, done, strict=True):
        if isinstance(result, Learnt):
            learnt[name] = result
        else:
            held_out[name].append((repeat, result))
    return learnt, {name: _pooled(folds, rows[name], repeats) for name, folds in held_out.items()}


def _pooled(folds: list[tuple[int, HeldOut]], learnt_from: Rows, repeats: int) -> Nested:
    labels = learnt_from.labels
    logit, score = np.zeros((repeats, labels.size)), np.zeros((repeats, labels.size))
    chosen: dict[str, int] = {}
    for repeat, fold in folds:
        out = fold.rows
        logit[repeat, out], score[repeat, out] = fold.logit, fold.score
        chosen[fold.chosen] = chosen.get(fold.chosen, 0) + 1
    scored = [(fold.rows, {**fold.rivals, PROCEDURE: fold.logit}) for _, fold in folds]
    judged = cross_validated(scored, labels, learnt_from.groups)
    mean_auc = dict(zip(judged.names, map(float, judged.auc), strict=True))
    threshold = float(np.median([fold.threshold for _, fold in folds]))
    return Nested(logit.mean(axis=0), score.mean(axis=0), threshold, chosen, mean_auc, judged)
