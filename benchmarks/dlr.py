"""System B on the MRI phantom: 254 patients, 144 train and 110 external; phantom, extraction and fit, timed.

Writes a section of docs/benchmarks.md: external AUC of each signature beside the Bayes AUC of its inputs.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.notes import machine, replace_section
from mammo_aln.cli import main as mammo_aln

ROOT = Path(__file__).resolve().parents[1]
INPUTS = {"clinical": "clinical", "radiomics": "radiomics", "deep": "deep", "dlr": "radiomics+deep"}
EXTRACT = ("--radiomics.filters=[original]", "--radiomics.deep_backbone=timm:resnet10t", "--radiomics.deep_size_px=64")


def timed(*words: str) -> float:
    begun = time.monotonic()
    if mammo_aln(words):
        raise SystemExit(f"failed: mammo-aln {' '.join(words)}")
    return time.monotonic() - begun


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cohort, features, out = str(root / "cohort"), str(root / "features.csv"), root / "dlr"
        size = ("--patients=254", "--centers=2", "--external_patients=110", "--seed=0")
        drawn = timed("phantom", "--modality=mri", "--out", cohort, *size)
        extracted = timed("radiomics", "extract", cohort, "--out", features, *EXTRACT)
        post = "--fit.allow_post_nat=true"  # the second scan is taken after NAT, before surgery
        fitted = timed("radiomics", "fit", cohort, "--features", features, "--out", str(out), post)
        columns = pd.read_csv(features, nrows=0).shape[1] - 1
        bayes = pd.read_csv(root / "cohort" / "bayes_auc.csv").set_index("inputs")["bayes_auc"]
        truth = pd.read_csv(root / "cohort/truth.csv", dtype={"patient_id": str}).set_index("patient_id")
        rows = []
        for name, inputs in INPUTS.items():
            table = pd.read_csv(out / name / "predictions.csv", dtype={"patient_id": str})
            test = table[table["split"] == "external_test"]
            best = truth.loc[test["patient_id"], f"probability_{inputs}"].to_numpy()
            rows.append(
                f"| {name} | {auc(test['score'], test['aln_status']):.3f} | {bayes[inputs]:.3f}"
                f" ({auc(best, test['aln_status']):.3f}) |"
            )
        text = (
            f"`python -m benchmarks dlr`: 254 phantom patients, 144 train, 110 external, {columns} features"
            f" ({', '.join(EXTRACT)}); phantom {drawn:.0f} s, `radiomics extract` {extracted:.0f} s, `radiomics fit`"
            f" {fitted:.0f} s. {machine()}.\n\n| signature | external AUC | Bayes AUC of its inputs (drawn) |\n"
            "|---|---|---|\n" + "\n".join(rows)
        )
    replace_section(ROOT / "docs" / "benchmarks.md", "System B on the MRI phantom", text)
    print(json.dumps({"phantom_s": drawn, "extract_s": extracted, "fit_s": fitted}))


def auc(score: object, label: object) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, score))


if __name__ == "__main__":
    main()
