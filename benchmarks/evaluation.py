"""Speed of the evaluation: bootstrap against the bare drawing of indices, DeLong on 100,000 patients, a report.

    python -m benchmarks evaluation

Writes a section of docs/benchmarks.md. Each time is the fastest of several runs, so that other work on the machine
disturbs it least.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.notes import machine, replace_section
from mammo_aln.evaluation.evaluate import evaluate_files
from mammo_aln.evaluation.statistics.discrimination import delong_variance
from mammo_aln.evaluation.statistics.resampling import bootstrap_auc, bootstrap_auc_joint

RESAMPLES = 2000


def fastest_ms(work: Callable[[], object], runs: int = 15) -> float:
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return 1000 * min(times)


def drawn(n: int, decimals: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random(n) < 0.45).astype(float)
    return np.round(rng.normal(size=n) + 1.1 * labels, decimals), labels


def predictions(n: int) -> pd.DataFrame:
    scores, labels = drawn(n)
    split = np.array(["train", "val", "internal_test", "external_test"])[np.arange(n) % 4]
    table = pd.DataFrame({"patient_id": [f"p{i}" for i in range(n)], "center": split, "split": split})
    return table.assign(aln_status=labels.astype(int), score=1 / (1 + np.exp(-scores)))


def main() -> None:
    rng = np.random.default_rng(0)
    scores, labels = drawn(1000)
    indices = fastest_ms(lambda: rng.integers(0, 1000, size=(RESAMPLES, 1000)))
    rows = [("2,000 draws of 1,000 random indices, one process", indices, 1.0)]
    boot = fastest_ms(lambda: bootstrap_auc(scores, labels, resamples=RESAMPLES))
    rows.append(("2,000 stratified bootstrap AUCs, n = 1,000 (at most 4)", boot, boot / indices))
    tied = drawn(1000, 1)
    boot = fastest_ms(lambda: bootstrap_auc(*tied, resamples=RESAMPLES))
    rows.append(("the same with ties", boot, boot / indices))
    pair = np.stack([scores, scores + rng.normal(size=1000)])
    boot = fastest_ms(lambda: bootstrap_auc_joint(pair, labels, resamples=RESAMPLES), 3)
    rows.append(("2,000 paired resamples of two scores", boot, boot / indices))
    large = drawn(100_000, 2)
    rows.append(
        ("DeLong variance, n = 100,000 with ties (under 200 ms)", fastest_ms(lambda: delong_variance(*large)), None)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.csv"
        predictions(1000).to_csv(path, index=False)
        whole = fastest_ms(lambda: evaluate_files([path], Path(folder) / "out"), 2)
        rows.append(("whole report, 1,000 patients in 4 splits and 4 centres", whole, None))
    lines = [f"`python -m benchmarks evaluation`: the fastest of several calls. {machine()}.", ""]
    lines += ["| work | ms | times the index drawing |", "|---|---|---|"]
    lines += [f"| {name} | {ms:.1f} | {'' if ratio is None else f'{ratio:.2f}'} |" for name, ms, ratio in rows]
    text = "\n".join(lines)
    print(text)
    replace_section(Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md", "Judging", text)


if __name__ == "__main__":
    main()
