from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo_aln.cohort.split import assign_splits, fold_assignments, split_cohort
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.errors import InputError

SHARES = {"train": 0.6, "val": 0.2, "internal_test": 0.2}


def people(count: int, seed: int = 0, bilateral: float = 0.1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        sides = ["L", "R"] if rng.random() < bilateral else ["L"]
        center = f"c{rng.integers(3)}"
        rows += [(f"p{number:03d}", side, center, rng.choice([0.0, 1.0, np.nan], p=[0.5, 0.4, 0.1])) for side in sides]
    return pd.DataFrame(rows, columns=["patient_id", "side", "center", "aln_status"])


@settings(max_examples=40, deadline=None)
@given(count=st.integers(60, 160), data_seed=st.integers(0, 99), seed=st.integers(0, 10**6), val=st.floats(0.1, 0.4))
def test_invariants(count, data_seed, seed, val):
    patients = people(count, data_seed)
    split = assign_splits(patients, {"train": 1 - val, "val": val}, seed=seed)
    assert list(split.index) == list(patients.index)
    assert (split.groupby(patients["patient_id"]).nunique() == 1).all()
    shuffled = patients.sample(frac=1, random_state=seed)
    pd.testing.assert_series_equal(
        assign_splits(shuffled, {"train": 1 - val, "val": val}, seed=seed).sort_index(), split
    )
    # every stratum gets its share to less than two patients
    one = (
        patients.assign(split=split)
        .groupby("patient_id")
        .agg(center=("center", "first"), status=("aln_status", "max"), split=("split", "first"))
    )
    for _, stratum in one.groupby(["center", one["status"].fillna(-1)]):
        assert abs((stratum["split"] == "val").sum() - val * len(stratum)) < 2
    assert abs((one["split"] == "val").sum() - val * len(one)) <= 1


def test_seeds_differ_and_a_seed_does_not():
    patients = people(100)
    first, again, other = (assign_splits(patients, SHARES, seed=seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert (first != other).any()


def test_leave_one_center_out():
    patients = people(120)
    split = assign_splits(patients, SHARES, seed=0, external_center="c1")
    assert set(split[patients["center"] == "c1"]) == {"external_test"}
    assert set(split[patients["center"] != "c1"]) == {"train", "val", "internal_test"}
    with pytest.raises(InputError, match=r"external_center = 'x': no eligible patient .*c0, c1, c2"):
        assign_splits(patients, SHARES, seed=0, external_center="x")


def test_a_split_of_one_class_is_refused():
    patients = pd.DataFrame({"patient_id": list("abcdefghij"), "center": "c", "aln_status": [1.0] * 9 + [0.0]})
    with pytest.raises(InputError, match="val would hold 2 patients with status 1 and 0 with status 0"):
        assign_splits(patients, {"train": 0.8, "val": 0.2}, seed=0)
    only = people(60).assign(center="one")
    with pytest.raises(InputError, match="external_center: every eligible patient is from there"):
        assign_splits(only, SHARES, seed=0, external_center="one")


def test_an_external_center_without_outcomes_can_be_predicted():
    patients = people(90)
    patients.loc[patients["center"] == "c2", "aln_status"] = np.nan
    assert "external_test" in set(assign_splits(patients, SHARES, seed=0, external_center="c2"))


@settings(max_examples=20, deadline=None)
@given(folds=st.integers(2, 6), seed=st.integers(0, 999))
def test_folds(folds, seed):
    patients = people(120, seed % 7)
    fold = fold_assignments(patients, folds, seed)
    assert set(fold) == set(range(folds))
    assert (fold.groupby(patients["patient_id"]).nunique() == 1).all()
    sizes = patients.assign(fold=fold).groupby("fold")["patient_id"].nunique()
    assert sizes.max() - sizes.min() <= 1
    shuffled = patients.sample(frac=1, random_state=seed)
    assert fold_assignments(shuffled, folds, seed).sort_index().equals(fold)


def test_far_too_many_folds_are_refused_in_one_short_line():
    with pytest.raises(InputError) as refused:
        fold_assignments(people(30), 100, 0)
    assert len(str(refused.value)) < 400
    assert re.search(r"; and \d+ more: .*choose fewer than 100 folds", str(refused.value))


def test_too_few_for_the_folds():
    with pytest.raises(InputError, match="folds = 1"):
        fold_assignments(people(30), 1, 0)
    with pytest.raises(InputError, match="fold"):
        fold_assignments(people(6, bilateral=0), 6, 0)


@pytest.fixture
def unsplit(tmp_path):
    patients = people(80).assign(note='a "quoted", note', eligible=1, exclusion_reason="")
    patients = patients.drop_duplicates("patient_id")
    patients.loc[patients.index[0], ["eligible", "exclusion_reason"]] = [0, "node-negative at baseline"]
    patients.to_csv(tmp_path / "patients.csv", index=False)
    return tmp_path


def test_the_column_is_written_and_the_rest_stays(unsplit, capsys):
    before = pd.read_csv(unsplit / "patients.csv", dtype=str)
    path = split_cohort(unsplit, external_center="c0", val_share=0.25)
    after = pd.read_csv(path, dtype=str)
    pd.testing.assert_frame_equal(after.drop(columns="split"), before)
    assert pd.isna(after.loc[0, "split"])
    assert set(read_cohort(unsplit, need=("patients",)).patients["split"].dropna()) == {"train", "val", "external_test"}
    assert "train: " in capsys.readouterr().err


def test_a_standing_split_is_not_replaced_unasked(unsplit):
    path = split_cohort(unsplit)
    text = path.read_text()
    with pytest.raises(InputError, match="has a split column"):
        split_cohort(unsplit, seed=1)
    assert path.read_text() == text
    assert split_cohort(unsplit, seed=1, overwrite=True).read_text() != text


@pytest.mark.parametrize(("val", "test"), [(0.0, 0.2), (1.0, 0.0), (0.5, 0.5), (0.2, -0.1), (float("nan"), 0.0)])
def test_shares_out_of_range(unsplit, val, test):
    text = (unsplit / "patients.csv").read_text()
    with pytest.raises(InputError, match="_share"):
        split_cohort(unsplit, val_share=val, internal_test_share=test)
    assert (unsplit / "patients.csv").read_text() == text
