"""Journal records for stores that are filled by hand."""

from __future__ import annotations

import numpy as np

from mammo_aln.crops.store.records import CropRecord
from mammo_aln.crops.window import Window, surround_px


def crop_record(key: str, size_px: int) -> CropRecord:
    """A crop that is its whole image."""
    window = Window(0.0, 0.0, float(size_px), float(size_px))
    return CropRecord(key, "image", "whole_breast", window, None, 1.0, 0.0, (), size_px)


def in_surround(crop: np.ndarray) -> np.ndarray:
    """A crop as the middle of a block whose surround repeats its edge."""
    return np.pad(crop, surround_px(len(crop)), mode="edge")
