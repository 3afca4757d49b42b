"""Windows in millimetres of breast, and cutting them out of an image without aliasing.

Coordinates are those of `regions.csv`: pixels of the stored matrix, x right, y down, pixel i covers [i, i + 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammo_aln.dicom.orientation import Box, Orientation
from mammo_aln.dicom.spacing import Spacing
from mammo_aln.errors import InputError
from mammo_aln.settings import CropConfig


class CropRefused(InputError):
    """This crop cannot be cut from this image; the message is the reason that `exclusions.csv` shows."""


@dataclass(frozen=True)
class Window:
    """A rectangle in stored pixels that becomes one square crop; it may lie partly outside the image."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def width(self) -> float:
        """Columns covered, in stored pixels."""
        return self.x_max - self.x_min

    @property
    def height(self) -> float:
        """Rows covered, in stored pixels."""
        return self.y_max - self.y_min

    @property
    def box(self) -> Box:
        """(x_min, y_min, x_max, y_max)."""
        return (self.x_min, self.y_min, self.x_max, self.y_max)

    def on_grid(self, grid: tuple[int, ...], shape: tuple[int, ...]) -> Window:
        """The same rectangle in cells of a grid of (rows, columns) that is laid over an image of such a shape."""
        across, down = grid[1] / shape[1], grid[0] / shape[0]
        return Window(self.x_min * across, self.y_min * down, self.x_max * across, self.y_max * down)

    def grown(self, cells: int, size_px: int) -> Window:
        """The window with so many more cells on each side of the `size_px` that it has."""
        across, down = self.width / size_px * cells, self.height / size_px * cells
        return Window(self.x_min - across, self.y_min - down, self.x_max + across, self.y_max + down)

    def padding_share(self, shape: tuple[int, ...]) -> float:
        """Share of the window's area that lies outside an image of this (rows, columns)."""
        across = max(0.0, min(self.x_max, shape[1]) - max(self.x_min, 0.0)) / self.width
        down = max(0.0, min(self.y_max, shape[0]) - max(self.y_min, 0.0)) / self.height
        return 1.0 - across * down


def _centred(box: Box, side_mm: float, row_mm: float, column_mm: float) -> Window:
    """A square in millimetres that shares its centre with a box."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_x, half_y = side_mm / column_mm / 2, side_mm / row_mm / 2
    return Window(x - half_x, y - half_y, x + half_x, y + half_y)


def _at_chest_wall(box: Box, side_mm: float, row_mm: float, column_mm: float, wall: str) -> Window:
    """A square in millimetres on a box's chest-wall side (`left` or `right`), level with its middle."""
    across, middle, half_y = side_mm / column_mm, (box[1] + box[3]) / 2, side_mm / row_mm / 2
    x_min = box[0] if wall == "left" else box[2] - across
    return Window(x_min, middle - half_y, x_min + across, middle + half_y)


def crop_window(
    strategy: str,
    box: Box | None,
    spacing: Spacing | None,
    breast_box: Box | None,
    crop: CropConfig,
    *,
    scale: float = 1.0,
    chest_wall: str | None = None,
) -> Window:
    """The window of one crop strategy: square in millimetres, so its sides differ in pixels where the spacings do.

    Args:
        strategy: `whole_breast`, `lesion_box`, `lesion_margin` or `fixed_5cm`.
        box: the region's box in stored pixels; not needed for `whole_breast`.
        spacing: millimetres per pixel; `None` takes pixels as square, which `fixed_5cm` refuses.
        breast_box: bounding box of the breast in stored pixels; needed for `whole_breast` only.
        crop: `size_mm` and `margin`.
        chest_wall: side of the stored matrix, `left` or `right`, at which a whole breast's window ends, so that all
            padding is beside the nipple, above or below; `None` centres it.
        scale: multiplies the side; a scaled window (`peritumoral`) is centred at `box` whatever the strategy.

    Raises:
        CropRefused: no box, no breast found, or millimetres asked of an image without spacing.
    """
    if strategy == "fixed_5cm" and spacing is None:
        raise CropRefused(
            f"a crop of {crop.size_mm:g} mm needs the pixel spacing, which the file does not give: "
            "set spacing_mm in images.csv (predict --dicom: the tag ImagerPixelSpacing in the file) or choose another "
            "crop.strategy"
        )
    source = breast_box if strategy == "whole_breast" else box
    if source is None:
        raise CropRefused(
            "no breast was found in the image" if strategy == "whole_breast" else f"{strategy} needs a box"
        )
    row_mm, column_mm = (spacing.row_mm, spacing.column_mm) if spacing is not None else (1.0, 1.0)
    factor = 1.0 + 2.0 * crop.margin if strategy == "lesion_margin" else 1.0
    side_mm = factor * max((source[2] - source[0]) * column_mm, (source[3] - source[1]) * row_mm)
    if strategy == "whole_breast" and chest_wall is not None:
        window = _at_chest_wall(source, side_mm, row_mm, column_mm, chest_wall)
    else:
        window = _centred(source, crop.size_mm if strategy == "fixed_5cm" else side_mm, row_mm, column_mm)
    if scale == 1.0:
        return window
    if box is None:
        raise CropRefused("a window around the lesion needs its box")
    return _centred(box, scale * window.width * column_mm, row_mm, column_mm)


_FEW_TAPS = 8  # up to so many rows a band, whole-array sums are faster than a loop over bands


def _averaged(
    pixels: NDArray[np.float32], start: float, stop: float, count: int, beyond: int = 0, origin: int = 0
) -> NDArray[np.float32]:
    """Average the rows of `pixels` over `count` equal bands of [start, stop): exact areas, fractional edges weighted.

    `beyond` more bands stand on each side; `start` and `stop` count from row `origin` of `pixels`. Neither changes the
    arithmetic of the bands between, so that these are the same to the last bit.

    Each band averages over max(band, one pixel): where bands are smaller than a pixel this is linear interpolation
    between pixel centres, and the two meet without a jump at equal size. Rows outside the image count as 0.
    """
    step = (stop - start) / count
    reach = max(step, 1.0)
    low = start + (np.arange(-beyond, count + beyond) + 0.5) * step - reach / 2
    first = np.floor(low).astype(int)
    taps = math.floor(reach) + 2
    rows = first[:, None] + np.arange(taps)
    weights = np.clip(np.minimum(rows + 1, low[:, None] + reach) - np.maximum(rows, low[:, None]), 0.0, None) / reach
    first, rows = first + origin, rows + origin
    weights = np.where((rows >= 0) & (rows < len(pixels)), weights, 0.0).astype(np.float32)
    out = np.zeros((len(low), pixels.shape[1]), np.float32)
    # Sums in a fixed order and not BLAS: the last bit must not depend on the number of threads.
    if taps <= _FEW_TAPS:
        rows = np.clip(rows, 0, len(pixels) - 1)
        for tap in range(taps):
            out += weights[:, tap, None] * pixels[rows[:, tap]]
        return out
    begins, ends = np.clip(first, 0, None), np.clip(first + taps, None, len(pixels))
    bands = zip(begins.tolist(), ends.tolist(), (begins - first).tolist(), strict=True)
    for band, (begin, end, skipped) in enumerate(bands):
        if begin < end:
            np.einsum("k,kw->w", weights[band, skipped : skipped + end - begin], pixels[begin:end], out=out[band])
    return out


def resample(
    pixels: NDArray[np.float32], window: Window, rows: int, columns: int, beyond: int = 0
) -> NDArray[np.float32]:
    """Average `pixels` over a (rows, columns) grid of equal cells laid on `window`; outside the image is 0.

    Args:
        pixels: float32 (rows, columns).
        window: the rectangle that the grid covers, in pixels of `pixels`.
        rows: cells down.
        columns: cells across.
        beyond: more cells of the same size on each of the four sides; the cells between them don't change by a bit.
    """
    reach = window.width / columns * beyond
    # One column more on each side: linear interpolation reaches half a pixel beyond the window.
    left = max(math.floor(window.x_min - reach) - 1, 0)
    right = min(math.ceil(window.x_max + reach) + 1, pixels.shape[1])
    if left >= right:
        return np.zeros((rows + 2 * beyond, columns + 2 * beyond), np.float32)
    bands = _averaged(pixels[:, left:right], window.y_min, window.y_max, rows, beyond)
    across = np.ascontiguousarray(bands.T)
    frame = max(math.floor(window.x_min) - 1, 0)  # from here columns count whatever lies beyond
    start, stop = window.x_min - frame, window.x_max - frame
    return np.ascontiguousarray(_averaged(across, start, stop, columns, beyond, frame - left).T)


def cut(pixels: NDArray[np.float32], window: Window, size_px: int, beyond: int = 0) -> NDArray[np.float32]:
    """Cut one crop: float32 (size_px, size_px), in the stored orientation; shrinking averages areas, outside is 0.

    `beyond` more pixels of the same size on each side make it a block of side size_px + 2 * beyond.
    """
    return resample(pixels, window, size_px, size_px, beyond)


def surround_px(size_px: int) -> int:
    """Count the pixels of surround that the store keeps on each side of a crop of this side: a quarter of it."""
    return -(-size_px // 4)


def source_to_crop(
    points: NDArray[np.float64], window: Window, size_px: int, orientation: Orientation
) -> NDArray[np.float64]:
    """Map points (n, 2) as (x, y) of the stored matrix to the crop, chest wall left."""
    points = np.asarray(points, np.float64)
    share = (points - (window.x_min, window.y_min)) / (window.width, window.height)
    return size_px * np.where((orientation.flip_horizontal, orientation.flip_vertical), 1.0 - share, share)
