"""Batches from loader processes: the crops through shared memory, what is small beside them in one message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, get_worker_info


@dataclass(frozen=True)
class UnitItem:
    """One treated axilla: its crops, each with region and view, its clinical vector, label and row in the split."""

    crops: list[np.ndarray]
    region: np.ndarray
    view: np.ndarray
    clinical: np.ndarray
    label: float
    index: int


class CropLoader(DataLoader[dict[str, torch.Tensor]]):
    """A DataLoader whose batches are packed with numpy arrays for all that is small; it yields tensors.

    Each tensor of a loader process is an open file that both ends hand over on a socket of its own, which for a label
    takes longer than an augmented crop.
    """

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:  # type: ignore[override]
        """Batches as tensors; those made from arrays share their memory."""
        return map(_as_tensors, super().__iter__())

    def packed(self, items: list[Any]) -> dict[str, torch.Tensor]:
        """Items of the dataset as one batch, in this process."""
        return _as_tensors(self.collate_fn(items))


def _as_tensors(batch: Mapping[str, torch.Tensor | np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in batch.items()}


def stacked(crops: Sequence[np.ndarray], size_px: int) -> torch.Tensor:
    """Crops as one tensor (N, 1, size_px, size_px), in a loader process made in the memory that the trainer reads."""
    shape = (len(crops), 1, size_px, size_px)
    if get_worker_info() is None or not crops:
        packed = torch.empty(shape)
    else:
        storage = torch.UntypedStorage._new_shared(4 * len(crops) * size_px**2)
        packed = torch.empty(0).set_(storage).view(shape)
    for row, crop in zip(packed.numpy(), crops, strict=True):
        row[0] = crop
    return packed


class Collate:
    """Packs items: crops of all units in one tensor, so that a missing crop costs nothing."""

    def __init__(self, size_px: int) -> None:
        self.size_px = size_px

    def __call__(self, items: Sequence[UnitItem]) -> dict[str, torch.Tensor | np.ndarray]:
        """Pack B units with N crops into a batch of the form that `AxillaryClassifier` states."""
        return {
            "crops": stacked([crop for item in items for crop in item.crops], self.size_px),
            "unit": np.repeat(np.arange(len(items)), [len(item.crops) for item in items]),
            "region": np.concatenate([item.region for item in items]),
            "view": np.concatenate([item.view for item in items]),
            "clinical": np.stack([item.clinical for item in items]),
            "label": np.array([item.label for item in items], np.float32),
            "index": np.array([item.index for item in items]),
        }
