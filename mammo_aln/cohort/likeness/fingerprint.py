"""Fingerprint of a decoded matrix: its digest, and its texture in a form that copies share and other exposures do not.

The texture is the image's fine structure (a difference of Gaussians over its local contrast) at one size of what is
left without an even frame, and of it the magnitudes of the Fourier transform: shifts and so borders do not change them;
added up over both diagonals, flips do not either; nor does the sign of the values, so that an inverted copy is the
same. Of each ring of frequencies the mean is taken away, which all breasts have in common, and of each place what its
neighbours share; what is left is a pattern of its own in every exposure. A copy of a part of the image has the pattern
at another scale, see `scales`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mammo_aln.dicom import decode as dicom
from mammo_aln.dicom.archive import ArchiveError
from mammo_aln.dicom.grayscale import to_display
from mammo_aln.dicom.header import header_of
from mammo_aln.dicom.polarity import is_negative
from mammo_aln.errors import InputError
from mammo_aln.machine.deaths import bounded_time
from mammo_aln.settings import PixelConfig

FINGERPRINT_VERSION = 3
"""Raise this when a fingerprint changes: those that are kept are then made anew."""

ALIKE_FROM = 0.45
"""Likeness of copies, 0.5 to 1; other exposures reach 0.12 (real images) and 0.41 (5,000 of the phantom)."""

SMALLEST_SIDE_PX = 128
"""Below it there is too little texture; only equal matrices are then copies."""

LONG_SIDE_PX, CANVAS_PX, BAND = 512, 768, 96
FRAME_SPAN = 0.02
"""Rows and columns at the edges whose values span less of the image's range are a frame, or air."""
FINE_PX, COARSE_PX, CONTRAST_PX = 1.5, 5.0, 8.0
LEAST_CONTRAST, MOST_CONTRASTS = 0.01, 3.0
PERCENTILES = (0.5, 99.5)
BINS = BAND // 2
SMOOTH_BINS = 2.5
_DOWN, _ACROSS = np.mgrid[:BINS, :BINS]
_RADIUS = np.hypot(_DOWN, _ACROSS)
# The axes hold the edges of the film and of frames, not the breast.
KEPT = (_ACROSS >= 2) & (_DOWN >= 2) & (_RADIUS >= 5) & (_RADIUS < BINS)
_RING = _RADIUS[KEPT].astype(int)
LENGTH = int(KEPT.sum())


@dataclass(frozen=True)
class Fingerprint:
    """Identity of an exposure by its pixels.

    Attributes:
        matrix: SHA-256 of shape and values, whatever the transfer syntax; empty for a constant image.
        texture: int8 (`LENGTH`), a pattern of mean 0; empty for a constant or a very small image.
        negative: as displayed, air is bright and tissue dark.
        uids: digests of its StudyInstanceUID and SOPInstanceUID, see `uid_digests`.
    """

    matrix: str
    texture: bytes
    negative: bool = False
    uids: tuple[str, ...] = ()


class NoFingerprint(Enum):
    """Why a file has no fingerprint: `crop` and `index` say it in words."""

    REFUSED = auto()
    DIED = auto()
    NOT_TRIED = auto()
    """The disk did not give it, or its process was ended from outside: the next call tries again."""


def read_fingerprint(path: Path) -> Fingerprint | NoFingerprint:
    """Decode a file and take its fingerprint, in a process that may die of it."""
    try:
        with bounded_time(PixelConfig().decode_timeout_s), dicom.refusing(path, "reading the header"):
            dataset = dicom.read_file(path)
            header = header_of(dataset, path)
            stored, _ = dicom.decode(dataset, path)
    except InputError as error:
        of_disk = isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, ArchiveError)
        return NoFingerprint.NOT_TRIED if of_disk else NoFingerprint.REFUSED
    if stored.ndim != 2 or stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2:
        return NoFingerprint.REFUSED
    mark = fingerprint(stored)
    uids = uid_digests(str(dataset.get(name) or "") for name in ("StudyInstanceUID", "SOPInstanceUID"))
    return replace(mark, negative=is_negative(to_display(stored, header, PixelConfig())[0]), uids=uids)


def uid_digests(uids: Iterable[str]) -> tuple[str, ...]:
    """Digest the UIDs of a header, those that are there, each: no identifier is kept as it stands."""
    return tuple(hashlib.sha256(f"uid\n{uid}".encode()).hexdigest()[:16] for uid in uids if uid)


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
    whole = _unframed(stored)
    factor = LONG_SIDE_PX / max(whole.shape)
    rows, columns = (max(1, round(side * factor)) for side in whole.shape)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    small = np.asarray(cv2.resize(whole.astype(np.float32), (columns, rows), interpolation=how), np.float32)
    low, high = np.percentile(small, PERCENTILES)
    if high <= low:
        return b""
    small = np.clip((small - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    fine = cv2.GaussianBlur(small, (0, 0), FINE_PX) - cv2.GaussianBlur(small, (0, 0), COARSE_PX)
    contrast = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), CONTRAST_PX))
    local = np.clip(fine / (contrast + LEAST_CONTRAST), -MOST_CONTRASTS, MOST_CONTRASTS)
    canvas = np.zeros((CANVAS_PX, CANVAS_PX), np.float32)
    canvas[: local.shape[0], : local.shape[1]] = local
    magnitudes = np.abs(np.fft.rfft2(canvas))[:, :BAND]
    mirrored = np.concatenate([magnitudes[:1], magnitudes[:-BAND:-1]])
    both = (magnitudes[:BAND] + mirrored).reshape(BINS, 2, BINS, 2).sum((1, 3))
    pattern = np.log1p(both)[KEPT]
    pattern -= (np.bincount(_RING, pattern) / np.maximum(1, np.bincount(_RING)))[_RING]
    pattern -= _smooth(pattern)
    spread = float(pattern.std())
    if spread == 0.0:
        return b""
    return np.clip(np.rint(pattern / spread * 32.0), -127, 127).astype(np.int8).tobytes()


def _smooth(pattern: NDArray[np.floating]) -> NDArray[np.floating]:
    """Leave of a pattern what neighbours share: edges and directions, which other exposures have at any scale."""
    whole = np.zeros((BINS, BINS), np.float32)
    whole[KEPT] = pattern
    shares = cv2.GaussianBlur(KEPT.astype(np.float32), (0, 0), SMOOTH_BINS)
    return np.asarray(cv2.GaussianBlur(whole, (0, 0), SMOOTH_BINS)[KEPT] / shares[KEPT])


def _unframed(stored: NDArray[np.integer]) -> NDArray[np.integer]:
    """Leave out rows and columns at the edges that hold next to one value: a frame, or air; a copy may have others."""
    low, high = np.percentile(stored[::4, ::4], PERCENTILES)
    for _ in range(2):  # rows, then columns; turned over twice
        spans = np.subtract(stored.max(axis=1), stored.min(axis=1), dtype=np.int64)
        textured = np.flatnonzero(spans > FRAME_SPAN * (high - low))
        stored = (stored[textured[0] : textured[-1] + 1] if len(textured) else stored).T
    return stored
