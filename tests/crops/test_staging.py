"""Crops on a node's own disk: those of the store, bit for bit, compared before the first is read, copied once."""

from __future__ import annotations

import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mammo_aln.crops.build import CropSet, build_crops
from mammo_aln.crops.store import staging
from mammo_aln.crops.store.staging import stage_folder, staged
from mammo_aln.crops.store.store import CropStore
from mammo_aln.errors import InputError
from mammo_aln.runs.identity import run_identity
from mammo_aln.settings import CropConfig, DataConfig, PixelConfig
from mammo_aln.training.data.datamodule import MammoDataModule
from tests.support.crop_cohort import small_cohort
from tests.support.tiny_settings import tiny_settings

SMALL = CropConfig(size_px=32, auxiliary=())


@pytest.fixture
def crops(tmp_path: Path) -> CropSet:
    return build_crops(small_cohort(tmp_path / "c", 3), PixelConfig(), SMALL, workers=1)


def copies(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/segments/*.u16"))


def test_the_copy_holds_the_same_crops_and_is_made_once(crops: CropSet, tmp_path: Path) -> None:
    keys = crops.table["key"].tolist()
    copy = staged(crops.open_store(), keys, tmp_path / "disk")
    assert copy.path.is_relative_to(tmp_path / "disk")
    before = [path.stat().st_ino for path in copies(tmp_path / "disk")]
    shutil.move(crops.store_path / "segments", tmp_path / "away")  # nothing is read from the store itself
    for key in keys:
        np.testing.assert_array_equal(copy.read_surround(key), CropStore(copy.path).read_surround(key))
        assert copy.is_intact(key)
    shutil.move(tmp_path / "away", crops.store_path / "segments")
    for key in keys:
        np.testing.assert_array_equal(copy.read_values(key), crops.open_store().read_values(key))
    staged(crops.open_store(), keys, tmp_path / "disk")
    assert [path.stat().st_ino for path in copies(tmp_path / "disk")] == before


def test_a_damaged_crop_is_refused_and_the_next_start_copies_anew(crops: CropSet, tmp_path: Path) -> None:
    pixels = next((crops.store_path / "segments").glob("*.u16"))
    sound = pixels.read_bytes()
    pixels.write_bytes(sound[:999] + bytes([sound[999] ^ 1]) + sound[1000:])
    for _ in range(2):
        with pytest.raises(InputError, match="1 of 3 crops differ from the store's journal"):
            staged(CropStore(crops.store_path), crops.table["key"], tmp_path / "disk")
    pixels.write_bytes(sound)
    copy = staged(CropStore(crops.store_path), crops.table["key"], tmp_path / "disk")
    assert all(map(copy.is_intact, crops.table["key"]))


def test_a_crop_that_only_another_training_reads_is_compared_too(crops: CropSet, tmp_path: Path) -> None:
    first, damaged, _ = crops.table["key"]
    pixels = next((crops.store_path / "segments").glob("*.u16"))
    content = bytearray(pixels.read_bytes())
    block = crops.open_store().read_surround(damaged).tobytes()
    content[content.index(block) + 9] ^= 1
    pixels.write_bytes(content)
    assert staged(CropStore(crops.store_path), [first], tmp_path / "disk").is_intact(first)
    with pytest.raises(InputError, match="1 of 2 crops differ"):
        staged(CropStore(crops.store_path), [first, damaged], tmp_path / "disk")


def test_a_copy_that_was_cut_is_made_anew(crops: CropSet, tmp_path: Path) -> None:
    keys = crops.table["key"].tolist()
    staged(crops.open_store(), keys, tmp_path / "disk")
    cut = copies(tmp_path / "disk")[0]
    cut.write_bytes(cut.read_bytes()[:-2])
    assert all(map(staged(crops.open_store(), keys, tmp_path / "disk").is_intact, keys))


def test_without_room_nothing_is_copied(crops: CropSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(InputError, match=r"data\.stage: the crops need"):
        staged(crops.open_store(), crops.table["key"], tmp_path / "disk")
    assert copies(tmp_path / "disk") == []


def test_a_copy_that_cannot_be_written_is_refused_in_words(crops: CropSet, tmp_path: Path) -> None:
    copy = staged(crops.open_store(), crops.table["key"], tmp_path / "disk")
    (copy.path / "lock").unlink()
    (copy.path / "lock").mkdir()
    with pytest.raises(InputError, match=r"cannot be read and written \(Is a directory\); name another"):
        staged(crops.open_store(), crops.table["key"], tmp_path / "disk")


def stage_in_process(store: Path, keys: list[str], folder: Path) -> None:
    assert all(map(staged(CropStore(store), keys, folder).is_intact, keys))


def test_processes_of_a_node_share_one_copy(crops: CropSet, tmp_path: Path) -> None:
    keys, folder = crops.table["key"].tolist(), tmp_path / "disk"
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=stage_in_process, args=(crops.store_path, keys, folder)) for _ in range(3)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0, 0, 0]
    assert len(copies(folder)) == 1


def test_the_folder_may_name_a_variable_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_DISK", "/scratch/7")
    assert stage_folder("$NODE_DISK/crops") == Path("/scratch/7/crops")
    with pytest.raises(InputError, match="does not set the variable"):
        stage_folder("$NO_SUCH_DISK/crops")
    with pytest.raises(InputError, match="absolute"):
        stage_folder("crops")


def test_a_training_reads_the_copy_and_is_the_same_run(phantom: Path, store: Path, tmp_path: Path) -> None:
    plain = tiny_settings()
    settings = replace(plain, data=replace(plain.data, stage=str(tmp_path / "disk")))
    assert run_identity(settings, "", []) == run_identity(plain, "", [])
    data, original = (MammoDataModule.from_settings(each, phantom, store) for each in (settings, plain))
    data.stage_crops()
    assert data.pixel_store.path.is_relative_to(tmp_path / "disk")
    batches = zip(data.val_dataloader(), original.val_dataloader(), strict=True)
    assert all(np.array_equal(one["crops"], other["crops"]) for one, other in batches)
    assert DataConfig().stage == ""
