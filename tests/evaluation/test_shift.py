"""Centre shift: centres that are alike cannot be told apart, a scanner of its own gives a centre away."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mammo_aln.evaluation import shift
from mammo_aln.evaluation.baseline import Baseline
from mammo_aln.evaluation.cohorts import CohortTable


def patients(n: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "patient_id": [f"p{i}" for i in range(n)],
            "center": np.where(np.arange(n) % 2, "a", "b"),
            "aln_status": np.where(np.arange(n) % 2, rng.random(n) < 0.7, rng.random(n) < 0.3).astype(float),
            "age": rng.normal(52, 10, n).round(),
            "er": rng.choice(["positive", "negative"], n),
        }
    )


def acquisition(table: pd.DataFrame, vendor: list[str]) -> pd.DataFrame:
    spacing = np.random.default_rng(2).choice([0.05, 0.07, 0.1, 0.08, 0.085, 0.09, 0.094], len(table))
    return pd.DataFrame({"patient_id": table["patient_id"], "vendor": vendor, "pixel spacing, mm": spacing})


def centre_shift(table: pd.DataFrame, images: pd.DataFrame | None = None) -> list[dict]:
    """Rows of `centre_shift` in metrics.json."""
    cohort = CohortTable("phantom", table, acquisition=images)
    return [dataclasses.asdict(row) for row in shift.centre_shift(cohort.described(), cohort.image_columns)]


def centre_profile(table: pd.DataFrame, images: pd.DataFrame | None = None) -> pd.DataFrame:
    """The table by centre."""
    rows = CohortTable("phantom", table, acquisition=images).described()
    return Baseline.of(rows.sort_values("center", kind="stable"), "center").table()


def test_alike_centres_are_not_told_apart_and_a_scanner_is_seen() -> None:
    table = patients()
    alike = acquisition(table, ["one", "two", "two", "one"] * (len(table) // 4))
    for row in centre_shift(table, alike):
        assert 0.35 < row["auc"] < 0.65  # below 0.5 is common: folds leave a centre rarer where it is tested
    own = acquisition(table, ["one" if center == "a" else "two" for center in table["center"]])
    found = {(row["center"], row["features"]): row for row in centre_shift(table, own)}
    assert found["a", "image acquisition"]["auc"] == 1.0
    assert 0.9 < found["a", "image acquisition"]["ci_low"] < 1.0
    assert found["a", "both"]["auc"] > 0.99
    assert found["a", "clinical features"]["auc"] < 0.65
    assert {row["features"] for row in centre_shift(table)} == {"clinical features"}


def test_the_outcome_does_not_help_to_tell_centres_apart() -> None:
    """Prevalence 70 against 30 % stands in the profile; it is no feature, or every outcome would leak in."""
    table = patients()
    told = centre_shift(table.assign(aln_status=(table["center"] == "a").astype(float)))
    assert [row["auc"] for row in told] == [row["auc"] for row in centre_shift(table)]
    profile = centre_profile(table).set_index(["feature", "level"])
    share = table.loc[table["center"] == "a", "aln_status"].mean()
    assert f"({100 * share:.1f} %)" in profile.loc[("with the outcome", ""), "a"]


def test_two_sides_of_a_patient_are_never_in_two_folds() -> None:
    """Many categories of pure noise: learnt by heart from one side, they would name the centre of the other side."""
    table = patients(60).drop(columns=["age", "er"])
    rng = np.random.default_rng(3)
    for place in range(8):
        table[f"noise{place}"] = rng.choice(list("abcdefgh"), len(table))
    sides = pd.concat([table, table], ignore_index=True)
    assert centre_shift(sides)[0]["auc"] < 0.7


def test_groups_that_share_nothing_lie_infinitely_far_apart() -> None:
    table = patients()
    own = acquisition(table, ["one" if center == "a" else "two" for center in table["center"]])
    profile = centre_profile(table, own).set_index(["feature", "level"])
    assert profile.loc[("vendor", "one"), "standardised_difference"] == "∞"
    assert profile.loc[("pixel spacing, mm", ""), "a"].startswith("0.0")  # not rounded to 0.1


@pytest.mark.parametrize("n", [4, 12])
def test_a_centre_of_a_few_patients_is_left_out(n: int) -> None:
    assert centre_shift(patients(n)) == []
