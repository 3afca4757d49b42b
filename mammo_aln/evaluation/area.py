"""The AUC of a predictions table's rows with its 95 % limits, as a sweep's table and a run's summary tell it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Area:
    """An AUC and its 95 % limits: exact at 0 or 1, else on the logit scale, of whole patients."""

    n: int = 0
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan


def area_of(scored: pd.DataFrame) -> Area:
    """Compute the AUC of rows with `patient_id`, `aln_status`, `score`; NaN where one outcome is missing."""
    # SciPy takes as long to load as all else that a sweep's table needs, which is mostly read as it was kept.
    from mammo_aln.evaluation.statistics.discrimination import auc, auc_variance, exact_interval, logit_interval

    scored = scored[scored["aln_status"].notna()]
    labels, scores = scored["aln_status"].to_numpy(float), scored["score"].to_numpy(float)
    if np.unique(labels).size < 2:
        return Area(len(scored))
    value = auc(scores, labels)
    if value in (0.0, 1.0):
        positive = int(labels.sum())
        return Area(len(scored), value, *exact_interval(value, positive, len(scored) - positive))
    repeated = scored["patient_id"].duplicated().any()
    variance = auc_variance(scores, labels, scored["patient_id"]) if repeated else auc_variance(scores, labels)
    return Area(len(scored), value, *logit_interval(value, variance))
