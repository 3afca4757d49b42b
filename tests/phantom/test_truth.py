"""The planted truth against labels drawn from it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mammo_aln.phantom.truth import CENTER_INTERCEPTS, SUBSETS, Truth, draw_factors, weighted_auc

COUNT = 40_000
ALL = SUBSETS[-1]


@pytest.fixture(scope="module")
def drawn() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    factors = draw_factors(["center_a"] * COUNT, rng)
    intercept = np.full(COUNT, CENTER_INTERCEPTS[0])
    return factors, intercept, (rng.random(COUNT) < Truth().probability(factors, intercept)).astype(int)


@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_bayes_auc_is_what_the_posterior_reaches_on_drawn_labels(drawn, subset):
    factors, intercept, labels = drawn
    posterior = Truth().posterior(subset, factors, intercept)
    reached = roc_auc_score(labels, posterior)
    assert reached == pytest.approx(Truth().bayes_auc(subset, {CENTER_INTERCEPTS[0]: 1.0}), abs=0.008)


@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_posterior_is_calibrated_in_every_stratum(drawn, subset):
    factors, intercept, labels = drawn
    posterior = Truth().posterior(subset, factors, intercept)
    for tenth in np.array_split(np.argsort(posterior, kind="stable"), 10):
        assert labels[tenth].mean() == pytest.approx(posterior[tenth].mean(), abs=0.035)


def test_posterior_counts_what_is_missing_as_unseen(drawn):
    factors, intercept, labels = drawn
    posterior = Truth().posterior(("auxiliary",), factors, intercept)
    blind = ~factors["has_mlo"].to_numpy()
    assert np.unique(posterior[blind].round(9)).size == 1
    assert posterior[blind][0] == pytest.approx(labels.mean(), abs=0.015)
    unrecorded = ~factors[["er_recorded", "her2_recorded", "ct_recorded"]].any(axis=1).to_numpy()
    hidden = factors.assign(er_recorded=False, her2_recorded=False, ct_recorded=False)
    assert np.ptp(Truth().posterior(("clinical",), hidden, intercept)) < 1e-9
    assert unrecorded.mean() < 0.001


def test_full_posterior_of_a_complete_patient_is_the_generating_probability(drawn):
    factors, intercept, _ = drawn
    complete = factors[["has_mlo", "er_recorded", "her2_recorded", "ct_recorded"]].all(axis=1).to_numpy()
    truth = Truth()
    np.testing.assert_allclose(
        truth.posterior(ALL, factors, intercept)[complete], truth.probability(factors, intercept)[complete], atol=1e-12
    )


def test_bayes_aucs_lie_where_the_design_wants_them(drawn):
    for intercept in CENTER_INTERCEPTS:
        reach = {subset: Truth().bayes_auc(subset, {intercept: 1.0}) for subset in SUBSETS}
        assert 0.70 <= reach[("primary",)] <= 0.78
        assert 0.85 <= reach[ALL] <= 0.92
        assert reach[("primary",)] < reach[("primary", "clinical")] - 0.03 < reach[ALL] - 0.06
    assert 0.40 <= drawn[2].mean() <= 0.60


def test_no_factor_leaks_into_another(drawn):
    factors = drawn[0]
    numbers = factors.assign(**{name: factors[name].astype("category").cat.codes for name in ("er", "her2", "ct")})
    correlation = numbers.drop(columns="center").astype(float).corr().to_numpy()
    informative = [numbers.columns.drop("center").get_loc(name) for name in ("size_mm", "spiculated", "node_short_mm")]
    for place in informative:
        assert np.abs(np.delete(correlation[place], place)).max() < 0.02


def test_labels_without_truth_cannot_be_predicted(drawn):
    for subset in SUBSETS:
        assert Truth(strength=0.0).bayes_auc(subset, {0.0: 1.0}) == pytest.approx(0.5, abs=1e-9)
    assert np.ptp(Truth(strength=0.0).probability(drawn[0], drawn[1])) == 0.0


def test_weighted_auc_counts_ties_half():
    # Two states of equal share, p = 0.2 and 0.6: 0.8/2 and 0.4/2 negatives, 0.2/2 and 0.6/2 positives.
    expected = (0.6 * 0.8 + 0.5 * (0.2 * 0.8 + 0.6 * 0.4)) / (0.8 * 1.2)
    assert weighted_auc(np.array([0.2, 0.6]), np.array([0.5, 0.5])) == pytest.approx(expected, abs=1e-12)
