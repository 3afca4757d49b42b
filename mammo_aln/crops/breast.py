"""The breast on a 1 mm grid: skin, muscle and axilla are inside; air, letters, labels, film frame and paddle are not.

Everything here is in millimetres, chest wall on the left and cranial up; functions are pure and take about 10 ms an
image. A doubt lowers the confidence and has a code; what is unsure is for the caller to keep whole.
"""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mammo_aln.crops.film import LEAST_SIDE_MM, without_fog, without_frame

_OPENING_MM = 4  # radius; letters, paddle edges and hairs are thinner
_CHEST_WALL_GAP_MM = 15  # the breast begins at most this far from the image's chest-wall side
_LEAST_BREAST_MM2 = 1200.0
_LEAST_CHEST_WALL_MM = 30
_SKIN_MM = 10  # what is brighter than air and joined to the breast within this is skin or nipple
_SKIN_AT_WALL_MM = 3
_MARGIN_MM = 2  # of air kept around the skin
_CLEAR_MM = 2  # around what lies outside and is no air
_BESIDE_SHARE = 0.35  # of the breast's median: brighter things beside it are letters, not a nipple
_LABEL_MM2 = (4.0, 4000.0)
_LETTER_MM2 = 100.0  # at the chest wall, beside the muscle
_WALL_LABEL_MM2 = 1500.0  # at the chest wall, below the muscle
_MUSCLE_SHARE = 0.4  # of the image's height
_STROKE_MM = 2  # radius; a letter's strokes at the upper chest wall are thinner, muscle is not
_LABEL_CONTRAST = 1.25  # against the brighter fifth of the breast
_LABEL_SHARE = 0.55  # of the brightest value
_LABEL_AIR = 0.25  # of its outline
_WHITE_SHARE = 0.3  # of the side opposite to the chest wall: a wide white collimator, not tissue
_AIR_SPREAD = 0.2  # of the way from the dark half to the bright one: air is even, fat is not
_NOISE_CORRELATION = 0.5


@dataclass(frozen=True)
class BreastMask:
    """The breast on the 1 mm grid (True inside), how sure that is, and why not surer.

    Attributes:
        mask: breast, muscle and axilla up to the skin.
        kept: the same with some air around the skin, but nothing of what lies beside: what a crop may show.
        confidence: 0 to 1.
        reasons: codes of what lowered the confidence, or of what is particular.
    """

    mask: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    confidence: float
    reasons: tuple[str, ...]


def find_breast(grid: NDArray[np.float32]) -> BreastMask:
    """Find the breast in a 1 mm grid with the chest wall on the left.

    The largest region brighter than air that reaches the chest wall, without what is thinner than 8 mm or not connected
    to it (letters, markers, paddle edges), without bright labels that stick out of its outline and without the film's
    frame; then grown into the fainter skin.

    Args:
        grid: float32 (rows, columns) display values, 1 mm cells, air dark.
    """
    nothing, everything = np.zeros(grid.shape, bool), np.ones(grid.shape, bool)
    inside = without_frame(grid) if min(grid.shape) >= LEAST_SIDE_MM else nothing
    if not inside.any():
        return BreastMask(everything, everything, 0.0, ("image_too_small",))
    grid = without_fog(grid, inside)
    smooth = cv2.GaussianBlur(grid, (0, 0), 1.5).astype(np.float32, copy=False)
    fine = cv2.GaussianBlur(grid, (0, 0), 0.8)
    if float(np.ptp(smooth[inside])) < 1e-4:
        return BreastMask(nothing, nothing, 0.0, ("no_breast",))
    if _is_noise(grid):
        return BreastMask(everything, everything, 0.0, ("no_structure",))
    faint, level = _levels(smooth, inside)
    bright = (smooth > level) & inside
    if _is_filled(smooth, bright, inside):
        surrounded = float((grid[:, -1] > 0.97 * grid.max()).mean()) > _WHITE_SHARE
        confidence = 0.3 if surrounded else 0.95
        return BreastMask(inside, inside, confidence, ("bright_surround" if surrounded else "no_air_beside_breast",))
    core, doubts = _core(bright, inside)
    labels = _labels(grid, core, (grid > level) & inside) if core.any() else nothing
    if labels.any():
        core, doubts = _core(bright & ~_grown(labels, 1), inside)
        core &= ~_grown(labels, 1)  # closing a core's gaps takes small ones in again
    if not core.any():
        return BreastMask(nothing, nothing, 0.0, ("no_breast",))
    tissue = float(np.median(grid[core]))
    others = ((grid > max(level, _BESIDE_SHARE * tissue)) & ~_grown(core, _CLEAR_MM)) | labels
    beside = _grown(others, _CLEAR_MM) & ~core
    skin = (fine > faint) & (fine < tissue)
    mask = _with_skin(core, skin & inside & ~beside)
    kept = _grown(mask, _MARGIN_MM) & inside & ~(beside & ~mask)
    doubts = {**doubts, **_doubts(mask, inside)}
    return BreastMask(mask, kept, 0.95 * math.prod(doubts.values()), tuple(doubts))


def _disk(radius_mm: int) -> NDArray[np.uint8]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_mm + 1, 2 * radius_mm + 1)).astype(np.uint8)


def _grown(mask: NDArray[np.bool_], radius_mm: int) -> NDArray[np.bool_]:
    return cv2.dilate(mask.astype(np.uint8), _disk(radius_mm)).astype(bool)


def _opened(mask: NDArray[np.bool_], radius_mm: int, *, goes_on: bool = False) -> NDArray[np.bool_]:
    """Open by a disk; beyond the grid is background, or with `goes_on` what stands at its edge."""
    margin = 2 * radius_mm + 1
    padded = np.pad(mask.astype(np.uint8), margin, mode="edge" if goes_on else "constant")
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, _disk(radius_mm))
    return opened[margin:-margin, margin:-margin].astype(bool)


def _is_noise(grid: NDArray[np.float32]) -> bool:
    """True where cells do not resemble their neighbours: an image has none of a breast's shapes then."""
    flat = grid.astype(np.float64) - float(grid.mean())
    return float((flat[:, 1:] * flat[:, :-1]).mean()) < _NOISE_CORRELATION * float((flat * flat).mean())


def _levels(smooth: NDArray[np.float32], inside: NDArray[np.bool_]) -> tuple[float, float]:
    """Levels above which a cell may be skin beside tissue, and above which it is tissue.

    Otsu's level (Otsu 1979) is found on square roots, lest an implant or a dense gland pushes it into the fat; tissue
    begins a quarter of the way from the air's peak to it, or above the air's own spread.
    """
    values = smooth[inside]
    low, high = float(values.min()), float(values.max())
    roots = np.sqrt((values - low) / (high - low))
    levels = (roots * 255.0).astype(np.uint8)
    otsu = (cv2.threshold(levels.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0] / 255.0) ** 2
    shares = (values - low) / (high - low)
    dark = shares[shares <= otsu]
    counts = np.convolve(np.bincount((dark * 255.0).astype(np.int64), minlength=256), np.ones(5) / 5, mode="same")
    peak = int(np.argmax(counts[: int(otsu * 255) + 1]))
    air = float(np.median(dark[np.abs((dark * 255.0).astype(np.int64) - peak) <= 2]))
    spread = 1.4826 * float(np.median(np.abs(dark - air)))
    way = otsu - air
    level = air + min(max(3.0 / 255.0, 3.0 * spread, 0.25 * way), 0.6 * way)
    faint = air + min(max(2.0 / 255.0, 2.5 * spread, 0.08 * way), level - air)
    return low + faint * (high - low), low + level * (high - low)


def _is_filled(smooth: NDArray[np.float32], bright: NDArray[np.bool_], inside: NDArray[np.bool_]) -> bool:
    """True where what is darker is no air: tissue fills the image."""
    outside = inside & ~bright
    if outside.sum() < 0.01 * inside.sum():
        return True
    dark, light = smooth[outside], smooth[bright]
    low, high = np.percentile(dark, (5, 75))
    return bool(high - low > _AIR_SPREAD * (float(np.median(light)) - float(low)) and float(low) > 0.02)


def _core(bright: NDArray[np.bool_], inside: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], dict[str, float]]:
    """The largest piece at the chest wall, its holes filled, and what is doubtful about the choice."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(
        _opened(bright, _OPENING_MM).astype(np.uint8), connectivity=4
    )
    if count < 2:
        return np.zeros(bright.shape, bool), {}
    first_column = int(np.flatnonzero(inside.any(axis=0))[0])
    areas = stats[1:, cv2.CC_STAT_AREA]
    reaches = stats[1:, cv2.CC_STAT_LEFT] <= first_column + _CHEST_WALL_GAP_MM
    best = 1 + int(np.argmax(np.where(reaches, areas, 0) if reaches.any() else areas))
    core = _grown(pieces == best, _OPENING_MM) & bright
    core = _filled(cv2.morphologyEx(core.astype(np.uint8), cv2.MORPH_CLOSE, _disk(_OPENING_MM)).astype(bool)) & inside
    rivals = np.sort(areas[reaches])
    doubts = {
        "larger_piece_off_chest_wall": areas.max() > areas[best - 1],
        "breast_in_pieces": rivals.size > 1 and rivals[-2] > 0.35 * areas[best - 1],
    }
    return core, {code: 0.4 for code, doubtful in doubts.items() if doubtful}


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask's largest piece without holes."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), [outline], -1, 1, cv2.FILLED).astype(bool)


def _labels(grid: NDArray[np.float32], core: NDArray[np.bool_], bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Letters of lead and labels: much brighter than the breast, and with a sharp edge to air.

    The breast itself darkens towards its skin; muscle that is as bright lies at the upper chest wall; a calcification
    or an implant has tissue around it.
    """
    tissue = grid[core]
    least = max(_LABEL_CONTRAST * float(np.percentile(tissue, 80)), _LABEL_SHARE * float(grid.max()))
    count, pieces, stats, _ = cv2.connectedComponentsWithStats((grid > least).astype(np.uint8), connectivity=8)
    labels = np.zeros(core.shape, bool)
    wall = int(np.flatnonzero(core.any(axis=0))[0]) + _CHEST_WALL_GAP_MM
    for number in range(1, count):
        left, top, width, height, area = stats[number]
        most = _LABEL_MM2[1] if left > wall else _WALL_LABEL_MM2 if top > _MUSCLE_SHARE * len(core) else 0.0
        if not _LABEL_MM2[0] <= area <= (most or _LETTER_MM2):
            continue
        rows = slice(max(0, top - 4), top + height + 4)
        columns = slice(max(0, left - 4), left + width + 4)
        piece = pieces[rows, columns] == number
        if most == 0.0 and _opened(piece, _STROKE_MM).any():
            continue
        ring = _grown(piece, 3) & ~_grown(piece, 2)
        if (ring & ~bright[rows, columns]).sum() >= _LABEL_AIR * ring.sum():
            labels[rows, columns] |= piece
    return labels


def _with_skin(core: NDArray[np.bool_], faint: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Grow the core step by step into fainter cells joined to it: the skin's line and the nipple."""
    mask, allowed = core, faint | core
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    wall = int(np.flatnonzero(core.any(axis=0))[0]) + _CHEST_WALL_GAP_MM
    for step in range(_SKIN_MM):
        if step == _SKIN_AT_WALL_MM:  # fog of the film's edge stands along the chest wall
            allowed[:, :wall] &= mask[:, :wall]
        mask = cv2.dilate(mask.astype(np.uint8), cross).astype(bool) & allowed
    # Grown threads are scratches and hairs, not skin.
    return _filled(_opened(mask, 2, goes_on=True) | core)


def _doubts(mask: NDArray[np.bool_], inside: NDArray[np.bool_]) -> dict[str, float]:
    first_column = int(np.flatnonzero(inside.any(axis=0))[0])
    at_wall = int(mask[:, : first_column + _CHEST_WALL_GAP_MM].any(axis=1).sum())
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.contourArea(cv2.convexHull(max(outlines, key=cv2.contourArea)))
    doubts = {
        "breast_not_at_chest_wall": (at_wall < _LEAST_CHEST_WALL_MM, 0.4),
        "breast_too_small": (mask.sum() < _LEAST_BREAST_MM2, 0.3),
        "breast_outline_ragged": (hull > 0 and mask.sum() / hull < 0.75, 0.5),
    }
    return {code: factor for code, (doubtful, factor) in doubts.items() if doubtful}


def packed(mask: NDArray[np.bool_]) -> str:
    """A mask as short text: `ROWSxCOLUMNS:` and its deflated bits."""
    return f"{mask.shape[0]}x{mask.shape[1]}:{base64.b64encode(zlib.compress(np.packbits(mask).tobytes())).decode()}"


def unpacked(text: str) -> NDArray[np.bool_]:
    """The inverse of `packed`."""
    shape, _, bits = text.partition(":")
    rows, columns = map(int, shape.split("x"))
    cells = np.frombuffer(zlib.decompress(base64.b64decode(bits)), np.uint8)
    return np.unpackbits(cells, count=rows * columns).reshape(rows, columns).astype(bool)
