"""Every reference case of R in judging, to the digits that the reference folder allows.

Rank tests, LASSO, logistic models and agreement have their own file; `test_r_complete.py` shows that no result is left.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mammo_aln.evaluation.statistics import calibration, discrimination, operating, resampling, smoothing, utility
from mammo_aln.evaluation.statistics import tests as compare
from tests.support.r_reference import FAMILIES, FOLDER, all_same, load, number, same


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
        area, variance = discrimination.auc(scores, labels), discrimination.auc_variance(scores, labels)
        same(area, reference["auc"])
        same(variance, reference["delong"]["var"])
        same(math.sqrt(variance), reference["delong"]["se"])
        assert ((data["y"] == 1).sum(), (data["y"] == 0).sum()) == (reference["n_pos"], reference["n_neg"])
        all_same(discrimination.wald_interval(area, variance), reference["delong"]["ci95"])
        all_same(discrimination.wald_interval(area, variance, 0.90), reference["delong"]["ci90"])
        same(resampling.exact_bootstrap_sd(scores, labels), reference["bootstrap"]["sd_exact_infinite_B"])
        drawn = resampling.bootstrap_auc(scores, labels, seed=1)
        boot = reference["bootstrap"]
        for limits in (boot["ci95"], boot["ci95_second_seed"]):
            for found, expected in zip(resampling.percentile_interval(drawn), limits, strict=True):
                assert abs(found - expected) <= boot["tolerance_abs"]
        assert abs(float(np.median(drawn)) - boot["median"]) <= boot["tolerance_abs"]
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
        for row in reference["youden_best"]:
            table = operating.count(scores, labels, number(row["threshold"]))
            assert (table.tp, table.tn, table.fp, table.fn) == (row["tp"], row["tn"], row["fp"], row["fn"])
            same(table.tp / (table.tp + table.fn), row["sensitivity"])
            same(table.tn / (table.tn + table.fp), row["specificity"])
        for row in reference["target_sensitivity"]:
            target = discrimination.choose_threshold(scores, labels, "target_sensitivity", row["target_sensitivity"])
            same(target["value"], row["threshold"])
            same(target["sensitivity"], row["sensitivity"])
            same(target["specificity"], row["specificity"])
        partial = reference["partial_auc"]
        all_same(
            discrimination.partial_auc(scores, labels, specificity=0.8),
            (partial["spec_1_to_0.8"], partial["spec_1_to_0.8_mcclish"]),
        )
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
        same(discrimination.auc(first, data["y"]), reference["auc1"])
        same(discrimination.auc(second, data["y"]), reference["auc2"])
        all_same((test.low, test.high), expected["diff_ci95"])
        boot = reference["bootstrap_paired"]
        drawn = compare.paired_bootstrap(first, second, data["y"], resamples=4000, seed=3)
        for statistic in (boot["D"], boot["D_exact_infinite_B"]):
            assert drawn.statistic == pytest.approx(number(statistic), rel=boot["D_rel_tolerance"])
        same(drawn.p_value, float(2 * stats.norm.sf(abs(drawn.statistic))))
        assert drawn.p_value == pytest.approx(boot["p"], rel=0.3, abs=0.005)


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
    same(2 * stats.norm.sf(abs(test.difference / sd)), boot["p_exact_infinite_B"], 1e-5)
    drawn = compare.unpaired_bootstrap(*arguments, resamples=4000, seeds=(5, 6))
    for statistic in (boot["D"], boot["B2000"]["D"], boot["D_exact_infinite_B"]):
        assert drawn.statistic == pytest.approx(statistic, rel=boot["D_rel_tolerance"])
    for p in (boot["p"], boot["B2000"]["p"]):
        assert drawn.p_value == pytest.approx(p, rel=0.3, abs=0.005)
    same(test.se, expected["se_diff"])
    for part, key in zip(parts, ("auc1", "auc2"), strict=True):
        same(discrimination.auc(part["s"], part["y"]), reference[key])
    for part, key in zip(parts, ("ci1", "ci2"), strict=True):
        area, variance = discrimination.auc(part["s"], part["y"]), discrimination.auc_variance(part["s"], part["y"])
        all_same(discrimination.wald_interval(area, variance), results[key])


def counts_agree(table: operating.Counts, reference) -> None:
    assert (table.tp, table.fp, table.fn, table.tn) == tuple(reference[key] for key in ("TP", "FP", "FN", "TN"))
    for name in operating.PROPORTIONS:
        x, n = table.proportion(name)
        assert (x, n) == (reference[name]["x"], reference[name]["n"])
        same(operating.ratio(x, n), reference[name]["estimate"])
        if n == 0:  # R has no interval of no patient either
            continue
        all_same(operating.wilson(x, n), reference[name]["wilson"])
        all_same(operating.clopper_pearson(x, n), reference[name]["clopper_pearson"])
    names = {"lr_positive": "lr_pos", "lr_negative": "lr_neg", "diagnostic_odds_ratio": "dor"}
    for name, value in operating.summary_numbers(table).items():
        same(value, reference[names.get(name, name)])


EPI_PROPORTIONS = {
    "se": "sensitivity",
    "sp": "specificity",
    "diag.ac": "accuracy",
    "pv.pos": "ppv",
    "pv.neg": "npv",
}
EPI_RATIOS = {"lr.pos": "lr_positive", "lr.neg": "lr_negative", "diag.or": "diagnostic_odds_ratio"}


def epi_agrees(table: operating.Counts, reference, interval) -> None:
    for key, name in EPI_PROPORTIONS.items():
        x, n = table.proportion(name)
        all_same((x / n, *interval(x, n)), [reference[key][end] for end in ("est", "lower", "upper")])
    found = operating.ratio_intervals(table)
    for key, name in EPI_RATIOS.items():
        one = found[name]
        all_same((one.value, one.low, one.high), [reference[key][end] for end in ("est", "lower", "upper")])


@pytest.mark.parametrize("name", FAMILIES["frozen_threshold"])
@pytest.mark.parametrize("rule", ["youden", "target_sensitivity_0.90"])
def test_frozen_threshold(name, rule):
    results, data = load(name)
    reference = results[rule]
    parts = {split: data[data["split"] == split] for split in ("val", "test")}
    kind, target = ("youden", None) if rule == "youden" else ("target_sensitivity", 0.90)
    frozen = discrimination.choose_threshold(parts["val"]["s"], parts["val"]["y"], kind, target)["value"]
    same(frozen, reference["val_midpoint_threshold"])
    points = discrimination.roc_points(parts["val"]["s"], parts["val"]["y"])
    gain = points.sensitivity + points.specificity
    assert np.isclose(gain, gain.max(), rtol=0, atol=1e-12).sum() == results["youden_ties_on_val"]
    for split, part in parts.items():
        counts_agree(operating.count(part["s"], part["y"], frozen), reference[split])
        same(frozen, reference[split]["threshold"])
    for method, interval in (("exact", operating.clopper_pearson), ("wilson", operating.wilson)):
        table = operating.count(parts["test"]["s"], parts["test"]["y"], frozen)
        epi_agrees(table, reference["test_epiR"][method], interval)
    called = parts["val"]["s"][parts["val"]["s"] >= frozen]
    same(float(called.min()), reference["val_smallest_positive_score"])
    observed = reference["val_smallest_positive_score"]
    variant = reference["test_if_threshold_is_smallest_positive_score"]
    same(observed, variant["threshold"])
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
        same(found.se, reference[key]["se"], 1e-5)
        all_same((found.low, found.high), reference[key]["ci95_wald"], 1e-5)
    same(calibration.brier(p, y), reference["brier"])
    same(calibration.brier_scaled(p, y), reference["brier_scaled"])
    inside = (p > 0) & (p < 1)
    same(calibration.log_loss(p[inside], y[inside]), reference["log_loss_inside"])
    assert inside.sum() == reference["n_used_for_logistic"]
    same(discrimination.auc(p, y), reference["auc"])
    same(discrimination.auc(p, y), reference["somers2_C"])
    for row in reference["ece"]:
        all_same(calibration.calibration_errors(p, y, row["bins"], row["scheme"]), (row["ece"], row["mce"]))
    for row in reference["hosmer_lemeshow"]:
        if "error" in row:  # R stops at tied quantiles; here the groups are merged (definition 11)
            assert calibration.hosmer_lemeshow(p, y, row["g"]).groups < row["g"]
            continue
        external, internal = (calibration.hosmer_lemeshow(p, y, row["g"], seen=seen) for seen in (False, True))
        same(external.statistic, row["chisq"])
        assert internal.df == row["df_internal"]
        same(external.p_value, row["p_external_df_g"], 1e-5)
        same(internal.p_value, row["p_internal_df_g_minus_2"], 1e-5)
    lowess = reference["lowess_iter0_f23"]
    all_same(np.interp(lowess["grid"], *smoothing.lowess(p, y)), lowess["fit"])
    rms = reference["val_prob"]
    all_same(smoothing.smoothed_errors(p, y), (rms["Eavg"], rms["E90"], rms["Emax"]))
    same(calibration.brier(p, y), rms["Brier"])
    same(slope.value, rms["Slope"], 1e-5)
    same(intercept.value, rms["Intercept"], 1e-5)
    loess = reference["loess"]
    off = smoothing.loess(p, y, loess["grid"], span=loess["span"], degree=loess["degree"])[0]
    assert off == pytest.approx(loess["default_interpolate"], rel=0.05)
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
    events = int((data["y"] == 1).sum())
    for kind, cutoffs in (("continuous", None), ("categorical", results["cutoffs"])):
        found, reference = compare.net_reclassification(data["p1"], data["p2"], data["y"], cutoffs), results[kind]
        assert (reference["n"], reference["na"], reference["nb"]) == (len(data), events, len(data) - events)
        for test, suffix in ((found.total, ""), (found.events, "_ev"), (found.nonevents, "_ne")):
            same(test.difference, reference[f"nri{suffix}"])
            same(test.se, reference[f"se_nri{suffix}"])
            same(test.statistic, reference[f"z_nri{suffix}"])
        same(found.total.p_value, reference["p_nri"], 1e-5)
        all_same((found.total.low, found.total.high), reference["nri_ci95"])
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
        same(operating.ratio(row["x"], row["n"]), row["estimate"])
        all_same(operating.wilson(row["x"], row["n"]), row["wilson"])
        all_same(operating.clopper_pearson(row["x"], row["n"]), row["clopper_pearson"])


@pytest.mark.parametrize("name", FAMILIES["mcnemar"])
def test_mcnemar(name):
    results, data = load(name)
    for place, row in enumerate(results):
        assert (row["b"], row["c"]) == (data["b"][place], data["c"][place])
        found = compare.mcnemar(row["b"], row["c"])
        same(found.p_corrected, row["p_cc"], 1e-5)
        same(found.p_plain, row["p"], 1e-5)
        same(found.p_exact, row["p_exact"], 1e-5)
