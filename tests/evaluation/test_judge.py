"""`metrics.json`: every figure is there, right where it can be known and null with a reason where it cannot."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from mammo_aln.evaluation import judge as judging
from mammo_aln.evaluation.evaluate import evaluate_files
from mammo_aln.evaluation.judge import comparable_centers
from mammo_aln.evaluation.predictions import Predictions, read_predictions

CONTRACT = {
    *("n", "n_positive", "auc", "auc_logit", "auc_bootstrap", "average_precision", "threshold", "sensitivity"),
    *("specificity", "ppv", "npv", "accuracy", "f1", "brier", "brier_scaled", "log_loss", "ece", "calibration_slope"),
    *("calibration_intercept", "calibration_in_the_large", "hosmer_lemeshow"),
}


def judge(rows: Predictions, **options) -> dict:
    """The content of metrics.json."""
    return judging.judge(rows, **options).to_json()


def predictions(scores, labels, facts=None, split="external_test", **columns) -> Predictions:
    n = len(scores)
    table = pd.DataFrame({"patient_id": [str(i) for i in range(n)], "center": "", "side": "", "split": split})
    table = table.assign(aln_status=np.asarray(labels, dtype=float), score=np.asarray(scores, dtype=float), **columns)
    return Predictions(table, facts or {})


@pytest.fixture(scope="module")
def metrics(files):
    return judge(read_predictions([files["test"]], files["run"]), seed=1)


def test_every_metric_is_an_object_with_value(metrics):
    assert metrics["schema_version"] == 1
    assert list(metrics["splits"]) == ["train", "val", "internal_test", "external_test"]
    for judged in [*metrics["splits"].values(), *metrics["centers"].values()]:
        assert set(judged) >= CONTRACT
        for name, found in judged.items():
            assert "value" in found, name
            assert found["value"] is not None or found["reason"], name
            if "ci_low" in found:
                assert found["ci_low"] <= found["value"] <= found["ci_high"], name
                assert found["method"]


def test_figures_agree_with_other_libraries(metrics, files):
    rows = pd.read_csv(files["test"]).query("split == 'external_test'").dropna(subset="aln_status")
    judged = metrics["splits"]["external_test"]
    assert judged["n"]["value"] == len(rows) == 88
    assert judged["auc"]["value"] == pytest.approx(roc_auc_score(rows["aln_status"], rows["score"]))
    assert judged["threshold"] == {
        "value": 0.4123,
        "rule": "youden",
        "split": "val",
        "counts": judged["threshold"]["counts"],
    }
    tn, _, fn, tp = confusion_matrix(rows["aln_status"], rows["score"] >= 0.4123).ravel()
    assert judged["sensitivity"]["value"] == pytest.approx(tp / (tp + fn))
    assert judged["npv"]["value"] == pytest.approx(tn / (tn + fn))
    assert judged["auc_bootstrap"]["resamples"] == 2000
    assert judged["auc_exact"]["value"] is None


def test_hosmer_lemeshow_has_two_degrees_less_on_training_data(metrics):
    assert metrics["splits"]["train"]["hosmer_lemeshow"]["df"] == 8
    assert metrics["splits"]["external_test"]["hosmer_lemeshow"]["df"] == 10


def test_gap_from_training_to_every_other_split(metrics):
    assert [(gap["from"], gap["to"]) for gap in metrics["auc_gap"]] == [
        ("train", "val"),
        ("train", "internal_test"),
        ("train", "external_test"),
    ]
    for gap in metrics["auc_gap"]:
        areas = [metrics["splits"][gap[key]]["auc"]["value"] for key in ("from", "to")]
        assert gap["difference"] == pytest.approx(areas[0] - areas[1])
        assert gap["ci_low"] < gap["difference"] < gap["ci_high"]
        assert abs(gap["delong_p"] - gap["bootstrap_p"]) < 0.03
        assert (gap["bootstrap_p"] < 0.05) == (gap["bootstrap_ci_low"] > 0 or gap["bootstrap_ci_high"] < 0)
        assert gap["delong_t_ci_low"] < gap["ci_low"] < gap["ci_high"] < gap["delong_t_ci_high"]
        assert abs(gap["bootstrap_p"] - gap["bootstrap_p_normal"]) < 0.03
        assert gap["resamples"] == 2000


def test_centres_are_judged_on_rows_the_run_did_not_learn_from(metrics, files):
    assert metrics["centers"]["center_a"]["splits"]["value"] == ["internal_test"]
    rows = pd.read_csv(files["test"]).dropna(subset="aln_status")
    for name, judged in metrics["centers"].items():
        part = rows[rows["center"] == name]
        assert judged["auc"]["value"] == pytest.approx(roc_auc_score(part["aln_status"], part["score"]))


def test_a_centre_seen_in_training_only_is_not_set_beside_tested_ones():
    splits = {"a": ["train", "val"], "b": ["internal_test"], "c": ["external_test"]}
    assert comparable_centers(splits) == ["b", "c"]
    assert comparable_centers({"a": ["train"]}) == ["a"]


def test_a_split_is_judged_the_same_whatever_stands_beside_it(metrics, files):
    alone = judge(read_predictions([files["test"]]), seed=1)
    assert alone["splits"]["external_test"] == metrics["splits"]["external_test"]
    assert alone["auc_gap"] == []


def test_no_threshold_is_ever_chosen_on_a_test_split(files):
    found = judge(predictions([0.1, 0.4, 0.6, 0.9], [0, 1, 0, 1]))["splits"]["external_test"]
    for name in ("threshold", "sensitivity", "specificity", "ppv", "npv", "accuracy", "f1"):
        assert found[name]["value"] is None
        assert "no frozen threshold" in found[name]["reason"]
    assert found["auc"]["value"] == 0.75


def test_without_facts_the_threshold_comes_from_validation(files):
    metrics = judge(read_predictions([files["all"]]))
    threshold = metrics["splits"]["external_test"]["threshold"]
    assert (threshold["rule"], threshold["split"]) == ("youden", "val")
    rows = pd.read_csv(files["all"]).query("split == 'val'").dropna(subset="aln_status")
    grid = [
        ((rows.score >= t) & (rows.aln_status == 1)).sum() / (rows.aln_status == 1).sum()
        + ((rows.score < t) & (rows.aln_status == 0)).sum() / (rows.aln_status == 0).sum()
        for t in rows.score.unique()
    ]
    found = metrics["splits"]["val"]
    assert found["sensitivity"]["value"] + found["specificity"]["value"] == pytest.approx(max(grid))


def test_one_class_is_null_with_a_reason_and_counts_stay():
    found = judge(predictions([0.2, 0.4, 0.9], [1, 1, 1], {"threshold": {"value": 0.3}}))["splits"]["external_test"]
    for name in (
        "auc",
        "auc_logit",
        "auc_bootstrap",
        "average_precision",
        "calibration_slope",
        "hosmer_lemeshow",
        "npv",
    ):
        if name != "npv":
            assert found[name]["value"] is None
            assert "both outcomes" in found[name]["reason"]
    assert found["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert found["specificity"]["value"] is None
    assert found["brier"]["value"] == pytest.approx((0.64 + 0.36 + 0.01) / 3)


def test_scores_outside_the_unit_interval_are_judged_for_discrimination_alone():
    metrics = judge(predictions([-2.0, 0.4, 1.6, 3.0], [0, 0, 1, 1], {"threshold": {"value": 1.0}}))
    found = metrics["splits"]["external_test"]
    assert found["auc"]["value"] == 1.0
    assert found["auc_exact"]["ci_low"] < 0.2
    assert found["auc_logit"]["value"] is None
    assert found["sensitivity"]["value"] == 1.0
    assert found["brier"]["value"] is None
    assert "discrimination alone" in found["calibration_slope"]["reason"]
    assert metrics["notes"]


def test_constant_scores_and_tiny_splits_have_no_figure_that_pretends():
    found = judge(predictions([0.5] * 6, [0, 1] * 3))["splits"]["external_test"]
    assert found["auc"]["value"] == 0.5
    assert "says nothing" in found["auc"]["note"]
    assert found["calibration_slope"]["value"] is None
    tiny = judge(predictions([0.2, 0.8], [0, 1]))["splits"]["external_test"]
    assert tiny["auc"]["ci_low"] is None
    assert "two patients of each" in tiny["auc"]["reason"]


def test_bilateral_patients_get_clustered_intervals():
    rng = np.random.default_rng(0)
    base = np.repeat(rng.normal(size=60), 2)
    labels = (np.repeat(rng.random(60), 2) < 1 / (1 + np.exp(-base))).astype(int)
    scores = 1 / (1 + np.exp(-(base + rng.normal(size=120) * 0.3)))
    who, side = np.repeat([f"p{i}" for i in range(60)], 2), np.tile(["L", "R"], 60)
    found = judge(predictions(scores, labels, patient_id=who, side=side))["splits"]["external_test"]
    wide, narrow = found["auc_clustered"], found["auc_logit"]
    assert wide["ci_high"] - wide["ci_low"] > 1.2 * (narrow["ci_high"] - narrow["ci_low"])
    boot, rows = found["auc_clustered_bootstrap"], found["auc_bootstrap"]
    assert boot["ci_high"] - boot["ci_low"] > 1.2 * (rows["ci_high"] - rows["ci_low"])


def test_same_seed_same_figures(files):
    first, second = (judge(read_predictions([files["test"]]), seed=4) for _ in range(2))
    assert first == second


def test_a_gap_that_cannot_be_known_is_null_with_a_reason(tmp_path, files):
    table = pd.read_csv(files["all"], dtype=str, keep_default_na=False)
    table.loc[table["split"] == "external_test", "aln_status"] = "1"
    table.to_csv(tmp_path / "p.csv", index=False)
    gaps = {gap["to"]: gap for gap in judge(read_predictions([tmp_path / "p.csv"]), resamples=50)["auc_gap"]}
    assert list(gaps) == ["val", "internal_test", "external_test"]
    assert gaps["val"]["difference"] is not None
    assert gaps["external_test"]["difference"] is None
    assert "external_test: both outcomes are needed" in gaps["external_test"]["reason"]
    evaluate_files([tmp_path / "p.csv"], tmp_path / "out", resamples=50)
    assert "both outcomes are needed; 90 of 90" in (tmp_path / "out" / "report.html").read_text()
