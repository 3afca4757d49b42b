"""Centres, labels and splits."""

from __future__ import annotations

import pandas as pd
import pytest

from mammo_aln.errors import InputError
from mammo_aln.phantom.plan import center_sizes, plan_patients
from mammo_aln.phantom.truth import Truth


def test_sizes_add_up_and_the_last_center_is_external():
    assert center_sizes(1000, 3, 400) == [300, 300, 400]
    assert center_sizes(100, 3, None) == [34, 33, 33]


@pytest.mark.parametrize(
    ("patients", "centers", "external"), [(300, 1, None), (300, 27, None), (23, 3, None), (100, 3, 95), (100, 2, 2)]
)
def test_refuses_what_cannot_be_split(patients, centers, external):
    with pytest.raises(InputError, match="expected"):
        center_sizes(patients, centers, external)


@pytest.mark.parametrize("internal_test", [True, False])
def test_every_split_holds_both_classes_in_the_smallest_cohort(internal_test):
    for seed in range(25):
        table = plan_patients(center_sizes(24, 3, None), seed, Truth(), internal_test)
        classes = table.groupby("split")["aln_status"].nunique()
        assert set(classes.index) == {"train", "val", "external_test"} | ({"internal_test"} if internal_test else set())
        assert (classes == 2).all()


def test_splits_are_alike_in_status_and_center():
    table = plan_patients(center_sizes(900, 3, 300), 1, Truth(), True)
    assert (table.loc[table["center"] == "center_c", "split"] == "external_test").all()
    internal = table[table["center"] != "center_c"]
    assert (internal["split"] != "external_test").all()
    shares = internal["split"].value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"train": 0.64, "val": 0.16, "internal_test": 0.20}, abs=0.01)
    cells = pd.crosstab([internal["center"], internal["aln_status"]], internal["split"], normalize="index")
    assert cells["train"].between(0.60, 0.68).all()
    assert table["patient_id"].is_unique


def test_prevalence_is_near_one_half():
    table = plan_patients(center_sizes(900, 3, None), 0, Truth(), True)
    assert table.groupby("center")["aln_status"].mean().between(0.40, 0.60).all()
