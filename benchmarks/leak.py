"""What selection outside the folds does to noise: nested AUC against a leaking one, into docs/explanation/radiomics.md.

    python -m benchmarks leak [TABLES]     # by default 5 tables

Each table is pure noise: 144 patients, 2,000 features, outcomes drawn by a coin. The honest AUC repeats the selection
in every fold; the leaking one selects once on all patients and cross-validates the classifier alone, which many
published signatures did.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline

from mammo_aln.evaluation.statistics.discrimination import auc, delong_variance, wald_interval
from mammo_aln.progress import track
from mammo_aln.radiomics.signatures.classifiers import CLASSIFIERS, log_odds
from mammo_aln.radiomics.signatures.learn import Selected
from mammo_aln.radiomics.signatures.nested import Rows, learn_and_judge
from mammo_aln.radiomics.signatures.selection import selection_steps
from mammo_aln.settings import FitConfig

ROOT = Path(__file__).resolve().parents[1]
N, P = 144, 2000
BEGIN, END = "<!-- bench_leak begins -->", "<!-- bench_leak ends -->"


def leaking(table: pd.DataFrame, labels: np.ndarray, settings: FitConfig, seed: int) -> np.ndarray:
    chosen = Pipeline(selection_steps(settings, seed=seed)).fit_transform(table, labels).to_numpy()
    held_out = np.empty(labels.size)
    for inside, out in StratifiedKFold(settings.folds, shuffle=True, random_state=seed).split(chosen, labels):
        held_out[out] = log_odds(CLASSIFIERS["logistic"](seed).fit(chosen[inside], labels[inside]), chosen[out])
    return held_out


def main() -> None:
    tables = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    settings = FitConfig(classifier="logistic")
    rows = []
    for seed in track(range(tables), total=tables, what="noise tables", unit="table"):
        rng = np.random.default_rng(seed)
        columns = [f"radiomics_{place}" for place in range(P)]
        table = pd.DataFrame(rng.normal(size=(N, P)), columns=columns)
        labels = rng.permutation(np.repeat([0.0, 1.0], N // 2))
        part = Rows(table, labels, np.arange(N))
        recipe = {"radiomics": Selected(tuple(columns))}
        _, nested = learn_and_judge(recipe, {"radiomics": part}, settings, repeats=1, seed=seed, workers=1)
        rows.append(
            [_judged(nested["radiomics"].score, labels), _judged(leaking(table, labels, settings, seed), labels)]
        )
    found = np.array(rows)
    lines = [
        "| selection | first table: AUC (95 % interval) | mean AUC | tables whose interval holds 0.5 |",
        "|---|---|---|---|",
    ]
    for place, name in enumerate(("repeated in every fold (what `radiomics fit` does)", "once, on all patients")):
        value, low, high = found[0, place]
        holds = int(((found[:, place, 1] <= 0.5) & (found[:, place, 2] >= 0.5)).sum())
        mean = found[:, place, 0].mean()
        lines.append(f"| {name} | {value:.3f} ({low:.3f} to {high:.3f}) | {mean:.3f} | {holds} of {tables} |")
    page = ROOT / "docs" / "explanation" / "radiomics.md"
    block = "\n".join([BEGIN, *lines, END])
    text = re.sub(f"{BEGIN}.*?{END}", lambda _: block, page.read_text(encoding="utf-8"), flags=re.S)
    page.write_text(text, encoding="utf-8")
    print("\n".join(lines))


def _judged(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    value = auc(scores, labels)
    return value, *wald_interval(value, delong_variance(scores, labels))


if __name__ == "__main__":
    main()
