"""Memory of loader processes that is used again: what the trainer still holds is never written over."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from mammo_aln.training.data.batches import CropLoader, StepBatch
from mammo_aln.training.data.crop_memory import SLABS_PER_PROCESS, CropMemory
from mammo_aln.training.data.samplers import EpochSampler
from mammo_aln.training.data.unit_arrays import UnitNumbers

SIDE, BATCH = 64, 4
BATCH_BYTES = BATCH * SIDE**2 * 4


def filled(memory: CropMemory, items: Sequence[tuple[int, int]]) -> StepBatch:
    """Each crop holds the number of its item and epoch everywhere."""
    piece = memory.empty((len(items), 1, SIDE, SIDE), torch.float32)
    for row, (epoch, number) in zip(piece.tensor, items, strict=True):
        row.fill_(1000 * epoch + number)
    return StepBatch.of({"number": np.array([1000 * epoch + number for epoch, number in items])}, crops=piece)


def loader(processes: int = 2, items: int = 48, most_bytes: int = BATCH_BYTES, **more: object) -> CropLoader:
    return CropLoader(
        UnitNumbers(items),
        batch_size=BATCH,
        sampler=EpochSampler(items, seed=0, shuffle=True, batch_size=BATCH, alone=True),
        collate_fn=partial(filled, CropMemory(processes, most_bytes)),
        num_workers=processes,
        persistent_workers=True,
        epochs=3,
        **more,
    )


def right(crops: Tensor, number: Tensor) -> bool:
    return torch.equal(crops, number.view(-1, 1, 1, 1).expand(crops.shape).to(crops.dtype))


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_few_pieces_of_memory_carry_all_batches(context: str) -> None:
    processes = {"fork": 2, "spawn": 1}[context]
    batches, pointers = loader(processes, multiprocessing_context=context), set()
    for epoch in range(3):
        batches.sampler.set_epoch(epoch)
        for batch in batches:
            assert right(batch["crops"], batch["number"])
            assert batch.large["crops"].memory is None, "it would be handed back to another process by its number"
            pointers.add(batch["crops"].data_ptr())
    assert 1 < len(pointers) <= processes * SLABS_PER_PROCESS


@pytest.mark.parametrize("held", ["view", "array", "graph"])
def test_what_is_held_is_not_written_over(held: str) -> None:
    """By a view of one column, by numpy's array of another, or by an autograd graph alone, long after the batch."""
    weight, kept, numbers = torch.ones((), requires_grad=True), [], []
    for batch in loader():
        crops = batch["crops"]
        numbers.append(batch["number"].clone())
        kept.append({"view": crops[:, :, 0], "array": crops.numpy()[:, :, 0], "graph": (crops * weight).sum()}[held])
        del batch, crops
    assert len(kept) == 12
    for part, number in zip(kept, numbers, strict=True):
        if held == "graph":
            weight.grad = None
            part.backward()
            assert weight.grad.item() == number.sum().item() * SIDE**2
        else:
            assert (torch.as_tensor(part) == number.view(-1, 1, 1)).all()


def test_a_batch_larger_than_stated_gets_memory_of_its_own() -> None:
    for batch in loader(most_bytes=BATCH_BYTES // 2):
        assert right(batch["crops"], batch["number"])


def test_without_processes_no_memory_is_shared() -> None:
    memory = CropMemory(0, BATCH_BYTES)
    assert memory.memory.numel() == memory.taken.numel() == 0
    assert not memory.empty((2, 3), torch.float32).tensor.is_shared()


def test_types_and_shapes_arrive_as_they_were() -> None:
    memory = CropMemory(1, 100)
    for shape, dtype in (((3, 5), torch.uint16), ((2, 1, 3), torch.float32), ((0, 4), torch.float32)):
        values = memory.taken_out(2, shape, dtype)
        assert (tuple(values.shape), values.dtype) == (shape, dtype)
