"""Real patients: a clinical model learnt on I-SPY 2 and tested on I-SPY 1, end to end, into docs/benchmarks.md.

    python -m benchmarks ispy [FOLDER]     # folder of the public tables, by default ../shared/data/clinical

Needs openpyxl for I-SPY 1's workbook.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pandas as pd

from benchmarks.notes import machine, replace_section
from mammo_aln.cohort.datasets.folder import write_cohort_folder
from mammo_aln.cohort.datasets.ispy import ispy_tables
from mammo_aln.evaluation.report.plots import figure_text, safer_auc
from mammo_aln.radiomics.signatures.fit import fit_signatures

ROOT = Path(__file__).resolve().parents[1]
ROWS = (("sensitivity", 3), ("specificity", 3), ("brier", 3), ("calibration_slope", 2), ("calibration_in_the_large", 2))


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data" / "clinical"
    workbook = folder / "I-SPY_1_All_Patient_Clinical_and_Outcome_Data.xlsx"
    sheets = [pd.read_excel(workbook, sheet_name=name) for name in ("predictors", "outcomes")]
    tables = ispy_tables(pd.read_csv(folder / "breastdcedl_ispy2_metadata.csv"), *sheets)
    with tempfile.TemporaryDirectory() as place:
        cohort = write_cohort_folder(tables, Path(place) / "cohort")
        out = fit_signatures(cohort, Path(place) / "out")
        found = json.loads((out / "evaluation" / "clinical" / "metrics.json").read_text())
        nested = json.loads((out / "clinical" / "predictions.json").read_text())["signature_facts"]["nested_auc"]
        odds = pd.read_csv(out / "clinical" / "odds_ratios.csv")
    train, test = found["splits"]["train"], found["splits"]["external_test"]
    gap = next(entry for entry in found["auc_gap"] if entry["to"] == "external_test")
    lines = [
        "`python -m benchmarks ispy`: logistic regression of age, hormone receptors and HER2, learnt on I-SPY 2, "
        "tested on I-SPY 1. These tables have no nodal outcome: the label is residual invasive disease (no pCR) of "
        f"breast and nodes together. {machine()}.",
        "",
        "| | I-SPY 2 (training) | I-SPY 1 (external) |",
        "|---|---|---|",
        f"| patients (residual disease) | {_n(train)} | {_n(test)} |",
        f"| AUC | {figure_text(safer_auc(train), 3)} | {figure_text(safer_auc(test), 3)} |",
        f"| AUC, nested cross-validation | {nested:.3f} | |",
    ]
    lines += [
        f"| {name.replace('_', ' ')} | {figure_text(train[name], d)} | {figure_text(test[name], d)} |"
        for name, d in ROWS
    ]
    lines += [
        "",
        f"AUC on I-SPY 2 minus that on I-SPY 1: {gap['difference']:.3f} (bootstrap interval "
        f"{gap['bootstrap_ci_low']:.3f} to {gap['bootstrap_ci_high']:.3f}, p = {gap['bootstrap_p']:.2g}).",
        "",
        "| multivariable, I-SPY 2 | odds ratio of residual disease | p |",
        "|---|---|---|",
    ]
    for row in odds[odds["model"] == "multivariable"].itertuples():
        limits = f"{row.odds_ratio:.2f} ({row.ci_low:.2f} to {row.ci_high:.2f})"
        lines.append(f"| {row.variable} {row.term.removeprefix(row.variable)} | {limits} | {row.p_wald:.2g} |")
    replace_section(ROOT / "docs" / "benchmarks.md", "Real tables: I-SPY 2 to I-SPY 1", "\n".join(lines))


def _n(metrics: dict) -> str:
    return f"{metrics['n']['value']} ({metrics['n_positive']['value']})"


if __name__ == "__main__":
    main()
