"""Augmentation of training crops: moves and grey values vary, millimetres do not; two engines with the same ranges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Protocol

import numpy as np

from mammo_aln.settings import CropConfig, DataConfig

ENGINES = {
    # data.augment_engine: the module whose `Engine` computes it
    "albumentations": "mammo_aln.training.data.albumentations_engine",
    "torchvision": "mammo_aln.training.data.torchvision_engine",
}


@dataclass(frozen=True)
class Ranges:
    """Ranges within which one crop may vary, and shares of the draws that each change is in.

    Scale stays within 5 %: the crop's millimetres are what the network must learn to read.

    Args:
        shift_mm: largest shift along each axis, in millimetres.
        degrees: largest turn.
        scale: smallest and largest magnification.
        brightness: largest addition to the grey value.
        contrast: largest change of the factor 1.
        gamma_percent: smallest and largest exponent, in hundredths.
        flip_horizontal_share: share of the units whose crops are mirrored left to right; `flip_vertical_share` likewise
            top to bottom.
    """

    shift_mm: float
    degrees: float
    scale: tuple[float, float]
    brightness: float
    contrast: float
    gamma_percent: tuple[float, float]
    flip_horizontal_share: float = 0.5
    flip_vertical_share: float = 0.5
    move_share: float = 0.8
    grey_share: float = 0.6
    gamma_share: float = 0.4

    @classmethod
    def of(cls, data: DataConfig) -> Ranges:
        """The ranges that the settings describe."""
        strength = data.augment_strength
        return cls(
            shift_mm=strength * data.max_shift_mm,
            degrees=20 * strength,
            scale=(0.95, 1.05),
            brightness=0.1 * strength,
            contrast=0.2 * strength,
            gamma_percent=(100 - 20 * strength, 100 + 25 * strength),
        )


class CropChange(Protocol):
    """A change of one crop, float32 (size_px, size_px) in [0, 1] before and after.

    What it draws comes from `seed` alone: non-negative numbers that name the draw, e.g. (run seed, epoch, unit, crop).
    """

    def __call__(self, crop: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
        """Change a crop."""
        ...


def augmentation(crop: CropConfig, data: DataConfig) -> CropChange:
    """Random flips, turn, shift, scale and grey values of crops with these settings, by `data.augment_engine`."""
    change: CropChange = import_module(ENGINES[data.augment_engine]).Engine(Ranges.of(data), crop.size_mm)
    return change


def sized_by_region(crop: CropConfig) -> tuple[CropConfig, CropConfig]:
    """Crop settings of the primary region and of every auxiliary one, whose millimetres may differ."""
    return crop, replace(crop, size_mm=crop.auxiliary_size_mm)
