"""Figures of every split and centre from a table of predictions: the content of `metrics.json`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mammo_aln.evaluation.gaps import Gap, auc_gaps
from mammo_aln.evaluation.metric import Figures, Metric, unknown, with_interval
from mammo_aln.evaluation.predictions import Predictions
from mammo_aln.evaluation.samples import LEARNT_FROM, Sample, sample_of, seed_of
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
BELOW_DIAGONAL = "the curve lies below the diagonal there: McClish's correction is not defined"
NO_PATIENT = "0/0: no patient to count"
OF_COUNTS = ("f1", "balanced_accuracy", "mcc", "kappa")
AT_THRESHOLD = ("threshold", *op.PROPORTIONS, "lr_positive", "lr_negative", "diagnostic_odds_ratio", *OF_COUNTS)
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


@dataclass(frozen=True)
class Judgement:
    """Figures of one model.

    Attributes:
        sources: names of the files judged.
        splits: figures of each split.
        centers: figures of each centre, and under `splits` where its rows came from.
        gaps: fall of the AUC from training to the other splits.
        notes: splits whose scores are no probabilities.
    """

    sources: Sequence[str]
    splits: dict[str, Figures]
    centers: dict[str, Figures]
    gaps: list[Gap]
    notes: list[str]

    @property
    def threshold(self) -> Metric:
        """The frozen threshold, the same in every split."""
        return next(iter(self.splits.values()))["threshold"]

    @property
    def comparable_centers(self) -> dict[str, Figures]:
        """Centres that may stand beside each other."""
        names = comparable_centers({name: figures["splits"].value for name, figures in self.centers.items()})
        return {name: self.centers[name] for name in names}

    def to_json(self) -> dict[str, object]:
        """The content of metrics.json: every figure an object with `value`."""
        splits, centers = (
            {name: {key: metric.to_json() for key, metric in figures.items()} for name, figures in judged.items()}
            for judged in (self.splits, self.centers)
        )
        return {
            "schema_version": 1,
            "sources": list(self.sources),
            "splits": splits,
            "centers": centers,
            "auc_gap": [gap.to_json() for gap in self.gaps],
            "notes": self.notes,
        }


def _discrimination(sample: Sample, resamples: int, seed: int) -> Figures:
    names = ("auc", "auc_logit", "auc_exact", "auc_bootstrap", "average_precision", "partial_auc")
    if sample.one_class:
        return {name: unknown(sample.one_class) for name in names}
    scores, labels = sample.scores, sample.labels
    value = disc.auc(scores, labels)
    drawn = bootstrap_auc(scores, labels, resamples=resamples, seed=seed_of(seed, sample.name))
    boot = disc.Interval(value, *percentile_interval(drawn), "stratified bootstrap, percentile")
    sd, exact = float(drawn.std(ddof=1)), exact_bootstrap_sd(scores, labels)
    return {
        **_auc_limits(value, disc.auc_variance(scores, labels), labels),
        "auc_bootstrap": with_interval(boot, resamples=resamples, sd=sd, sd_exact=exact),
        **(_clustered(sample, value, resamples, seed) if sample.clusters is not None else {}),
        "average_precision": Metric(disc.average_precision(scores, labels)),
        "partial_auc": _partial_auc(scores, labels),
    }


def _partial_auc(scores: disc.Floats, labels: disc.Floats) -> Metric:
    area, corrected = disc.partial_auc(scores, labels, specificity=PARTIAL_FROM)
    within = {"range": "specificity 0.8 to 1 (McClish corrected)"}
    if math.isnan(corrected):
        return Metric(area, {"corrected": None, **within, "reason": BELOW_DIAGONAL})
    return Metric(area, {"corrected": corrected, **within})


def _auc_limits(value: float, variance: float, labels: disc.Floats) -> Figures:
    """DeLong's limits as pROC prints them, on the logit scale, and the exact bound of an AUC of 0 or 1."""
    exact = unknown("needed only where the AUC is 0 or 1")
    if value in (0.0, 1.0):
        n_positive = int(labels.sum())
        limits = disc.exact_interval(value, n_positive, labels.size - n_positive)
        exact = with_interval(disc.Interval(value, *limits, "Clopper-Pearson on disjoint pairs"))
    if np.isnan(variance):
        few = "an interval needs at least two patients of each outcome"
        area = Metric(value, {"ci_low": None, "ci_high": None, "method": "DeLong", "reason": few})
        return {"auc": area, "auc_logit": unknown(few), "auc_exact": exact}
    area = with_interval(disc.Interval(value, *disc.wald_interval(value, variance), "DeLong, clipped to [0, 1]"))
    if variance == 0:
        area = area.also(note="DeLong's variance is 0 here: the interval says nothing about uncertainty")
    logit = unknown("an AUC of 0 or 1 has no logit; see auc_exact")
    if 0 < value < 1:
        limits = disc.logit_interval(value, variance)
        logit = with_interval(disc.Interval(value, *limits, "DeLong on the logit scale"))
    return {"auc": area, "auc_logit": logit, "auc_exact": exact}


def _clustered(sample: Sample, value: float, resamples: int, seed: int) -> Figures:
    """Intervals that hold where a patient has several rows (both sides): patients, not rows, are independent."""
    variance = disc.auc_variance(sample.scores, sample.labels, sample.patients)
    drawn = bootstrap_auc_joint(
        sample.scores, sample.labels, resamples=resamples, seed=seed_of(seed, sample.name), clusters=sample.patients
    )[0]
    boot = disc.Interval(value, *percentile_interval(drawn), "bootstrap of patients, percentile")
    area = unknown("too few patients, or an AUC of 0 or 1")
    if not np.isnan(variance) and 0 < value < 1:
        limits = disc.logit_interval(value, variance)
        area = with_interval(disc.Interval(value, *limits, "Obuchowski, patients as clusters, on the logit scale"))
    return {"auc_clustered_bootstrap": with_interval(boot, resamples=resamples), "auc_clustered": area}


def _with_bootstrap_limits(figures: Figures, sample: Sample, resamples: int, seed: int) -> Figures:
    """The figures, those without a plain formula (average precision, partial AUC, F1) with bootstrap limits."""
    if sample.one_class:
        return figures
    threshold = figures["threshold"].value
    drawn = bootstrap_figures(
        sample.scores,
        sample.labels,
        threshold=None if threshold is None else float(threshold),
        specificity=PARTIAL_FROM,
        resamples=resamples,
        seed=seed_of(seed, f"figures:{sample.name}"),
        clusters=sample.clusters,
    )
    method = f"{'stratified bootstrap' if sample.clusters is None else 'bootstrap of patients'}, percentile"
    limited = {}
    for name, values in drawn.items():
        if figures[name].value is not None:
            low, high = percentile_interval(values)
            limited[name] = figures[name].also(ci_low=low, ci_high=high, method=method, resamples=resamples)
    return figures | limited


def _at_threshold(sample: Sample, threshold: Metric) -> Figures:
    if threshold.value is None:
        return {name: unknown(threshold.reason) for name in AT_THRESHOLD}
    table = op.count(sample.scores, sample.labels, float(threshold.value))
    figures: Figures = {"threshold": threshold}
    for name in op.PROPORTIONS:
        x, n = table.proportion(name)
        if n == 0:
            figures[name] = unknown("no patient to count: the denominator is 0")
            continue
        exact_low, exact_high = op.clopper_pearson(x, n)
        wilson = disc.Interval(x / n, *op.wilson(x, n), "Wilson")
        figures[name] = with_interval(wilson, count=x, n=n, exact_low=exact_low, exact_high=exact_high)
    for name, ratio in op.ratio_intervals(table).items():
        if math.isnan(ratio.value):
            figures[name] = unknown(NO_PATIENT)
        else:
            figures[name] = Metric(ratio.value) if math.isnan(ratio.low) else with_interval(ratio)
    numbers = op.summary_numbers(table)
    for name in OF_COUNTS:
        figures[name] = unknown(NO_PATIENT) if math.isnan(numbers[name]) else Metric(numbers[name])
    counts = {"tp": table.tp, "fp": table.fp, "fn": table.fn, "tn": table.tn}
    return figures | {"threshold": threshold.also(counts=counts)}


def _of_logistic_fit(interval: disc.Interval, sample: Sample) -> Metric:
    certain = int(((sample.scores == 0) | (sample.scores == 1)).sum())
    note = {"note": f"without {certain} predictions of exactly 0 or 1"} if certain else {}
    return with_interval(interval, **note)


def _calibration(sample: Sample) -> Figures:
    reason = sample.not_probabilities
    if reason or sample.labels.size == 0:
        return {name: unknown(reason or "no labelled patient") for name in OF_PROBABILITIES}
    scores, labels = sample.scores, sample.labels
    ece, mce = cal.calibration_errors(scores, labels)
    loss = Metric(cal.log_loss(scores, labels))
    inside = (scores > 0) & (scores < 1)
    if not inside.all() and inside.any():
        loss = loss.also(value_without_certain=cal.log_loss(scores[inside], labels[inside]))
    figures = {
        "brier": with_interval(cal.brier_interval(scores, labels, sample.clusters)),
        "log_loss": loss,
        "ece": Metric(ece, {"bins": 10}),
        "mce": Metric(mce, {"bins": 10}),
    }
    for name, compute in _NEED_BOTH.items():
        try:
            if sample.one_class:
                raise cal.NotEstimable(sample.one_class)
            figures[name] = compute(sample)
        except cal.NotEstimable as why:
            figures[name] = unknown(str(why))
    return {name: figures[name] for name in OF_PROBABILITIES}


def _ici(sample: Sample) -> Metric:
    mean, percentile90, largest = smoothed_errors(sample.scores, sample.labels)
    return Metric(mean, {"e90": percentile90, "emax": largest, "smoother": "lowess"})


def _hosmer_lemeshow(sample: Sample) -> Metric:
    test = cal.hosmer_lemeshow(sample.scores, sample.labels, seen=sample.seen)
    return Metric(test.statistic, {"p_value": test.p_value, "df": test.df, "groups": test.groups})


_NEED_BOTH: dict[str, Callable[[Sample], Metric]] = {
    "brier_scaled": lambda s: Metric(cal.brier_scaled(s.scores, s.labels)),
    "ici": _ici,
    "calibration_slope": lambda s: _of_logistic_fit(cal.slope_and_intercept(s.scores, s.labels)[0], s),
    "calibration_intercept": lambda s: _of_logistic_fit(cal.slope_and_intercept(s.scores, s.labels)[1], s),
    "calibration_in_the_large": lambda s: _of_logistic_fit(cal.in_the_large(s.scores, s.labels), s),
    "hosmer_lemeshow": _hosmer_lemeshow,
}


def judge_sample(sample: Sample, threshold: Metric, *, resamples: int = 2000, seed: int = 0) -> Figures:
    """Every figure of one set of rows."""
    figures = {
        "n": Metric(int(sample.labels.size)),
        "n_positive": Metric(int(sample.labels.sum())),
        "n_unlabelled": Metric(sample.n_unlabelled),
        **({} if sample.clusters is None else {"n_patients": Metric(len(set(sample.patients)))}),
        **_discrimination(sample, resamples, seed),
        **_at_threshold(sample, threshold),
        **_calibration(sample),
    }
    return _with_bootstrap_limits(figures, sample, resamples, seed)


def frozen_threshold(predictions: Predictions) -> Metric:
    """The run's threshold, or Youden's on validation rows where it names none; never one chosen on a test split."""
    given = predictions.facts.get("threshold")
    if given:
        kept = {key: given[key] for key in ("split", "target") if key in given}
        return Metric(given["value"], {"rule": given.get("rule", "given"), **kept})
    rows = predictions.table[predictions.table["split"] == "val"]
    none = "no frozen threshold: the files name none"
    if rows.empty:
        return unknown(f"{none}, and there is no validation split to choose it on")
    sample = sample_of(rows, "val")
    if sample.one_class:
        return unknown(f"{none}, and on validation {sample.one_class}")
    value = disc.choose_threshold(sample.scores, sample.labels, "youden")["value"]
    return Metric(value, {"rule": "youden", "split": "val", "note": "chosen by evaluate on the validation rows"})


def split_samples(predictions: Predictions) -> dict[str, Sample]:
    """Labelled rows of each split."""
    table = predictions.table
    return {name: sample_of(table[table["split"] == name], name, seen=name == "train") for name in predictions.splits()}


def center_samples(predictions: Predictions) -> dict[str, tuple[list[str], Sample]]:
    """Labelled rows of each centre, and the splits they came from.

    A centre is judged on rows that the run did not learn from; where it has only training or validation rows, on those.
    """
    samples: dict[str, tuple[list[str], Sample]] = {}
    for center in sorted(set(predictions.table["center"])) if predictions.has_center else []:
        rows = predictions.table[predictions.table["center"] == center]
        tested = rows[~rows["split"].isin(LEARNT_FROM)]
        rows = rows if tested.empty else tested
        splits = sorted(set(rows["split"]))
        samples[center] = splits, sample_of(rows, f"center:{center}", seen=splits == ["train"])
    return samples


def comparable_centers(splits_of: Mapping[str, Sequence[str]]) -> list[str]:
    """Centres that may stand beside each other: those judged on rows the run did not learn from (else all)."""
    fresh = [name for name, splits in splits_of.items() if not set(splits) & set(LEARNT_FROM)]
    return fresh or list(splits_of)


def judge(predictions: Predictions, *, resamples: int = 2000, seed: int = 0) -> Judgement:
    """Every figure of every split and centre; one that cannot be known is null and says why."""
    threshold, samples = frozen_threshold(predictions), split_samples(predictions)

    def judged(sample: Sample) -> Figures:
        return judge_sample(sample, threshold, resamples=resamples, seed=seed)

    return Judgement(
        sources=predictions.sources,
        splits={name: judged(sample) for name, sample in samples.items()},
        centers={
            name: {"splits": Metric(splits)} | judged(sample)
            for name, (splits, sample) in center_samples(predictions).items()
        },
        gaps=auc_gaps(samples, resamples=resamples, seed=seed),
        notes=[f"{name}: {sample.not_probabilities}" for name, sample in samples.items() if sample.not_probabilities],
    )
