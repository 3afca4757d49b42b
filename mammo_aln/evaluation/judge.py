"""Tables of predictions in, every figure of `metrics.json` out. A figure that cannot be known is null and says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mammo_aln.evaluation.gaps import auc_gaps
from mammo_aln.evaluation.predictions import Predictions
from mammo_aln.evaluation.samples import LEARNT_FROM, Metric, Sample, sample_of, seed_of, unknown, with_interval
from mammo_aln.evaluation.statistics import calibration as cal
from mammo_aln.evaluation.statistics import discrimination as disc
from mammo_aln.evaluation.statistics import operating as op
from mammo_aln.evaluation.statistics.bootstrapped import bootstrap_figures
from mammo_aln.evaluation.statistics.resampling import (
    bootstrap_auc,
    bootstrap_auc_joint,
    exact_bootstrap_sd,
    percentile_interval,
)
from mammo_aln.evaluation.statistics.smoothing import smoothed_errors

PARTIAL_FROM = 0.8
AT_THRESHOLD = (
    "threshold",
    *op.PROPORTIONS,
    "lr_positive",
    "lr_negative",
    "diagnostic_odds_ratio",
    "f1",
    "balanced_accuracy",
    "mcc",
    "kappa",
)
OF_PROBABILITIES = (
    "brier",
    "brier_scaled",
    "log_loss",
    "ece",
    "mce",
    "ici",
    "calibration_slope",
    "calibration_intercept",
    "calibration_in_the_large",
    "hosmer_lemeshow",
)


def _discrimination(sample: Sample, resamples: int, seed: int) -> dict[str, Metric]:
    names = ("auc", "auc_logit", "auc_exact", "auc_bootstrap", "average_precision", "partial_auc")
    if sample.one_class:
        return {name: unknown(sample.one_class) for name in names}
    scores, labels = sample.scores, sample.labels
    value, variance = disc.auc(scores, labels), disc.delong_variance(scores, labels)
    n_positive = int(labels.sum())
    sizes = (n_positive, labels.size - n_positive)
    result: dict[str, Metric] = {}
    few = "an interval needs at least two patients of each outcome"
    flat = "DeLong's variance is 0 here: the interval says nothing about uncertainty"
    if np.isnan(variance):
        result["auc"] = {"value": value, "ci_low": None, "ci_high": None, "method": "DeLong", "reason": few}
        result["auc_logit"] = unknown(few)
    else:
        low, high = disc.wald_interval(value, variance)
        result["auc"] = with_interval(disc.Interval(value, low, high, "DeLong, clipped to [0, 1]"))
        if variance == 0:
            result["auc"]["note"] = flat
        if 0 < value < 1:
            limits = disc.logit_interval(value, variance)
            result["auc_logit"] = with_interval(disc.Interval(value, *limits, "DeLong on the logit scale"))
        else:
            result["auc_logit"] = unknown("an AUC of 0 or 1 has no logit; see auc_exact")
    if value in (0.0, 1.0):
        exact = disc.Interval(value, *disc.exact_interval(value, *sizes), "Clopper-Pearson on disjoint pairs")
        result["auc_exact"] = with_interval(exact)
    else:
        result["auc_exact"] = unknown("needed only where the AUC is 0 or 1")
    drawn = bootstrap_auc(scores, labels, resamples=resamples, seed=seed_of(seed, sample.name))
    limits = percentile_interval(drawn)
    boot = disc.Interval(value, *limits, "stratified bootstrap, percentile")
    more = {"resamples": resamples, "sd": float(drawn.std(ddof=1)), "sd_exact": exact_bootstrap_sd(scores, labels)}
    result["auc_bootstrap"] = with_interval(boot, **more)
    if sample.clusters is not None:
        result |= _clustered(sample, value, resamples, seed)
    result["average_precision"] = {"value": disc.average_precision(scores, labels)}
    area, corrected = disc.partial_auc(scores, labels, limit=PARTIAL_FROM)
    result["partial_auc"] = {"value": area, "corrected": corrected, "range": "specificity 0.8 to 1 (McClish corrected)"}
    return result


def _bootstrapped(sample: Sample, threshold: Metric, resamples: int, seed: int) -> dict[str, Metric]:
    """Limits of average precision, partial AUC and F1."""
    if sample.one_class:
        return {}
    value = threshold.get("value")
    drawn = bootstrap_figures(
        sample.scores,
        sample.labels,
        threshold=None if value is None else float(value),
        specificity=PARTIAL_FROM,
        resamples=resamples,
        seed=seed_of(seed, f"figures:{sample.name}"),
        clusters=sample.clusters,
    )
    what = "stratified bootstrap" if sample.clusters is None else "bootstrap of patients"
    limits = {name: percentile_interval(values) for name, values in drawn.items()}
    more = {"method": f"{what}, percentile", "resamples": resamples}
    return {name: {"ci_low": low, "ci_high": high} | more for name, (low, high) in limits.items()}


def _clustered(sample: Sample, value: float, resamples: int, seed: int) -> dict[str, Metric]:
    """Intervals that hold where a patient has several rows (both sides): patients, not rows, are independent."""
    variance = disc.clustered_variance(sample.scores, sample.labels, sample.patients)
    drawn = bootstrap_auc_joint(
        sample.scores, sample.labels, resamples=resamples, seed=seed_of(seed, sample.name), clusters=sample.patients
    )[0]
    boot = disc.Interval(value, *percentile_interval(drawn), "bootstrap of patients, percentile")
    found = {"auc_clustered_bootstrap": with_interval(boot, resamples=resamples)}
    if np.isnan(variance) or not 0 < value < 1:
        return found | {"auc_clustered": unknown("too few patients, or an AUC of 0 or 1")}
    limits = disc.logit_interval(value, variance)
    method = "Obuchowski, patients as clusters, on the logit scale"
    return found | {"auc_clustered": with_interval(disc.Interval(value, *limits, method))}


def _at_threshold(sample: Sample, threshold: Metric) -> dict[str, Metric]:
    if threshold.get("value") is None:
        return {name: unknown(threshold["reason"]) for name in AT_THRESHOLD}
    table = op.count(sample.scores, sample.labels, float(threshold["value"]))
    result: dict[str, Metric] = {"threshold": dict(threshold)}
    for name in op.PROPORTIONS:
        x, n = table.proportion(name)
        if n == 0:
            result[name] = unknown("no patient to count: the denominator is 0")
            continue
        low, high = op.wilson(x, n)
        exact_low, exact_high = op.clopper_pearson(x, n)
        interval = disc.Interval(x / n, low, high, "Wilson")
        result[name] = with_interval(interval, count=x, n=n, exact_low=exact_low, exact_high=exact_high)
    numbers = op.summary_numbers(table)
    for name, found in op.ratio_intervals(table).items():
        limits = {} if np.isnan(found.low) else {"ci_low": found.low, "ci_high": found.high, "method": found.method}
        nothing = unknown("0/0: no patient to count")
        result[name] = nothing if np.isnan(found.value) else {"value": found.value} | limits
    for name in ("f1", "balanced_accuracy", "mcc", "kappa"):
        undefined = np.isnan(numbers[name])
        result[name] = unknown("0/0: no patient to count") if undefined else {"value": numbers[name]}
    result["threshold"]["counts"] = {"tp": table.tp, "fp": table.fp, "fn": table.fn, "tn": table.tn}
    return result


def _logistic_note(sample: Sample) -> Metric:
    certain = int(((sample.scores == 0) | (sample.scores == 1)).sum())
    return {"note": f"without {certain} predictions of exactly 0 or 1"} if certain else {}


def _calibration(sample: Sample) -> dict[str, Metric]:
    reason = sample.not_probabilities
    if reason or sample.labels.size == 0:
        return {name: unknown(reason or "no labelled patient") for name in OF_PROBABILITIES}
    scores, labels = sample.scores, sample.labels
    ece, mce = cal.calibration_errors(scores, labels)
    result: dict[str, Metric] = {
        "brier": with_interval(cal.brier_interval(scores, labels, sample.clusters)),
        "log_loss": {"value": cal.log_loss(scores, labels)},
        "ece": {"value": ece, "bins": 10},
        "mce": {"value": mce, "bins": 10},
    }
    inside = (scores > 0) & (scores < 1)
    if not inside.all() and inside.any():
        result["log_loss"]["value_without_certain"] = cal.log_loss(scores[inside], labels[inside])
    for name, compute in _NEED_BOTH.items():
        try:
            if sample.one_class:
                raise cal.NotEstimable(sample.one_class)
            result[name] = compute(sample)
        except cal.NotEstimable as why:
            result[name] = unknown(str(why))
    return {name: result[name] for name in OF_PROBABILITIES}


def _ici(sample: Sample) -> Metric:
    mean, percentile90, largest = smoothed_errors(sample.scores, sample.labels)
    return {"value": mean, "e90": percentile90, "emax": largest, "smoother": "lowess"}


def _hosmer_lemeshow(sample: Sample) -> Metric:
    test = cal.hosmer_lemeshow(sample.scores, sample.labels, seen=sample.seen)
    return {"value": test.statistic, "p_value": test.p_value, "df": test.df, "groups": test.groups}


_NEED_BOTH: dict[str, Callable[[Sample], Metric]] = {
    "brier_scaled": lambda s: {"value": cal.brier_scaled(s.scores, s.labels)},
    "ici": _ici,
    "calibration_slope": lambda s: with_interval(cal.slope_and_intercept(s.scores, s.labels)[0]) | _logistic_note(s),
    "calibration_intercept": lambda s: (
        with_interval(cal.slope_and_intercept(s.scores, s.labels)[1]) | _logistic_note(s)
    ),
    "calibration_in_the_large": lambda s: with_interval(cal.in_the_large(s.scores, s.labels)) | _logistic_note(s),
    "hosmer_lemeshow": _hosmer_lemeshow,
}


def judge_sample(sample: Sample, threshold: Metric, *, resamples: int = 2000, seed: int = 0) -> dict[str, Metric]:
    """Every metric of one set of rows, each an object with `value`."""
    found = {
        "n": {"value": int(sample.labels.size)},
        "n_positive": {"value": int(sample.labels.sum())},
        "n_unlabelled": {"value": sample.n_unlabelled},
        **_discrimination(sample, resamples, seed),
        **_at_threshold(sample, threshold),
        **_calibration(sample),
    }
    for name, limits in _bootstrapped(sample, threshold, resamples, seed).items():
        if found[name]["value"] is not None:
            found[name] |= limits
    return found


def frozen_threshold(predictions: Predictions) -> Metric:
    """The run's threshold, or Youden's on validation rows where it names none; never one chosen on a test split."""
    given = predictions.facts.get("threshold")
    if given:
        kept = {key: given[key] for key in ("rule", "split", "target") if key in given}
        return {"value": given["value"], "rule": kept.pop("rule", "given"), **kept}
    rows = predictions.table[predictions.table["split"] == "val"]
    none = "no frozen threshold: the files name none"
    if rows.empty:
        return unknown(f"{none}, and there is no validation split to choose it on")
    sample = sample_of(rows, "val")
    if sample.one_class:
        return unknown(f"{none}, and on validation {sample.one_class}")
    chosen = disc.choose_threshold(sample.scores, sample.labels, "youden")
    return {
        "value": chosen["value"],
        "rule": "youden",
        "split": "val",
        "note": "chosen by evaluate on the validation rows",
    }


def split_samples(predictions: Predictions) -> dict[str, Sample]:
    """Labelled rows of each split."""
    table = predictions.table
    return {name: sample_of(table[table["split"] == name], name, seen=name == "train") for name in predictions.splits()}


def center_samples(predictions: Predictions) -> dict[str, tuple[list[str], Sample]]:
    """Labelled rows of each centre, and the splits they came from.

    A centre is judged on rows that the run did not learn from; where it has only training or validation rows, on those.
    """
    found: dict[str, tuple[list[str], Sample]] = {}
    for center in sorted(set(predictions.table["center"])) if predictions.has_center else []:
        rows = predictions.table[predictions.table["center"] == center]
        tested = rows[~rows["split"].isin(LEARNT_FROM)]
        rows = rows if tested.empty else tested
        splits = sorted(set(rows["split"]))
        found[center] = splits, sample_of(rows, f"center:{center}", seen=splits == ["train"])
    return found


def comparable_centers(splits_of: Mapping[str, Sequence[str]]) -> list[str]:
    """Centres that may stand beside each other: those judged on rows the run did not learn from (else all)."""
    fresh = [name for name, splits in splits_of.items() if not set(splits) & set(LEARNT_FROM)]
    return fresh or list(splits_of)


def judge(predictions: Predictions, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """The content of `metrics.json` (DESIGN: files between the stages)."""
    threshold, samples = frozen_threshold(predictions), split_samples(predictions)

    def judged(sample: Sample) -> dict[str, Metric]:
        return judge_sample(sample, threshold, resamples=resamples, seed=seed)

    return {
        "schema_version": 1,
        "sources": list(predictions.sources),
        "splits": {name: judged(sample) for name, sample in samples.items()},
        "centers": {
            name: {"splits": {"value": splits}} | judged(sample)
            for name, (splits, sample) in center_samples(predictions).items()
        },
        "auc_gap": auc_gaps(samples, resamples=resamples, seed=seed),
        "notes": [
            f"{name}: {sample.not_probabilities}" for name, sample in samples.items() if sample.not_probabilities
        ],
    }
