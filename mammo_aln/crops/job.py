"""Settings of a build of crops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mammo_aln.settings import CropConfig, PixelConfig


@dataclass(frozen=True)
class CropJob:
    """Settings of one build; small enough to travel to every worker process, so without the cohort's tables.

    Attributes:
        pixels: how stored values become display values.
        crop: which crops.
        store: folder of the crop store.
    """

    pixels: PixelConfig
    crop: CropConfig
    store: Path
