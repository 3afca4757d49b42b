"""Prediction files of an imaginary run: two centres it learnt from, one it did not, a few unknown outcomes."""

from __future__ import annotations

import numpy as np
import pandas as pd

SIZES = {"train": (140, "ab"), "val": (50, "ab"), "internal_test": (60, "ab"), "external_test": (90, "c")}
FACTS = {
    "schema_version": 1,
    "run_id": "r1",
    "threshold": {"value": 0.4123, "rule": "youden", "split": "val"},
    "calibration": {"method": "temperature", "temperature": 1.2, "intercept": 0.0, "split": "val"},
    "recipe": {
        "cards": [{"digest": "ab12", "images": 9, "steps": [{"name": "voi_window", "parameters": {"width": 7}}]}]
    },
    "fallbacks": {"center_a": {"images": 200, "no_voi": 3}, "center_c": {"images": 90, "spacing_imager_only": 4}},
    "cohort_flow": [
        {"step": "patients in the table", "n": 350},
        {"step": "eligible", "n": 340, "excluded": {"no DM": 10}},
    ],
    "splits": {"external_test": {"opened": 2}},
}


def make_rows(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for split, (n, centers) in SIZES.items():
        logit = rng.normal(size=n) * 1.4
        label = rng.random(n) < 1 / (1 + np.exp(-logit))
        for i in range(n):
            rows.append(
                {
                    "run_id": "r1",
                    "patient_id": f"{split}{i:03d}",
                    "center": f"center_{centers[i % len(centers)]}",
                    "split": split,
                    "aln_status": "" if i % 45 == 44 else str(int(label[i])),
                    "score": float(np.round(1 / (1 + np.exp(-logit[i] * 1.3)), 4)),
                    "logit": float(logit[i]),
                }
            )
    return pd.DataFrame(rows)
