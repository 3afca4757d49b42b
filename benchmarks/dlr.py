"""System B on the MRI phantom."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.page import Section, table
from mammo_aln.cli import main as mammo_aln

INPUTS = {"clinical": "clinical", "radiomics": "radiomics", "deep": "deep", "dlr": "radiomics+deep"}
EXTRACT = (
    "--radiomics.filters=[original]",
    "--radiomics.deep_backbone=timm:resnet10t",
    "--radiomics.deep_pretrained=random",
    "--radiomics.deep_size_px=64",
)


def timed(*words: str) -> float:
    """Seconds of a command of this package."""
    begun = time.monotonic()
    if mammo_aln(words):
        raise SystemExit(f"failed: mammo-aln {' '.join(words)}")
    return time.monotonic() - begun


def dlr(patients: int = 254, external: int = 110) -> Section:
    """Signatures of the MRI phantom: external AUC beside the Bayes AUC of their inputs; extraction and fit, timed.

    Args:
        patients: phantom patients in all.
        external: patients of the external centre.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cohort, features, out = str(root / "cohort"), str(root / "features.csv"), root / "dlr"
        size = (f"--patients={patients}", "--centers=2", f"--external_patients={external}", "--seed=0")
        drawn_s = timed("phantom", "--modality=mri", "--out", cohort, *size)
        extracted_s = timed("radiomics", "extract", cohort, "--out", features, *EXTRACT)
        post = "--fit.allow_post_nat=true"  # the second scan is taken after NAT, before surgery
        fitted_s = timed("radiomics", "fit", cohort, "--features", features, "--out", str(out), post)
        columns = pd.read_csv(features, nrows=0).shape[1] - 1
        bayes = pd.read_csv(root / "cohort" / "bayes_auc.csv").set_index("inputs")["bayes_auc"]
        truth = pd.read_csv(root / "cohort/truth.csv", dtype={"patient_id": str}).set_index("patient_id")
        rows = []
        for name, inputs in INPUTS.items():
            scores = pd.read_csv(out / name / "predictions.csv", dtype={"patient_id": str})
            test = scores[scores["split"] == "external_test"]
            best = auc(truth.loc[test["patient_id"], f"probability_{inputs}"].to_numpy(), test["aln_status"])
            rows.append([name, f"{auc(test['score'], test['aln_status']):.3f}", f"{bayes[inputs]:.3f} ({best:.3f})"])
    return Section(
        "System B on the MRI phantom",
        f"{patients} phantom patients, {external} external, {columns} features ({', '.join(EXTRACT)}); phantom "
        f"{drawn_s:.0f} s, `radiomics extract` {extracted_s:.0f} s, `radiomics fit` {fitted_s:.0f} s",
        table(["signature", "external AUC", "Bayes AUC of its inputs (drawn)"], rows),
    )


def auc(score: object, label: object) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, score))
