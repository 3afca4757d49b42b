"""Patients with several rows: a patient written down twice must change no interval and no test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score

from mammo_aln.evaluation.across import heterogeneity
from mammo_aln.evaluation.compare import compare_files
from mammo_aln.evaluation.judge import judge
from mammo_aln.evaluation.predictions import read_predictions
from mammo_aln.evaluation.statistics import calibration, discrimination
from mammo_aln.evaluation.statistics import tests as compare
from mammo_aln.evaluation.statistics.bootstrapped import bootstrap_figures
from mammo_aln.evaluation.statistics.resampling import weights


def drawn(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 5 < 2).astype(float)
    return labels, rng.normal(size=n) + labels, rng.normal(size=n) + 0.5 * labels


def twice(*columns: np.ndarray) -> list[np.ndarray]:
    return [np.repeat(column, 2) for column in columns]


def test_paired_delong_counts_patients() -> None:
    labels, first, second = drawn()
    labels2, first2, second2, who = twice(labels, first, second, np.arange(labels.size))
    alone = compare.paired_delong(first, second, labels)
    doubled = compare.paired_delong(first2, second2, labels2, clusters=who)
    naive = compare.paired_delong(first2, second2, labels2)
    assert (doubled.statistic, doubled.se) == pytest.approx((alone.statistic, alone.se))
    assert naive.se < 0.75 * alone.se


def test_unpaired_delong_counts_patients_in_its_degrees_of_freedom_too() -> None:
    labels, first, _ = drawn()
    other_labels, other, _ = drawn(44, 1)
    alone = compare.unpaired_delong(first, labels, other, other_labels)
    labels2, first2, who = twice(labels, first, np.arange(labels.size))
    doubled = compare.unpaired_delong(first2, labels2, other, other_labels, clusters1=who)
    assert (doubled.p_value, doubled.df) == pytest.approx((alone.p_value, alone.df))


def test_obuchowski_is_delong_where_every_patient_has_one_row() -> None:
    labels, first, _ = drawn()
    expected = discrimination.auc_variance(first, labels)
    assert discrimination.auc_variance(first, labels, np.arange(labels.size)) == pytest.approx(expected)
    assert np.isnan(discrimination.auc_variance([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1], [1, 2, 3, 2]))


def test_heterogeneity_and_brier_count_patients() -> None:
    labels, first, second = drawn()
    parts = [(first, labels), (second, labels)]
    doubled = [(*twice(scores, outcome), np.repeat(np.arange(labels.size), 2)) for scores, outcome in parts]
    assert heterogeneity(doubled).value == pytest.approx(heterogeneity(parts).value)
    p = 1 / (1 + np.exp(-first))
    alone = calibration.brier_interval(p, labels)
    error = (p - labels) ** 2
    assert alone.high - alone.value == pytest.approx(1.959964 * error.std(ddof=1) / np.sqrt(error.size), rel=1e-6)
    again = calibration.brier_interval(*twice(p, labels), np.repeat(np.arange(labels.size), 2))
    assert (again.low, again.high) == pytest.approx((alone.low, alone.high))


@pytest.mark.parametrize("clustered", [False, True])
def test_bootstrapped_figures_are_those_of_the_rows_drawn(clustered: bool) -> None:
    """Second implementation: scikit-learn with sample weights, and the partial area of the rows written out."""
    labels, scores, _ = drawn()
    scores = np.round(scores, 1)
    who = np.arange(labels.size) // 2 if clustered else None
    found = bootstrap_figures(scores, labels, threshold=0.5, resamples=40, seed=3, clusters=who)
    rows = np.concatenate(list(weights(labels == 1, resamples=40, seed=3, clusters=who)))
    assert rows.shape == (40, labels.size)
    if clustered:
        assert (rows[:, ::2] == rows[:, 1::2]).all()
    else:
        assert (rows[:, labels == 1].sum(axis=1) == labels.sum()).all()
    for place, weight in enumerate(rows):
        expected = average_precision_score(labels, scores, sample_weight=weight)
        assert found["average_precision"][place] == pytest.approx(expected)
        written_out = (np.repeat(scores, weight), np.repeat(labels, weight))
        area, _ = discrimination.partial_auc(*written_out, specificity=0.8)
        assert found["partial_auc"][place] == pytest.approx(area)
        assert found["f1"][place] == pytest.approx(f1_score(labels, scores >= 0.5, sample_weight=weight))


@pytest.fixture
def both_sides(tmp_path: Path) -> dict[str, Path]:
    """Two models, each with one row per patient and with that row for both sides."""
    labels, first, second = drawn(120)
    made = {}
    for model, scores in (("a", first), ("b", second)):
        table = pd.DataFrame(
            {
                "patient_id": [f"p{i}" for i in range(labels.size)],
                "center": "c",
                "split": np.where(np.arange(labels.size) < 70, "train", "external_test"),
                "aln_status": labels.astype(int),
                "score": 1 / (1 + np.exp(-scores)),
            }
        )
        sides = pd.concat([table.assign(side=side) for side in "LR"])
        for name, rows in (("one", table), ("two", sides)):
            made[f"{model}_{name}"] = tmp_path / name / f"{model}.csv"
            made[f"{model}_{name}"].parent.mkdir(exist_ok=True)
            rows.to_csv(made[f"{model}_{name}"], index=False)
    return made


def test_judging_both_sides_of_a_patient_makes_no_interval_narrower(both_sides: dict[str, Path]) -> None:
    one, two = (judge(read_predictions([both_sides[f"a_{rows}"]]), resamples=400).to_json() for rows in ("one", "two"))
    single, double = one["splits"]["external_test"], two["splits"]["external_test"]
    assert double["auc_clustered"]["ci_low"] == pytest.approx(single["auc_logit"]["ci_low"])
    assert double["auc"]["ci_low"] > single["auc"]["ci_low"]  # DeLong's own limits stay as the contract has them
    assert "auc_clustered" not in single
    assert double["brier"]["ci_high"] == pytest.approx(single["brier"]["ci_high"])
    for key in ("ci_low", "delong_p", "delong_df"):
        assert two["auc_gap"][0][key] == pytest.approx(one["auc_gap"][0][key])
    assert two["auc_gap"][0]["bootstrap_sd"] == pytest.approx(one["auc_gap"][0]["bootstrap_sd"], rel=0.15)
    for name in ("average_precision", "partial_auc"):
        widths = [found[name]["ci_high"] - found[name]["ci_low"] for found in (single, double)]
        assert widths[1] == pytest.approx(widths[0], rel=0.2)
    assert "patients as clusters" in two["auc_gap"][0]["method"]


def test_comparing_both_sides_of_a_patient_finds_the_same_p(both_sides: dict[str, Path], tmp_path: Path) -> None:
    p = {}
    for rows in ("one", "two"):
        first, second = both_sides[f"a_{rows}"], both_sides[f"b_{rows}"]
        third = tmp_path / f"c_{rows}.csv"
        third.write_bytes(first.read_bytes())
        compare_files(first, [second, third], tmp_path / rows, resamples=50)
        entries = json.loads((tmp_path / rows / "comparisons.json").read_text())
        ladder = pd.read_csv(tmp_path / rows / "ladder.csv").dropna(subset="delong_p")
        p[rows] = [entry["delong_p"]["value"] for entry in entries] + ladder["delong_p"].tolist()
    assert p["two"] == pytest.approx(p["one"])


def test_two_sides_with_different_outcomes_lower_the_variance_as_in_the_jackknife_of_patients() -> None:
    """Second implementation: leave one patient out at a time; one side diseased, the other not, scores that depend."""
    rng = np.random.default_rng(5)
    of_patient = np.repeat(rng.normal(size=400), 2)
    labels = np.tile([0.0, 1.0], 400)
    scores = of_patient + 0.6 * rng.normal(size=800) + 0.8 * labels
    who = np.repeat(np.arange(400), 2)
    left_out = np.array([discrimination.auc(scores[who != one], labels[who != one]) for one in range(400)])
    jackknife = 399 / 400 * float(((left_out - left_out.mean()) ** 2).sum())
    found = discrimination.auc_variance(scores, labels, who)
    assert found == pytest.approx(jackknife, rel=0.02)
    assert found < 0.8 * discrimination.auc_variance(scores, labels)
