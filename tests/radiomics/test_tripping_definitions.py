"""Definitions 9, 14 and 15 of docs/explanation/evaluation.md, and what the R cases at hand do not reach."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from statsmodels.stats.inter_rater import cohens_kappa

from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics import agreement, logistic, ranks
from mammo_aln.radiomics.signatures import lasso
from mammo_aln.radiomics.signatures.nomogram import pretty


def drawn(n: int, k: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, k))
    y = (rng.random(n) < expit(x[:, : min(3, k)].sum(axis=1))).astype(float)
    return x, y


def test_a_constant_feature_has_no_p():
    u, corrected, plain = ranks.rank_sum_tests(np.ones((6, 1)), [0, 1, 0, 1, 0, 1])
    assert u[0] == 4.5
    assert np.isnan([corrected[0], plain[0]]).all()


@pytest.mark.parametrize(("n", "k", "seed"), [(80, 12, 0), (60, 90, 1), (150, 30, 2)])
def test_14_lasso_solves_scikit_learns_objective(n, k, seed):
    x, y = drawn(n, k, seed)
    x *= np.linspace(0.1, 30, k)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    penalty = 0.4 * lasso.largest_penalty(x, y)
    path = lasso.lasso_path(x, y, [penalty])
    peer = LogisticRegression(l1_ratio=1.0, solver="saga", C=1 / (n * penalty), tol=1e-9, max_iter=100_000).fit(z, y)
    assert np.abs(path.coefficients[0] * x.std(axis=0) - peer.coef_[0]).max() < 1e-4
    centred = path.intercepts[0] + path.coefficients[0] @ x.mean(axis=0)
    assert centred == pytest.approx(peer.intercept_[0], abs=1e-4)


@pytest.mark.parametrize(("n", "k"), [(40, 5), (50, 400), (144, 200)])
def test_14_every_step_of_a_path_meets_the_optimality_conditions(n, k):
    x, y = drawn(n, k, 3)
    x[:, 1] = x[:, 0] * 2 + 1  # a repeated column leaves the solution's split open, not its optimality
    path = lasso.lasso_path(x, y, lasso.default_ladder(lasso.largest_penalty(x, y), 0.01, 60))
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    largest = path.penalties[0]
    for penalty, intercept, beta in zip(path.penalties, path.intercepts, path.coefficients, strict=True):
        residual = y - expit(x @ beta + intercept)
        slope = z.T @ residual / n
        assert abs(residual.mean()) < 1e-7
        assert np.abs(slope).max() <= penalty + 1e-6 * largest
        active = beta != 0
        assert np.abs(slope[active] - penalty * np.sign(beta[active])).max(initial=0) < 1e-6 * largest


def test_14_the_intercept_is_not_penalised():
    x, _ = drawn(100, 5)
    y = np.r_[np.ones(90), np.zeros(10)]
    path = lasso.lasso_path(x, y, [lasso.largest_penalty(x, y)])
    assert path.intercepts[0] == pytest.approx(np.log(9))


def test_15_separation_is_seen_and_firth_is_finite():
    x, y = drawn(60, 2, 8)
    design = logistic.with_intercept(x, 60)
    assert not logistic.separated(design, y)
    quasi = np.column_stack([design, np.where(y == 1, np.arange(60) % 2, 0.0)])  # 1 occurs among positives only
    assert logistic.separated(quasi, y)
    fit = logistic.fit_either(quasi, y, ["i", "a", "b", "c"])
    assert fit.penalised
    assert np.abs(fit.beta).max() < 10
    assert logistic.fit_logistic(quasi, y, ["i", "a", "b", "c"]).se[3] > 100


def test_15_complete_separation():
    x = np.arange(20.0)[:, None]
    y = (x[:, 0] > 9).astype(float)
    fit = logistic.fit_either(logistic.with_intercept(x, 20), y, ["i", "x"])
    assert fit.penalised
    assert fit.converged
    assert 0 < fit.beta[1] < 5


def test_15_firth_is_exact_for_one_proportion():
    # the bias-reduced log-odds of x of n is log((x + 1/2) / (n - x + 1/2))
    y = np.r_[np.ones(3), np.zeros(14)]
    fit = logistic.fit_firth(np.ones((17, 1)), y, ["i"])
    assert fit.beta[0] == pytest.approx(np.log(3.5 / 14.5), abs=1e-10)


def test_dependent_columns_are_named():
    x, y = drawn(30, 2)
    design = np.column_stack([np.ones(30), x, x.sum(axis=1)])
    assert logistic.independent_columns(design) == [0, 1, 2]
    with pytest.raises(InputError, match="depend on each other"):
        logistic.fit_logistic(design, y, ["i", "a", "b", "sum"])


def test_exact_profile_limit_is_near():
    x, y = drawn(120, 3, 5)
    design = logistic.with_intercept(x, 120)
    fit = logistic.fit_logistic(design, y, list("iabc"))
    limits = logistic.profile_limits(fit, design, y)
    others = np.delete(design, 1, axis=1)
    for limit in limits[1]:

        def deviance_of(rest, offset=design[:, 1] * limit):
            return -2 * logistic.log_likelihood(others @ rest + offset, y)

        deviance = optimize.minimize(deviance_of, np.zeros(3)).fun
        assert deviance - fit.deviance == pytest.approx(stats.chi2.ppf(0.95, 1), abs=0.01)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, np.arange(11) / 10),
        (23.5, 74.8, np.arange(20, 80, 5)),
        (0, 251.6, np.arange(0, 280, 20)),
        (-3.1, 2.2, None),
    ],
)
def test_pretty_ticks(low, high, expected):
    ticks = pretty(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    if expected is not None:
        assert ticks.tolist() == pytest.approx(expected.tolist())


def test_kappa_agrees_with_statsmodels():
    rng = np.random.default_rng(2)
    first = rng.integers(0, 4, 80)
    second = np.where(rng.random(80) < 0.6, first, rng.integers(0, 4, 80))
    table = np.zeros((4, 4))
    np.add.at(table, (first, second), 1)
    kappa = agreement.cohen_kappa(first, second)
    peer, weighted = cohens_kappa(table), cohens_kappa(table, wt="fc")
    assert kappa.value == pytest.approx(peer.kappa)
    assert kappa.se**2 == pytest.approx(peer.var_kappa)
    assert (kappa.low, kappa.high) == pytest.approx((peer.kappa_low, peer.kappa_upp))
    assert agreement.weighted_kappa(first, second) == pytest.approx(weighted.kappa)


def test_identical_raters_agree_fully():
    ratings = np.column_stack([np.arange(6.0)] * 3)
    icc = agreement.icc_interval(ratings)
    assert icc.value == 1.0
    assert np.isnan([icc.low, icc.high]).all()
