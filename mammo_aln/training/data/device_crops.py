"""The same changes of training crops as `warp_engine`, for all crops of a step at once, on the device that trains."""

from __future__ import annotations

import torch
from torch import Tensor

from mammo_aln.crops.store.store import LEVELS


def warp(blocks: Tensor, matrices: Tensor, grey: Tensor, size_px: int) -> Tensor:
    """Change crops.

    Args:
        blocks: uint16 (N, S', S'), crops with their surround.
        matrices: float32 (N, 2, 3), see `draws.theta`.
        grey: float32 (3, N), see `draws.grey_values`.
        size_px: side of a crop.

    Returns:
        float32 (N, 1, size_px, size_px) in [0, 1].
    """
    count, side = blocks.shape[0], blocks.shape[-1]
    steps = torch.arange(size_px, device=blocks.device, dtype=torch.float32)
    x, y = steps.expand(size_px, size_px), steps.unsqueeze(1).expand(size_px, size_px)
    columns = torch.stack((x, y, torch.ones_like(x))).view(1, 3, -1)
    # Sums of products and not a matrix product: TF32 would place pixels wrong by tenths.
    source = (matrices.unsqueeze(-1) * columns.unsqueeze(1)).sum(dim=2).view(count, 2, size_px, size_px)
    grid = ((2.0 * source + 1.0) / side - 1.0).permute(0, 2, 3, 1)
    pixels = blocks.to(torch.float32).unsqueeze(1) / LEVELS
    moved = torch.nn.functional.grid_sample(pixels, grid, padding_mode="zeros", align_corners=False)
    contrast, brightness, gamma = (row.view(-1, 1, 1, 1) for row in grey)
    return (moved * contrast + brightness).clamp(0.0, 1.0) ** gamma
