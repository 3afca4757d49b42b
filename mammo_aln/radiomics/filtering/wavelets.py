"""Undecimated separable wavelets (stationary transform), aligned with the image as `pywt.swt` and IBSI-2 align them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import pywt
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from mammo_aln.radiomics.filtering.rotations import Laid, orbit, turns_of

Floats = NDArray[np.float64]


def wavelet_bands(
    array: Floats, wavelet: str, levels: int, rotated: bool, axes: Sequence[int], boundary: str
) -> Iterator[tuple[str, Floats]]:
    """All bands of one level after the other: every mix of low (L) and high (H) pass along `axes`, in order.

    Args:
        array: intensities (slices, rows, columns); bands have the same voxels.
        wavelet: name in PyWavelets.
        levels: how many; the second filters the first one's low-pass image by taps two voxels apart, and so on.
        rotated: mean over the filter's right-angle rotations (24, or 4 in a plane), so that a band does not depend on
            how the patient lay (IBSI-2's rotation invariance by average pooling). Of bands that become one, such as
            LLH, LHL and HLL, the first is given.
        axes: axes that are filtered.
        boundary: what lies beyond the image, in scipy.ndimage's words.

    Yields:
        Name (`wavelet_LLH`, of the second level `wavelet2_LLH`) and image.
    """
    taps = {"L": np.asarray(pywt.Wavelet(wavelet).dec_lo), "H": np.asarray(pywt.Wavelet(wavelet).dec_hi)}
    orbits: dict[frozenset[Laid], str] = {}
    for band in map("".join, product("LH", repeat=len(axes))):
        orbits.setdefault(orbit(band, rotated), band)
    flips = sorted({tuple(flip for _, flip in turn) for turn in turns_of(len(axes), rotated)})
    for level in range(1, levels + 1):
        totals = {band: np.zeros(array.shape) for band in orbits.values()}
        for flip in flips:
            for laid, image in _level(np.asarray(array, dtype=float), taps, flip, level, axes, boundary):
                for turned, band in orbits.items():
                    if laid in turned:
                        totals[band] += image
        prefix = "wavelet_" if level == 1 else f"wavelet{level}_"
        yield from ((prefix + band, totals[band] / len(turned)) for turned, band in orbits.items())


def wavelet_reach(wavelet: str, levels: int) -> int:
    """Count the voxels to either side that the last level looks at, through those before it."""
    return pywt.Wavelet(wavelet).dec_len // 2 * (2**levels - 1)


def _level(
    image: Floats, taps: dict[str, Floats], flip: Sequence[bool], level: int, axes: Sequence[int], boundary: str
) -> Iterator[tuple[Laid, Floats]]:
    """Every mix of letters of a level, on the low-pass image of the levels below, filters laid in one direction."""
    for step in range(1, level):
        for axis, flipped in zip(axes, flip, strict=True):
            image = correlate1d(image, _weights(taps["L"], 2 ** (step - 1), flipped), axis, mode=boundary)

    def along(done: Floats, laid: Laid) -> Iterator[tuple[Laid, Floats]]:
        if len(laid) == len(axes):
            yield laid, done
            return
        axis, flipped = axes[len(laid)], flip[len(laid)]
        for letter in "LH":
            weights = _weights(taps[letter], 2 ** (level - 1), flipped)
            yield from along(correlate1d(done, weights, axis, mode=boundary), (*laid, (letter, flipped)))

    yield from along(image, ())


def _weights(taps: Floats, apart: int, flip: bool) -> Floats:
    """Weights of the voxels around one, the filter's taps `apart` voxels from each other.

    The voxel i becomes the sum of taps[j] x[i + apart (n / 2 - j)], as in `pywt.swt`.
    """
    half = taps.size // 2
    weights = np.zeros(2 * apart * half + 1)
    weights[apart * (2 * half - np.arange(taps.size))] = taps
    return weights[::-1] if flip else weights
