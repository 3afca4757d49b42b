"""Both engines of augmentation: what never changes, and that they do the same on average."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mammo_aln.runs.identity import run_identity
from mammo_aln.settings import CropConfig, DataConfig
from mammo_aln.training.data.augment import ENGINES, augmentation
from mammo_aln.training.train import train_run
from tests.support.tiny_settings import tiny_settings

CROP = CropConfig(size_px=48)
SIDE = np.linspace(-1.0, 1.0, 48, dtype=np.float32)
LUMP = (0.2 + 0.6 * np.exp(-((SIDE[:, None] - 0.2) ** 2 + (SIDE[None, :] + 0.1) ** 2) / 0.2)).astype(np.float32)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_draw_is_a_function_of_its_seed_and_stays_in_range(engine: str) -> None:
    change = augmentation(CROP, DataConfig(augment_engine=engine, augment_strength=3.0))
    before = LUMP.copy()
    draws = [change(LUMP, (1, 0, unit, 0)) for unit in range(40)]
    assert np.array_equal(LUMP, before)
    assert all(draw.shape == LUMP.shape and draw.dtype == np.float32 for draw in draws)
    assert min(draw.min() for draw in draws) >= 0.0
    assert max(draw.max() for draw in draws) <= 1.0
    assert np.array_equal(draws[7], change(LUMP, (1, 0, 7, 0)))
    assert len({draw.tobytes() for draw in draws}) > 30


@pytest.mark.parametrize("engine", ENGINES)
def test_strength_zero_leaves_grey_values_and_places(engine: str) -> None:
    """Flips and the 5 % of scale remain: neither changes a constant, nor moves the centre of a centred lump."""
    change = augmentation(CROP, DataConfig(augment_engine=engine, augment_strength=0.0))
    flat = np.full((48, 48), 0.37, np.float32)
    centred = np.exp(-(SIDE[:, None] ** 2 + SIDE[None, :] ** 2) / 0.1).astype(np.float32)
    for unit in range(30):
        assert np.allclose(change(flat, (0, 0, unit, 0))[4:-4, 4:-4], 0.37, atol=1e-5)
        moved = change(centred, (0, 0, unit, 0))
        assert np.allclose(moved, moved[::-1, ::-1], atol=2e-2)
        assert np.abs(moved - centred).max() < 0.06


@pytest.mark.parametrize("engine", ENGINES)
def test_what_comes_in_from_outside_is_background(engine: str) -> None:
    change = augmentation(replace(CROP, size_mm=8.0), DataConfig(augment_engine=engine, max_shift_mm=4.0))
    corners = [
        change(np.ones((48, 48), np.float32), (0, 0, unit, 0))[[0, 0, -1, -1], [0, -1, 0, -1]] for unit in range(60)
    ]
    outside = np.array([corner.min() for corner in corners])
    assert (outside == 0.0).mean() > 0.2


def test_both_engines_agree_on_average() -> None:
    """Within 2 grey levels of 255, on average over the crop's pixels and as a whole."""
    means = []
    for engine in ENGINES:
        change = augmentation(CROP, DataConfig(augment_engine=engine))
        means.append(np.mean([change(LUMP, (3, 0, unit, 0)) for unit in range(2500)], axis=0, dtype=np.float64))
    assert np.abs(means[0] - means[1]).mean() * 255 < 2.0
    assert abs(means[0].mean() - means[1].mean()) * 255 < 2.0
    assert np.abs(means[0] - LUMP).mean() * 255 > 4.0


def test_only_the_younger_engine_enters_the_run_id(phantom: Path, store: Path, tmp_path: Path) -> None:
    tiny = tiny_settings()
    other = replace(tiny, data=replace(tiny.data, augment_engine="torchvision"))
    assert "augment_engine" not in run_identity(tiny, "c", []).settings["data"]
    assert run_identity(other, "c", []).settings["data"]["augment_engine"] == "torchvision"
    run = train_run(phantom, tmp_path, other, store=store)
    assert (run / "predictions.csv").is_file()
