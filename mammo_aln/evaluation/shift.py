"""Distance between the centres: logistic regressions that read the centre off the patients or off their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mammo_aln.evaluation.baseline import features_of, lines_of
from mammo_aln.evaluation.samples import patients_of
from mammo_aln.evaluation.statistics.discrimination import auc, auc_variance, exact_interval, logit_interval

LEAST_OF_A_CENTRE = 10
FOLDS = 5


@dataclass(frozen=True)
class CentreShift:
    """AUC at which one centre is told from the others by a set of features (exact limits where it is 0 or 1)."""

    center: str
    n: int
    features: str
    auc: float
    ci_low: float
    ci_high: float


def _design(rows: pd.DataFrame, names: Sequence[str]) -> np.ndarray | None:
    """Columns of numbers: one per level of a category, unknown values at the median beside a column that says so."""
    columns = {}
    for feature, level, numbers, _ in lines_of(rows[list(names)]):
        columns[f"{feature}={level}"] = numbers.fillna(numbers.median())
        if numbers.isna().any():
            columns[f"{feature} missing"] = numbers.isna().astype(float)
    return pd.DataFrame(columns).to_numpy(float) if columns else None


def centre_shift(rows: pd.DataFrame, images: Sequence[str] = (), *, seed: int = 0) -> list[CentreShift]:
    """Tell each centre from the others by logistic regression, in five folds of patients.

    An AUC near 0.5 means alike; near 1 means that the centre alone could be read off these features.

    Args:
        rows: one row per patient (and side): `center`, `patient_id` and features.
        images: those of the columns that say how the images were made; the others are clinical.
        seed: draws the folds.

    Returns:
        For each centre with at least ten patients: by the clinical features, by the image acquisition, and by both.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = features_of(rows)
    acquired = [name for name in features if name in images]
    clinical = [name for name in features if name not in images]
    sets = {"clinical features": clinical, "image acquisition": acquired, "both": [*clinical, *acquired]}
    if not (clinical and acquired):
        del sets["both"]
    who = patients_of(rows)
    shifts = []
    for center in sorted(set(rows["center"])):
        here = (rows["center"] == center).to_numpy().astype(int)
        patients = min(who[here == 1].nunique(), who[here == 0].nunique())
        if patients < LEAST_OF_A_CENTRE:
            continue
        for name, used in sets.items():
            design = _design(rows, used) if used else None
            if design is None:
                continue
            model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
            folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
            scores = cross_val_predict(model, design, here, groups=who, cv=folds, method="decision_function")
            area = auc(scores, here)
            if 0 < area < 1:
                limits = logit_interval(area, auc_variance(scores, here, who))
            else:
                limits = exact_interval(area, patients, patients)
            shifts.append(CentreShift(center, int(here.sum()), name, area, *limits))
    return shifts
