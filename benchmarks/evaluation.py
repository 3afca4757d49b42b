"""Speed of the evaluation: bootstrap, DeLong, and a whole report."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.page import Section, table
from benchmarks.rounds import clocked, in_turn
from mammo_aln.evaluation.evaluate import evaluate_files
from mammo_aln.evaluation.statistics.discrimination import auc_variance
from mammo_aln.evaluation.statistics.resampling import bootstrap_auc, bootstrap_auc_joint

RESAMPLES = 2000
RESAMPLING = 4
"""Rows, from the first one, that are compared with the bare drawing."""


def evaluation(rounds: int = 3, calls: int = 5) -> Section:
    """Bootstrap against the bare drawing of indices, DeLong on 100,000 patients, a whole report.

    Args:
        rounds: rounds in which the works take turns.
        calls: calls of each work a round; the report is made once.
    """
    rng = np.random.default_rng(0)
    scores, labels = drawn(1000)
    tied, large = drawn(1000, 1), drawn(100_000, 2)
    pair = np.stack([scores, scores + rng.normal(size=1000)])
    works = {
        "2,000 draws of 1,000 random indices, one process": lambda: rng.integers(0, 1000, size=(RESAMPLES, 1000)),
        "2,000 stratified bootstrap AUCs, n = 1,000 (at most 4)": partial(
            bootstrap_auc, scores, labels, resamples=RESAMPLES
        ),
        "the same with ties": partial(bootstrap_auc, *tied, resamples=RESAMPLES),
        "2,000 paired resamples of two scores": partial(bootstrap_auc_joint, pair, labels, resamples=RESAMPLES),
        "DeLong variance, n = 100,000 with ties (under 200 ms)": partial(auc_variance, *large),
    }
    times = in_turn(rounds, *(partial(clocked, work, calls) for work in works.values()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.csv"
        predictions(1000).to_csv(path, index=False)
        report = partial(evaluate_files, [path], Path(folder) / "out")
        times += in_turn(rounds, partial(clocked, report))
    rows = []
    for name, seconds in zip([*works, "whole report, 1,000 patients in 4 splits and 4 centres"], times, strict=True):
        ratio = f"{seconds.median / times[0].median:.2f}" if len(rows) < RESAMPLING else ""
        rows.append([name, seconds.words(1e-3), ratio])
    about = f"median (range) of {rounds} rounds, one thread"
    return Section("Judging", about, table(["work", "ms", "times the index drawing"], rows))


def drawn(n: int, decimals: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random(n) < 0.45).astype(float)
    return np.round(rng.normal(size=n) + 1.1 * labels, decimals), labels


def predictions(n: int) -> pd.DataFrame:
    scores, labels = drawn(n)
    split = np.array(["train", "val", "internal_test", "external_test"])[np.arange(n) % 4]
    patients = pd.DataFrame({"patient_id": [f"p{i}" for i in range(n)], "center": split, "split": split})
    return patients.assign(aln_status=labels.astype(int), score=1 / (1 + np.exp(-scores)))
