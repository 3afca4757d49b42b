"""Feature selection outside the folds on pure noise."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline

from benchmarks.page import Section, table
from mammo_aln.evaluation.statistics.discrimination import auc, auc_variance, wald_interval
from mammo_aln.progress import track
from mammo_aln.radiomics.signatures.classifiers import CLASSIFIERS, log_odds
from mammo_aln.radiomics.signatures.learn import Selected
from mammo_aln.radiomics.signatures.nested import Rows, learn_and_judge
from mammo_aln.radiomics.signatures.selection import selection_steps
from mammo_aln.settings import FitConfig

N, P = 144, 2000


def leaking(noise: pd.DataFrame, labels: np.ndarray, settings: FitConfig, seed: int) -> np.ndarray:
    chosen = Pipeline(selection_steps(settings, seed=seed)).fit_transform(noise, labels).to_numpy()
    held_out = np.empty(labels.size)
    for inside, out in StratifiedKFold(settings.folds, shuffle=True, random_state=seed).split(chosen, labels):
        held_out[out] = log_odds(CLASSIFIERS["logistic"](seed).fit(chosen[inside], labels[inside]), chosen[out])
    return held_out


def leak(tables: int = 5) -> Section:
    """Selection repeated in every fold against selection once on all patients, on noise: AUC of both.

    Each table holds 144 patients and 2,000 features of pure noise, outcomes drawn by a coin. The leaking AUC selects on
    all patients and cross-validates the classifier alone, as many published signatures did.

    Args:
        tables: noise tables.
    """
    settings = FitConfig(classifier="logistic")
    judged = []
    for seed in track(range(tables), total=tables, what="noise tables", unit="table"):
        rng = np.random.default_rng(seed)
        columns = [f"radiomics_{number}" for number in range(P)]
        noise = pd.DataFrame(rng.normal(size=(N, P)), columns=columns)
        labels = rng.permutation(np.repeat([0.0, 1.0], N // 2))
        rows = {"radiomics": Rows(noise, labels, np.arange(N))}
        recipe = {"radiomics": Selected(tuple(columns))}
        _, nested = learn_and_judge(recipe, rows, settings, repeats=1, seed=seed, workers=1)
        judged.append(
            [_judged(nested["radiomics"].score, labels), _judged(leaking(noise, labels, settings, seed), labels)]
        )
    shown = []
    for ways, name in zip(
        np.array(judged).swapaxes(0, 1),
        ("repeated in every fold (what `radiomics fit` does)", "once, on all patients"),
        strict=True,
    ):
        value, low, high = ways[0]
        holds = int(((ways[:, 1] <= 0.5) & (ways[:, 2] >= 0.5)).sum())
        shown.append(
            [name, f"{value:.3f} ({low:.3f} to {high:.3f})", f"{ways[:, 0].mean():.3f}", f"{holds} of {tables}"]
        )
    header = ["selection", "first table: AUC (95 % interval)", "mean AUC", "tables whose interval holds 0.5"]
    about = f"{N} patients, {P:,} columns of random numbers, outcomes by a coin; {tables} tables"
    return Section("Selection outside the folds", about, table(header, shown))


def _judged(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    value = auc(scores, labels)
    return value, *wald_interval(value, auc_variance(scores, labels))
