"""Batches from loader processes: the crops through shared memory, what is small beside them in one block of memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mammo_aln.model.network import HIDING_DRAWS, crop_order
from mammo_aln.training.data.crop_memory import Piece
from mammo_aln.training.data.draws import hiding_draws
from mammo_aln.training.data.samplers import EpochSampler

ALIGNED_BYTES = 16
"""Each array of a block begins at a multiple of this, which suits every type."""


@dataclass(frozen=True)
class Entry:
    """An array of a `StepBatch`: its name, type, shape, and the byte of the block at which it begins."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int


class StepBatch(dict[str, Tensor]):
    """A batch as a loader gives it, tensors by name; all small ones are views of one block.

    So a loader process hands over one message, one piece of memory is pinned and one copy to the device is made,
    however many arrays there are: each by itself would be a wait of the host.

    Args:
        block: uint8 (bytes,).
        entries: the arrays in it.
        large: tensors with memory of their own, the crops.
    """

    def __init__(self, block: Tensor, entries: tuple[Entry, ...], large: Mapping[str, Piece]) -> None:
        self.block, self.entries, self.large = block, entries, dict(large)
        super().__init__({**{name: piece.tensor for name, piece in large.items()}, **_views(block, entries)})

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], **large: Piece) -> StepBatch:
        """Copy arrays into one block."""
        entries, start = [], 0
        for name, array in arrays.items():
            entries.append(Entry(name, torch.from_numpy(array[:0]).dtype, array.shape, start))
            start += -(-array.nbytes // ALIGNED_BYTES) * ALIGNED_BYTES
        block = np.zeros(start, np.uint8)
        for entry, array in zip(entries, arrays.values(), strict=True):
            block[entry.start : entry.start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return cls(torch.from_numpy(block), tuple(entries), large)

    def __reduce__(self) -> tuple[Any, ...]:
        # The block as bytes in the message: a tensor would be an open file, handed over on a socket of its own.
        return _unpacked, (self.block.numpy(), self.entries, self.large)

    def __setitem__(self, name: str, value: Tensor) -> None:
        raise TypeError("a StepBatch is sent as one block: change a copy, dict(batch)")

    def update(self, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]
        """Refuse it: some versions of torch pin a mapping's tensors that way, and would leave the block unpinned."""
        raise TypeError("a StepBatch is sent as one block: change a copy, dict(batch)")

    def pin_memory(self) -> StepBatch:
        """Copy into pinned memory; a loader calls this where there is a GPU."""
        large = {name: piece.pin_memory() for name, piece in self.large.items()}
        return StepBatch(self.block.pin_memory(), self.entries, large)

    def to(self, device: torch.device | str) -> dict[str, Tensor]:
        """Copy to a device, without a wait where the memory is pinned."""
        large = {name: piece.tensor.to(device, non_blocking=True) for name, piece in self.large.items()}
        return {**large, **_views(self.block.to(device, non_blocking=True), self.entries)}


def _unpacked(block: np.ndarray, entries: tuple[Entry, ...], large: Mapping[str, Piece]) -> StepBatch:
    return StepBatch(torch.from_numpy(block), entries, large)


def _views(block: Tensor, entries: Iterable[Entry]) -> dict[str, Tensor]:
    return {
        entry.name: block[entry.start : entry.start + math.prod(entry.shape) * entry.dtype.itemsize]
        .view(entry.dtype)
        .view(entry.shape)
        for entry in entries
    }


class CropLoader(DataLoader[StepBatch]):
    """A DataLoader whose processes begin with the next epoch's batches while this one's last step is computed.

    Args:
        epochs: how many passes there will be; behind the last one nothing is fetched.
        more: as `DataLoader`; the sampler is an `EpochSampler`.
    """

    def __init__(self, *args: Any, epochs: int = 1, **more: Any) -> None:
        super().__init__(*args, **more)
        self.epochs = epochs
        self._ahead: tuple[int, Iterator[StepBatch]] | None = None

    def __iter__(self) -> Iterator[StepBatch]:  # type: ignore[override]
        """Batches of the epoch that the sampler names."""
        sampler = self.sampler
        if not isinstance(sampler, EpochSampler) or not self.num_workers:
            return super().__iter__()  # Lightning scores through a sampler of its own
        epoch, done = sampler.begin or (sampler.epoch, 0)
        ahead, self._ahead = self._ahead, None
        batches = ahead[1] if ahead is not None and ahead[0] == epoch and not done else super().__iter__()
        return self._one_pass(batches, sampler, epoch, len(self) - done)

    def _one_pass(
        self, batches: Iterator[StepBatch], sampler: EpochSampler, epoch: int, steps: int
    ) -> Iterator[StepBatch]:
        for number, batch in enumerate(batches, start=1):
            if number == steps and epoch + 1 < self.epochs:
                # Before the last batch is handed out: nobody need ask for another one.
                sampler.set_epoch(epoch + 1)
                self._ahead = epoch + 1, super().__iter__()
                yield batch
                return  # torch's iterator is one and the same for all epochs, and stands in the next one now
            yield batch

    def packed(self, items: list[Any]) -> StepBatch:
        """Items of the dataset as one batch, in this process."""
        batch: StepBatch = self.collate_fn(items)
        return batch


def small_arrays(
    counts: np.ndarray,
    region: np.ndarray,
    view: np.ndarray,
    clinical: np.ndarray,
    label: np.ndarray,
    index: np.ndarray,
    *,
    regions: int,
    seed: int,
    epoch: int | None,
) -> dict[str, np.ndarray]:
    """All of a batch but its crops, in the form that `AxillaryClassifier` states.

    Args:
        counts: (B,), crops of each unit.
        region: (N,), of each crop; `view` likewise.
        view: see `region`.
        clinical: (B, columns).
        label: (B,).
        index: (B,), rows in the split.
        regions: how many regions there are, the primary one included.
        seed: of the run.
        epoch: of the training; None elsewhere, where modality dropout draws nothing.
    """
    arrays = {
        "unit": np.repeat(np.arange(len(counts)), counts),
        "region": region,
        "view": view,
        "clinical": clinical,
        "label": label,
        "index": index,
        **{crop_order(number): np.flatnonzero(region == number) for number in range(regions)},
    }
    if epoch is not None:
        arrays[HIDING_DRAWS] = hiding_draws(seed, epoch, index, 2 + regions)
    return arrays
