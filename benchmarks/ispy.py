"""Real patients: a clinical model learnt on I-SPY 2 and tested on I-SPY 1."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pandas as pd

from benchmarks.page import ROOT, Section, table
from mammo_aln.cohort.datasets.catalogue import import_tables
from mammo_aln.evaluation.metric import Figures, Metric
from mammo_aln.evaluation.report.plots import figure_text, safer_auc
from mammo_aln.radiomics.signatures.fit import fit_signatures

ROWS = (("sensitivity", 3), ("specificity", 3), ("brier", 3), ("calibration_slope", 2), ("calibration_in_the_large", 2))


def ispy(folder: Path = ROOT.parent / "shared" / "data" / "clinical") -> Section:
    """Clinical model learnt on I-SPY 2, tested on I-SPY 1 (real tables; needs openpyxl).

    Args:
        folder: folder of the public tables.
    """
    with tempfile.TemporaryDirectory() as root:
        cohort = import_tables("ispy", folder, Path(root) / "cohort")
        out = fit_signatures(cohort, Path(root) / "out")
        metrics = json.loads((out / "evaluation" / "clinical" / "metrics.json").read_text())
        nested = json.loads((out / "clinical" / "predictions.json").read_text())["signature_facts"]["nested_auc"]
        odds = pd.read_csv(out / "clinical" / "odds_ratios.csv")
    train, test = (
        {name: Metric.from_json(stored) for name, stored in metrics["splits"][split].items()}
        for split in ("train", "external_test")
    )
    gap = next(entry for entry in metrics["auc_gap"] if entry["to"] == "external_test")
    rows = [
        ["patients (residual disease)", counts(train), counts(test)],
        ["AUC", figure_text(safer_auc(train), 3), figure_text(safer_auc(test), 3)],
        ["AUC, nested cross-validation", f"{nested:.3f}", ""],
        *(
            [name.replace("_", " "), figure_text(train[name], digits), figure_text(test[name], digits)]
            for name, digits in ROWS
        ),
    ]
    ratios = [
        [
            f"{row.variable} {row.term.removeprefix(row.variable)}",
            f"{row.odds_ratio:.2f} ({row.ci_low:.2f} to {row.ci_high:.2f})",
            f"{row.p_term:.2g}",
        ]
        for row in odds[odds["model"] == "multivariable"].itertuples()
    ]
    return Section(
        "Real tables: I-SPY 2 to I-SPY 1",
        "logistic regression of age, hormone receptors and HER2, learnt on I-SPY 2, tested on I-SPY 1; these tables "
        "have no nodal outcome: the label is residual invasive disease (no pCR) of breast and nodes together",
        [
            *table(["", "I-SPY 2 (training)", "I-SPY 1 (external)"], rows),
            "",
            f"AUC on I-SPY 2 minus that on I-SPY 1: {gap['difference']:.3f} (bootstrap interval "
            f"{gap['bootstrap_ci_low']:.3f} to {gap['bootstrap_ci_high']:.3f}, p = {gap['bootstrap_p']:.2g}).",
            "",
            *table(["multivariable, I-SPY 2", "odds ratio of residual disease", "p"], ratios),
        ],
    )


def counts(figures: Figures) -> str:
    return f"{figures['n'].value} ({figures['n_positive'].value})"
