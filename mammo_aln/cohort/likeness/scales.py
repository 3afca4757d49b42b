"""Pairs of textures that are alike at some scale: a copy that lost an edge has its pattern drawn out or together.

Every pattern is first compared by a sketch, `SKETCH` random sums of its values, at each scale; only pairs whose
sketches are near are compared in full. Memory grows with the number of patterns alone, time with its square.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mammo_aln.cohort.likeness.fingerprint import ALIKE_FROM, BINS, KEPT, LENGTH

STEP, STEPS = 1.03, 12
SCALES = tuple(STEP**-step for step in range(STEPS + 1))
"""Of the larger of two patterns, so that a copy may have lost 30 % of the long side."""
SKETCH = 512
SKETCH_MARGIN = 0.15
"""A likeness by sketches is off by 0.04 (1 SD), for patterns that are alike by 0.03."""
BLOCK_ROWS, BLOCK_COLUMNS = 1024, 8192
MOST_NEAR = 100_000
"""Pairs of one block; where more are near, each row keeps its nearest `NEAREST`."""
NEAREST = 8
Patterns = NDArray[np.float32]
_NUMBER = np.zeros((BINS, BINS), np.int64)
_NUMBER[KEPT] = np.arange(LENGTH)
TRANSPOSED = _NUMBER.T[KEPT]
"""Order of a pattern's values in the pattern of the transposed image: with flips, all eight orientations."""


def patterns_of(textures: list[bytes]) -> NDArray[np.int8]:
    """Read textures (none of them empty) as rows of `LENGTH` values."""
    return np.frombuffer(b"".join(textures), np.int8).reshape(len(textures), LENGTH)


def alike_pairs(patterns: NDArray[np.int8]) -> Iterator[tuple[int, int, float]]:
    """Yield pairs of rows that are alike by `ALIKE_FROM` at least, in any order and perhaps more than once."""
    if len(patterns) < 2:
        return
    sketches = np.concatenate(
        [sketched(patterns[start : start + BLOCK_ROWS]) for start in range(0, len(patterns), BLOCK_ROWS)]
    )
    for start in range(0, len(patterns), BLOCK_ROWS):
        rows = patterns[start : start + BLOCK_ROWS]
        for scale, turned in ((1.0, True), *((scale, False) for scale in SCALES)):
            drawn = scaled(rows[:, TRANSPOSED] if turned else rows, scale)
            near = _unit(drawn @ _signs(""))
            # at scale 1 the later half of a pair is enough
            for column in range(start - start % BLOCK_COLUMNS if scale == 1 else 0, len(patterns), BLOCK_COLUMNS):
                products = near @ sketches[column : column + BLOCK_COLUMNS].T
                for row, other in _near(products):
                    one, two = start + int(row), column + int(other)
                    if one == two or (scale == 1 and two < one):
                        continue
                    if (likeness := _likeness(drawn[row], patterns[two], scale)) >= ALIKE_FROM:
                        yield one, two, likeness


def _near(products: Patterns) -> NDArray[np.int64]:
    near = np.argwhere(products >= ALIKE_FROM - SKETCH_MARGIN)
    if len(near) <= MOST_NEAR:
        return near
    nearest = np.argpartition(products, -NEAREST, axis=1)[:, -NEAREST:]
    return np.stack([np.repeat(np.arange(len(products)), nearest.shape[1]), nearest.ravel()], axis=1)


def sketched(patterns: NDArray[np.int8] | Patterns, salt: str = "") -> Patterns:
    """Sketch of each pattern, of length 1 and drawn by the salt: of two salts no sketches can be compared."""
    return _unit(patterns.astype(np.float32) @ _signs(salt))


def scaled(patterns: NDArray[np.int8], scale: float) -> Patterns:
    """Draw patterns out: each frequency gets the value of `scale` times that frequency, or 0 where there is none."""
    corners, weights = _sampling(scale)
    padded = np.concatenate([patterns, np.zeros((len(patterns), 1), np.int8)], axis=1).astype(np.float32)
    drawn = np.zeros(patterns.shape, np.float32)
    for corner, weight in zip(corners, weights, strict=True):
        drawn += padded[:, corner] * weight
    return drawn


def _likeness(drawn: Patterns, other: NDArray[np.int8], scale: float) -> float:
    """Correlate a drawn pattern with another one where the drawn one has values."""
    there = _sampling(scale)[1].sum(axis=0) > 0
    theirs = other.astype(np.float32) * there
    lengths = float(np.linalg.norm(drawn) * np.linalg.norm(theirs))
    return float(drawn @ theirs) / lengths if lengths else 0.0


@lru_cache
def _sampling(scale: float) -> tuple[NDArray[np.int64], Patterns]:
    """Positions of the neighbours of each value's source among the kept ones (`LENGTH`: none), and their weights."""
    number = np.full((BINS + 1, BINS + 1), LENGTH)
    number[:BINS, :BINS][KEPT] = np.arange(LENGTH)
    # a bin is two frequencies wide, so that its middle is off by half a bin; beyond the last one there is nothing
    down, across = (axis[KEPT] * scale + (scale - 1) / 2 for axis in np.mgrid[:BINS, :BINS])
    top, left = (np.clip(np.floor(axis).astype(int), 0, BINS - 1) for axis in (down, across))
    corners, weights = [], []
    for below in (0, 1):
        for right in (0, 1):
            corner = number[top + below, left + right]
            share = (1 - np.abs(below - (down - top))).clip(0) * (1 - np.abs(right - (across - left))).clip(0)
            corners.append(corner)
            weights.append(np.where(corner < LENGTH, share, 0.0))
    return np.stack(corners), np.stack(weights).astype(np.float32)


@lru_cache(maxsize=32)
def _signs(salt: str) -> Patterns:
    """Draw `SKETCH` columns of signs, the same for a salt on every machine."""
    bits = hashlib.shake_256(f"sketch\n{salt}".encode()).digest(LENGTH * SKETCH // 8)
    signs = np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(LENGTH, SKETCH)
    return signs.astype(np.float32) * 2 - 1


def _unit(rows: Patterns) -> Patterns:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths == 0, 1, lengths), np.float32)
