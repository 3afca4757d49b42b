"""The choice of the epoch: weighted AUCs, coin-flip labels, what runs without kept scores say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.choice import coin_flip
from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics.discrimination import auc
from mammo_aln.runs.epoch_scores import EPOCH_SCORES, EpochScores, read_epoch_scores, write_epoch_scores
from mammo_aln.sweeps.choosing.cells import Fold
from mammo_aln.sweeps.choosing.epochs import drawn_patients, epoch_optimism, weighted_auc


def test_a_weighted_auc_is_that_of_patients_written_as_often() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.4
    weight = rng.integers(0, 4, (5, 40)).astype(float)
    repeated = [auc(np.repeat(scores, row.astype(int)), np.repeat(labels, row.astype(int))) for row in weight]
    assert weighted_auc(scores, weight, labels) == pytest.approx(repeated)
    assert np.isnan(weighted_auc(scores, weight * labels, labels)).all()


def test_patients_are_drawn_whole_and_each_outcome_to_its_number() -> None:
    fold = Fold(np.array([True, False, True, True, False, False]), np.array([0, 0, 1, 2, 3, 4]))
    drawn = drawn_patients(fold, 200, np.random.default_rng(0))
    assert (drawn[:, 0] == 1).all()  # the one patient with both outcomes
    assert (drawn[:, [1, 2]].sum(axis=1) == 2).all()
    assert (drawn[:, [3, 4]].sum(axis=1) == 2).all()


def test_the_best_of_forty_epochs_on_coin_flip_labels_is_to_be_expected_at_one_half() -> None:
    """Without the correction 0.56 is to be expected; the mean's standard error is 0.005."""
    rng = np.random.default_rng(2)
    results = np.array([coin_flip(1, 1, 40, rng) for _ in range(40)])
    assert results[:, 0].mean() > 0.53
    assert (results[:, 0] - results[:, 2]).mean() == pytest.approx(0.5, abs=0.015)


@pytest.mark.slow
def test_coin_flip_labels_stay_at_one_half_where_recipe_and_epoch_are_chosen() -> None:
    """Standard error 0.004."""
    rng = np.random.default_rng(0)
    results = np.array([coin_flip(20, 3, 40, rng) for _ in range(30)])
    assert (results[:, 0] - results[:, 1] - results[:, 2]).mean() == pytest.approx(0.5, abs=0.02)


def test_one_epoch_is_no_choice_and_few_patients_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 2 == 0
    logits = rng.normal(size=(3, 30)).astype(np.float32)
    assert epoch_optimism(EpochScores(logits[:1], labels), np.arange(30)) == 0
    logits[1:, 4] = np.nan  # diverged
    assert epoch_optimism(EpochScores(logits, labels), np.arange(30)) == 0
    few = EpochScores(rng.normal(size=(3, 2)).astype(np.float32), np.array([True, False]))
    assert np.isnan(epoch_optimism(few, np.arange(2)))


def test_scores_by_epoch_come_back_as_they_were_written(tmp_path: Path) -> None:
    assert read_epoch_scores(tmp_path) is None
    scores = EpochScores(np.arange(6, dtype=np.float32).reshape(2, 3), np.array([True, False, True]))
    write_epoch_scores(tmp_path, scores)
    back = read_epoch_scores(tmp_path)
    assert np.array_equal(back.logits, scores.logits)
    assert np.array_equal(back.labels, scores.labels)
    (tmp_path / EPOCH_SCORES).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="logits and labels of a training's validation"):
        read_epoch_scores(tmp_path)
    write_epoch_scores(tmp_path, EpochScores(scores.logits, scores.labels[:2]))
    with pytest.raises(InputError, match=r"got \(2, 3\) and \(2,\)"):
        read_epoch_scores(tmp_path)
