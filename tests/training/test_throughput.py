"""The pace of a training as metrics.csv tells it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.training.callbacks import RunRecorder
from mammo_aln.training.train import train_run
from tests.support.tiny_settings import tiny_settings


def test_a_checkpoint_within_an_epoch_is_no_wait_for_data(
    phantom: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = RunRecorder._save

    def slow(self, trainer, position) -> None:
        time.sleep(0.5)
        save(self, trainer, position)

    monkeypatch.setattr(RunRecorder, "_save", slow)
    settings = tiny_settings(epochs=1)
    run = train_run(
        phantom, tmp_path, replace(settings, trainer=replace(settings.trainer, save_every_s=0.0)), store=store
    )
    (row,) = pd.read_csv(run / "metrics.csv").to_dict("records")
    saves = row["step"] - 1
    assert saves >= 1
    assert row["train_s"] > 0.5 * saves
    assert row["data_wait_s"] < 0.25 * saves
