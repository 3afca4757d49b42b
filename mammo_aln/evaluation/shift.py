"""How far the centres lie apart: their patients, how their images were made, and whether these give them away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mammo_aln.evaluation.baseline import baseline_table, features_of, lines_of
from mammo_aln.evaluation.statistics.discrimination import auc, auc_variance, exact_interval, logit_interval

LEAST_OF_A_CENTRE = 10
FOLDS = 5


def _with_acquisition(rows: pd.DataFrame, acquisition: pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
    """Rows with the patients' image columns beside them, and the names of these columns."""
    if acquisition is None or acquisition.empty:
        return rows, []
    columns = [str(name) for name in acquisition.columns if name != "patient_id"]
    beside = acquisition.drop_duplicates("patient_id")
    kept = rows.drop(columns=[name for name in columns if name in rows])
    return kept.merge(beside, on="patient_id", how="left"), columns


def centre_profile(rows: pd.DataFrame, acquisition: pd.DataFrame | None = None) -> pd.DataFrame:
    """Prevalence, features and image acquisition of each centre side by side, with standardised differences.

    Args:
        rows: one row per patient (and side): `center`, `aln_status` and features.
        acquisition: one row per `patient_id` of how the images were made, or None.
    """
    table, _ = _with_acquisition(rows, acquisition)
    return baseline_table(table.sort_values("center", kind="stable"), "center")


def _design(rows: pd.DataFrame, names: list[str]) -> np.ndarray | None:
    """Columns of numbers: one per level of a category, unknown values at the median beside a column that says so."""
    columns = {}
    for feature, level, numbers, _ in lines_of(rows[names]):
        columns[f"{feature}={level}"] = numbers.fillna(numbers.median())
        if numbers.isna().any():
            columns[f"{feature} missing"] = numbers.isna().astype(float)
    return pd.DataFrame(columns).to_numpy(float) if columns else None


def centre_shift(rows: pd.DataFrame, acquisition: pd.DataFrame | None = None, *, seed: int = 0) -> list[dict[str, Any]]:
    """How well a logistic regression tells each centre from the others, by five folds of patients.

    An AUC near 0.5 means alike; near 1 means that the centre alone could be read off these features.

    Returns:
        For each centre with at least ten rows, and for the clinical features, the image acquisition and both: `center`,
        `n`, `features`, `auc`, `ci_low`, `ci_high` (exact where the AUC is 0 or 1).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    table, columns = _with_acquisition(rows, acquisition)
    images = [name for name in features_of(table) if name in columns]
    clinical = [name for name in features_of(table) if name not in columns]
    sets = {"clinical features": clinical, "image acquisition": images, "both": [*clinical, *images]}
    if not (clinical and images):
        del sets["both"]
    who = table["center"] + "\n" + table["patient_id"]
    found = []
    for center in sorted(set(table["center"])):
        here = (table["center"] == center).to_numpy().astype(int)
        patients = min(who[here == 1].nunique(), who[here == 0].nunique())
        if patients < LEAST_OF_A_CENTRE:
            continue
        for name, features in sets.items():
            design = _design(table, features) if features else None
            if design is None:
                continue
            model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
            folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
            told = cross_val_predict(model, design, here, groups=who, cv=folds, method="decision_function")
            area = auc(told, here)
            if 0 < area < 1:
                low, high = logit_interval(area, auc_variance(told, here, who))
            else:
                low, high = exact_interval(area, patients, patients)
            row = {"center": center, "n": int(here.sum()), "features": name, "auc": area}
            found.append(row | {"ci_low": low, "ci_high": high})
    return found
