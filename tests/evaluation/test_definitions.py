"""The definitions that trip implementations, each decided; numbers as in the reference folder's list.

9 (exact Mann-Whitney), 14 (LASSO scaling) and 15 (Firth) are decided where features are selected, not here.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics import calibration, discrimination, operating, resampling, utility
from mammo_aln.evaluation.statistics import tests as compare


def test_1_thresholds_are_midpoints_and_positive_means_at_or_above():
    chosen = discrimination.choose_threshold([0.2, 0.3, 0.6, 0.9], [0, 0, 1, 1])
    assert chosen["value"] == pytest.approx(0.45)
    assert operating.count([0.45, 0.44999], [1, 1], 0.45).tp == 1


def test_1_neighbours_one_bit_apart_keep_their_order():
    low = 0.3
    high = np.nextafter(low, 1.0)
    threshold = discrimination.choose_threshold([low, high], [0, 1])["value"]
    assert low < threshold <= high


def test_2_youden_ties_take_the_highest_threshold():
    scores, labels = [0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1]
    points = discrimination.roc_points(scores, labels)
    gain = points.sensitivity + points.specificity
    assert np.isclose(gain, gain.max()).sum() == 2
    assert discrimination.choose_threshold(scores, labels)["value"] == pytest.approx(0.35)


def test_3_unpaired_delong_uses_student_t():
    rng = np.random.default_rng(0)
    s1, y1, s2, y2 = rng.normal(size=20), np.arange(20) % 2, rng.normal(size=16), np.arange(16) % 2
    test = compare.unpaired_delong(s1 + y1, y1, s2, y2)
    assert test.df < 36
    assert test.p_value > 2 * (1 - 0.5 * (1 + math.erf(abs(test.statistic) / math.sqrt(2))))


def test_4_equal_curves_and_perfect_against_reversed():
    labels, scores = np.arange(12) % 2, np.linspace(0, 1, 12)
    for transformed in (scores, scores**3, 5 * scores - 2):
        test = compare.paired_delong(scores, transformed, labels)
        assert (test.statistic, test.p_value) == (0.0, 1.0)
    perfect = labels + 0.1 * scores
    test = compare.paired_delong(perfect, -perfect, labels)
    assert (test.difference, test.statistic, test.p_value) == (1.0, math.inf, 0.0)
    boot = compare.paired_bootstrap(perfect, -perfect, labels, resamples=50)
    assert (boot.statistic, boot.p_value) == (math.inf, 0.0)


def test_5_a_perfect_curve_gets_an_exact_bound():
    labels = [0] * 30 + [1] * 12
    scores = np.linspace(0, 1, 42)
    assert discrimination.auc_variance(scores, labels) == 0.0
    low, high = discrimination.exact_interval(1.0, 12, 30)
    assert high == 1.0
    assert low == pytest.approx(operating.clopper_pearson(12, 12)[0])
    assert discrimination.exact_interval(0.0, 12, 30) == pytest.approx((0.0, 1.0 - low))
    with pytest.raises(InputError, match="no interval on the logit scale"):
        discrimination.logit_interval(1.0, 0.0)


def test_6_bootstrap_p_is_normal_in_the_statistic():
    rng = np.random.default_rng(1)
    labels = np.arange(80) % 2
    a, b = rng.normal(size=(2, 80)) + labels * 0.7
    test = compare.paired_bootstrap(a, b, labels)
    assert test.statistic == pytest.approx(test.difference / test.se)
    assert test.p_value == pytest.approx(math.erfc(abs(test.statistic) / math.sqrt(2)))


@pytest.mark.parametrize("resamples", [40, 41, 199, 2000])
def test_6_percentile_p_and_percentile_limits_never_contradict_each_other(resamples):
    rng = np.random.default_rng(resamples)
    seen = set()
    for _ in range(400):
        drawn = rng.gamma(2.0, size=resamples) - rng.uniform(0.0, 1.2)  # skewed: a normal p contradicts such limits
        drawn = np.round(drawn, int(rng.integers(0, 6))) * rng.choice([-1.0, 1.0])  # ties, also at 0
        low, high = resampling.percentile_interval(drawn)
        p = compare.percentile_p(drawn)
        if min(abs(low), abs(high)) > 1e-12:  # a limit of exactly 0 is a matter of rounding
            assert (p < 0.05) == (low > 0 or high < 0)
        assert p == pytest.approx(compare.percentile_p(-drawn))
        assert 2 / (resamples + 1) <= p <= 1
        seen.add(p < 0.05)
    assert seen == {True, False}
    assert math.isnan(compare.percentile_p(np.ones(39)))
    assert compare.percentile_p(np.zeros(resamples)) == 1.0


def test_6_percentile_p_is_that_of_the_widest_interval_that_leaves_out_no_difference():
    rng = np.random.default_rng(3)
    scores, labels = rng.normal(size=(2, 40)), np.arange(40) % 2
    test = compare.unpaired_bootstrap(scores[0] + labels, labels, scores[1] + labels * 0.2, labels)
    first = resampling.bootstrap_auc(scores[0] + labels, labels, seed=0)
    second = resampling.bootstrap_auc(scores[1] + labels * 0.2, labels, seed=1)
    for level, beyond in ((1 - test.p_percentile + 1e-6, True), (1 - test.p_percentile - 1e-6, False)):
        low, high = resampling.percentile_interval(first - second, level)
        assert (low <= 0 <= high) == beyond


def test_t_limits_leave_out_no_difference_where_the_t_p_is_below_5_percent():
    rng = np.random.default_rng(4)
    seen = set()
    for _ in range(300):
        n = int(rng.integers(8, 20))
        labels = np.arange(n) % 2
        first, second = rng.normal(size=(2, n)) + np.array([[rng.uniform(0, 3)], [0.0]]) * labels
        test = compare.unpaired_delong(first, labels, second, labels)
        low, high = test.t_limits()
        if test.se > 0:
            assert (test.p_value < 0.05) == (low > 0 or high < 0)
            seen.add((test.p_value < 0.05, test.low > 0))
    assert (False, True) in seen  # normal limits contradict the t p


def test_partial_area_below_the_diagonal_has_no_correction():
    labels = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    area, corrected = discrimination.partial_auc([9, 8, 3, 2, 1, 7, 6, 5, 4, 0], labels, specificity=0.8)
    assert area == 0.0
    assert math.isnan(corrected)
    assert discrimination.partial_auc([1.0] * 10, labels, specificity=0.8)[1] == pytest.approx(0.5)


def test_7_wilson_is_plain_at_the_edges():
    assert operating.wilson(1, 20)[0] == pytest.approx(0.00888144880079538)  # Hmisc prints 0.00256
    assert all(math.isnan(limit) for limit in operating.wilson(0, 0) + operating.clopper_pearson(0, 0))


def test_8_mcnemar_without_discordance():
    assert compare.mcnemar(5, 5).p_corrected == 1.0
    assert math.isnan(compare.mcnemar(0, 0).p_exact)
    assert math.isnan(compare.mcnemar(0, 0).p_corrected)


def test_10_certain_predictions_leave_the_logistic_fit_but_not_the_auc():
    rng = np.random.default_rng(2)
    p = rng.uniform(0.05, 0.95, 200)
    y = (rng.random(200) < p).astype(int)
    inner, _ = calibration.slope_and_intercept(p, y)
    with_certain, _ = calibration.slope_and_intercept(np.append(p, [0.0, 1.0]), np.append(y, [0, 1]))
    assert with_certain == inner
    assert discrimination.auc(np.append(p, [0.0, 1.0]), np.append(y, [0, 1])) > discrimination.auc(p, y)
    assert calibration.log_loss([0.0, 0.5], [1, 0]) == math.inf


def test_11_tied_quantiles_are_merged_and_the_df_falls():
    scores = np.repeat([0.1, 0.4, 0.8], [50, 30, 20])
    labels = np.concatenate([np.arange(50) % 9 == 0, np.arange(30) % 2, np.arange(20) % 5 != 0]).astype(int)
    test = calibration.hosmer_lemeshow(scores, labels)
    expected = sum(
        (labels[scores == s].sum() - s * n) ** 2 / (s * (1 - s) * n) for s, n in ((0.1, 50), (0.4, 30), (0.8, 20))
    )
    assert test.statistic == pytest.approx(expected)
    assert (test.groups, test.df) == (3, 3)
    assert calibration.hosmer_lemeshow(scores, labels, seen=True).df == 1
    with pytest.raises(calibration.NotEstimable):
        calibration.hosmer_lemeshow(np.full(20, 0.5), np.arange(20) % 2)


def test_12_bins_are_closed_on_the_right():
    table = calibration.bin_scores([0.0, 0.1, 0.2, 0.3, 1.0], [0, 1, 0, 1, 1])
    assert table.n.tolist() == [2, 1, 1, 1]
    assert table.high.tolist() == pytest.approx([0.1, 0.2, 0.3, 1.0])


def test_the_difference_in_net_benefit_is_that_of_the_curves_and_of_the_bootstrap():
    rng = np.random.default_rng(5)
    labels = (rng.random(300) < 0.4).astype(float)
    first, second = (1 / (1 + np.exp(-(d * labels - 0.5 + rng.normal(size=300)))) for d in (0.5, 1.5))
    found = utility.net_benefit_difference(first, second, labels)
    curves = [utility.decision_curve(scores, labels).model for scores in (first, second)]
    np.testing.assert_allclose(found.difference, curves[1] - curves[0], atol=1e-15)
    drawn = []
    for _ in range(600):
        rows = rng.integers(0, 300, 300)
        one, two = (utility.decision_curve(scores[rows], labels[rows]).model[29] for scores in (first, second))
        drawn.append(two - one)
    assert (found.high - found.low)[29] == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.12)
    assert ((found.p_value < 0.05) == ((found.low > 0) | (found.high < 0)))[~np.isnan(found.low)].all()
    twice = utility.net_benefit_difference(*np.tile([first, second], 2), np.tile(labels, 2), clusters=[*range(300)] * 2)
    np.testing.assert_allclose(twice.high, found.high)  # each patient doubled tells no more
    of_one = utility.decision_curve(np.tile(first, 2), np.tile(labels, 2), clusters=[*range(300)] * 2)
    np.testing.assert_allclose(of_one.high, utility.decision_curve(first, labels).high)
    same = utility.net_benefit_difference(first, first, labels)
    assert (same.difference == 0).all()
    assert np.isnan(same.low).all()


def test_13_net_benefit_counts_a_score_equal_to_the_threshold():
    scores, labels = np.array([0.3, 0.3, 0.1]), np.array([1, 0, 0])
    curve = utility.decision_curve(scores, labels)
    assert curve.threshold[29] == 0.3
    assert curve.model[29] == pytest.approx(1 / 3 - 1 / 3 * 0.3 / 0.7)
    assert curve.model[30] == 0.0


def test_average_precision_and_auc_agree_with_scikit_learn():
    rng = np.random.default_rng(3)
    scores, labels = np.round(rng.normal(size=300), 1), (rng.random(300) < 0.3).astype(int)
    assert discrimination.average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores))
    assert discrimination.auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
