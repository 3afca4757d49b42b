"""The choice among many: DeLong's and Tukey's tests in their cases, honest of itself, blind to the order of rows."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from benchmarks.choice import World, higher, simulated
from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics.discrimination import auc, auc_variance
from mammo_aln.evaluation.statistics.tests import paired_delong
from mammo_aln.inference.ensemble import ensemble_of, read_member
from mammo_aln.runs.record import write_state
from mammo_aln.sweeps.choosing.cells import Cells, Fold, aligned, cells_of, components_of
from mammo_aln.sweeps.choosing.common_law import common_law
from mammo_aln.sweeps.choosing.luck import Luck, luck_of, residuals_of
from mammo_aln.sweeps.choosing.rank import Noise, Rival, against_best, rank
from mammo_aln.sweeps.collect import collect_sweep
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.planning.definition import points, read_definition
from mammo_aln.sweeps.planning.preflight import plan_sweep
from mammo_aln.training.train import train_run
from tests.support.sweep_files import tiny_sweep


def sample(n: int, seed: int, effects: list[float]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 5 < 2
    common = rng.normal(size=n)
    return labels, np.stack([common + rng.normal(size=n) + effect * labels for effect in effects])


def test_components_give_the_paired_delong_variance_of_two_curves() -> None:
    labels, scores = sample(150, 1, [1.0, 0.8])
    scores = scores.round(1)  # ties
    aucs, components = components_of(scores, Fold(labels, np.arange(150)))
    assert np.allclose(aucs, [auc(row, labels) for row in scores])
    assert components[0] @ components[0] == pytest.approx(auc_variance(scores[0], labels), rel=1e-9)
    apart = components[1] - components[0]
    assert np.sqrt(apart @ apart) == pytest.approx(paired_delong(scores[0], scores[1], labels).se, rel=1e-9)


def test_rows_of_one_patient_are_no_two_patients() -> None:
    labels, scores = sample(80, 2, [0.9, 0.5])
    _, once = components_of(scores, Fold(labels, np.arange(80)))
    both, twice = np.concatenate([scores, scores], axis=1), np.concatenate([labels, labels])
    _, clustered = components_of(both, Fold(twice, np.tile(np.arange(80), 2)))
    assert np.allclose(clustered, once)
    _, naive = components_of(both, Fold(twice, np.arange(160)))
    assert np.allclose((naive**2).sum(axis=1) * 2, (once**2).sum(axis=1), rtol=0.02)


def test_two_models_differ_as_delongs_test_and_a_permutation_of_their_ranks_say() -> None:
    """Bandos, Rockette & Gur 2005 (Stat Med 24:2873): under equality a patient's two ranks may change places."""
    labels, scores = sample(120, 5, [1.0, 0.75])
    ranking = rank([[row[None]] for row in scores], [Fold(labels, np.arange(120))], resamples=20_000)
    (rival,) = ranking.rivals.values()
    assert rival.p_patients == pytest.approx(paired_delong(scores[0], scores[1], labels).p_value, abs=0.012)
    ranks = np.argsort(np.argsort(scores, axis=1), axis=1).astype(float)
    gap = abs(auc(ranks[0], labels) - auc(ranks[1], labels))
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(4000):
        swap = rng.random(120) < 0.5
        first, second = np.where(swap, ranks[1], ranks[0]), np.where(swap, ranks[0], ranks[1])
        gaps.append(abs(auc(first, labels) - auc(second, labels)))
    assert 0.05 < rival.p_patients < 0.95
    assert rival.p_patients == pytest.approx(np.mean(np.array(gaps) >= gap - 1e-12), abs=0.03)


@pytest.mark.parametrize(("recipes", "seeds"), [(2, 3), (5, 2), (6, 4)])
def test_luck_alone_is_judged_as_tukeys_test_of_all_pairs_does(recipes: int, seeds: int) -> None:
    """Where patients add no noise, cells are a one-way layout of normals: SciPy's studentised range."""
    rng = np.random.default_rng(recipes)
    aucs = 0.7 + 0.02 * rng.standard_normal((recipes, seeds)) + 0.015 * np.arange(recipes)[:, None]
    draws = 40_000
    pooled = aucs.var(axis=1, ddof=1).mean()
    luck = Luck.alike(pooled, 0.0, recipes * (seeds - 1), recipes)
    noise = Noise(
        patients=np.zeros((recipes, draws)),
        patients_covariance=np.zeros((recipes, recipes)),
        trainings=rng.standard_normal((recipes, draws)),
        shares=np.full(recipes, 1 / seeds),
    )
    means = aucs.mean(axis=1)
    low, high, p = against_best(means, noise.covariance(luck.variance), noise.with_luck(luck.drawn(draws, rng)))
    tukey, best = stats.tukey_hsd(*aucs), int(means.argmax())
    others = np.arange(recipes) != best
    assert np.allclose(p[others], tukey.pvalue[best][others], atol=0.012)
    limits = tukey.confidence_interval(0.95)
    assert np.allclose(low[others], limits.low[:, best][others], atol=0.005)
    assert np.allclose(high[others], limits.high[:, best][others], atol=0.005)


@pytest.mark.parametrize("seeds", [[2, 2, 2], [1, 3, 2]])
@pytest.mark.parametrize("folds", [1, 3])
def test_luck_is_the_residual_of_a_least_squares_fit_less_the_patients_part(folds: int, seeds: list[int]) -> None:
    rng = np.random.default_rng(folds)
    labels = np.arange(60) % 5 < 2
    fold = Fold(labels, np.arange(60))
    cells = cells_of([[rng.normal(size=(count, 60)) for _ in range(folds)] for count in seeds], [fold] * folds)
    design = np.stack(
        [cells.recipe == recipe for recipe in range(3)] + [cells.fold == number for number in range(folds)], axis=1
    ).astype(float)
    projection = np.eye(cells.auc.size) - design @ np.linalg.pinv(design)
    residuals = residuals_of(cells)
    assert luck_of(cells).df == round(np.trace(projection)) == pytest.approx(residuals.df.sum())
    within = [(cells.recipe == recipe).astype(float) for recipe in range(3)]
    assert residuals.cells == pytest.approx([((projection @ cells.auc) ** 2) @ inside for inside in within])
    spread = projection @ (cells.components @ cells.components.T) @ projection
    assert residuals.patients == pytest.approx([np.diag(spread) @ inside for inside in within])


def test_luck_is_drawn_together_as_far_as_it_differs_by_chance() -> None:
    """Mean squares drawn from a scaled inverse chi-square law of known degrees of freedom, of which there are many."""
    rng = np.random.default_rng(0)
    df, true_df = np.full(4000, 3.0), 6.0
    true = 0.01 * true_df / rng.chisquare(true_df, df.size)
    sums = true * rng.chisquare(df)
    law = common_law(sums / df, sums, df)
    assert law.weight.sum() == pytest.approx(1.0)
    assert law.weight @ law.df_prior == pytest.approx(true_df, rel=0.15)
    assert law.weight @ law.scale == pytest.approx(0.01, rel=0.05)
    assert law.expected == pytest.approx((true_df * 0.01 + sums) / (true_df + df), rel=0.1)
    drawn = law.drawn(200, rng)
    assert np.mean(drawn < true[:, None]) == pytest.approx(0.5, abs=0.03)
    inside = (np.quantile(drawn, 0.05, axis=1) < true) & (true < np.quantile(drawn, 0.95, axis=1))
    assert inside.mean() == pytest.approx(0.9, abs=0.03)


def test_the_law_of_mean_squares_is_scipys_f_density_summed() -> None:
    squares, df = np.array([0.5, 2.0, 1.1]), np.array([2.0, 2.0, 4.0])
    law = common_law(squares, squares * df, df)
    first, other = 200, 613
    density = [
        stats.f.logpdf(squares / law.scale[at], df, law.df_prior[at]).sum() - 3 * np.log(law.scale[at])
        for at in (first, other)
    ]
    sd = np.sqrt(special.polygamma(1, law.df_prior[[first, other]] / 2))
    all_sd = np.sqrt(special.polygamma(1, np.unique(law.df_prior) / 2))
    width = np.interp(law.df_prior[[first, other]], np.unique(law.df_prior), -np.gradient(all_sd))
    steps = [np.ptp(np.log(law.scale[law.df_prior == law.df_prior[at]])) for at in (first, other)]
    before = np.log(width) - 0.5 * (sd / 0.7) ** 2 + np.log(steps)
    gap = density[0] + before[0] - density[1] - before[1]
    assert np.log(law.weight[first] / law.weight[other]) == pytest.approx(gap)


def luck_from(seeds_auc: np.ndarray) -> Luck:
    """Luck of recipes (recipes, seeds) whose AUCs patients add nothing to."""
    recipes, seeds = seeds_auc.shape
    recipe = np.repeat(np.arange(recipes), seeds)
    return luck_of(Cells(seeds_auc.ravel(), np.zeros((recipe.size, 2)), recipe, np.zeros_like(recipe)))


def test_an_unstable_recipe_has_more_luck_than_the_others_and_none_is_lost_on_the_whole() -> None:
    steps = np.array([-1, -0.5, 0, 0.5, 1])
    luck = luck_from(0.72 + np.where(np.arange(20) == 7, 0.15, 0.004)[:, None] * steps)
    assert luck.variance.argmax() == 7
    assert luck.variance[7] > 5 * np.delete(luck.variance, 7).max()
    pooled = (0.15**2 + 19 * 0.004**2) * steps.var(ddof=1) / 20
    assert [luck.variance.mean(), luck.typical_sd**2] == pytest.approx([pooled, pooled])
    assert luck.pooled_variance == pytest.approx(np.full(20, pooled))
    rng = np.random.default_rng(0)
    assert luck.likely(500, rng).mean(axis=0) == pytest.approx(np.full(500, pooled))
    # An inverse chi-square of 80 degrees of freedom has the mean 1 / 78.
    assert luck.drawn(20_000, rng).mean() == pytest.approx(pooled * 80 / 78, rel=0.01)


def test_recipes_that_learn_nothing_and_diverge_do_not_lend_their_luck_to_the_others() -> None:
    rng = np.random.default_rng(0)
    near, far = 0.72 + 0.01 * rng.standard_normal((15, 3)), 0.5 + 0.1 * rng.standard_normal((5, 3))
    luck = luck_from(np.concatenate([near, far]))
    assert luck.held.tolist() == [True] * 15 + [False] * 5
    assert luck.df == 40
    assert luck.df_held == 30
    assert luck.typical_sd**2 == pytest.approx(near.var(axis=1, ddof=1).mean())
    assert luck.variance[15:].mean() > 10 * luck.variance[:15].mean()
    assert (luck.pooled_variance[15:] == luck.variance[15:]).all()
    assert np.sqrt(luck.drawn(20_000, rng)[:15].mean() * 28 / 30) == pytest.approx(luck.typical_sd, rel=0.01)
    # Far below, but as stable as the others: all are taken together.
    luck = luck_from(np.concatenate([near, 0.5 + 0.01 * rng.standard_normal((5, 3))]))
    assert (luck.held.all(), luck.df_held) == (True, 40)


def test_folds_weigh_alike_however_many_seeds_they_have() -> None:
    labels, scores = sample(120, 3, [1.0, 0.6])
    halves = [np.arange(120) % 2 == number for number in (0, 1)]
    folds = [Fold(labels[half], np.arange(60)) for half in halves]
    split = rank([[row[None, half] for half in halves] for row in scores], folds)
    means = [np.mean([auc(row[half], labels[half]) for half in halves]) for row in scores]
    assert np.allclose(split.auc, means)
    uneven = [[np.stack([row[half]] * (1 + number)) for number, half in enumerate(halves)] for row in scores]
    assert np.allclose(rank(uneven, folds).auc, means)


def test_one_seed_gives_no_verdict_and_three_copies_of_it_would() -> None:
    labels, scores = sample(400, 3, [1.5, 0.0])
    fold = Fold(labels, np.arange(400))
    one = rank([[row[None]] for row in scores], [fold])
    (rival,) = one.rivals.values()
    assert one.one_training_each
    assert (rival.p, rival.low, rival.high, one.optimism) == (None, None, None, None)
    assert rival.p_patients == pytest.approx(1 / 2001)
    assert not rival.distinguishable
    (rival,) = rank([[np.stack([row] * 3)] for row in scores], [fold]).rivals.values()
    assert rival.distinguishable
    assert rival.p == rival.p_patients


def test_of_a_few_patients_nothing_is_tested() -> None:
    """Three with and two without: an exact test of any AUC cannot come below 0.2."""
    labels = np.array([True, True, True, False, False])
    scores = np.array([[5.0, 4, 3, 2, 1], [1, 2, 3, 4, 5]])
    ranking = rank([[np.stack([row] * 3)] for row in scores], [Fold(labels, np.arange(5))])
    assert not ranking.enough
    assert ranking.rivals[1] == Rival(-1.0, None, None, None, None)
    assert (ranking.optimism, ranking.of_models, ranking.at_most) == (None, None, None)


def test_limits_of_a_difference_stay_within_what_there_is() -> None:
    labels = np.arange(20) % 2 == 0
    rng = np.random.default_rng(0)
    bad = np.stack([rng.normal(size=20) - 2 * labels for _ in range(2)])
    good = np.stack([rng.normal(size=20) + 2 * labels for _ in range(2)])
    (rival,) = rank([[good], [bad]], [Fold(labels, np.arange(20))]).rivals.values()
    assert rival.low == -1.0
    assert rival.high is not None
    assert rival.difference < rival.high <= 1.0


@pytest.mark.parametrize(("luck", "spread"), [(0.02, 0.0), (0.0, 0.02)])
def test_one_seed_bounds_the_optimism_whether_recipes_or_seeds_differ(luck: float, spread: float) -> None:
    """Both worlds give AUCs of one and the same law; the truth is at one bound in the first, at the other else."""
    rng = np.random.default_rng(4)
    labels = np.arange(400) % 5 < 2
    excess, of_models, at_most = [], [], []
    for _ in range(60):
        truth = 0.72 + spread * rng.standard_normal(20)
        trained = truth + luck * rng.standard_normal(20)
        noise = np.sqrt(0.8) * rng.standard_normal(400) + np.sqrt(0.2) * rng.standard_normal((20, 400))
        scores = noise + higher(trained)[:, None] * labels
        ranking = rank([[row[None]] for row in scores], [Fold(labels, np.arange(400))], resamples=300)
        excess.append(ranking.auc.max() - truth[ranking.best])
        of_models.append(ranking.of_models.mean)
        at_most.append(ranking.at_most.mean)
    bound = at_most if luck else of_models
    assert np.mean(at_most) > 3 * np.mean(of_models)
    assert np.mean(bound) == pytest.approx(np.mean(excess), abs=0.006)  # 2 standard errors of the excess


def test_equal_recipes_of_three_seeds_are_rarely_set_apart_and_their_excess_is_known() -> None:
    results = list(simulated(World(3, 0.02), 50, seed=1))
    assert sum(each.false for each in results) <= 6  # of a binomial (50, 0.05) 2.9 % is beyond
    excess = [each.excess for each in results]
    optimism = [each.ranking.optimism.mean for each in results]
    assert np.mean(optimism) == pytest.approx(np.mean(excess), rel=0.2)  # standard error 4 %
    variance = np.mean([each.ranking.luck.variance.mean() for each in results])
    assert variance == pytest.approx(0.02**2, rel=0.15)  # standard error 4 %


@pytest.mark.slow
@pytest.mark.parametrize("luck", [0.0, 0.02, 0.03])
@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_of_400_simulated_sweeps_few_err_and_the_optimism_is_within_a_fifth(seeds: int, luck: float) -> None:
    """Standard errors: 1.1 % of the share of false verdicts, 6 % of the excess."""
    results = list(simulated(World(seeds, luck), 400, seed=7))
    excess = np.mean([each.excess for each in results])
    if seeds == 1:
        assert all(each.ranking.one_training_each for each in results)
        assert np.mean([each.ranking.at_most.mean for each in results]) == pytest.approx(excess, rel=0.2)
        return
    assert np.mean([each.false for each in results]) <= 0.06 + 0.011
    assert np.mean([each.ranking.optimism.mean for each in results]) == pytest.approx(excess, rel=0.2)


@pytest.mark.slow
def test_a_recipe_better_by_a_twentieth_is_chosen_and_set_apart() -> None:
    results = list(simulated(World(5, 0.02, better=0.05), 100, seed=3))
    assert np.mean([each.ranking.best == 0 for each in results]) > 0.95
    assert np.mean([each.called > 0 for each in results]) > 0.7
    assert not any(each.false for each in results)


def test_scores_are_put_in_one_order_and_other_patients_refused() -> None:
    table = pd.DataFrame({"patient_id": ["a", "b", "c"], "aln_status": [1, 0, 1], "score": [0.3, 0.2, 0.1]})
    fold, scores = aligned({0: [table], 1: [table.iloc[::-1]]})
    assert np.array_equal(scores[0], scores[1])
    assert fold.labels.tolist() == [True, False, True]
    # One cell could not read the crop of `c`: the others are compared without it.
    fold, scores = aligned({0: [table], 1: [table.iloc[:2]]})
    assert fold.labels.tolist() == [True, False]
    assert scores[0].tolist() == scores[1].tolist() == [[0.3, 0.2]]
    with pytest.raises(InputError, match="no validation patient in common"):
        aligned({0: [table.iloc[:1]], 1: [table.iloc[1:]]})
    with pytest.raises(InputError, match="one outcome alone"):
        rank([[np.ones((1, 3))]], [Fold(np.ones(3, bool), np.arange(3))])


@pytest.fixture(scope="module")
def trained(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Two steps with two seeds each, trained in this process; the cohort is a copy, for its ledger is written."""
    folder = tmp_path_factory.mktemp("trained")
    cohort = folder / "cohort"
    cohort.mkdir()
    for table in phantom.glob("*.csv"):
        shutil.copy(table, cohort)
    (cohort / "cohort.yaml").write_text((phantom / "cohort.yaml").read_text() + f"dicom_root: {phantom}\n")
    steps = {
        "clinical": {"model": {"inputs": ["clinical"]}},
        "+ primary": {"model": {"inputs": ["clinical", "primary"]}},
    }
    file = tiny_sweep(folder, epochs=1, grid={}, steps=steps, seeds=2, test=True)
    definition = read_definition(file)
    found = list(points(definition))
    plan = freeze(plan_sweep(definition, found, cohort, folder / "out", store=store, slots=1, check=False))
    for cell in plan.cells:
        train_run(cohort, plan.runs, cell.settings, store=store, planned=cell.run_id)
    return plan


def test_collect_chooses_by_validation_and_a_ladder_opens_its_tests_once(trained: Plan) -> None:
    from mammo_aln.sweeps.choosing.configurations import model_id
    from mammo_aln.sweeps.collect import declare
    from mammo_aln.sweeps.plan_file import announce

    plan = announce(trained, declare(trained))
    cells = collect_sweep(plan.out, resamples=200)
    table = pd.read_csv(cells)
    about = json.loads((plan.out / "choice.json").read_text())
    means = table.groupby("step")["val_auc"].mean()
    assert about["chosen"] == f"step={means.idxmax()}"
    assert about["val_auc"] == pytest.approx(means.max())
    assert {one["configuration"]: one["val_auc_sd"] for one in about["configurations"]} == pytest.approx(
        {f"step={name}": value for name, value in table.groupby("step")["val_auc"].std().items()}
    )
    ids = table.loc[table["step"] == "clinical", "run_id"].tolist()
    assert model_id(ids) == ensemble_of([read_member(plan.runs / one) for one in ids]).run_id
    ladder = pd.read_csv(plan.out / "test" / "ladder.csv")
    assert set(ladder["split"]) == {"train", "val", "internal_test", "external_test"}
    page = (plan.out / "test" / "comparisons.html").read_text()
    assert f"Sweep out of cohort {plan.cohort_name} (folder cohort)" in page
    links = [link for link in re.findall(r'href="([^"]*)"', page) if not link.startswith(("data:", "#"))]
    assert {Path(link).name for link in links} == {"choice.html", "board.html", *table["run_id"]}
    assert all((plan.out / "test" / link).exists() for link in links)
    assert '<a href="test/comparisons.html">' in (plan.out / "choice.html").read_text()
    assert ladder.loc[ladder["before"].notna(), "delong_p"].between(0, 1).any()
    ledger = plan.cohort / "openings.jsonl"
    opened = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [one["kind"] for one in opened].count("plan") == 1
    openings = [one for one in opened if one["kind"] == "opening"]
    assert {one["plan"] for one in openings} == {plan.declared}
    collect_sweep(plan.out, resamples=200)
    assert len(ledger.read_text().splitlines()) == len(opened)


@pytest.mark.parametrize("state", [None, "running", "stopped"])
def test_tests_stay_sealed_while_cells_wait_or_were_stopped(trained: Plan, tmp_path: Path, state: str | None) -> None:
    """Killed, a cell's record says `running`; stopped by Ctrl-C, `stopped`; a sweep's next command trains both."""
    out = shutil.copytree(trained.out, tmp_path / "out")
    run = out / "runs" / trained.cells[-1].run_id
    shutil.rmtree(run)
    if state is not None:
        run.mkdir()
        write_state(run, state)
    shutil.rmtree(out / "test", ignore_errors=True)
    with pytest.raises(InputError, match="stay sealed while 1 cell is"):
        collect_sweep(out, test=True, resamples=200)
    assert not (out / "test").exists()


def test_level_configurations_share_their_resamples_and_the_tie_is_said() -> None:
    labels, scores = sample(60, 3, [1.0, 0.2])
    fold = Fold(labels, np.arange(60))
    ranking = rank([[scores[0][None]], [scores[1][None]], [scores[0][None] * 2]], [fold])
    assert (ranking.best, ranking.level) == (0, (2,))
    assert ranking.wins[0] == pytest.approx(ranking.wins[2])
    assert ranking.rivals[2].p_patients == 1
    assert ranking.wins.sum() == pytest.approx(1.0)
    assert rank([[scores[0][None]], [scores[1][None]]], [fold]).level == ()
