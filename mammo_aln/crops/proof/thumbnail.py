"""A whole image made small, chest wall left, and boxes of the stored matrix on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.window import Window, resample
from mammo_aln.dicom.orientation import Box
from mammo_aln.dicom.read import DisplayImage


@dataclass(frozen=True)
class Thumbnail:
    """Display values (height, width) with square pixels, and the pixels that 5 cm take, if that is known."""

    display: DisplayImage
    pixels: NDArray[np.float32]
    five_cm_px: float | None

    @classmethod
    def of(cls, display: DisplayImage, height: int) -> Thumbnail:
        """Make an image `height` pixels high."""
        rows, columns = display.pixels.shape
        spacing = display.spacing
        row_mm, column_mm = (spacing.row_mm, spacing.column_mm) if spacing else (1.0, 1.0)
        scale = height / (rows * row_mm)
        width = max(1, round(columns * column_mm * scale))
        pixels = display.orientation.apply(resample(display.pixels, Window(0, 0, columns, rows), height, width))
        return cls(display, pixels, 50.0 * scale if spacing else None)

    @property
    def mark(self) -> str:
        """Laterality and view, such as `R MLO`."""
        return f"{self.display.laterality or '?'} {self.display.view or '?'}"

    def place(self, box: Box) -> Box:
        """A box of the stored matrix in the thumbnail's pixels."""
        rows, columns = self.display.pixels.shape
        x_min, y_min, x_max, y_max = self.display.orientation.box_to_oriented(box, (rows, columns))
        across, down = self.pixels.shape[1] / columns, self.pixels.shape[0] / rows
        return (x_min * across, y_min * down, x_max * across, y_max * down)
