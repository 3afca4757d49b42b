"""SwinV2's attention windows: which one a crop's side takes, and which ones loaded position biases were learnt in.

SwinV2 computes a position bias from the offset of two tokens as a share of the window (Liu et al. 2022, section 3.3).
In another window an offset would be another share, and have another bias, unless the network is given the window that
the weights were learnt in (timm: `pretrained_window_sizes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

WINDOWS = (8, 7, 6, 5, 4)
"""Windows of a network that begins at random, in tokens, the preferred one first."""
PATCH_PX = 4
WINDOW_ARGS = ("window_size", "pretrained_window_sizes")


@dataclass(frozen=True)
class LearntWindows:
    """The windows that the position biases of loaded weights refer to.

    Args:
        size_px: side of the crops that they were learnt from.
        window: side of the first stage's window, in tokens.
        per_stage: side of the window that offsets are a share of, in tokens, one a stage.
    """

    size_px: int
    window: int
    per_stage: tuple[int, ...]

    def preferred(self, size_px: int) -> list[int]:
        """Windows for crops of another side, the preferred one first.

        The same one, or a larger one as far as the crop is larger; where none divides, a smaller one, then any other
        that a network at random may take.
        """
        largest = max(self.window, self.window * size_px // self.size_px)
        near = [*range(self.window, largest + 1), *range(self.window - 1, WINDOWS[-1] - 1, -1)]
        return near + [window for window in reversed(WINDOWS) if window not in near]


def learnt_windows(network: Any, weights: Mapping[str, Tensor]) -> LearntWindows:
    """Windows of a SwinV2 of timm, as it is built (on any device).

    Args:
        network: timm's module.
        weights: weights for it; older files hold tables of the offsets, which go before what the module says.
    """
    attentions = [stage.blocks[0].attn for stage in network.layers]
    built = [attention.pretrained_window_size[0] or attention.window_size[0] for attention in attentions]
    tables = [weights.get(f"layers.{n}.blocks.0.attn.relative_coords_table") for n in range(len(built))]
    per_stage = [
        window if table is None else window_of_table(table) for window, table in zip(built, tables, strict=True)
    ]
    return LearntWindows(network.patch_embed.img_size[0], attentions[0].window_size[0], tuple(per_stage))


def window_of_table(table: Tensor) -> int:
    """Side of the window, in tokens, that offsets in a `relative_coords_table` (1, 2w - 1, 2w - 1, 2) are shares of.

    timm's table holds log2(1 + 8 * offset / (side - 1)) / log2(8), and its largest offset is w - 1.
    """
    offset = (table.shape[1] + 1) // 2 - 1
    largest = float(table.max())
    return 1 if largest <= 0 else 1 + round(8 * offset / (2 ** (3 * largest) - 1))


def fits_windows(size_px: int, window: int, stages: int, patch_px: int = PATCH_PX) -> bool:
    """True where every SwinV2 stage's feature map splits into whole windows, or is one window, without padding."""
    reduction = patch_px * 2 ** (stages - 1)
    if size_px % reduction:
        return False
    sides = [size_px // (patch_px * 2**stage) for stage in range(stages)]
    return all(side <= window or side % window == 0 for side in sides)


def fitting_window(size_px: int, windows: Sequence[int], args: Mapping[str, Any]) -> int | None:
    """The first of `windows` that fits crops of a side, for a SwinV2 of timm's arguments; None where none does."""
    stages, patch_px = len(args.get("depths", (2, 2, 6, 2))), int(args.get("patch_size", PATCH_PX))
    return next((window for window in windows if fits_windows(size_px, window, stages, patch_px)), None)
