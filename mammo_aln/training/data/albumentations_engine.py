"""Augmentation by albumentations, in OpenCV on one crop; the one file that imports that package."""

from __future__ import annotations

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks the network for its version otherwise

import random

import albumentations as A
import cv2
import numpy as np

from mammo_aln.training.data.augment import Ranges

cv2.setNumThreads(0)  # loader processes are the parallelism; OpenCV's own threads would fight them


class Engine:
    """One crop's random change, see `CropChange`."""

    def __init__(self, ranges: Ranges, size_mm: float) -> None:
        share = ranges.shift_mm / size_mm
        shift = (-share, share)
        self.compose = A.Compose(
            [
                A.HorizontalFlip(p=ranges.flip_horizontal_share),
                A.VerticalFlip(p=ranges.flip_vertical_share),
                A.Affine(
                    translate_percent={"x": shift, "y": shift},
                    rotate=(-ranges.degrees, ranges.degrees),
                    scale=ranges.scale,
                    interpolation=cv2.INTER_LINEAR,
                    p=ranges.move_share,
                ),
                A.RandomBrightnessContrast(
                    brightness_limit=ranges.brightness, contrast_limit=ranges.contrast, p=ranges.grey_share
                ),
                A.RandomGamma(gamma_limit=ranges.gamma_percent, p=ranges.gamma_share),
            ]
        )

    def __call__(self, crop: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
        """Change one crop."""
        generator = np.random.default_rng(seed)
        self.compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        return self.compose(image=crop[..., None])["image"][..., 0]
