"""A loader process hands over what this process would have made."""

from __future__ import annotations

import copy
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.utilities import move_data_to_device

from mammo_aln.settings import CropConfig, DataConfig
from mammo_aln.training.data.batches import CropLoader, StepBatch
from mammo_aln.training.data.crop_memory import Piece
from mammo_aln.training.data.datamodule import MammoDataModule
from mammo_aln.training.data.samplers import EpochSampler


def test_a_loader_process_gives_the_same_batches(phantom: Path, store: Path) -> None:
    def batches(workers: int) -> list[dict[str, torch.Tensor]]:
        data = MammoDataModule(
            phantom,
            CropConfig(size_px=32),
            inputs=("primary", "auxiliary", "clinical"),
            data=DataConfig(batch_size=4, num_workers=workers),
            store=store,
        )
        data.prepare_data()
        data.setup()
        loader = data.train_dataloader()
        loader.sampler.set_epoch(3)
        return list(loader)

    here, there = batches(0), batches(1)
    assert len(here) == len(there) > 1
    for one, other in zip(here, there, strict=True):
        assert list(one) == list(other)
        for name, tensor in one.items():
            assert tensor.dtype == other[name].dtype
            torch.testing.assert_close(other[name], tensor, rtol=0, atol=0)
        assert one["crops"].shape[1:] == (1, 32, 32)
        assert one["crops"].std() > 0


def test_the_next_epoch_is_begun_while_the_last_step_of_this_one_is_computed(tmp_path: Path) -> None:
    """The dataset of the loader process notes when it is asked; the first batch of epoch 1 is ready before it is."""
    data = NotingDataset(tmp_path / "asked")
    sampler = EpochSampler(8, seed=0, shuffle=True, batch_size=4)
    loader = CropLoader(
        data, batch_size=4, sampler=sampler, collate_fn=packed_numbers, num_workers=1, persistent_workers=True, epochs=2
    )
    passes: list[list[int]] = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        passes.append([])
        for batch in loader:
            passes[-1] += batch["unit"].tolist()
            if epoch == 0 and len(passes[0]) == 8:  # the last step is being computed
                assert data.begins(1)
    assert passes == [np.random.default_rng((0, epoch)).permutation(8).tolist() for epoch in range(2)]
    time.sleep(0.2)
    assert data.asked() == [0] * 8 + [1] * 8  # nothing behind the last epoch, nothing twice


def test_another_epoch_than_the_one_begun_is_read_as_asked(tmp_path: Path) -> None:
    sampler = EpochSampler(8, seed=0, shuffle=True, batch_size=4)
    loader = CropLoader(
        NotingDataset(tmp_path / "asked"),
        batch_size=4,
        sampler=sampler,
        collate_fn=packed_numbers,
        num_workers=1,
        persistent_workers=True,
        epochs=9,
    )
    for epoch in (0, 3, 3, 4):
        sampler.set_epoch(epoch)
        units = [unit for batch in loader for unit in batch["unit"].tolist()]
        assert units == np.random.default_rng((0, epoch)).permutation(8).tolist()


def test_a_resumed_epoch_is_followed_by_the_next(tmp_path: Path) -> None:
    sampler = EpochSampler(8, seed=0, shuffle=True, batch_size=2, begin=(1, 3))
    data = NotingDataset(tmp_path / "asked")
    loader = CropLoader(
        data,
        batch_size=2,
        sampler=sampler,
        collate_fn=packed_numbers,
        num_workers=1,
        persistent_workers=True,
        epochs=3,
    )
    orders = [np.random.default_rng((0, epoch)).permutation(8).tolist() for epoch in range(3)]
    assert [unit for batch in loader for unit in batch["unit"].tolist()] == orders[1][6:]
    assert data.begins(2)
    sampler.set_epoch(2)
    assert [unit for batch in loader for unit in batch["unit"].tolist()] == orders[2]


class NotingDataset(torch.utils.data.Dataset[int]):
    def __init__(self, file: Path) -> None:
        self.file = file

    def __getitem__(self, item: tuple[int, int]) -> int:
        with self.file.open("a") as file:
            file.write(f"{item[0]}\n")
        return item[1]

    def asked(self) -> list[int]:
        return [int(line) for line in self.file.read_text().split()]

    def begins(self, epoch: int) -> bool:
        """Wait until the loader process asks for an epoch that nobody else has asked for."""
        deadline = time.monotonic() + 30
        while epoch not in self.asked() and time.monotonic() < deadline:
            time.sleep(0.01)
        return epoch in self.asked()


def packed_numbers(items: list[int]) -> StepBatch:
    return StepBatch.of({"unit": np.array(items)})


def test_a_batch_is_one_block_of_memory() -> None:
    arrays = {
        "a": np.arange(3),
        "none": np.zeros((0, 5), np.float32),
        "b": np.array([[1.5, 2.5]], np.float32),
        "c": np.array([True, False, True]),
        "d": np.arange(12, dtype=np.int64).reshape(3, 4)[:, ::2],
    }
    batch = StepBatch.of(arrays, crops=Piece(torch.rand(2, 1, 4, 4)))
    again = pickle.loads(pickle.dumps(batch))
    for one in (batch, again, batch.to("cpu")):
        assert list(one) == ["crops", *arrays]
        for name, array in arrays.items():
            np.testing.assert_array_equal(one[name].numpy(), array)
            assert one[name].numpy().dtype == array.dtype
        assert torch.equal(one["crops"], batch["crops"])
    assert {batch[name].untyped_storage().data_ptr() for name in arrays} == {batch.block.data_ptr()}
    with pytest.raises(TypeError, match="one block"):
        copy.copy(batch).update(a=batch["a"])  # as torch 2.8 pins a mapping, and leaves the block as it is
    moved = move_data_to_device(batch, torch.device("meta"))  # as Lightning does
    assert {tensor.device.type for tensor in moved.values()} == {"meta"}
    assert len({tensor.untyped_storage()._cdata for name, tensor in moved.items() if name != "crops"}) == 1
