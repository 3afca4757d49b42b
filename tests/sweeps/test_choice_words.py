"""The choice in words: what is known is said with its figure, what is not is said to be unknown, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mammo_aln.sweeps.choosing.components import Component
from mammo_aln.sweeps.choosing.factors import Factors, LevelMean
from mammo_aln.sweeps.choosing.page import choice_page
from mammo_aln.sweeps.choosing.rank import Rival
from mammo_aln.sweeps.choosing.words import ALIKE, BEST, ONE_SEED, TOO_FEW, Chosen, Ranked, less
from mammo_aln.sweeps.standing.curves import curves_of
from mammo_aln.sweeps.standing.pages import Head

FACTORS = Factors(
    [
        Component("lr", 0.0002, 0.0, 0.05, 1),
        Component("fold, beyond its patients", None, None, None, 0, "one validation split"),
    ],
    [
        LevelMean("lr", "1", 0.75, 0.7, 0.8, 0.01, -0.02, 0.04),
        LevelMean("lr", "2", 0.73, 0.68, 0.78, -0.01, -0.04, 0.02),
    ],
    ["one seed: limits know of patients alone"],
)
RIVAL = Rival(-0.02, -0.05, 0.01, 0.4, 0.3)


def chosen(verdict: str = ALIKE, rival: Rival = RIVAL) -> Chosen:
    """A choice among two that says all there is to say."""
    best = Ranked("lr=1", {"lr": 1}, ["a", "b"], 2, 0.75, 0.01, None, BEST, 0.8)
    other = Ranked("lr=2", {"lr": 2}, ["c", "d"], 2, 0.73, 0.01, rival, verdict, 0.2)
    return Chosen(
        chosen="lr=1",
        chosen_runs=["a", "b"],
        model_id="m",
        val_auc=0.75,
        level_with=[],
        validation_patients=(40, 60),
        trainings_least=2,
        trainings_most=2,
        luck_sd=0.02,
        luck_df=2,
        configurations_near=2,
        optimism=0.012,
        optimism_sd=0.01,
        optimism_of_trained_models=0.005,
        optimism_if_recipes_are_equal=None,
        epoch_optimism=0.03,
        runs_without_epoch_scores=0,
        val_auc_corrected=0.708,
        trained_models_auc_corrected=0.715,
        val_auc_at_least=None,
        configurations_planned=2,
        configurations_ranked=2,
        resamples=2000,
        configurations=[best, other],
        factors=FACTORS,
    )


def test_several_seeds_say_luck_optimism_and_what_to_expect() -> None:
    assert chosen().sentences == [
        "chosen by validation alone: lr=1, AUC 0.750",
        "1 of 1 others are not distinguishable from it (luck of a training: SD 0.020, 2 degrees of freedom)",
        "choosing the best of 2 flatters it by about 0.012; choosing the best epoch, by about 0.030: expect 0.708",
    ]


ONE = replace(
    chosen(ONE_SEED, Rival(-0.02, None, None, None, 0.3)),
    luck_sd=None,
    luck_df=0,
    optimism=None,
    optimism_sd=None,
    optimism_if_recipes_are_equal=0.02,
    val_auc_corrected=None,
    val_auc_at_least=0.7,
    trainings_least=1,
    trainings_most=1,
)
FEW = replace(
    chosen(TOO_FEW, Rival(-0.02, None, None, None, None)),
    validation_patients=(3, 2),
    optimism=None,
    optimism_of_trained_models=None,
    epoch_optimism=None,
    val_auc_corrected=None,
    trained_models_auc_corrected=None,
    factors=Factors([], [], ["too few validation patients to tell"]),
)


FORMER = replace(chosen(), epoch_optimism=None, runs_without_epoch_scores=1, val_auc_corrected=None)


@pytest.mark.parametrize(
    ("choice", "phrases"),
    [
        pytest.param(
            ONE,
            [
                "one seed: recipe and luck cannot be told apart",
                "the distance of 1 of 1 others is within what patients alone explain",
                "flatters this trained model by about 0.005; its recipe by up to 0.020",
                "expect 0.715 of this model, 0.700 to 0.715 of another training with its settings",
            ],
            id="one seed",
        ),
        pytest.param(
            FEW,
            [
                "nothing is tested: 3 validation patients with the outcome and 2 without it",
                "a test needs 10 of each",
                "what to expect of it is not known",
            ],
            id="few patients",
        ),
        pytest.param(
            FORMER, ["1 of its 2 runs kept no scores by epoch (trained by an earlier version)"], id="no scores by epoch"
        ),
        pytest.param(
            replace(chosen(), trainings_least=1, trainings_most=3, level_with=["lr=2"]),
            ["trained unequally often (1 to 3 cells)", "level with lr=2; the first in the sweep's file is taken"],
            id="unequal seeds and ties",
        ),
    ],
)
def test_what_is_known_and_what_is_not_is_said(choice: Chosen, phrases: list[str]) -> None:
    text = "\n".join(choice.sentences)
    assert [phrase for phrase in phrases if phrase not in text] == []


@pytest.mark.parametrize("choice", [FEW, FORMER], ids=["few patients", "no scores by epoch"])
def test_where_the_optimism_is_not_known_no_figure_is_expected(choice: Chosen) -> None:
    assert "expect 0" not in choice.sentences[-1]


@pytest.mark.parametrize("choice", [chosen(), ONE, FEW], ids=["seeds", "one seed", "few"])
def test_the_page_shows_a_dash_for_what_is_not_known(choice: Chosen) -> None:
    page = choice_page(choice, Head("sweep", "cohort", "0123", "2026-11-28"), curves_of([]))
    assert "None" not in page
    assert ("Marginal means" in page) is bool(choice.factors.levels)
    assert ("p, patients alone" in page) is (choice.luck_df == 0)
    assert ("(-0.050 to +0.010)" in page) is (choice.optimism is not None)


def test_an_auc_less_what_is_not_known_is_not_known() -> None:
    assert less(0.8, 0.1, 0.05) == pytest.approx(0.65)
    assert less(0.8, 0.1, None) is None
