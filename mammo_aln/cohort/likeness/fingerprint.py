"""Fingerprint of a decoded matrix: its digest, and its texture in a form that copies share and other exposures do not.

The texture is the image's fine structure (a difference of Gaussians over its local contrast), and of it the magnitudes
of the Fourier transform: shifts and so borders do not change them; added up over both diagonals, flips do not either;
nor does the sign of the values, so that an inverted copy is the same. Of each ring of frequencies the mean is taken
away, which all breasts have in common; what is left is a pattern of its own in every exposure.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mammo_aln.dicom import decode as dicom
from mammo_aln.dicom.grayscale import to_display
from mammo_aln.dicom.header import header_of
from mammo_aln.dicom.polarity import is_negative
from mammo_aln.errors import InputError
from mammo_aln.settings import PixelConfig

FINGERPRINT_VERSION = 2
"""Raise this when a fingerprint changes: those that are kept are then made anew."""

ALIKE_FROM = 0.55
"""Likeness of copies; exposures of different patients reach 0.35, two views of one breast 0.49, copies 0.6 to 1."""

SMALLEST_SIDE_PX = 128
"""Below it there is too little texture; only equal matrices are then copies."""

LONG_SIDE_PX, CANVAS_PX, BAND = 512, 768, 96
FINE_PX, COARSE_PX, CONTRAST_PX = 1.5, 5.0, 8.0
LEAST_CONTRAST, MOST_CONTRASTS = 0.01, 3.0
PERCENTILES = (0.5, 99.5)
BINS = BAND // 2
_DOWN, _ACROSS = np.mgrid[:BINS, :BINS]
_RADIUS = np.hypot(_DOWN, _ACROSS)
# The axes hold the edges of the film and of frames, not the breast.
_KEPT = (_ACROSS >= 2) & (_DOWN >= 2) & (_RADIUS >= 5) & (_RADIUS < BINS)
_RING = _RADIUS[_KEPT].astype(int)
LENGTH = int(_KEPT.sum())


@dataclass(frozen=True)
class Fingerprint:
    """Identity of an exposure by its pixels.

    Attributes:
        matrix: SHA-256 of shape and values, whatever the transfer syntax; empty for a constant image.
        texture: int8 (`LENGTH`), a pattern of mean 0; empty for a constant or a very small image.
        negative: as displayed, air is bright and tissue dark.
    """

    matrix: str
    texture: bytes
    negative: bool = False


def read_fingerprint(path: Path) -> Fingerprint | None:
    """Decode a file and take its fingerprint; None where it cannot be decoded (`crop` and `index` say why).

    For the processes of a pool.
    """
    try:
        with dicom.refusing(path, "reading the header"):
            dataset = dicom.read_file(path)
            header = header_of(dataset, path)
        stored, _ = dicom.decode(dataset, path)
    except (InputError, OSError):
        return None
    if stored.ndim != 2 or stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2:
        return None
    mark = fingerprint(stored)
    return replace(mark, negative=is_negative(to_display(stored, header, PixelConfig())[0]))


def fingerprint(stored: NDArray[np.integer]) -> Fingerprint:
    """Take the fingerprint of a stored matrix (rows, columns) of integers."""
    if stored.min() == stored.max():
        return Fingerprint("", b"")
    digest = hashlib.sha256(str(stored.shape).encode())
    for row in range(0, len(stored), 256):
        digest.update(np.ascontiguousarray(stored[row : row + 256], "<i4").tobytes())
    if min(stored.shape) < SMALLEST_SIDE_PX:
        return Fingerprint(digest.hexdigest(), b"")
    return Fingerprint(digest.hexdigest(), _texture(stored))


def _texture(stored: NDArray[np.integer]) -> bytes:
    # A power of 2 and not the exact size: a frame must not change the scale.
    factor = max(1, 2 ** round(math.log2(max(stored.shape) / LONG_SIDE_PX)))
    rows, columns = (side // factor for side in stored.shape)
    whole = stored[: rows * factor, : columns * factor].astype(np.float32)
    small = np.asarray(whole)
    if factor > 1:
        small = np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.float32)
    low, high = np.percentile(small, PERCENTILES)
    if high <= low:
        return b""
    small = np.clip((small - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    fine = cv2.GaussianBlur(small, (0, 0), FINE_PX) - cv2.GaussianBlur(small, (0, 0), COARSE_PX)
    contrast = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), CONTRAST_PX))
    local = np.clip(fine / (contrast + LEAST_CONTRAST), -MOST_CONTRASTS, MOST_CONTRASTS)
    canvas = np.zeros((CANVAS_PX, CANVAS_PX), np.float32)
    local = local[:CANVAS_PX, :CANVAS_PX]
    canvas[: local.shape[0], : local.shape[1]] = local
    magnitudes = np.abs(np.fft.rfft2(canvas))[:, :BAND]
    mirrored = np.concatenate([magnitudes[:1], magnitudes[:-BAND:-1]])
    both = (magnitudes[:BAND] + mirrored).reshape(BINS, 2, BINS, 2).sum((1, 3))
    pattern = np.log1p(both)[_KEPT]
    pattern -= (np.bincount(_RING, pattern) / np.maximum(1, np.bincount(_RING)))[_RING]
    spread = float(pattern.std())
    if spread == 0.0:
        return b""
    return np.clip(np.rint(pattern / spread * 32.0), -127, 127).astype(np.int8).tobytes()
