"""Changes of training crops by torchvision's transforms v2, which every installation of torch brings along."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from mammo_aln.crops.store.store import display_values
from mammo_aln.training.data.draws import Draws


def warp_blocks(
    blocks: Sequence[NDArray[np.uint16]], draws: Draws, size_px: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Change crops, see `augment.Engine`."""
    crops = np.empty((len(blocks), size_px, size_px), np.float32) if out is None else out
    for nth, block in enumerate(blocks):
        image = torch.from_numpy(display_values(block))[None]
        shift = np.array((draws.shift_right[nth], draws.shift_down[nth]), np.float64) * size_px
        degrees, scale = float(draws.degrees[nth]), float(draws.scale[nth])
        if draws.flip_horizontal[nth]:
            image, shift[0] = functional.horizontal_flip(image), -shift[0]
        if draws.flip_vertical[nth]:
            image, shift[1] = functional.vertical_flip(image), -shift[1]
        radians = np.deg2rad(degrees)
        turned = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]) @ shift * scale
        image = functional.affine(
            image,
            angle=degrees,
            translate=turned.tolist(),  # it shifts what is turned and magnified already
            scale=scale,
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
            fill=[0.0],
        )
        image = functional.center_crop(image, [size_px, size_px])
        image = (image * float(draws.contrast[nth]) + float(draws.brightness[nth])).clamp(0.0, 1.0)
        crops[nth] = (image ** float(draws.gamma[nth]))[0].numpy()
    return crops
