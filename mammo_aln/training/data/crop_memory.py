"""Memory in which loader processes hand crops to the trainer, used again and again.

The system clears fresh memory page by page, 4 kB at a time, on both sides of a hand-over: that takes longer than to
change the crop in it. A slab is cleared once; a loader process fills it anew when the trainer has let go of it.
"""

from __future__ import annotations

import math
import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

SLABS_PER_PROCESS = 4
"""One being filled, two ready (torch's `prefetch_factor`), one with the trainer."""
PAGE_BYTES = 4096

_IN_USE: weakref.WeakValueDictionary[str, CropMemory] = weakref.WeakValueDictionary()
"""The memories of this process, by the name under which their slabs are handed over."""


@dataclass(frozen=True)
class Piece:
    """A tensor to be filled and handed to the trainer.

    Args:
        tensor: the values.
        memory: name of the memory that it is a slab of; None where it has memory of its own.
        slab: number of the slab.
    """

    tensor: Tensor
    memory: str | None = None
    slab: int = 0

    def pin_memory(self) -> Piece:
        """Copy into pinned memory."""
        return Piece(self.tensor.pin_memory())

    def __reduce__(self) -> tuple[Callable[..., Piece], tuple[Any, ...]]:
        if self.memory is None:
            return Piece, (self.tensor,)
        return _handed_over, (self.memory, self.slab, tuple(self.tensor.shape), self.tensor.dtype)


def _handed_over(memory: str, slab: int, shape: tuple[int, ...], dtype: torch.dtype) -> Piece:
    return Piece(_IN_USE[memory].taken_out(slab, shape, dtype))


class CropMemory:
    """Slabs of shared memory, some for each loader process, and whether each of them is taken.

    Memory is used only as far as it was filled once.

    Args:
        processes: number of loader processes; without any, every piece has memory of its own.
        most_bytes: of a batch's crops; a larger batch gets memory of its own.
    """

    def __init__(self, processes: int, most_bytes: int) -> None:
        self.name, self.slabs = uuid.uuid4().hex, processes * SLABS_PER_PROCESS
        self.slab_bytes = -(-most_bytes // PAGE_BYTES) * PAGE_BYTES
        self.memory = shared(self.slabs * self.slab_bytes)
        self.taken = shared(self.slabs)
        _IN_USE[self.name] = self

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _IN_USE[self.name] = self

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Piece:
        """A tensor to be filled: in a loader process a slab of its own that is free, else fresh memory."""
        count, worker = math.prod(shape) * dtype.itemsize, get_worker_info()
        if worker is None or not count:
            return Piece(torch.empty(shape, dtype=dtype))
        if count <= self.slab_bytes:
            first = worker.id * SLABS_PER_PROCESS
            for slab in range(first, min(first + SLABS_PER_PROCESS, self.slabs)):
                if not self.taken[slab]:
                    self.taken[slab] = 1
                    return Piece(self._values(slab, shape, dtype), self.name, slab)
        return Piece(shared(count).view(dtype).view(shape))

    def taken_out(self, slab: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Show what a loader process wrote into a slab; it is free again when nothing refers to the values any more."""
        values = self._values(slab, shape, dtype).numpy()
        # torch holds the array as long as any tensor, view or graph holds its values: not so a tensor's own object.
        weakref.finalize(values, self._let_go, slab)
        return torch.from_numpy(values)

    def _let_go(self, slab: int) -> None:
        self.taken[slab] = 0

    def _values(self, slab: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        first = slab * self.slab_bytes
        return self.memory[first : first + math.prod(shape) * dtype.itemsize].view(dtype).view(shape)


def shared(count: int) -> Tensor:
    """Zeros, uint8 (count,), in memory that processes share."""
    if not count:
        return torch.empty(0, dtype=torch.uint8)
    return torch.empty(0, dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(count))
