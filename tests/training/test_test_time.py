"""Test-time copies: small, fixed, balanced; averaged in the run's own predictions and in later ones alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mammo_aln.inference.predict import predict_cohort
from mammo_aln.model.classifier import AxillaryClassifier
from mammo_aln.settings import DataConfig
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.data.test_time import VARIATIONS, TestTimeCopy
from mammo_aln.training.train import train_run
from tests.support.tiny_settings import tiny_settings


def test_the_first_copy_is_the_crop_and_the_pairs_cancel() -> None:
    block = np.random.default_rng(0).integers(0, 65536, (96, 96), dtype=np.uint16)
    same = TestTimeCopy(DataConfig(), 64, np.array([50.0]), 0)([block], slice(None), 0)
    assert np.allclose(same[0], block[16:-16, 16:-16] / 65535, atol=1e-6)
    for one, other in zip(VARIATIONS[1::2], VARIATIONS[2::2], strict=True):
        assert one.right + other.right == one.down + other.down == 0
        assert np.isclose(one.scale + other.scale, 2)
        assert np.isclose(one.gamma + other.gamma, 2)


@pytest.mark.parametrize("copy", range(9))
@pytest.mark.parametrize("shift_mm", [4.0, 400.0])
def test_a_copy_shows_what_lies_around_the_crop_and_never_black(copy: int, shift_mm: float) -> None:
    white = [np.full((96, 96), 65535, np.uint16)] * 2
    change = TestTimeCopy(DataConfig(max_shift_mm=shift_mm), 64, np.array([50.0, 30.0]), copy)
    assert change(white, slice(None), 0).min() > 0.999


@pytest.mark.parametrize("copy", range(1, 9))
def test_a_copy_moves_a_point_by_its_millimetres_and_no_more(copy: int) -> None:
    size_px, size_mm, shift_mm = 200, 50.0, 4.0
    block = np.zeros((300, 300), np.uint16)
    block[149:151, 149:151] = 65535  # its centre is the crop's: scaling leaves it there
    size_mms = np.array([2 * size_mm, size_mm])
    change = TestTimeCopy(DataConfig(max_shift_mm=shift_mm), size_px, size_mms, copy)
    (moved,) = change([block], slice(1, 2), 0)
    rows, columns = np.mgrid[:size_px, :size_px]
    there = (np.sum(columns * moved) / moved.sum() - 99.5, np.sum(rows * moved) / moved.sum() - 99.5)
    change = VARIATIONS[copy]
    px = 0.5 * shift_mm * size_px / size_mm
    assert np.allclose(there, (change.right * px, change.down * px), atol=0.1)
    assert moved.dtype == np.float32
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_copies_are_averaged_and_frozen_into_the_run(phantom: Path, store: Path, tmp_path: Path) -> None:
    plain = tiny_settings()
    settings = replace(plain, data=replace(plain.data, test_time_copies=2))
    run = train_run(phantom, tmp_path, settings, store=store)
    own = pd.read_csv(run / "predictions.csv", dtype={"patient_id": str}).query("split == 'val'")
    module = AxillaryClassifier.load(run / "checkpoints" / "best.ckpt")
    data = MammoDataModule.from_settings(settings, phantom, store)
    data.setup()
    with torch.no_grad():
        each = [
            torch.cat([module(batch) for batch in data.loader("val", copy=copy)]).numpy().astype(float)
            for copy in range(3)
        ]
    assert np.abs(each[0] - each[1]).max() > 1e-6
    assert np.allclose(own["logit"], np.mean(each, axis=0), atol=1e-5)
    again = pd.read_csv(predict_cohort(run, phantom, tmp_path / "v.csv", split="val", store=store))
    assert np.allclose(again["logit"], own["logit"], atol=1e-5)
    about = json.loads((run / "predictions.json").read_text())
    assert about["settings"]["data"]["test_time_copies"] == 2
