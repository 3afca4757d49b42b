"""From the cells of a map on a crop to places in the whole view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from mammo_aln.crops.window import Window, source_to_crop
from mammo_aln.dicom.orientation import Orientation


def sample(cells: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of a map at places given as shares (0 to 1) of its width and height, linear between the cells' centres."""
    rows, columns = cells.shape
    return map_coordinates(cells, [y * rows - 0.5, x * columns - 0.5], order=1, mode="nearest")


def on_crop(cells: NDArray[np.float64], size_px: int) -> NDArray[np.float64]:
    """A map over the pixels of its crop, (size_px, size_px)."""
    centres = (np.arange(size_px) + 0.5) / size_px
    x, y = np.meshgrid(centres, centres)
    return sample(cells, x, y)


def on_view(
    cells: NDArray[np.float64],
    window: Window,
    orientation: Orientation,
    shape: tuple[int, int],
    grid: tuple[int, int],
) -> NDArray[np.float64]:
    """A map over a whole view that is shown chest wall left on a (rows, columns) grid; NaN outside the crop's window.

    Args:
        cells: map of the crop, chest wall left.
        window: the crop's window in stored pixels.
        orientation: of the image.
        shape: (rows, columns) of the stored image.
        grid: (rows, columns) of the picture.
    """
    x, y = np.meshgrid((np.arange(grid[1]) + 0.5) / grid[1], (np.arange(grid[0]) + 0.5) / grid[0])
    if orientation.flip_horizontal:
        x = 1.0 - x
    if orientation.flip_vertical:
        y = 1.0 - y
    stored = np.stack([x.ravel() * shape[1], y.ravel() * shape[0]], axis=1)
    share = source_to_crop(stored, window, 1, orientation)
    inside = ((share >= 0.0) & (share <= 1.0)).all(axis=1)
    heat = np.full(len(share), np.nan)
    heat[inside] = sample(cells, share[inside, 0], share[inside, 1])
    return heat.reshape(grid)
