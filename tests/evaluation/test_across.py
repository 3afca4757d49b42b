"""Subgroups, centres and baseline tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from mammo_aln.evaluation import across, baseline
from mammo_aln.evaluation.statistics.discrimination import auc


def drawn(n: int, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 2).astype(float)
    return rng.normal(size=n) + shift * labels, labels


def subgroup_rows(rows: pd.DataFrame, threshold: float | None) -> list[dict]:
    """Entries of `subgroups` in metrics.json."""
    features = [name for name in rows if name not in ("score", "aln_status")]
    return [row.to_json() for row in across.subgroups(rows, features, threshold)]


def difference(first: pd.Series, second: pd.Series) -> float:
    return baseline.standardised_difference(baseline.Summary.of(first), baseline.Summary.of(second))


def test_heterogeneity_of_two_groups_is_the_z_test_of_their_difference():
    parts = [drawn(200, 1.0, 0), drawn(150, 0.3, 1)]
    found = across.heterogeneity(parts)
    (a, va), (b, vb) = (across.logit_auc(*part) for part in parts)
    z = (a - b) / math.sqrt(va + vb)
    assert found.value == pytest.approx(z * z)
    assert found.details["p_value"] == pytest.approx(math.erfc(abs(z) / math.sqrt(2)))
    assert found.details["i2"] == pytest.approx(max(0, 1 - 1 / found.value))


def test_alike_centres_have_no_heterogeneity_and_different_ones_have():
    same = across.heterogeneity([drawn(300, 1.0, seed) for seed in range(5)])
    apart = across.heterogeneity([drawn(300, shift, seed) for seed, shift in enumerate((0.1, 0.6, 1.2, 1.8))])
    assert same.details["p_value"] > 0.05
    assert apart.details["p_value"] < 1e-6
    assert apart.details["i2"] > 0.8
    widths = [high - low for low, high in (found.details["auc"].limits for found in (same, apart))]
    assert widths[1] > widths[0]
    assert "fewer than two centres" in across.heterogeneity([drawn(50, 1.0, 0)], "centres").reason


def test_subgroups_hold_every_known_patient_once():
    scores, labels = drawn(120, 1.0, 2)
    rows = pd.DataFrame({"score": scores, "aln_status": labels, "er": ["neg", "pos", ""] * 40})
    rows["age"] = [str(30 + i % 40) for i in range(120)]
    found = subgroup_rows(rows, 0.0)
    er = [row for row in found if row["feature"] == "er"]
    assert [row["level"] for row in er] == ["neg", "pos"]
    assert sum(row["n"]["value"] for row in er) == 80
    assert sum(row["n"]["value"] for row in found if row["feature"] == "age") == 120
    chosen = (rows["er"] == "neg").to_numpy()
    assert er[0]["auc"]["value"] == pytest.approx(auc(scores[chosen], labels[chosen]))
    assert er[0]["interaction"]["df"] == 1


def test_a_group_with_few_of_one_outcome_has_no_auc():
    scores, labels = drawn(60, 1.0, 3)
    rows = pd.DataFrame({"score": scores, "aln_status": labels, "ct": ["T1"] * 54 + ["T4"] * 6})
    found = {row["level"]: row for row in subgroup_rows(rows, None)}
    assert found["T1"]["auc"]["value"] is not None
    assert "fewer than 5" in found["T4"]["auc"]["reason"]
    assert found["T4"]["interaction"]["value"] is None


def test_standardised_differences_by_hand():
    a, b = pd.Series([1.0, 2, 3, 4]), pd.Series([3.0, 4, 5, 6])
    assert difference(a, b) == pytest.approx(-2 / math.sqrt(5 / 3))
    a, b = pd.Series([1.0, 0, 0, 0, np.nan]), pd.Series([1.0, 1, 0, 0])
    assert difference(a, b) == pytest.approx(-0.25 / math.sqrt((0.1875 + 0.25) / 2))
    assert math.isnan(difference(pd.Series([1.0]), b))


def test_baseline_table_counts_missing_and_leaves_identifiers_out():
    table = pd.DataFrame(
        {
            "patient_id": [f"p{i}" for i in range(20)],
            "split": ["train"] * 12 + ["test"] * 8,
            "aln_status": [0.0, 1.0] * 10,
            "grade": ["1", "2", "3", ""] * 5,
            "age": [str(40 + i) for i in range(20)],
            "note": [f"free text {i}" for i in range(20)],
        }
    )
    found = baseline.Baseline.of(table, "split").table().set_index(["feature", "level"])
    assert set(found.index.get_level_values(0)) == {"patients", "with the outcome", "grade", "age"}
    assert found.loc[("grade", "1"), "train"] == "3 (33.3 %)"
    assert found.loc[("grade", "1"), "missing"] == "25.0 %"
    assert found.loc[("age", ""), "train"] == "45.5 (SD 3.6)"
    assert found.loc[("patients", ""), "test"] == "8"


def test_random_effects_agree_with_statsmodels():
    meta = pytest.importorskip("statsmodels.stats.meta_analysis")
    parts = [drawn(200, shift, seed) for seed, shift in enumerate((0.2, 0.8, 1.3))]
    effect, variance = np.array([across.logit_auc(*part) for part in parts]).T
    expected = meta.combine_effects(effect, variance, method_re="dl", use_t=False)
    found = across.heterogeneity(parts)
    assert found.details["tau2"] == pytest.approx(expected.tau2)
    assert found.value == pytest.approx(expected.q)
    assert found.details["i2"] == pytest.approx(expected.i2)
    pooled, _, low, high = expected.summary_frame().loc["random effect", ["eff", "sd_eff", "ci_low", "ci_upp"]]
    logits = [math.log(x / (1 - x)) for x in (found.details["auc"].value, *found.details["auc"].limits)]
    assert logits == pytest.approx([pooled, low, high])
