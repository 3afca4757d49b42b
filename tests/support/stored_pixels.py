"""The stored matrix of a DICOM file, through the same two steps that a mammogram's reading takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mammo_aln.dicom.decode import MAX_PIXELS, decode, read_file


def read_stored_pixels(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """No modality LUT, no window, no colour conversion; frames in front and samples behind where there are several."""
    stored = decode(read_file(path, max_pixels=max_pixels), path)[0]
    return stored if stored.flags.writeable else stored.copy()
