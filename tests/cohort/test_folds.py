"""Folds deal out the patients of `train` and `val` alone; every one of them validates exactly once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo_aln.cohort.split import with_fold
from mammo_aln.cohort.tables import Cohort, read_cohort
from mammo_aln.errors import InputError


@pytest.fixture(scope="module")
def cohort(phantom: Path) -> Cohort:
    whole = read_cohort(phantom)
    patients = whole.patients.copy()
    # Some without a known status, some not eligible: they take no part.
    own = patients.index[patients["split"].isin(["train", "val"])]
    patients.loc[own[0], "aln_status"] = np.nan
    patients.loc[own[1], "eligible"] = False
    return replace(whole, patients=patients)


def used(patients: pd.DataFrame, split: str) -> set[str]:
    rows = patients[(patients["split"] == split) & patients["eligible"] & patients["aln_status"].notna()]
    return set(rows["patient_id"])


@pytest.mark.parametrize("folds", [2, 3])
def test_every_patient_validates_once_and_tests_stay(cohort: Cohort, folds: int) -> None:
    before = cohort.patients
    everyone = used(before, "train") | used(before, "val")
    validated = []
    for fold in range(folds):
        after = with_fold(cohort, folds, fold, 0).patients
        test = before["split"].str.endswith("test")
        pd.testing.assert_frame_equal(after[test], before[test])
        pd.testing.assert_frame_equal(after.drop(columns="split"), before.drop(columns="split"))
        assert used(after, "train") | used(after, "val") == everyone
        assert not used(after, "train") & used(after, "val")
        validated += sorted(used(after, "val"))
        known = after[after["patient_id"].isin(used(after, "val"))]
        assert abs(len(used(after, "val")) - len(everyone) / folds) <= 1
        assert known["aln_status"].nunique() == 2
    assert sorted(validated) == sorted(everyone)


def test_the_order_of_rows_does_not_matter_but_the_seed_does(cohort: Cohort) -> None:
    shuffled = replace(cohort, patients=cohort.patients.sample(frac=1, random_state=1))
    first, again, other = (
        used(with_fold(c, 3, 1, s).patients, "val") for c, s in [(cohort, 0), (shuffled, 0), (cohort, 1)]
    )
    assert first == again != other


def test_no_folds_leave_the_column_and_impossible_ones_are_refused(cohort: Cohort) -> None:
    assert with_fold(cohort, 0, 0, 0) is cohort
    for folds, fold, expected in [(0, 1, "without data.folds"), (3, 3, "0 to 2"), (200, 0, "would hold")]:
        with pytest.raises(InputError, match=expected):
            with_fold(cohort, folds, fold, 0)
