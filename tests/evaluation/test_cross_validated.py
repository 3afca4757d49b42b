"""Intervals and tests of cross-validated AUCs: DeLong's in one fold, and honest over several."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mammo_aln.evaluation.statistics import discrimination
from mammo_aln.evaluation.statistics import tests as compare
from mammo_aln.evaluation.statistics.cross_validated import cross_validated


def scores_of(rng, n: int, strengths) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    labels = (np.arange(n) % 5 < 2).astype(float)
    common = rng.normal(size=n)
    return labels, {f"c{k}": d * labels + common + rng.normal(size=n) for k, d in enumerate(strengths)}


def test_one_fold_gives_delongs_interval_and_test():
    labels, scores = scores_of(np.random.default_rng(0), 90, (0.5, 1.5, 0.5))
    judged = cross_validated([(np.arange(90), scores)], labels, np.arange(90).astype(object))
    for name, score in scores.items():
        variance = discrimination.auc_variance(score, labels)
        area = discrimination.auc(score, labels)
        assert judged.limits(name) == pytest.approx(discrimination.logit_interval(area, variance))
    test = compare.paired_delong(scores["c1"], scores["c0"], labels)
    assert judged.p_against("c1", "c0") == pytest.approx(test.p_value)
    chi2, df, p = judged.test_of_all(["c0", "c1"])
    assert (chi2, df, p) == (pytest.approx(test.statistic**2), 1, pytest.approx(test.p_value))
    again = cross_validated([(np.arange(90), scores | {"copy": scores["c0"]})], labels, np.arange(90).astype(object))
    assert again.p_against("copy", "c0") == 1.0
    assert again.test_of_all(["c0", "copy", "c1"])[1] == 1
    assert np.isnan(again.test_of_all(["c0", "copy"])[0])


def test_over_folds_and_repeats_false_alarms_and_coverage_are_as_promised():
    """The same scores in every repeat, dealt anew: repeats tell nothing more, and the interval must not shrink."""
    rng = np.random.default_rng(1)
    alarms, inside, truth = [], [], []
    for _ in range(150):
        labels, scores = scores_of(rng, 100, (1.2, 1.2, 1.2))
        folds = []
        for _ in range(2):
            dealt = np.empty(100, int)
            for value in (0.0, 1.0):
                dealt[labels == value] = rng.permutation(np.arange((labels == value).sum()) % 5)
            for fold in range(5):
                rows = np.flatnonzero(dealt == fold)
                folds.append((rows, {name: score[rows] for name, score in scores.items()}))
        judged = cross_validated(folds, labels, np.arange(100).astype(object))
        alarms.append(judged.test_of_all(list(scores))[2] < 0.05)
        low, high = judged.limits("c0")
        truth.append(judged.auc[0])
        inside.append((low, high))
    area = float(stats.norm.cdf(1.2 / 2))  # scores of each outcome have variance 2
    assert 0.91 <= np.mean([low <= area <= high for low, high in inside]) <= 0.99
    assert np.mean(truth) == pytest.approx(area, abs=0.01)
    assert np.mean(alarms) <= 0.10


def test_two_rows_of_one_patient_are_one_unit():
    labels, scores = scores_of(np.random.default_rng(2), 60, (1.0, 0.5))
    once = cross_validated([(np.arange(60), scores)], labels, np.arange(60).astype(object))
    twice = cross_validated(
        [(np.arange(120), {name: np.tile(score, 2) for name, score in scores.items()})],
        np.tile(labels, 2),
        np.tile(np.arange(60), 2).astype(object),
    )
    assert twice.limits("c0") == pytest.approx(once.limits("c0"), abs=0.01)
