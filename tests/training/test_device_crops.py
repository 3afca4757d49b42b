"""Crops made on the device that trains: the same batches as loader processes make, from a table or from main memory.

The device is the CPU here; the code is the one that a GPU runs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from mammo_aln.crops.store.store import CropStore, SegmentWriter
from mammo_aln.errors import InputError
from mammo_aln.runs.identity import shaping_settings
from mammo_aln.settings import CropConfig, DataConfig
from mammo_aln.training.data import device_crops
from mammo_aln.training.data.crop_memory import CropMemory
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.data.device_batches import DeviceCollate
from mammo_aln.training.data.device_crops import CropTable, block_px, budget_bytes, table_bytes, with_crops
from mammo_aln.training.data.unit_arrays import UnitPacker
from mammo_aln.training.train import train_run
from tests.support.crop_records import crop_record
from tests.support.tiny_settings import tiny_settings
from tests.training.test_host_waits import Trace, fake_cuda

CPU = torch.device("cpu")
Heard = dict[str, list[dict[str, Tensor]]]


class Listener(pl.LightningModule):
    """Keeps the batches that its trainer hands to it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.heard: dict[str, list[dict[str, Tensor]]] = {"train": [], "val": []}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.heard["train"].append(batch)
        return self.weight * 0.0

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.heard["val"].append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def heard(phantom: Path, store: Path, begin: tuple[int, int] | None = None, **more) -> Heard:
    """All batches of two epochs, as a trainer hands them over."""
    data = MammoDataModule(
        phantom,
        CropConfig(size_px=32, auxiliary=("axilla",)),
        data=DataConfig(batch_size=2, **more),
        store=store,
        seed=5,
    )
    data.begin = begin
    module = Listener()
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", num_sanity_val_steps=0, **quiet)
    trainer.fit(module, datamodule=data)
    return module.heard


@pytest.fixture(scope="module")
def on_device(phantom: Path, store: Path) -> Heard:
    return heard(phantom, store, device_gb=1)


def test_batches_are_those_of_the_loader_processes(phantom: Path, store: Path, on_device) -> None:
    by_loader = heard(phantom, store, device_gb=0)
    for split in ("train", "val"):
        assert len(on_device[split]) == len(by_loader[split]) > 2
        for ours, theirs in zip(on_device[split], by_loader[split], strict=True):
            assert set(ours) == set(theirs)
            for name in set(ours) - {"crops"}:
                assert ours[name].dtype == theirs[name].dtype
                assert torch.equal(ours[name].nan_to_num(7), theirs[name].nan_to_num(7)), name
            if split == "val":
                assert torch.equal(ours["crops"], theirs["crops"])
    ours, theirs = (torch.cat([batch["crops"] for batch in heard["train"]]) for heard in (on_device, by_loader))
    # OpenCV rounds source points to a 32nd of a pixel, so that edges differ; the means must not.
    assert (ours - theirs).abs().mean() * 255 < 0.5
    assert (ours.mean(dim=(1, 2, 3)) - theirs.mean(dim=(1, 2, 3))).abs().max() * 255 < 0.2
    assert ours.std() > 0.05


@pytest.mark.parametrize("workers", [0, 1])
def test_crops_beyond_the_budget_come_from_main_memory_bit_for_bit(
    phantom: Path, store: Path, on_device, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    streamed = heard(phantom, store, device_gb=1e-6, num_workers=workers)
    lines = [line for line in capfd.readouterr().err.splitlines() if "main memory" in line]
    assert len(lines) == 1
    assert "data.device_gb = 1e-06" in lines[0]
    same(streamed, on_device)


@pytest.mark.parametrize("device_gb", [1e-9, 1])
def test_the_first_rank_speaks_for_all(
    tmp_path: Path, device_gb: float, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append([], [(crop_record("key", 8), np.zeros((12, 12), np.uint16))])
    writer.close()
    for rank, lines in enumerate((1, 0)):
        monkeypatch.setattr(device_crops, "global_rank", lambda rank=rank: rank)
        data = DataConfig(device_gb=device_gb)
        device_crops.table_within_budget(CropStore(tmp_path), np.array(["key"]), 8, data, CPU)
        assert capfd.readouterr().err.count("\n") == lines


def test_a_resumed_epoch_goes_on_with_the_batches_of_the_whole_one(phantom: Path, store: Path, on_device) -> None:
    steps = len(on_device["train"]) // 2
    resumed = heard(phantom, store, begin=(1, 2), device_gb=1)
    same({"train": resumed["train"][: steps - 2]}, {"train": on_device["train"][steps + 2 :]})


def same(one: Heard, other: Heard) -> None:
    for split in one:
        for ours, theirs in zip(one[split], other[split], strict=True):
            assert set(ours) == set(theirs)
            for name in ours:
                assert torch.equal(ours[name].nan_to_num(7), theirs[name].nan_to_num(7)), name


def test_a_table_holds_each_crop_once_with_every_level(tmp_path: Path) -> None:
    size_px, side = 8, 12
    levels = np.linspace(0, 65535, 3 * side * side).astype(np.uint16).reshape(3, side, side)
    writer = SegmentWriter(tmp_path)
    writer.append([], [(crop_record(f"key{number}", size_px), block) for number, block in enumerate(levels)])
    writer.close()
    keys = np.array(["key2", "key0", "key2", "key1"])
    table = CropTable.from_store(CropStore(tmp_path), keys.tolist(), size_px, CPU)
    assert block_px(size_px) == side
    assert table.levels.numel() * table.levels.element_size() == table_bytes(3, size_px)
    blocks = table.blocks(torch.from_numpy(table.rows(keys)))
    np.testing.assert_array_equal(blocks.numpy(), levels[[2, 0, 2, 1]])
    batch = with_crops({"row": torch.tensor([1, 0])}, table, size_px)
    expected = CropStore(tmp_path).read_values("key0"), CropStore(tmp_path).read_values("key2")
    np.testing.assert_array_equal(batch["crops"][:, 0].numpy(), np.stack(expected))


def test_making_crops_is_no_wait() -> None:
    size_px, count = 32, 5
    with fake_cuda():
        cuda = torch.device("cuda")
        levels = torch.empty((9, block_px(size_px), block_px(size_px)), dtype=torch.int16, device=cuda)
        batch = {
            "row": torch.empty(count, dtype=torch.int64, device=cuda),
            "matrices": torch.empty((count, 2, 3), device=cuda),
            "grey": torch.empty((3, count), device=cuda),
            "unit": torch.empty(count, dtype=torch.int64, device=cuda),
        }
        with Trace() as trace:
            out = with_crops(batch, CropTable(levels, {}), size_px)
        assert out["crops"].shape == (count, 1, size_px, size_px)
        assert out["crops"].device.type == "cuda"
        assert set(out) == {"crops", "unit"}
    assert trace.waits == {}


def test_auto_keeps_a_cpu_to_its_loaders_and_other_engines_are_refused(phantom: Path, store: Path) -> None:
    assert budget_bytes("auto", CPU) == 0
    assert budget_bytes(1.5, CPU) == 1_500_000_000
    assert budget_bytes(float("inf"), CPU) > table_bytes(10**9, 256)
    with pytest.raises(InputError, match=r"data\.device_gb = 2: torchvision changes crops on the CPU alone"):
        MammoDataModule(phantom, data=DataConfig(device_gb=2, augment_engine="torchvision"), store=store)
    MammoDataModule(phantom, data=DataConfig(device_gb=2, augment=False, augment_engine="torchvision"), store=store)


def test_the_device_does_not_shape_a_run(phantom: Path, store: Path, tmp_path: Path) -> None:
    settings = tiny_settings(epochs=2)
    there = replace(settings, data=replace(settings.data, device_gb=1))
    assert shaping_settings(settings) == shaping_settings(there)
    runs = [train_run(phantom, tmp_path / name, each, store=store) for name, each in (("a", settings), ("b", there))]
    assert runs[0].name == runs[1].name
    tables = [np.genfromtxt(run / "metrics.csv", delimiter=",", names=True) for run in runs]
    for column in ("train_loss", "val_loss"):
        np.testing.assert_allclose(tables[0][column], tables[1][column], atol=0.02)


def test_the_collate_reads_no_pixel_of_a_table(phantom: Path, store: Path) -> None:
    data = MammoDataModule(phantom, CropConfig(size_px=32), data=DataConfig(batch_size=4), store=store)
    data.prepare_data()
    units = data.units("train")
    rows = np.arange(len(units.keys))
    collate = DeviceCollate(UnitPacker(units, 32, 2, 0, True, CropStore("nowhere")), None, rows)
    batch = collate(CropMemory(0, 0), [(0, 3), (0, 1)])
    spans = [range(units.first[unit], units.first[unit + 1]) for unit in (3, 1)]
    assert batch["row"].tolist() == [*spans[0], *spans[1]]
    assert batch["unit"].tolist() == [0] * len(spans[0]) + [1] * len(spans[1])
    assert batch.large == {}
