"""What a training leaves for a person: a summary on standard error, two pictures, and refusals before the long work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from mammo_aln.errors import InputError
from mammo_aln.settings import CropConfig
from mammo_aln.training.summary import Summary
from mammo_aln.training.train import train_run
from tests.support.run_folders import linked_copy
from tests.support.tiny_settings import tiny_settings


@pytest.fixture(scope="module")
def run(phantom: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(phantom, tmp_path_factory.mktemp("runs"), tiny_settings(epochs=3), store=store)


def rank_auc(rows: pd.DataFrame) -> float:
    """Share of pairs in which the positive patient scores higher, ties half."""
    positive, negative = (rows.loc[rows["aln_status"] == label, "score"].to_numpy() for label in (1, 0))
    pairs = np.sign(positive[:, None] - negative[None, :])
    return float((pairs + 1).mean() / 2)


def test_the_summary_says_what_was_frozen(run: Path) -> None:
    summary, table = Summary.of_run(run), pd.read_csv(run / "predictions.csv")
    assert summary.val_auc == pytest.approx(rank_auc(table[table["split"] == "val"]))
    assert summary.train_auc == pytest.approx(rank_auc(table[table["split"] == "train"]))
    assert summary.val_auc_low < summary.val_auc <= summary.val_auc_high <= 1.0
    metrics = pd.read_csv(run / "metrics.csv")
    assert metrics["val_auc"][summary.best_epoch - 1] == metrics["val_auc"].max()
    assert summary.val_auc == pytest.approx(metrics["val_auc"].max(), abs=1e-5)


def test_the_last_words_of_a_training_are_its_summary(
    phantom: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_run(phantom, tmp_path, tiny_settings(), store=store)
    out, words = capsys.readouterr()
    assert out == ""
    last = words.splitlines()[-4:]
    assert last[0].startswith(f"run {run.name}: best epoch 1 of 1; trained in ")
    assert "val AUC 0." in last[1] or "val AUC 1." in last[1]
    assert "threshold" in last[2]
    assert "temperature" in last[2]
    assert str(run) in last[3]


def test_a_threshold_that_calls_all_alike_is_said(run: Path) -> None:
    summary = Summary.of_run(run)
    assert "all patients are called" not in summary.in_words(run)
    infinite = replace(summary, threshold=float("inf"))
    assert "all patients are called negative" in infinite.in_words(run)
    assert f"counts epochs from 0: the best is {summary.best_epoch - 1}" in infinite.in_words(run)


def test_two_pictures_are_drawn(run: Path) -> None:
    for name in ("training.png", "augmented.png"):
        with Image.open(run / name) as picture:
            grey = np.asarray(picture.convert("L"))
        assert min(grey.shape) > 100
        assert grey.std() > 5


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tiny: replace(tiny, model=replace(tiny.model, backbone="resnet51")), "resnet51"),
        (lambda tiny: replace(tiny, model=replace(tiny.model, backbone="timm:nosuch")), "nosuch"),
        (
            lambda tiny: replace(tiny, crop=CropConfig(size_px=10), model=replace(tiny.model, backbone="swinv2")),
            "size_px",
        ),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_before_the_first_crop(
    change, expected: str, phantom: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=expected):
        train_run(phantom, tmp_path / "runs", change(tiny_settings()), store=tmp_path / "store")
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "runs").exists()


def test_a_column_that_holds_the_outcome_is_refused_before_the_first_crop(phantom: Path, tmp_path: Path) -> None:
    cohort = linked_copy(phantom, tmp_path / "cohort")
    declared = yaml.safe_load((cohort / "cohort.yaml").read_text())
    next(iter(declared["clinical"].values()))["known_at"] = "post_surgery"
    (cohort / "cohort.yaml").unlink()
    (cohort / "cohort.yaml").write_text(yaml.safe_dump(declared))
    with pytest.raises(InputError, match="post_surgery"):
        train_run(cohort, tmp_path / "runs", tiny_settings(), store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_run_of_another_outcome_says_what_it_learns(phantom: Path, tmp_path: Path, capsys) -> None:
    cohort = linked_copy(phantom, tmp_path / "cohort")
    declared = yaml.safe_load((cohort / "cohort.yaml").read_text())
    declared["label"]["meaning"] = "1 = malignant, 0 = benign"
    (cohort / "cohort.yaml").unlink()
    (cohort / "cohort.yaml").write_text(yaml.safe_dump(declared))
    wrong = replace(tiny_settings(), model=replace(tiny_settings().model, backbone="resnet51"))
    with pytest.raises(InputError, match="resnet51"):
        train_run(cohort, tmp_path / "runs", wrong, store=tmp_path / "store")
    assert "outcome: aln_status = 1 (1 = malignant, 0 = benign)" in capsys.readouterr().err
    with pytest.raises(InputError, match="resnet51"):
        train_run(phantom, tmp_path / "runs", wrong, store=tmp_path / "store")
    assert "outcome:" not in capsys.readouterr().err
