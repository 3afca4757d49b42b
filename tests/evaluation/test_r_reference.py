"""Every reference case of R that falls into this room, to the digits that the reference folder allows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mammo_aln.evaluation import calibration, compare, discrimination, operating, resampling, smoothing, utility

FOLDER = Path(__file__).resolve().parents[1] / "data" / "r_reference"
FAMILIES: dict[str, list[str]] = {}
for _path in sorted(FOLDER.glob("*.json")):
    FAMILIES.setdefault(json.loads(_path.read_text())["family"], []).append(_path.stem)


def load(name: str):
    return json.loads((FOLDER / f"{name}.json").read_text())["results"], pd.read_csv(FOLDER / f"{name}.csv")


def number(value) -> float:
    return (
        {"Inf": math.inf, "-Inf": -math.inf, "NaN": math.nan, "NA": math.nan}[value]
        if isinstance(value, str)
        else value
    )


def same(found: float, reference, relative: float = 1e-6) -> None:
    reference = number(reference)
    if not math.isfinite(reference):
        assert found == reference or (math.isnan(found) and math.isnan(reference))
        return
    assert abs(found - reference) <= relative * max(abs(reference), 1e-3), (found, reference)


def all_same(found, reference, relative: float = 1e-6) -> None:
    for one, other in zip(found, reference, strict=True):
        same(float(one), other, relative)


def test_copies_equal_the_originals(shared):
    for path in FOLDER.glob("*.*"):
        original = shared / "reference" / "stats" / path.name
        if path.name != "README.md":
            assert path.read_bytes() == original.read_bytes()


@pytest.mark.parametrize("name", FAMILIES["roc"])
def test_roc(name):
    results, data = load(name)
    for column, reference in results["scores"].items():
        scores, labels = data[column], data["y"]
        area, variance = discrimination.auc(scores, labels), discrimination.delong_variance(scores, labels)
        same(area, reference["auc"])
        same(variance, reference["delong"]["var"])
        all_same(discrimination.wald_interval(area, variance), reference["delong"]["ci95"])
        all_same(discrimination.wald_interval(area, variance, 0.90), reference["delong"]["ci90"])
        same(resampling.exact_bootstrap_sd(scores, labels), reference["bootstrap"]["sd_exact_infinite_B"])
        drawn = resampling.bootstrap_auc(scores, labels, seed=1)
        tolerance = reference["bootstrap"]["tolerance_abs"]
        for found, expected in zip(resampling.percentile_interval(drawn), reference["bootstrap"]["ci95"], strict=True):
            assert abs(found - expected) <= tolerance
        same(area * (data["y"] == 1).sum() * (data["y"] == 0).sum(), reference["wilcox_W"])


@pytest.mark.parametrize("name", FAMILIES["roc"])
def test_roc_operating_points(name):
    results, data = load(name)
    for column, reference in results["scores"].items():
        scores, labels = data[column], data["y"]
        chosen = discrimination.choose_threshold(scores, labels)
        highest = max(reference["youden_best"], key=lambda row: number(row["threshold"]))
        same(chosen["value"], highest["threshold"])
        same(chosen["sensitivity"] + chosen["specificity"], highest["youden"])
        for row in reference["target_sensitivity"]:
            target = discrimination.choose_threshold(scores, labels, "target_sensitivity", row["target_sensitivity"])
            same(target["value"], row["threshold"])
            same(target["sensitivity"], row["sensitivity"])
            same(target["specificity"], row["specificity"])
        partial = reference["partial_auc"]
        all_same(
            discrimination.partial_auc(scores, labels, limit=0.8),
            (partial["spec_1_to_0.8"], partial["spec_1_to_0.8_mcclish"]),
        )
        same(discrimination.partial_auc(scores, labels, limit=0.9, focus="sensitivity")[0], partial["sens_1_to_0.9"])
        points = discrimination.roc_points(scores, labels)
        assert points.threshold.size == reference["n_roc_points"]
        for place, row in enumerate(reference.get("roc_points", [])):
            same(points.threshold[place], row["threshold"])
            same(points.sensitivity[place], row["sensitivity"])
            same(points.specificity[place], row["specificity"])


@pytest.mark.parametrize("name", FAMILIES["roc"])
def test_roc_pairs(name):
    results, data = load(name)
    for pair, reference in results.get("pairs", {}).items():
        first, second = (data[column].to_numpy() for column in pair.split("_vs_"))
        test, expected = compare.paired_delong(first, second, data["y"]), reference["delong_paired"]
        same(test.difference, reference["diff"])
        same(test.statistic, expected["z"])
        same(test.p_value, expected["p_two_sided"], 1e-5)
        all_same((test.low, test.high), expected["diff_ci95"])
        _, covariance = discrimination.delong_covariance(np.stack([first, second]), data["y"])
        same(covariance[0, 1], expected["cov"])
        boot = reference["bootstrap_paired"]
        exact = resampling.exact_bootstrap_sd_difference(first, second, data["y"])
        same(exact, boot["sd_diff_exact_infinite_B"])
        drawn = compare.paired_bootstrap(first, second, data["y"], resamples=4000, seed=3)
        assert drawn.statistic == pytest.approx(number(boot["D_exact_infinite_B"]), rel=boot["D_rel_tolerance"])


@pytest.mark.parametrize("name", FAMILIES["auc_unpaired"])
def test_auc_unpaired(name):
    results, data = load(name)
    parts = [data[data["cohort"] == results[key]] for key in ("cohort1", "cohort2")]
    arguments = [part[column] for part in parts for column in ("s", "y")]
    reference, test = results["test"], compare.unpaired_delong(*arguments)
    expected = reference["delong_unpaired"]
    same(test.difference, reference["diff"])
    same(test.statistic, expected["D"])
    same(test.df, expected["df"])
    same(test.p_value, expected["p_t_two_sided"], 1e-5)
    same(2 * stats.norm.sf(abs(test.statistic)), expected["p_normal_two_sided"], 1e-5)
    all_same((test.low, test.high), expected["diff_ci95_normal"])
    boot = reference["bootstrap_unpaired"]
    sd = math.hypot(*(resampling.exact_bootstrap_sd(part["s"], part["y"]) for part in parts))
    same(sd, boot["sd_diff_exact_infinite_B"])
    drawn = compare.unpaired_bootstrap(*arguments, resamples=4000, seed=5)
    assert drawn.statistic == pytest.approx(boot["D_exact_infinite_B"], rel=boot["D_rel_tolerance"])
    for part, key in zip(parts, ("ci1", "ci2"), strict=True):
        area, variance = discrimination.auc(part["s"], part["y"]), discrimination.delong_variance(part["s"], part["y"])
        all_same(discrimination.wald_interval(area, variance), results[key])


def counts_agree(table: operating.Counts, reference) -> None:
    assert (table.tp, table.fp, table.fn, table.tn) == tuple(reference[key] for key in ("TP", "FP", "FN", "TN"))
    for name in operating.PROPORTIONS:
        x, n = table.proportion(name)
        assert (x, n) == (reference[name]["x"], reference[name]["n"])
        all_same(operating.wilson(x, n), reference[name]["wilson"])
        all_same(operating.clopper_pearson(x, n), reference[name]["clopper_pearson"])
    names = {"lr_positive": "lr_pos", "lr_negative": "lr_neg", "diagnostic_odds_ratio": "dor"}
    for name, value in operating.summary_numbers(table).items():
        same(value, reference[names.get(name, name)])


@pytest.mark.parametrize("name", FAMILIES["frozen_threshold"])
@pytest.mark.parametrize("rule", ["youden", "target_sensitivity_0.90"])
def test_frozen_threshold(name, rule):
    results, data = load(name)
    reference = results[rule]
    parts = {split: data[data["split"] == split] for split in ("val", "test")}
    kind, target = ("youden", None) if rule == "youden" else ("target_sensitivity", 0.90)
    frozen = discrimination.choose_threshold(parts["val"]["s"], parts["val"]["y"], kind, target)["value"]
    same(frozen, reference["val_midpoint_threshold"])
    for split, part in parts.items():
        counts_agree(operating.count(part["s"], part["y"], frozen), reference[split])
    observed = reference["val_smallest_positive_score"]
    variant = reference["test_if_threshold_is_smallest_positive_score"]
    counts_agree(operating.count(parts["test"]["s"], parts["test"]["y"], observed), variant)


@pytest.mark.parametrize("name", FAMILIES["calibration_dca"])
def test_calibration(name):
    results, data = load(name)
    p, y, reference = data["p"], data["y"], results["calibration"]
    slope, intercept = calibration.slope_and_intercept(p, y)
    for found, key in (
        (slope, "slope"),
        (intercept, "intercept_joint"),
        (calibration.in_the_large(p, y), "calibration_in_the_large"),
    ):
        same(found.value, reference[key]["est"], 1e-5)
        all_same((found.low, found.high), reference[key]["ci95_wald"], 1e-5)
    same(calibration.brier(p, y), reference["brier"])
    same(calibration.brier_scaled(p, y), reference["brier_scaled"])
    inside = (p > 0) & (p < 1)
    same(calibration.log_loss(p[inside], y[inside]), reference["log_loss_inside"])
    same(discrimination.auc(p, y), reference["auc"])
    for row in reference["ece"]:
        all_same(calibration.calibration_errors(p, y, row["bins"], row["scheme"]), (row["ece"], row["mce"]))
    for row in reference["hosmer_lemeshow"]:
        external, internal = (calibration.hosmer_lemeshow(p, y, row["g"], seen=seen) for seen in (False, True))
        same(external.statistic, row["chisq"])
        assert internal.df == row["df_internal"]
        same(external.p_value, row["p_external_df_g"], 1e-5)
        same(internal.p_value, row["p_internal_df_g_minus_2"], 1e-5)
    lowess = reference["lowess_iter0_f23"]
    all_same(np.interp(lowess["grid"], *smoothing.lowess(p, y)), lowess["fit"])
    rms = reference["val_prob"]
    all_same(smoothing.smoothed_errors(p, y), (rms["Eavg"], rms["E90"], rms["Emax"]))
    loess = reference["loess"]
    all_same(smoothing.loess(p, y, loess["grid"])[0], loess["direct"])
    all_same(smoothing.loess(p, y, loess["grid"], degree=1)[0], loess["direct_degree1"])


@pytest.mark.parametrize("name", FAMILIES["calibration_dca"])
def test_decision_curve(name):
    results, data = load(name)
    reference = results["dca"]
    curve = utility.decision_curve(data["p"], data["y"])
    place = [round(100 * threshold) - 1 for threshold in reference["threshold"]]
    all_same(curve.threshold[place], reference["threshold"])
    all_same(curve.model[place], reference["model"])
    all_same(curve.treat_all[place], reference["treat_all"])
    all_same(curve.treat_none[place], reference["treat_none"])


@pytest.mark.parametrize("name", FAMILIES["nri_idi"])
def test_reclassification(name):
    results, data = load(name)
    for kind, cutoffs in (("continuous", None), ("categorical", results["cutoffs"])):
        found, reference = compare.net_reclassification(data["p1"], data["p2"], data["y"], cutoffs), results[kind]
        for test, suffix in ((found.total, ""), (found.events, "_ev"), (found.nonevents, "_ne")):
            same(test.difference, reference[f"nri{suffix}"])
            same(test.se, reference[f"se_nri{suffix}"])
            same(test.statistic, reference[f"z_nri{suffix}"])
        same(found.total.p_value, reference["p_nri"], 1e-5)
        all_same((found.total.low, found.total.high), reference["nri_ci95"])
        shares = (found.up_events, found.down_events, found.up_nonevents, found.down_nonevents)
        all_same(shares, [reference[key] for key in ("pup_ev", "pdown_ev", "pup_ne", "pdown_ne")])
    idi, reference = compare.integrated_discrimination(data["p1"], data["p2"], data["y"]), results["continuous"]
    all_same((idi.difference, idi.se, idi.statistic), [reference[key] for key in ("idi", "se_idi", "z_idi")])
    same(idi.p_value, reference["p_idi"], 1e-5)
    all_same((idi.low, idi.high), reference["idi_ci95"])
    for value, key in ((1, "table_events_rows_old_cols_new"), (0, "table_nonevents_rows_old_cols_new")):
        rows = data[data["y"] == value]
        old, new = (compare.categories(rows[column], results["cutoffs"]) for column in ("p1", "p2"))
        table = np.zeros((3, 3), dtype=int)
        np.add.at(table, (old, new), 1)
        assert table.tolist() == results[key]


@pytest.mark.parametrize("name", FAMILIES["binomial_ci"])
def test_binomial_intervals(name):
    results, _ = load(name)
    for row in results:
        all_same(operating.wilson(row["x"], row["n"]), row["wilson"])
        all_same(operating.clopper_pearson(row["x"], row["n"]), row["clopper_pearson"])


@pytest.mark.parametrize("name", FAMILIES["mcnemar"])
def test_mcnemar(name):
    results, _ = load(name)
    for row in results:
        found = compare.mcnemar(row["b"], row["c"])
        same(found.statistic_corrected, row["chisq_cc"])
        same(found.p_corrected, row["p_cc"], 1e-5)
        same(found.statistic, row["chisq"])
        same(found.p_plain, row["p"], 1e-5)
        same(found.p_exact, row["p_exact"], 1e-5)


@pytest.mark.parametrize("name", FAMILIES["mann_whitney_spearman_holm"])
def test_holm_and_mann_whitney_statistic(name):
    results, data = load(name)
    p_values = [row["p_normal_cc"] for row in results["features"]]
    all_same(compare.holm(p_values), results["p_adjust_of_p_normal_cc"]["holm"])
    for row in results["features"]:
        pairs = (data["y"] == 1).sum() * (data["y"] == 0).sum()
        same(discrimination.auc(data[row["feature"]], data["y"]) * pairs, row["U_pos"])
