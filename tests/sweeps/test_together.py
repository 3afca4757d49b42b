"""Likely truths and the optimism they leave: closed forms of normal laws, groups, outliers, and simulated sweeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from benchmarks.choice import World, simulated
from mammo_aln.sweeps.choosing.cells import Fold
from mammo_aln.sweeps.choosing.optimism import excess_of_best
from mammo_aln.sweeps.choosing.rank import rank
from mammo_aln.sweeps.choosing.together import contrast_variance, law_of, likely_truth, lying_together, spread_beyond

NOISE = 0.01**2


def measured(true: np.ndarray, seed: int = 0) -> np.ndarray:
    return true + math.sqrt(NOISE) * np.random.default_rng(seed).standard_normal(true.size)


def evenly(count: int, sd: float) -> np.ndarray:
    """Quantiles of a normal law, scaled to this very standard deviation about 0.7."""
    quantiles = stats.norm.ppf((np.arange(count) + 0.5) / count)
    return 0.7 + sd * quantiles / quantiles.std(ddof=1)


@pytest.mark.parametrize(("count", "expected"), [(2, 0.5642), (5, 1.1630), (20, 1.8675)])
def test_the_best_of_equal_recipes_exceeds_its_truth_by_the_mean_of_the_greatest_normal(
    count: int, expected: float
) -> None:
    """Teichroew 1956 (Ann Math Stat 27:410): expected values of normal order statistics."""
    noise = np.random.default_rng(0).standard_normal((count, 40_000))
    excess = excess_of_best(np.zeros(count), noise)
    assert excess.mean == pytest.approx(expected, abs=0.015)
    power = [
        integrate.quad(lambda x, k=k: x**k * count * stats.norm.pdf(x) * stats.norm.cdf(x) ** (count - 1), -9, 9)[0]
        for k in (1, 2)
    ]
    assert excess.sd == pytest.approx(math.sqrt(power[1] - power[0] ** 2), rel=0.02)


def test_what_is_surely_the_best_is_not_flattered_at_all() -> None:
    excess = excess_of_best(np.array([0.0, 9.0, 0.0]), np.random.default_rng(1).standard_normal((3, 50)))
    assert excess.mean == pytest.approx(0.0, abs=1e-15)
    assert excess.sd > 0.5


def test_noise_that_all_share_sets_nothing_apart() -> None:
    covariance = 0.5 + np.diag([1.0, 2.0, 3.0])
    assert contrast_variance(np.full((4, 4), 0.7)) == pytest.approx(np.zeros(4))
    assert contrast_variance(0.5 + 2 * np.eye(5)) == pytest.approx(np.full(5, 2.0))
    centring = np.eye(3) - 1 / 3
    assert contrast_variance(covariance) == pytest.approx(np.diag(centring @ covariance @ centring) * 1.5)
    # In the mean they are what noise adds to the variance of measured AUCs.
    assert contrast_variance(covariance).mean() == pytest.approx(np.trace(centring @ covariance) / 2)
    assert contrast_variance(np.array([[4.0]])).tolist() == [0.0]


@pytest.mark.parametrize("sd", [0.02, 0.03])
def test_one_normal_law_is_one_group_drawn_together_to_the_variance_beyond_noise(sd: float) -> None:
    auc, variance = evenly(20, sd), np.full(20, NOISE)
    assert lying_together(auc, variance).tolist() == list(range(20))
    law = law_of(auc, variance)
    assert law.mean == pytest.approx(0.7)
    assert law.membership.min() > 0.9
    assert law.variance == pytest.approx(sd**2 - NOISE, rel=0.1)
    truth = likely_truth(auc, np.diag(variance))
    assert truth.var(ddof=1) == pytest.approx(sd**2 - NOISE, rel=0.1)
    assert np.corrcoef(truth, auc)[0, 1] == pytest.approx(1.0, abs=1e-3)


def test_equal_recipes_are_drawn_onto_their_mean_where_noise_explains_their_spread() -> None:
    auc = evenly(20, 0.008)
    assert likely_truth(auc, NOISE * np.eye(20)) == pytest.approx(np.full(20, auc.mean()), abs=1e-3)


@pytest.mark.parametrize("far", [1, 5, 10, 15])
def test_recipes_that_learn_nothing_are_a_group_of_their_own(far: int) -> None:
    true = np.where(np.arange(20) % 20 < far, 0.5, 0.7)
    auc = measured(true, far)
    members = lying_together(auc, np.full(20, NOISE))
    assert members.tolist() == list(range(far, 20))
    truth = likely_truth(auc, NOISE * np.eye(20))
    assert (truth[:far] == -math.inf).all()
    near = auc[far:]
    assert truth[far:].var() <= near.var()
    assert spread_beyond(near, np.full(near.size, NOISE)) < 0.5 * NOISE


def test_three_groups_leave_the_best_one() -> None:
    auc = np.concatenate([evenly(6, 0.004) - 0.2, evenly(6, 0.004) - 0.1, evenly(6, 0.004)])
    assert lying_together(auc, np.full(18, 1e-5)).tolist() == list(range(12, 18))


def test_two_or_three_recipes_are_no_two_groups() -> None:
    for auc in ([0.5, 0.9], [0.5, 0.9, 0.9]):
        assert lying_together(np.array(auc), np.full(len(auc), 1e-6)).size == len(auc)


def test_one_that_lies_off_the_others_law_keeps_its_measured_auc_and_does_not_spread_them() -> None:
    auc = np.concatenate([evenly(19, 0.009), [0.8]])
    law = law_of(auc, np.full(20, NOISE))
    assert law.membership[-1] < 1e-4
    assert (law.membership[:-1] > 0.9).all()
    assert law.variance == 0
    truth = law.truth(auc, np.full(20, NOISE))
    assert truth[-1] == pytest.approx(0.8, abs=1e-4)
    assert truth[:-1] == pytest.approx(np.full(19, 0.7), abs=2e-3)
    # By Bayes at the law's own figures: weight and width of the few as they are written in the module.
    square = (auc - law.mean) ** 2 / NOISE
    few, most = 0.05 * np.exp(-square / 72) / 6, 0.95 * np.exp(-square / 2)
    assert law.membership == pytest.approx(most / (most + few), abs=1e-6)


def test_two_recipes_have_one_law() -> None:
    law = law_of(np.array([0.6, 0.8]), np.full(2, NOISE))
    assert (law.mean, law.membership.tolist()) == (pytest.approx(0.7), [1.0, 1.0])
    assert law.variance == pytest.approx(0.02 - NOISE)
    assert law.truth(np.array([0.6, 0.8]), np.full(2, NOISE)).var(ddof=1) == pytest.approx(0.02 - NOISE)


def test_measured_aucs_without_noise_are_the_truth() -> None:
    auc = evenly(8, 0.02)
    assert likely_truth(auc, np.zeros((8, 8))) == pytest.approx(auc)
    assert likely_truth(np.full(4, 0.7), np.zeros((4, 4))) == pytest.approx(np.full(4, 0.7))
    assert likely_truth(np.array([0.7]), np.zeros((1, 1))).tolist() == [0.7]


@pytest.mark.parametrize(
    ("world", "kind"),
    [
        pytest.param(World(3, 0.02, bad=10), "optimism", id="half learn nothing"),
        pytest.param(World(3, 0.02, bad=5, bad_luck=0.1), "optimism", id="some diverge"),
        pytest.param(World(1, 0.02, bad=10), "at_most", id="one seed"),
    ],
)
def test_recipes_that_learn_nothing_do_not_change_the_optimism_of_the_best(world: World, kind: str) -> None:
    """Taken as of one law with the rest they made it 0.014, 0.038 and 0.195 where 0.021, 0.023 and 0.036 are true."""
    results = list(simulated(world, 30, seed=5))
    excess = np.mean([each.excess for each in results])
    assert np.mean([getattr(each.ranking, kind).mean for each in results]) == pytest.approx(excess, rel=0.3)
    assert np.mean([each.ranking.near for each in results]) == pytest.approx(20 - world.bad, abs=2) or (
        kind == "optimism" and world.bad_luck == world.luck
    )


def test_level_by_rounding_is_level_and_the_first_is_taken() -> None:
    """Three seeds in another order have the same mean but for its last digit."""
    rng = np.random.default_rng(2)
    labels = np.arange(60) % 3 == 0
    scores = rng.standard_normal((3, 60)) + labels
    orders = [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)]
    ranking = rank([[scores[list(order)]] for order in orders], [Fold(labels, np.arange(60))], resamples=200)
    assert ranking.best == 0
    assert ranking.level == (1, 2, 3)
    assert len(set(ranking.auc.tolist())) == 1
