"""Augmentation by torchvision's transforms v2, which every installation of torch brings along."""

from __future__ import annotations

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from mammo_aln.training.data.augment import Ranges


class Engine:
    """One crop's random change, see `CropChange`."""

    def __init__(self, ranges: Ranges, size_mm: float) -> None:
        self.ranges, self.shift = ranges, ranges.shift_mm / size_mm

    def __call__(self, crop: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
        """Change one crop."""
        ranges, rng = self.ranges, np.random.default_rng(seed)
        image = torch.from_numpy(np.ascontiguousarray(crop))[None]
        if rng.random() < ranges.flip_horizontal_share:
            image = functional.horizontal_flip(image)
        if rng.random() < ranges.flip_vertical_share:
            image = functional.vertical_flip(image)
        if rng.random() < ranges.move_share:
            image = functional.affine(
                image,
                angle=rng.uniform(-ranges.degrees, ranges.degrees),
                translate=list(rng.uniform(-self.shift, self.shift, 2) * crop.shape[0]),
                scale=rng.uniform(*ranges.scale),
                shear=[0.0, 0.0],
                interpolation=InterpolationMode.BILINEAR,
                fill=[0.0],
            )
        if rng.random() < ranges.grey_share:
            factor = 1.0 + rng.uniform(-ranges.contrast, ranges.contrast)
            image = (image * factor + rng.uniform(-ranges.brightness, ranges.brightness)).clamp(0.0, 1.0)
        if rng.random() < ranges.gamma_share:
            image = image.clamp(0.0, 1.0) ** (rng.uniform(*ranges.gamma_percent) / 100)
        return image[0].numpy().astype(np.float32, copy=False)
