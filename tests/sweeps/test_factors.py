"""Which factor matters: statsmodels' mixed model, SciPy's noncentral laws, and simulated sweeps of known spread."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from benchmarks.choice import higher
from mammo_aln.sweeps.choosing.cells import Cells, Fold, cells_of
from mammo_aln.sweeps.choosing.components import (
    FOLD,
    PATIENTS_ALIKE,
    PATIENTS_OWN,
    SEED,
    Component,
    patient_components,
    seed_component,
)
from mammo_aln.sweeps.choosing.crossing import crossing_of
from mammo_aln.sweeps.choosing.factors import FUSED, Factors, factors_of, true_sizes

GRID = [{"crop": crop, "net": net} for crop, net in itertools.product("abcd", "xyz")]
NAMES = [f"crop={own['crop']}, net={own['net']}" for own in GRID]


def without_patients(rng: np.random.Generator, seeds: int = 3, folds: int = 4) -> Cells:
    """Cells of GRID whose AUCs patients add nothing to: normal effects of axes, folds and trainings."""
    recipe, fold = (number.ravel() for number in np.indices((12, folds, seeds))[:2])
    crop, net = recipe // 3, recipe % 3
    auc = 0.7 + 0.03 * crop / 3 + 0.04 * (net == 1) + 0.02 * ((crop == 2) & (net == 0))
    auc = auc + 0.02 * rng.standard_normal(folds)[fold] + 0.015 * rng.standard_normal(recipe.size)
    return Cells(auc, np.zeros((recipe.size, folds)), recipe, fold)


def component(factors: Factors, name: str) -> Component:
    """The component of a factor."""
    return next(each for each in factors.components if each.factor == name)


def variance_of_effects(fit: object, contrasts: np.ndarray, df: int) -> float:
    """Mean square of estimated effects less their own variance, of a fitted model's fixed part."""
    effects = contrasts @ fit.fe_params.to_numpy()
    covariance = contrasts @ fit.cov_params().to_numpy()[: contrasts.shape[1], : contrasts.shape[1]] @ contrasts.T
    return float((effects @ effects - np.trace(covariance)) / df)


def test_without_patients_all_is_what_the_mixed_model_of_statsmodels_says() -> None:
    """Restricted maximum likelihood: axes and interaction fixed, folds and trainings random."""
    cells = without_patients(np.random.default_rng(3))
    factors = factors_of(cells, NAMES, GRID, draws=20_000)
    table = pd.DataFrame({"auc": cells.auc, "recipe": cells.recipe.astype(str), "fold": cells.fold})
    fit = MixedLM.from_formula("auc ~ 0 + recipe", groups="fold", data=table).fit(reml=True)
    assert component(factors, SEED).sd == pytest.approx(math.sqrt(fit.scale), rel=1e-4)
    assert component(factors, FOLD).sd == pytest.approx(math.sqrt(fit.cov_re.iloc[0, 0]), rel=1e-3)
    # Columns of the fit are in the order of text: 0, 1, 10, 11, 2 ...
    order = [list(fit.fe_params.index).index(f"recipe[{number}]") for number in range(12)]
    levels = np.eye(12)[order]
    one, three, four = np.full((1, 1), 1.0), np.eye(3) - 1 / 3, np.eye(4) - 1 / 4
    of_crop = np.kron(four, np.full((1, 3), 1 / 3)) @ levels
    of_net = np.kron(np.full((1, 4), 1 / 4), three) @ levels
    both = np.kron(np.kron(four, three), one) @ levels
    for name, contrasts, df in (("crop", of_crop, 3), ("net", of_net, 2), ("crop × net", both, 6)):
        assert component(factors, name).sd ** 2 == pytest.approx(variance_of_effects(fit, contrasts, df), rel=1e-3)
    averaging = np.kron(np.eye(4), np.full((1, 3), 1 / 3)) @ levels
    means = averaging @ fit.fe_params.to_numpy()
    se = np.sqrt(np.diag(averaging @ fit.cov_params().to_numpy()[:12, :12] @ averaging.T))
    crops = [mean for mean in factors.levels if mean.axis == "crop"]
    assert [mean.val_auc for mean in crops] == pytest.approx(means.tolist())
    reach = [(mean.high - mean.low) / 2 for mean in crops]
    assert reach == pytest.approx((stats.norm.ppf(0.975) * se).tolist(), rel=0.05)


def test_an_axis_taken_as_a_sample_would_share_the_interaction_as_statsmodels_says() -> None:
    """All random: the variance of a crop's mean over these nets is its own and a third of the interaction's."""
    cells = without_patients(np.random.default_rng(3))
    factors = factors_of(cells, NAMES, GRID)
    table = pd.DataFrame({"auc": cells.auc, "crop": cells.recipe // 3, "net": cells.recipe % 3, "fold": cells.fold})
    parts = {"crop": "0 + C(crop)", "net": "0 + C(net)", "both": "0 + C(crop):C(net)", "fold": "0 + C(fold)"}
    ones = np.ones(len(table))
    fit = MixedLM.from_formula("auc ~ 1", groups=ones, vc_formula=parts, re_formula="0", data=table).fit(reml=True)
    variance = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))
    assert component(factors, "crop × net").sd ** 2 == pytest.approx(variance["both"], rel=0.02)
    assert component(factors, "crop").sd ** 2 == pytest.approx(variance["crop"] + variance["both"] / 3, rel=0.02)
    assert component(factors, "net").sd ** 2 == pytest.approx(variance["net"] + variance["both"] / 4, rel=0.02)
    assert component(factors, FOLD).sd ** 2 == pytest.approx(variance["fold"], rel=0.02)


def test_limits_are_those_of_the_noncentral_chi_square_law() -> None:
    """Of equal noise in every direction; and, in one dimension, the normal's own."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((4, 200_000))
    low, high = np.quantile(true_sizes(np.array([3.0, -1.0, 2.0, 1.0]), noise), [0.025, 0.975])
    assert stats.ncx2.sf(15.0, 4, low**2) == pytest.approx(0.025, abs=0.002)
    assert stats.ncx2.cdf(15.0, 4, high**2) == pytest.approx(0.025, abs=0.002)
    one = np.quantile(true_sizes(np.array([-5.0]), noise[:1]), [0.025, 0.975])
    assert one.tolist() == pytest.approx([5 - 1.96, 5 + 1.96], abs=0.02)


def test_limits_of_a_seed_are_those_of_the_chi_square_law() -> None:
    cells = without_patients(np.random.default_rng(1), seeds=2, folds=1)
    own = seed_component(cells, np.random.default_rng(0), 200_000)
    squares = cells.auc.reshape(12, 2).var(axis=1, ddof=1).sum()
    exact = [math.sqrt(squares / stats.chi2.ppf(tail, 12)) for tail in (0.975, 0.025)]
    assert [own.low, own.high] == pytest.approx(exact, rel=0.01)


def test_two_folds_know_little_but_no_spread_beyond_a_half() -> None:
    cells = without_patients(np.random.default_rng(1), folds=2)
    high = component(factors_of(cells, NAMES, GRID), FOLD).high
    assert 0.05 < high <= 0.5


def test_patients_are_the_mean_variance_and_covariance_of_cells() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(90) % 3 == 0
    scores = rng.standard_normal(90) + 0.5 * rng.standard_normal((3, 2, 90)) + labels
    cells = cells_of([[own] for own in scores], [Fold(labels, np.arange(90))])
    covariance = cells.components @ cells.components.T
    alike = (covariance.sum() - np.trace(covariance)) / 30
    first, second = patient_components(cells)
    assert (first.factor, second.factor) == (PATIENTS_ALIKE, PATIENTS_OWN)
    assert first.sd**2 == pytest.approx(alike)
    assert first.sd**2 + second.sd**2 == pytest.approx(np.trace(covariance) / 6)


class World:
    """Simulated sweeps of GRID whose spreads are known: of levels, of two axes together, of folds and trainings."""

    def __init__(self, seeds: int, folds: int = 1, luck: float = 0.02, of_fold: float = 0.0, n: int = 400) -> None:
        self.seeds, self.folds, self.luck, self.of_fold, self.n = seeds, folds, luck, of_fold, n
        crop, net = np.array([-1, -1, 1, 1.0]), np.array([-1, 0, 1.0])
        self.truth = {"crop": 0.02 * math.sqrt(3 / 4) * crop, "net": 0.03 * net}
        self.both = 0.01 * math.sqrt(6 / 8) * np.outer([1, -1, 1, -1], [1, 0, -1])
        self.auc = (0.72 + self.truth["crop"][:, None] + self.truth["net"] + self.both).ravel()
        self.sizes = {"crop": 0.02, "net": 0.03, "crop × net": 0.01, SEED: luck}
        self.sizes |= {FOLD: of_fold} if folds > 1 else {}

    def drawn(self, rng: np.random.Generator) -> Factors:
        """Simulate one sweep: 80 % of a score's noise is common to all trainings."""
        fold = Fold(np.arange(self.n) % 5 < 2, np.arange(self.n))
        scores: list[list[np.ndarray]] = [[] for _ in GRID]
        for shift in self.of_fold * rng.standard_normal(self.folds):
            auc = self.auc[:, None] + shift + self.luck * rng.standard_normal((12, self.seeds))
            noise = math.sqrt(0.8) * rng.standard_normal(self.n)
            noise = noise + math.sqrt(0.2) * rng.standard_normal((12, self.seeds, self.n))
            for own, of_recipe in zip(scores, noise + higher(auc)[..., None] * fold.labels, strict=True):
                own.append(of_recipe)
        return factors_of(cells_of(scores, [fold] * self.folds), NAMES, GRID, draws=500)


def hold(world: World, sweeps: int, seed: int) -> None:
    """Hold a world's spreads, intervals and marginal means against their truth, within three standard errors."""
    rng = np.random.default_rng(seed)
    drawn = [world.drawn(rng) for _ in range(sweeps)]
    slack = 3 * math.sqrt(0.05 * 0.95 / sweeps)
    for name, size in world.sizes.items():
        own = [component(factors, name) for factors in drawn]
        variances = np.array([each.variance for each in own])
        error = variances.std() / math.sqrt(sweeps)
        assert variances.mean() == pytest.approx(size**2, abs=3 * error + 0.1 * size**2), name
        assert np.mean([each.low <= size <= each.high for each in own]) >= 0.95 - slack, name
    for axis, truth in world.truth.items():
        levels = [[mean for mean in factors.levels if mean.axis == axis] for factors in drawn]
        means = np.array([[(mean.low, mean.val_auc, mean.high) for mean in own] for own in levels]) - 0.72
        inside = (means[..., 0] <= truth) & (truth <= means[..., 2])
        assert inside.mean() >= 0.95 - slack, axis
        gaps = np.array([[(mean.difference_low, mean.difference_high) for mean in own] for own in levels])
        assert ((gaps[..., 0] <= truth) & (truth <= gaps[..., 1])).all(axis=1).mean() >= 0.95 - slack, axis
        assert means[..., 1].mean(axis=0) == pytest.approx(truth, abs=0.012)


@pytest.mark.parametrize("world", [World(3), World(1, folds=4, n=100, of_fold=0.03)], ids=["seeds", "folds"])
def test_known_spreads_are_told_with_intervals_that_hold_them(world: World) -> None:
    hold(world, 60, seed=5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "world",
    [World(2), World(5, luck=0.03), World(2, folds=5, of_fold=0.04)],
    ids=["2 seeds", "5 seeds", "5 folds of 2 seeds"],
)
def test_of_400_simulated_sweeps_the_intervals_hold_the_truth(world: World) -> None:
    hold(world, 400, seed=7)


def test_one_seed_takes_interaction_and_luck_together_and_says_so() -> None:
    rng = np.random.default_rng(4)
    world = World(1)
    drawn = [world.drawn(rng) for _ in range(60)]
    own = [component(factors, "crop × net") for factors in drawn]
    assert {each.note for each in own} == {FUSED}
    assert np.mean([each.variance for each in own]) == pytest.approx(0.01**2 + 0.02**2, rel=0.25)
    for axis in ("crop", "net"):
        inside = [each.low <= world.sizes[axis] <= each.high for each in (component(own, axis) for own in drawn)]
        assert np.mean(inside) >= 0.87
    assert component(drawn[0], SEED).sd is component(drawn[0], FOLD).sd is None
    assert "one seed" in "; ".join(drawn[0].notes)


def test_a_single_axis_of_one_seed_knows_of_patients_alone() -> None:
    cells = without_patients(np.random.default_rng(0), seeds=1, folds=1)
    factors = factors_of(cells, NAMES, [{"net": str(number)} for number in range(12)])
    assert component(factors, "net").note == FUSED
    assert "limits know of patients alone" in factors.notes[-1]


def test_one_configuration_tells_of_seeds_and_patients_alone() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2 == 0
    cells = cells_of([[rng.standard_normal((3, 60))]], [Fold(labels, np.arange(60))])
    factors = factors_of(cells, ["all"], [{}])
    assert [each.factor for each in factors.components] == [FOLD, SEED, PATIENTS_ALIKE, PATIENTS_OWN]
    assert (factors.levels, factors.notes) == ([], ["one configuration: no axis to tell of"])


def test_effects_of_three_axes_are_orthogonal_and_span_all_differences() -> None:
    settings = [dict(zip("abc", own, strict=True)) for own in itertools.product("12", "345", "6789")]
    crossing = crossing_of(settings)
    assert crossing is not None
    bases = np.concatenate([effect.basis for effect in crossing.effects], axis=1)
    assert bases.shape == (24, 23)
    assert np.allclose(bases.T @ bases, np.eye(23))
    assert np.allclose(bases.sum(axis=0), 0)
    assert [effect.axes for effect in crossing.effects][3:] == [("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]
    values = np.random.default_rng(0).standard_normal(24)
    by_hand = [np.mean([value for value, own in zip(values, settings, strict=True) if own["b"] == b]) for b in "345"]
    assert crossing.averaging("b") @ values[crossing.members] == pytest.approx(by_hand)
    effect = next(effect for effect in crossing.effects if effect.axes == ("b",))
    spread = float(np.sum((effect.basis.T @ values) ** 2)) / (effect.df * effect.repeats)
    assert spread == pytest.approx(np.var(by_hand, ddof=1))


def test_an_incomplete_grid_loses_the_level_that_lacks_most() -> None:
    crossing = crossing_of([own for own in GRID if own != {"crop": "c", "net": "y"}])
    assert crossing is not None
    # Of net y a quarter is missing, of crop c a third.
    assert crossing.left_out == ("crop=c",)
    assert crossing.levels == {"crop": ["a", "b", "d"], "net": ["x", "y", "z"]}
    assert crossing.members.tolist() == [0, 1, 2, 3, 4, 5, 8, 9, 10]


@pytest.mark.parametrize(
    "settings",
    [
        [{"trial": f"#{number}", "net": "xy"[number % 2]} for number in range(6)],
        [{"a": str(number), "b": str(number)} for number in range(6)],
    ],
    ids=["search", "list"],
)
def test_what_is_no_grid_is_one_factor_and_says_so(settings: list[dict[str, str]]) -> None:
    cells = without_patients(np.random.default_rng(0), seeds=2, folds=1)
    few = Cells(cells.auc[:12], cells.components[:12], cells.recipe[:12], cells.fold[:12])
    factors = factors_of(few, [str(number) for number in range(6)], settings)
    assert factors.components[0].factor == "configuration"
    assert "which setting matters is not told" in factors.notes[0]
