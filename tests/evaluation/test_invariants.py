"""What must hold for any data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics import calibration, discrimination, operating, resampling, smoothing, utility
from mammo_aln.evaluation.statistics import tests as compare


@st.composite
def samples(draw, least: int = 4, most: int = 40):
    n = draw(st.integers(least, most))
    scores = draw(st.lists(st.integers(0, 30), min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(0, 1), min_size=n - 4, max_size=n - 4))
    return np.array(scores) / 30, np.array([0, 0, 1, 1, *labels])


def brute_force(scores, labels):
    return np.subtract.outer(scores[labels == 1], scores[labels == 0])


@settings(max_examples=80, deadline=None)
@given(samples())
def test_auc_is_the_share_of_ordered_pairs(sample):
    scores, labels = sample
    pairs = brute_force(scores, labels)
    kernel = (pairs > 0) + 0.5 * (pairs == 0)
    assert discrimination.auc(scores, labels) == pytest.approx(kernel.mean())
    v10, v01 = kernel.mean(axis=1), kernel.mean(axis=0)
    expected = v10.var(ddof=1) / v10.size + v01.var(ddof=1) / v01.size
    assert discrimination.auc_variance(scores, labels) == pytest.approx(expected, abs=1e-15)


@settings(max_examples=60, deadline=None)
@given(samples())
def test_auc_knows_order_only_and_turns_with_it(sample):
    scores, labels = sample
    area = discrimination.auc(scores, labels)
    assert discrimination.auc(np.exp(3 * scores), labels) == pytest.approx(area)
    assert discrimination.auc(-scores, labels) == pytest.approx(1 - area)
    assert discrimination.auc(scores, 1 - labels) == pytest.approx(1 - area)
    points = discrimination.roc_points(scores, labels)
    assert np.trapezoid(points.sensitivity[::-1], 1 - points.specificity[::-1]) == pytest.approx(area)


@settings(max_examples=40, deadline=None)
@given(samples(), st.integers(0, 5))
def test_bootstrap_agrees_with_its_closed_form_and_with_naive_resampling(sample, seed):
    scores, labels = sample
    exact = resampling.exact_bootstrap_sd(scores, labels)
    drawn = resampling.bootstrap_auc(scores, labels, resamples=4000, seed=seed)
    assert drawn.std() == pytest.approx(exact, rel=0.12, abs=1e-9)
    assert drawn.mean() == pytest.approx(discrimination.auc(scores, labels), abs=5 * exact / np.sqrt(4000) + 1e-12)
    joint = resampling.bootstrap_auc_joint(scores, labels, resamples=4000, seed=seed)[0]
    assert joint.std() == pytest.approx(exact, rel=0.12, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(samples())
def test_the_chosen_threshold_is_the_best_there_is(sample):
    scores, labels = sample
    chosen = discrimination.choose_threshold(scores, labels)
    everywhere = [operating.count(scores, labels, t) for t in [*np.linspace(-0.01, 1.01, 400), chosen["value"]]]
    gains = [operating.summary_numbers(table)["youden"] for table in everywhere]
    assert gains[-1] == pytest.approx(max(gains))
    for target in (0.5, 0.8, 1.0):
        found = discrimination.choose_threshold(scores, labels, "target_sensitivity", target)["value"]
        table = operating.count(scores, labels, found)
        assert table.tp >= target * (table.tp + table.fn) - 1e-9
        above = scores[scores >= found]
        if above.size:
            higher = operating.count(scores, labels, above.min() + 1e-9)
            assert higher.tp < target * (table.tp + table.fn)


def test_a_threshold_rule_needs_its_target():
    scores, labels = np.linspace(0, 1, 10), np.array([0, 0, 0, 1, 0, 0, 1, 1, 1, 1])
    with pytest.raises(InputError, match="needs a target"):
        discrimination.choose_threshold(scores, labels, "target_sensitivity")
    with pytest.raises(InputError, match="unknown threshold rule"):
        discrimination.choose_threshold(scores, labels, "best")


@settings(max_examples=40, deadline=None)
@given(samples(least=8))
def test_smoothers_stay_finite_and_bins_keep_everyone(sample):
    scores, labels = sample
    for by in ("width", "quantile"):
        assert calibration.bin_scores(scores, labels, by=by).n.sum() == len(scores)
    x, smooth = smoothing.lowess(scores, labels)
    assert np.isfinite(smooth).all()
    assert x.size == scores.size
    curve = smoothing.calibration_curve(scores, labels)
    assert np.isfinite(np.concatenate([curve.y, curve.low, curve.high])).all()


@settings(max_examples=40, deadline=None)
@given(samples())
def test_net_benefit_lies_between_none_and_prevalence(sample):
    scores, labels = sample
    curve = utility.decision_curve(scores, labels)
    assert (curve.model <= labels.mean() + 1e-12).all()
    assert utility.decision_curve(np.ones(len(labels)), labels).model == pytest.approx(curve.treat_all)
    assert (utility.decision_curve(labels.astype(float), labels).model == pytest.approx(labels.mean())) is True


def test_temperature_maximises_the_likelihood_and_keeps_the_order():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=800) * 3
    labels = (rng.random(800) < 1 / (1 + np.exp(-(logits / 2 - 0.4)))).astype(int)

    def loss(fitted):
        return calibration.log_loss(calibration.apply_calibration(logits, fitted), labels)

    scale = calibration.fit_temperature(logits, labels)
    platt = calibration.fit_temperature(logits, labels, "platt")
    assert scale["intercept"] == 0.0
    assert platt["temperature"] == pytest.approx(2.0, rel=0.15)
    assert platt["intercept"] == pytest.approx(-0.4, abs=0.25)
    for name, step in (("temperature", 0.02), ("temperature", -0.02), ("intercept", 0.02), ("intercept", -0.02)):
        assert loss(platt) < loss(platt | {name: platt[name] + step})
    assert loss(scale) < loss(scale | {"temperature": scale["temperature"] * 1.02})
    slope, intercept = calibration.slope_and_intercept(calibration.apply_calibration(logits, platt), labels)
    assert (slope.value, intercept.value) == pytest.approx((1.0, 0.0), abs=1e-5)
    area = discrimination.auc(logits, labels)
    assert discrimination.auc(calibration.apply_calibration(logits, scale), labels) == pytest.approx(area)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_calibration_of_tiny_or_one_sided_validation(method):
    fitted = calibration.fit_temperature([-1.0, 2.0], [0, 1], method)
    assert np.isfinite(calibration.apply_calibration([-50.0, 0.0, 50.0], fitted)).all()
    assert all(isinstance(value, str | int | float | bool | list) for value in fitted.values())
    with pytest.raises(InputError, match="both outcomes are needed"):
        calibration.fit_temperature([0.1, 0.2], [1, 1], method)
    with pytest.raises(InputError, match="not finite"):
        calibration.fit_temperature([0.1, np.nan], [1, 0], method)
    with pytest.raises(InputError, match="both outcomes are needed"):
        calibration.fit_temperature([], [], method)


def test_clustered_variance_equals_delong_without_clusters_and_grows_with_copies():
    rng = np.random.default_rng(1)
    labels = (np.arange(300) % 3 == 0).astype(int)
    scores = rng.normal(size=300) + labels
    plain = discrimination.auc_variance(scores, labels)
    assert discrimination.auc_variance(scores, labels, np.arange(300)) == pytest.approx(plain, rel=0.02)
    twice = discrimination.auc_variance(np.tile(scores, 2), np.tile(labels, 2), np.tile(np.arange(300), 2))
    assert twice == pytest.approx(plain, rel=0.02)
    assert discrimination.auc_variance(np.tile(scores, 2), np.tile(labels, 2)) < 0.6 * plain


def test_holm_by_hand():
    assert compare.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert compare.holm([0.5, float("nan"), 0.6])[0] == 1.0


def test_operations_spared_keeps_its_promise_where_it_was_chosen():
    rng = np.random.default_rng(2)
    labels = (rng.random(400) < 0.4).astype(int)
    scores = 1 / (1 + np.exp(-(rng.normal(size=400) + 2 * labels)))
    rows = utility.operations_spared(scores, labels, scores, labels)
    for row in rows:
        assert row.missed_share[0] <= row.limit + 1e-12
        called = scores < row.threshold
        assert row.spared_per_1000[0] == pytest.approx(1000 * called.mean())
        assert row.missed_per_1000[0] == pytest.approx(1000 * (called & (labels == 1)).mean())
    assert [row.spared_per_1000[0] for row in rows] == sorted(row.spared_per_1000[0] for row in rows)
