"""Augmentation of training crops: moves and grey values vary, millimetres do not."""

from __future__ import annotations

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks the network for its version otherwise

import random
from dataclasses import replace

import albumentations as A
import cv2
import numpy as np

from mammo_aln.settings import CropConfig, DataConfig

cv2.setNumThreads(0)  # loader processes are the parallelism; OpenCV's own threads would fight them


def sized_by_region(crop: CropConfig) -> tuple[CropConfig, CropConfig]:
    """Crop settings of the primary region and of every auxiliary one, whose millimetres may differ."""
    return crop, replace(crop, size_mm=crop.auxiliary_size_mm)


class CropAugmentation:
    """Random flips, rotation, shift and grey-value changes of one crop; a pure function of the crop and of a seed.

    Scale stays within 5 %: the crop's millimetres are what the network must learn to read.
    """

    def __init__(self, crop: CropConfig, data: DataConfig) -> None:
        strength = data.augment_strength
        shift = strength * data.max_shift_mm / crop.size_mm
        self.compose = A.Compose(
            [
                A.HorizontalFlip(p=0.5),
                A.VerticalFlip(p=0.5),
                A.Affine(
                    translate_percent={"x": (-shift, shift), "y": (-shift, shift)},
                    rotate=(-20 * strength, 20 * strength),
                    scale=(0.95, 1.05),
                    interpolation=cv2.INTER_LINEAR,
                    p=0.8,
                ),
                A.RandomBrightnessContrast(brightness_limit=0.1 * strength, contrast_limit=0.2 * strength, p=0.6),
                A.RandomGamma(gamma_limit=(100 - 20 * strength, 100 + 25 * strength), p=0.4),
            ]
        )

    def __call__(self, crop: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
        """Augment one crop.

        Args:
            crop: float32 (size_px, size_px) in [0, 1].
            seed: non-negative numbers that name this draw, e.g. (run seed, epoch, unit, crop).

        Returns:
            float32 (size_px, size_px) in [0, 1].
        """
        generator = np.random.default_rng(seed)
        self.compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        return self.compose(image=crop[..., None])["image"][..., 0]
