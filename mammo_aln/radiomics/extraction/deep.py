"""Deep features: the pooled features of a network on the slices where a region is largest, or on a mammography crop."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from mammo_aln.model.backbones import Backbone
from mammo_aln.radiomics.extraction.roi import bounding_box
from mammo_aln.settings import RadiomicsConfig

Mask = NDArray[np.bool_]
MARGIN = 0.25
"""Of the region's larger side, on each side of it: a crop shows form and texture at the region's own scale."""
RANGE_PERCENTILES = (1.0, 99.0)
RANDOM = "random"
"""What asks for drawn weights."""


def deep_features(
    array: NDArray[np.floating], mask: Mask, spacing_mm: tuple[float, ...], settings: RadiomicsConfig
) -> NDArray[np.float32]:
    """Pooled features (features,) of the settings' backbone; NaN throughout where the mask is empty.

    Args:
        array: intensities (slices, rows, columns) or (rows, columns).
        mask: the region, same shape.
        spacing_mm: distance between voxels along each axis.
        settings: `deep_backbone`, `deep_pretrained`, `deep_slices`, `deep_size_px`, `seed`.
    """
    network = backbone(settings)
    if not mask.any():
        return np.full(network.features, np.nan, dtype=np.float32)
    crops = region_crops(array, mask, spacing_mm, settings.deep_slices, settings.deep_size_px)
    with torch.inference_mode():
        return network(torch.from_numpy(crops)[:, None]).mean(dim=0).numpy()


def weights(settings: RadiomicsConfig) -> bool | str:
    """Weights of the settings' network as `model.pretrained` names them: False where they are drawn."""
    return False if settings.deep_pretrained in (RANDOM, "") else settings.deep_pretrained


def backbone(settings: RadiomicsConfig) -> Backbone:
    """The settings' network, once per process; weights that are not loaded are drawn from `seed`.

    Raises:
        InputError: unknown name, unfitting size, missing weights.
    """
    return _backbone(settings.deep_backbone, weights(settings), settings.deep_size_px, settings.seed)


@cache
def _backbone(name: str, pretrained: bool | str, size_px: int, seed: int) -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Backbone(name, {}, size_px, pretrained=pretrained).eval()


def region_crops(
    array: NDArray[np.floating], mask: Mask, spacing_mm: tuple[float, ...], slices: str, size_px: int
) -> NDArray[np.float32]:
    """Square crops (n, size_px, size_px) in [0, 1] around the region.

    One crop of the slice where the region is largest (`2d`), or also of the slices on either side (`2.5d`; one beyond
    the volume's end is left out); a 2D image gives itself.
    """
    if array.ndim == 2:
        array, mask = array[None], mask[None]
    row_mm, column_mm = spacing_mm[-2:]
    largest = int(mask.sum(axis=(1, 2)).argmax())
    reach = 1 if slices == "2.5d" else 0
    chosen = range(max(largest - reach, 0), min(largest + reach + 1, len(array)))
    rows, columns = bounding_box(mask[largest], (0, 0))
    middle = np.array([(rows.start + rows.stop) / 2.0, (columns.start + columns.stop) / 2.0])
    side_mm = (1.0 + 2.0 * MARGIN) * max((rows.stop - rows.start) * row_mm, (columns.stop - columns.start) * column_mm)
    scale = np.array([side_mm / row_mm, side_mm / column_mm]) / size_px
    start = middle - scale * size_px / 2.0
    # pixel i of the crop looks at (i + 0.5) * scale + start - 0.5 of the slice
    matrix = np.array(
        [[scale[1], 0.0, start[1] + 0.5 * scale[1] - 0.5], [0.0, scale[0], start[0] + 0.5 * scale[0] - 0.5]]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crops = np.stack(
        [
            cv2.warpAffine(
                np.asarray(array[z], dtype=np.float32),
                matrix,
                (size_px, size_px),
                flags=flags,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for z in chosen
        ]
    )
    low, high = np.percentile(crops, RANGE_PERCENTILES)
    return np.asarray(np.clip((crops - low) / max(high - low, 1e-12), 0.0, 1.0), dtype=np.float32)
