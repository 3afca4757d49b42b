"""Simulated sweeps whose truth is known: what the choice says of equal recipes, a better one, and coin-flip labels.

A patient's score is a latent normal: `shared` of its variance common to all trainings, the rest each training's own;
positives lie higher by sqrt(2) Phi^-1(AUC). A training's true AUC is its recipe's plus normal luck.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.page import Section, table
from mammo_aln.progress import track
from mammo_aln.runs.epoch_scores import EpochScores
from mammo_aln.sweeps.choosing.cells import Fold
from mammo_aln.sweeps.choosing.epochs import epoch_optimism
from mammo_aln.sweeps.choosing.rank import Ranking, rank

DRAWS = 1000


@dataclass(frozen=True)
class World:
    """Recipes to choose from.

    Attributes:
        seeds: trainings of each, in each fold.
        luck: standard deviation of a training's true AUC.
        recipes: how many.
        n: validation patients of a fold, 40 % positive.
        folds: how many.
        better: how much the first recipe's AUC exceeds the others' 0.72.
        uneven: every other recipe has `luck` 0.4 times as large, the rest so much larger that the variance stays.
        of_recipe: share of a training's own noise that all trainings of its recipe have in common.
        shared: share of the noise that is common to all.
        bad: how many of the last recipes learn next to nothing, AUC 0.52.
        bad_luck: their `luck`.
    """

    seeds: int
    luck: float
    recipes: int = 20
    n: int = 400
    folds: int = 1
    better: float = 0.0
    uneven: bool = False
    of_recipe: float = 0.0
    shared: float = 0.8
    bad: int = 0
    bad_luck: float = 0.02


@dataclass(frozen=True)
class Sweep:
    """A simulated sweep as it was ranked, and its truth.

    Attributes:
        ranking: what the product says.
        excess: AUC of the best less its recipe's true one, less the mean of that over all recipes: the noise that all
            share, nothing in the mean over sweeps.
        models_excess: the same, of the mean true AUC of its trained models.
        false: a recipe as good as the best, or better, is called distinguishable from it.
        called: share of the others called distinguishable where the first is the best, else 0.
    """

    ranking: Ranking
    excess: float
    models_excess: float
    false: bool
    called: float


def simulated(world: World, sweeps: int, seed: int = 0) -> Iterator[Sweep]:
    """Draw sweeps and rank each."""
    rng = np.random.default_rng(seed)
    fold = Fold(np.arange(world.n) % 5 < 2, np.arange(world.n))
    truth = np.full(world.recipes, 0.72)
    truth[0] += world.better
    luck = np.full(world.recipes, world.luck)
    if world.uneven:
        luck = world.luck * np.where(np.arange(world.recipes) % 2, 0.4, np.sqrt(2 - 0.4**2))
    if world.bad:
        truth[-world.bad :], luck[-world.bad :] = 0.52, world.bad_luck
    shape = (world.recipes, world.seeds, world.n)
    for _ in range(sweeps):
        scores: list[list[NDArray[np.float64]]] = [[] for _ in range(world.recipes)]
        true_of_cells = []
        for _ in range(world.folds):
            true_aucs = truth[:, None] + luck[:, None] * rng.standard_normal(shape[:2])
            own = 1 - world.shared
            noise = np.sqrt(world.shared) * rng.standard_normal(world.n)
            noise = noise + np.sqrt(own * (1 - world.of_recipe)) * rng.standard_normal(shape)
            if world.of_recipe:
                noise += np.sqrt(own * world.of_recipe) * rng.standard_normal((shape[0], 1, world.n))
            drawn = noise + higher(true_aucs)[..., None] * fold.labels
            for own_scores, of_recipe in zip(scores, drawn, strict=True):
                own_scores.append(of_recipe)
            true_of_cells.append(true_aucs)
        ranking = rank(scores, [fold] * world.folds, resamples=DRAWS)
        best = ranking.best
        beyond, beyond_models = ranking.auc - truth, ranking.auc - np.mean(true_of_cells, axis=(0, 2))
        called = {index for index, rival in ranking.rivals.items() if rival.distinguishable}
        yield Sweep(
            ranking,
            excess=float(beyond[best] - beyond.mean()),
            models_excess=float(beyond_models[best] - beyond_models.mean()),
            false=any(truth[index] >= truth[best] for index in called),
            called=len(called) / max(1, world.recipes - 1) if best == 0 else 0.0,
        )


def higher(auc: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of two unit normals that give an AUC."""
    return np.asarray(np.sqrt(2) * stats.norm.ppf(np.clip(auc, 0.01, 0.99)))


def coin_flip(
    recipes: int, seeds: int, epochs: int, rng: np.random.Generator, n: int = 400
) -> tuple[float, float, float]:
    """Choose among recipes whose labels are a coin's and whose runs keep their best epoch, as the product does.

    Returns:
        The best's AUC, its optimism of choice and of epoch.
    """
    labels = np.arange(n) % 5 < 2
    common = rng.standard_normal(n)
    logits = np.empty((recipes, seeds, epochs, n))
    drift = rng.standard_normal((recipes, seeds, n))
    for epoch in range(epochs):
        drift = 0.8 * drift + 0.6 * rng.standard_normal(drift.shape)
        logits[:, :, epoch] = 0.6 * common + 0.8 * drift
    runs = [[EpochScores(of_run.astype(np.float32), labels) for of_run in of_recipe] for of_recipe in logits]
    fold = Fold(labels, np.arange(n))
    kept = [[np.stack([best_epoch(run) for run in of_recipe])] for of_recipe in runs]
    ranking = rank(kept, [fold], resamples=DRAWS)
    of_epoch = np.mean([epoch_optimism(run, fold.patients, resamples=100) for run in runs[ranking.best]])
    of_choice = ranking.optimism.mean if ranking.optimism else 0.0
    return float(ranking.auc[ranking.best]), of_choice, float(of_epoch)


def best_epoch(run: EpochScores) -> NDArray[np.float64]:
    """Scores of the epoch with the highest AUC, (n,)."""
    ranks = stats.rankdata(run.logits, axis=1)
    best: NDArray[np.float64] = run.logits[ranks[:, run.labels].sum(axis=1).argmax()].astype(float)
    return best


def choice(sweeps: int = 400, coin_sweeps: int = 40) -> Section:
    """Simulated sweeps of 20 recipes: false verdicts, optimism against the true excess, power, coin-flip labels.

    Args:
        sweeps: simulated of each setting.
        coin_sweeps: of coin-flip labels.
    """
    equal = [World(seeds, luck) for luck in (0.0, 0.02, 0.03) for seeds in (1, 3, 5)]
    others = {
        "noise half the recipe's": World(3, 0.02, of_recipe=0.5),
        "5 folds of 80": World(1, 0.02, n=80, folds=5),
        "2 recipes": World(2, 0.02, recipes=2),
        "25 patients": World(3, 0.0, n=25, of_recipe=1.0),
        "luck uneven, 0.008 and 0.027": World(3, 0.02, uneven=True),
        "luck uneven, 0.008 and 0.027 ": World(5, 0.02, uneven=True),
        "5 of 20 recipes at 0.52": World(3, 0.02, bad=5),
        "half of 20 recipes at 0.52": World(3, 0.02, bad=10),
        "5 of 20 recipes at 0.52, luck 0.1": World(3, 0.02, bad=5, bad_luck=0.1),
        "10 of 20 recipes at 0.52 ": World(1, 0.02, bad=10),
    }
    better = [World(seeds, luck, better=0.05) for luck in (0.0, 0.02, 0.03) for seeds in (1, 3, 5)]
    worlds = [("", world) for world in [*equal, *better]] + list(others.items())
    drawn = {
        world: list(simulated(world, sweeps, seed=number))
        for number, (_, world) in enumerate(track(worlds, total=len(worlds), what="settings", unit="setting"))
    }
    rng = np.random.default_rng(0)
    coins = np.array([coin_flip(20, 3, 40, rng) for _ in range(coin_sweeps)])
    expected = coins[:, 0] - coins[:, 1:].sum(axis=1)
    auc, of_choice, of_epoch = coins.mean(axis=0)
    return Section(
        "The choice among simulated recipes",
        f"{sweeps} simulated sweeps a row, 20 recipes on 400 patients unless said otherwise, 40 % positive, AUC 0.72, "
        "80 % of a score's noise common to all",
        [
            "Equal recipes. `luck` is the standard deviation of a training's true AUC. With one seed no recipe is set "
            "apart, and the choice says the optimism of the trained model and the most that the recipe's can be. True "
            "excess: less the noise that all recipes share, which is nothing in the mean:",
            "",
            *equal_rows([("", world) for world in equal] + list(others.items()), drawn),
            "",
            "One recipe better by 0.05. With luck its optimism is told too large: 0.05 is then 3 to 4 standard "
            "deviations of a recipe's noise, the best of twenty equal ones exceeds by 1.9, and what is rightly told of "
            "those is told in part of this one too.",
            "",
            *better_rows(better, drawn),
            "",
            f"Labels by a coin, 20 recipes of 3 seeds, the best of 40 epochs kept, {coin_sweeps} sweeps: AUC of the "
            f"best {auc:.3f}, less {of_choice:.3f} for the choice and {of_epoch:.3f} for the epoch: expected "
            f"{expected.mean():.3f} (standard deviation from sweep to sweep {expected.std(ddof=1):.3f}, standard error "
            f"{expected.std(ddof=1) / np.sqrt(coin_sweeps):.3f}).",
        ],
    )


def equal_rows(named: Sequence[tuple[str, World]], drawn: dict[World, list[Sweep]]) -> list[str]:
    """Lay out what is said of equal recipes."""
    rows = []
    for name, world in named:
        results = drawn[world]
        excess = np.array([each.excess for each in results])
        of_recipe, of_models, at_most = (
            np.mean([getattr(each.ranking, kind).mean for each in results])
            if getattr(results[0].ranking, kind)
            else None
            for kind in ("optimism", "of_models", "at_most")
        )
        rows.append(
            [
                world.luck,
                f"{world.seeds}{', ' * bool(name)}{name.strip()}",
                "no verdict" if of_recipe is None else f"{100 * np.mean([each.false for each in results]):.1f} %",
                f"at most {at_most:.4f}" if of_recipe is None else f"{of_recipe:.4f}",
                f"{excess.mean():.4f} ± {excess.std(ddof=1) / np.sqrt(len(results)):.4f}",
                f"{of_models:.4f}",
                f"{np.mean([each.models_excess for each in results]):.4f}",
            ]
        )
    header = ["luck", "seeds", "sweeps with a false verdict", "optimism said", "true excess"]
    return table([*header, "optimism of the trained models", "their true excess"], rows)


def better_rows(worlds: Sequence[World], drawn: dict[World, list[Sweep]]) -> list[str]:
    """Lay out what is said where one recipe is better."""
    rows = []
    for world in worlds:
        results = drawn[world]
        optimism = [each.ranking.optimism.mean for each in results if each.ranking.optimism]
        rows.append(
            [
                world.luck,
                world.seeds,
                f"{100 * np.mean([each.ranking.best == 0 for each in results]):.0f} %",
                f"{100 * np.mean([each.called > 0 for each in results]):.0f} %" if optimism else "no verdict",
                f"{100 * np.mean([each.called for each in results]):.0f} %" if optimism else "no verdict",
                f"{np.mean(optimism):.4f}" if optimism else "no figure",
                f"{np.mean([each.excess for each in results]):.4f}",
            ]
        )
    return table(
        [
            "luck",
            "seeds",
            "it is chosen",
            "some other is set apart",
            "others set apart",
            "optimism said",
            "true excess",
        ],
        rows,
    )
