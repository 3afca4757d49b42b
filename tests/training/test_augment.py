"""Augmentation: three engines do the same, pixels come from the crop's surround, flips have their switches."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from mammo_aln.runs.identity import run_identity
from mammo_aln.settings import CropConfig, DataConfig
from mammo_aln.training.data.augment import ENGINES, Augmentation, engine, numbered, sides_mm
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.train import train_run
from tests.phantom.test_mammography import breast_spacing
from tests.support.tiny_settings import tiny_settings
from tests.training.test_draws import NEUTRAL, changed, drawn
from tests.training.test_warp import tissue

SIZE = 48


def augmentation(count: int, seed: int = 1, **data: object) -> Augmentation:
    """Of units with three crops each."""
    unit, nth = numbered(np.full(count // 3, 3))
    return Augmentation(DataConfig(**data), SIZE, seed, unit, nth, np.full(count, 50.0))


@pytest.mark.parametrize("name", ENGINES)
def test_a_change_is_a_function_of_seed_epoch_and_crop_and_stays_in_range(name: str) -> None:
    blocks = tissue(60, SIZE)
    before = [block.copy() for block in blocks]
    change = augmentation(60, augment_engine=name, augment_strength=3.0)
    crops = change(blocks, slice(0, 60), 0)
    assert all(map(np.array_equal, blocks, before))
    assert crops.shape == (60, SIZE, SIZE)
    assert crops.dtype == np.float32
    assert crops.min() >= 0.0
    assert crops.max() <= 1.0
    later = change(blocks, slice(0, 60), 1)
    assert not np.array_equal(crops, later)
    again = augmentation(60, augment_engine=name, augment_strength=3.0)
    assert np.array_equal(again(blocks[21:24], slice(21, 24), 0), crops[21:24])
    assert np.array_equal(change(blocks[21:24], slice(21, 24), 0), crops[21:24])
    assert not np.array_equal(augmentation(60, 2, augment_engine=name)(blocks, slice(0, 60), 0), crops)


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "warp"])
def test_every_engine_does_what_the_warp_does(name: str) -> None:
    """The libraries' own flips, turns, shifts, scales and grey values, crop by crop, within a grey level of 255."""
    blocks, draws = tissue(200, SIZE), drawn(200)
    ours, others = engine("warp")(blocks, draws, SIZE), engine(name)(blocks, draws, SIZE)
    apart = np.abs(ours - others) * 255
    assert apart.mean() < 0.1
    assert apart.max() < 3.0
    assert np.abs(ours.mean(axis=0) - others.mean(axis=0)).max() * 255 < 0.2


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    "change",
    [
        {"flip_horizontal": 1, "shift_right": 0.1},
        {"flip_vertical": 1, "shift_down": 0.05, "degrees": 15.0},
        {"degrees": -20.0, "scale": 1.05, "shift_right": -0.08, "shift_down": 0.05},
    ],
)
def test_each_engine_composes_flip_turn_scale_and_shift_alike(name: str, change: dict[str, float]) -> None:
    block = tissue(1, SIZE)
    expected = engine("warp")(block, changed(**change), SIZE)
    assert np.abs(engine(name)(block, changed(**change), SIZE) - expected).max() < 4e-3
    assert np.abs(expected - engine("warp")(block, NEUTRAL, SIZE)).max() > 0.02


@pytest.mark.parametrize("name", ENGINES)
def test_where_tissue_goes_on_no_pixel_is_black(name: str) -> None:
    """At strength 1; grey values are left out by the smallest that they can make of white."""
    white = [np.full((72, 72), 65535, np.uint16)] * 600
    crops = augmentation(600, augment_engine=name)(white, slice(0, 600), 0)
    assert (crops < 0.6).mean() == 0.0


def test_strength_zero_leaves_grey_values_and_places() -> None:
    """Flips and the 5 % of scale remain: neither changes a constant, nor moves the centre of a centred lump."""
    change = augmentation(90, augment_strength=0.0)
    flat = [np.full((72, 72), 24_000, np.uint16)] * 90
    assert np.allclose(change(flat, slice(0, 90), 0), 24_000 / 65535, atol=1e-5)
    side = np.linspace(-1.5, 1.5, 72)
    lump = np.exp(-(side[:, None] ** 2 + side[None, :] ** 2) / 0.1) * 65535
    moved = change([lump.astype(np.uint16)] * 90, slice(0, 90), 0)
    assert np.allclose(moved, moved[:, ::-1, ::-1], atol=1e-3)
    assert np.ptp(moved.sum(axis=(1, 2))) > 0.05 * moved.sum(axis=(1, 2)).mean()


def test_each_flip_has_its_switch() -> None:
    for across, up in ((True, False), (False, True), (False, False)):
        draws = augmentation(600, flip_horizontal=across, flip_vertical=up).draws(0)
        assert draws.flip_horizontal.any() == across
        assert draws.flip_vertical.any() == up
    both, one = augmentation(600).draws(0), augmentation(600, flip_vertical=False).draws(0)
    assert np.array_equal(both.flip_horizontal, one.flip_horizontal)
    assert np.array_equal(both.degrees, one.degrees)


@pytest.mark.parametrize(("ramp_epochs", "epoch", "share"), [(10, 0, 0.0), (10, 3, 0.3), (10, 10, 1.0), (0, 0, 1.0)])
def test_all_but_flips_grows_by_equal_steps_to_its_full_extent(ramp_epochs: int, epoch: int, share: float) -> None:
    unit, nth = numbered(np.full(200, 3))
    arguments = DataConfig(max_shift_mm=2.0), SIZE, 1, unit, nth, np.full(600, 50.0)
    full = Augmentation(*arguments).draws(epoch)
    grown = Augmentation(*arguments, ramp_epochs=ramp_epochs).draws(epoch)
    for field in fields(full):
        limit = share if not field.name.startswith("flip") else 1.0
        neutral = getattr(NEUTRAL, field.name)
        change = getattr(full, field.name) - neutral
        assert np.abs(change).max() > 0.01
        assert np.allclose(getattr(grown, field.name) - neutral, limit * change, atol=1e-5), field.name


def test_a_training_ramps_its_changes(phantom: Path, store: Path) -> None:
    data = MammoDataModule(phantom, CropConfig(size_px=32), data=DataConfig(augment_ramp_epochs=4), store=store)
    data.setup()
    changes = data.loader("train", training=True).collate_fn.func.changes
    reach = [np.abs(changes.draws(epoch).degrees).max() for epoch in (0, 1, 2, 4, 40)]
    assert reach[0] == 0
    assert all(low < high for low, high in pairwise(reach[:4]))
    assert reach[2] <= 10 < reach[3] <= 20


def test_all_views_of_a_patient_are_mirrored_alike(phantom: Path, store: Path) -> None:
    data = MammoDataModule(phantom, CropConfig(size_px=32), data=DataConfig(augment_strength=0.0), store=store)
    data.setup()
    plain, loader = data.loader("val"), data.loader("train", training=True)
    assert plain.collate_fn.func.changes is None
    shaken = loader.collate_fn.func
    packer = shaken.packer
    first = packer.units.first
    assert np.diff(first).max() >= 2
    draws = shaken.changes.draws(4)
    for unit in range(len(first) - 1):
        rows = slice(first[unit], first[unit + 1])
        assert np.ptp(draws.flip_horizontal[rows]) == np.ptp(draws.flip_vertical[rows]) == 0
        stored = [packer.store.read_surround(str(key)) for key in packer.units.keys[rows]]
        expected = engine("warp")(stored, draws.of(rows), 32)
        assert np.array_equal(loader.packed([(4, unit)])["crops"][:, 0], expected)


def test_crops_are_numbered_within_their_unit() -> None:
    unit, nth = numbered(np.array([2, 0, 3, 1]))
    assert unit.tolist() == [0, 0, 2, 2, 2, 3]
    assert nth.tolist() == [0, 1, 0, 1, 2, 0]
    crop = CropConfig(size_mm=50.0, auxiliary_size_mm=30.0)
    cut = np.array([np.nan, np.nan, 48.0, 210.5])
    assert sides_mm(crop, np.array([0, 1, 2, 0]), cut).tolist() == [50.0, 30.0, 48.0, 210.5]


@pytest.mark.parametrize(("strategy", "margin"), [("lesion_box", 0.0), ("lesion_margin", 0.25), ("fixed_5cm", None)])
def test_a_crop_of_any_size_is_shifted_by_as_many_millimetres_of_breast(
    strategy: str, margin: float | None, phantom: Path, store: Path
) -> None:
    crop, loading = CropConfig(size_px=32, strategy=strategy), DataConfig(max_shift_mm=2.0)
    data = MammoDataModule(phantom, crop, inputs=("primary",), data=loading, store=store)
    data.setup()
    drawn = data.loader("train", training=True).collate_fn.func.changes
    tables = [pd.read_csv(phantom / f"{name}.csv", dtype={"image_id": str}) for name in ("images", "regions")]
    images, regions = tables[0].set_index("image_id"), tables[1].query("region == 'primary'").set_index("image_id")
    owner = data.crop_set.table.set_index("key")["image_id"]
    sides = []
    for key in data.units("train").keys:
        box = regions.loc[owner[key]]
        header = pydicom.dcmread(phantom / images.loc[owner[key], "path"], stop_before_pixels=True)
        longer = max(box.x_max - box.x_min, box.y_max - box.y_min) * breast_spacing(header)
        sides.append(50.0 if margin is None else longer * (1 + 2 * margin))
    shifts = np.array([drawn.draws(epoch).shift_right * np.array(sides) for epoch in range(60)])
    farthest = np.abs(shifts).max(axis=0)  # 48 of 60 draws move a crop; the surround of the smallest is narrower
    assert np.median(farthest) > 1.9
    assert farthest.max() <= 2.0 + 1e-4


def test_only_what_is_not_the_default_enters_the_run_id(phantom: Path, store: Path, tmp_path: Path) -> None:
    tiny = tiny_settings()
    other = replace(tiny, data=replace(tiny.data, augment_engine="torchvision", flip_vertical=False))
    younger = {"augment_engine", "flip_horizontal", "flip_vertical"}
    assert not younger & set(run_identity(tiny, "c", []).settings["data"])
    entered = run_identity(other, "c", []).settings["data"]
    assert (entered["augment_engine"], entered["flip_vertical"]) == ("torchvision", False)
    run = train_run(phantom, tmp_path, other, store=store)
    assert (run / "predictions.csv").is_file()
