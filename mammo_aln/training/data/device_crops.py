"""Crops on the device that trains: kept there as the store's whole numbers, changed there for all crops of a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammo_aln.crops.store.store import LEVELS, CropStore
from mammo_aln.crops.window import surround_px
from mammo_aln.errors import InputError
from mammo_aln.model.ranks import global_rank
from mammo_aln.progress import Progress, byte_text, say
from mammo_aln.settings import DataConfig

AUTO_SHARE = 0.25
"""Share of a GPU's free memory that `data.device_gb=auto` lets crops take; networks need the rest."""
COPIED_AT_ONCE = 64
BYTES_PER_PIXEL = 2
ROW, BLOCKS, MATRICES, GREY = "row", "blocks", "matrices", "grey"
"""Names of the tensors that a loader gives in the place of `crops`, see `with_crops`."""


def made_on_device(data: DataConfig, device: torch.device) -> bool:
    """True where crops are changed on the device that trains, by loader processes else.

    Raises:
        InputError: the settings ask for it together with an engine that cannot.
    """
    other = data.augment and data.augment_engine != "warp"
    if data.device_gb == "auto":
        return device.type == "cuda" and not other
    if data.device_gb > 0 and other:
        raise InputError(
            f"data.device_gb = {data.device_gb}: {data.augment_engine} changes crops on the CPU alone; expected"
            " data.augment_engine=warp, or data.device_gb=0"
        )
    return data.device_gb > 0


def budget_bytes(device_gb: float | Literal["auto"], device: torch.device) -> float:
    """Memory of a device that crops may take, in bytes, as `data.device_gb` says; `auto` is none on a CPU."""
    if device_gb != "auto":
        return device_gb * 1e9
    return AUTO_SHARE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def table_within_budget(
    store: CropStore, keys: NDArray[np.str_], size_px: int, data: DataConfig, device: torch.device
) -> CropTable | None:
    """The table of these crops on a device; None, which is said, where `data.device_gb` has no room for it."""
    needed, budget = table_bytes(len(np.unique(keys)), size_px), budget_bytes(data.device_gb, device)
    if needed <= budget:
        return CropTable.from_store(store, keys.tolist(), size_px, device)
    if global_rank() == 0:
        say(
            f"crops take {byte_text(needed)}, data.device_gb = {data.device_gb} leaves {byte_text(int(budget))} of"
            f" {device}: each step's crops come from main memory"
        )
    return None


def block_px(size_px: int) -> int:
    """Side of a crop with its surround."""
    return size_px + 2 * surround_px(size_px)


def table_bytes(crops: int, size_px: int) -> int:
    """Memory that a table of so many crops takes."""
    return crops * block_px(size_px) ** 2 * BYTES_PER_PIXEL


@dataclass(frozen=True)
class CropTable:
    """Crops with their surround, on one device.

    Attributes:
        levels: int16 (K, S', S'), the bits of the store's uint16, of which GPUs know few operations.
        row: row of each key of the store.
    """

    levels: Tensor
    row: Mapping[str, int]

    @classmethod
    def from_store(cls, store: CropStore, keys: Iterable[str], size_px: int, device: torch.device) -> CropTable:
        """Copy the crops of these keys, each once, to a device; all of them have the side `size_px`."""
        distinct, side = list(dict.fromkeys(keys)), block_px(size_px)
        levels = torch.empty((len(distinct), side, side), dtype=torch.int16, device=device)
        staged = torch.empty((COPIED_AT_ONCE, side, side), dtype=torch.int16, pin_memory=device.type == "cuda")
        progress = None
        if global_rank() == 0:
            progress = Progress(total=len(distinct), what=f"crops to {device}", unit="crop")
        for first in range(0, len(distinct), COPIED_AT_ONCE):
            some = distinct[first : first + COPIED_AT_ONCE]
            for space, key in zip(staged.numpy(), some, strict=False):
                space[:] = store.read_surround(key).view(np.int16)
            levels[first : first + len(some)].copy_(staged[: len(some)])
            if progress is not None:
                progress.advance(len(some))
        if progress is not None:
            progress.end()
        return cls(levels, {key: row for row, key in enumerate(distinct)})

    def rows(self, keys: NDArray[np.str_]) -> NDArray[np.int64]:
        """Rows of keys, each of which the table has."""
        return np.array([self.row[str(key)] for key in keys], np.int64)

    def blocks(self, rows: Tensor) -> Tensor:
        """Crops with their surround, uint16 (N, S', S'), of rows (N,) on the same device."""
        return self.levels.index_select(0, rows).view(torch.uint16)


def with_crops(batch: Mapping[str, Tensor], table: CropTable | None, size_px: int) -> dict[str, Tensor]:
    """A batch on its device with `crops`, computed there from what its loader gave.

    Args:
        batch: `row` (N,) of the table, or `blocks` uint16 (N, S', S'); where crops are changed `matrices` and `grey`,
            see `warp`. A batch with neither is given back as it is.
        table: the crops that `row` counts.
        size_px: side of a crop.
    """
    if table is not None and ROW in batch:
        blocks = table.blocks(batch[ROW])
    elif BLOCKS in batch:
        blocks = batch[BLOCKS]
    else:
        return dict(batch)
    if MATRICES in batch:
        crops = warp(blocks, batch[MATRICES], batch[GREY], size_px)
    else:
        crops = middle(blocks, size_px)
    return {"crops": crops, **{name: batch[name] for name in batch if name not in (ROW, BLOCKS, MATRICES, GREY)}}


def middle(blocks: Tensor, size_px: int) -> Tensor:
    """The crops within their surround: float32 (N, 1, size_px, size_px) in [0, 1], the bits of `display_values`."""
    margin = surround_px(size_px)
    inner = slice(margin, margin + size_px)
    return blocks[:, inner, inner].unsqueeze(1).to(torch.float32) * float(np.float32(1) / np.float32(LEVELS))


def warp(blocks: Tensor, matrices: Tensor, grey: Tensor, size_px: int) -> Tensor:
    """Change crops as `warp_engine` does.

    Args:
        blocks: uint16 (N, S', S'), crops with their surround.
        matrices: float32 (N, 2, 3), see `draws.theta`.
        grey: float32 (3, N), see `draws.grey_values`.
        size_px: side of a crop.

    Returns:
        float32 (N, 1, size_px, size_px) in [0, 1].
    """
    side = blocks.shape[-1]
    steps = torch.arange(size_px, device=blocks.device, dtype=torch.float32)
    # From pixels of the block to grid_sample's -1 to 1; sums of products and not a matrix product: TF32 would place
    # pixels wrong by tenths.
    x, y, offset = (matrices * (2.0 / side)).unbind(dim=2)
    across = x[:, None, None, :] * steps[:, None]
    down = y[:, None, None, :] * steps[:, None, None] + (offset + (1.0 / side - 1.0))[:, None, None, :]
    pixels = blocks.to(torch.float32).unsqueeze(1) / LEVELS
    moved = torch.nn.functional.grid_sample(pixels, across + down, padding_mode="zeros", align_corners=False)
    contrast, brightness, gamma = (row.view(-1, 1, 1, 1) for row in grey)
    return (moved * contrast + brightness).clamp(0.0, 1.0) ** gamma
