"""Settings of pixels and crops: how stored values become display values, and which window is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from mammo_aln.settings.limits import EACH_ONCE, PERCENTILE, within

SIDE_MM = within(1, 500, "millimetres")
"""A window's side: from a few pixels of a detector to more than the largest film."""
Strategy = Literal["whole_breast", "lesion_box", "lesion_margin", "fixed_5cm"]
STRATEGIES: tuple[Strategy, ...] = ("whole_breast", "lesion_box", "lesion_margin", "fixed_5cm")


@dataclass(frozen=True)
class PixelConfig:
    """Pixels: how stored values become display values in [0, 1].

    Args:
        voi: `file` applies the file's first VOI LUT or window, `full_range` maps the range of stored values,
            `percentile` maps the two percentiles of the breast.
        percentile_low: lower percentile for `voi: percentile`.
        percentile_high: upper percentile for `voi: percentile`.
        max_pixels: an image that declares more pixels than this is refused before memory is taken.
        decode_timeout_s: an image whose decoding takes more seconds of processor time than this is left out.
    """

    voi: Literal["file", "full_range", "percentile"] = "file"
    percentile_low: Annotated[float, PERCENTILE] = 1.0
    percentile_high: Annotated[float, PERCENTILE] = 99.0
    max_pixels: Annotated[int, within(1, 10_000_000_000)] = 200_000_000
    decode_timeout_s: Annotated[float, within(0.1, 86_400, "seconds")] = 20.0


@dataclass(frozen=True)
class CropConfig:
    """Crop: the window of the source image that becomes the network's input.

    Args:
        strategy: crop of the primary lesion. `all` only for the verb `crop`.
        size_px: side of the square output in pixels.
        size_mm: side of the `fixed_5cm` window in millimetres of breast.
        margin: `lesion_margin` multiplies the side of the lesion's square by `1 + 2 * margin`.
        auxiliary: regions beside the primary one: any name in `regions.csv`, or `annotated`, `other_view`, `axilla`,
            `peritumoral`, `contralateral`.
        auxiliary_strategy: crop of the auxiliary regions.
        auxiliary_size_mm: side of the auxiliary regions' `fixed_5cm` window in millimetres of breast.
        peritumoral_scale: side of the `peritumoral` window as a multiple of the side that the auxiliary strategy gives
            the lesion.
        outside_breast: `mask` makes air, letters, labels, film frame and paddle background in every crop; `keep` leaves
            them.
    """

    strategy: Literal["whole_breast", "lesion_box", "lesion_margin", "fixed_5cm", "all"] = "fixed_5cm"
    size_px: Annotated[int, within(8, 4096, "pixels")] = 256
    size_mm: Annotated[float, SIDE_MM] = 50.0
    margin: Annotated[float, within(0, 20)] = 0.25
    auxiliary: Annotated[tuple[str, ...], EACH_ONCE] = ("axilla",)
    auxiliary_strategy: Strategy = "fixed_5cm"
    auxiliary_size_mm: Annotated[float, SIDE_MM] = 50.0
    peritumoral_scale: Annotated[float, within(0.1, 20)] = 1.6
    outside_breast: Literal["mask", "keep"] = "mask"
