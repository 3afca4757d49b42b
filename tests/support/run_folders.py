"""Copies and comparisons of cohort and run folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import torch

from mammo_aln.runs.epoch_scores import EPOCH_SCORES


def linked_copy(cohort: Path, to: Path) -> Path:
    """The cohort's tables, writable; its images stay where they are."""
    to.mkdir(parents=True)
    for table in cohort.glob("*.csv"):
        shutil.copy(table, to)
    declared = (cohort / "cohort.yaml").read_text()
    (to / "cohort.yaml").write_text(f"{declared}dicom_root: {cohort}\n")
    return to


def without_images(cohort: Path) -> Path:
    """Leave a cohort the tables that clinical models read: a sweep looks at every image that there is."""
    for name in ("images", "regions"):
        (cohort / f"{name}.csv").unlink()
    return cohort


def untimed(metrics: Path) -> pd.DataFrame:
    table = pd.read_csv(metrics)
    return table[[name for name in table if not name.endswith(("_s", "_per_s"))]]


def same_run(one: Path, other: Path) -> None:
    pd.testing.assert_frame_equal(untimed(one / "metrics.csv"), untimed(other / "metrics.csv"), check_exact=True)
    assert (one / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()
    assert (one / EPOCH_SCORES).read_bytes() == (other / EPOCH_SCORES).read_bytes()
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (one, other)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
