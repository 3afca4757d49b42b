"""Simoncelli's isotropic wavelet and Riesz transforms (IBSI-2), by their transfer functions over the whole image.

Their answers to a single voxel reach through the image. So that no cut-off shapes them, what lies beyond it is either
the other end (`wrap`, by Fourier transforms, as IBSI-2 filters) or the image mirrored without end (`reflect`): a sum of
cosines, of which a filter that is even along an axis makes cosines, and one that is odd makes sines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import factorial, prod, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from mammo_aln.errors import InputError

Floats = NDArray[np.float64]
Transfer = Callable[[Sequence[Floats]], Floats]
"""Real factor of a wave by its frequencies along each axis, in radians per voxel."""
WHOLE_BOUNDARIES = ("reflect", "wrap")
MOST_ORDER = 4


def simoncelli_response(array: Floats, level: int, axes: Sequence[int], boundary: str) -> Floats:
    """Filter an image (slices, rows, columns) along `axes` by the band of a level.

    The first level passes waves of 2 to 8 voxels, in full those of 4; each further one those twice as long.
    """

    def band(frequencies: Sequence[Floats]) -> Floats:
        length = 2.0 ** (level - 1) * _length(frequencies)
        inside = (length > np.pi / 4) & (length < np.pi)
        return np.where(inside, np.cos(np.pi / 2 * np.log2(2.0 * np.where(inside, length, 1.0) / np.pi)), 0.0)

    return _filtered(array, band, (0,) * len(axes), axes, boundary)


def riesz_response(array: Floats, order: str, axes: Sequence[int], boundary: str) -> Floats:
    """Transform an image (slices, rows, columns) by Riesz' operator.

    Args:
        array: intensities.
        order: a digit for each of `axes`: how often the transform is taken along it (`100`).
        axes: axes that are filtered.
        boundary: `reflect` or `wrap`.

    Raises:
        InputError: another number of digits than axes.
    """
    orders = riesz_orders(order)
    if len(orders) != len(axes):
        raise InputError(
            f"radiomics.riesz: {order}: expected a digit for each of {len(axes)} axes (100 of a volume, 10 of an image)"
        )
    total = sum(orders)
    scale = sqrt(factorial(total) / prod(map(factorial, orders)))

    def ratio(frequencies: Sequence[Floats]) -> Floats:
        length = _length(frequencies)
        parts = [frequency**count for frequency, count in zip(frequencies, orders, strict=True)]
        return scale * prod(parts, start=np.ones(())) / np.where(length > 0, length, 1.0) ** total

    return _filtered(array, ratio, orders, axes, boundary)


def riesz_orders(order: str) -> tuple[int, ...]:
    """Read the orders along each axis from their digits.

    Raises:
        InputError: no such order.
    """
    orders = tuple(int(digit) for digit in order) if order.isascii() and order.isdigit() else ()
    if len(orders) not in (2, 3) or not 1 <= sum(orders) <= MOST_ORDER:
        raise InputError(
            f"radiomics.riesz: {order}: expected a digit for each axis, e.g. 100, their sum from 1 to {MOST_ORDER}"
        )
    return orders


def _length(frequencies: Sequence[Floats]) -> Floats:
    return np.sqrt(sum(np.square(frequency) for frequency in frequencies))


def _filtered(array: Floats, transfer: Transfer, orders: Sequence[int], axes: Sequence[int], boundary: str) -> Floats:
    """Multiply each wave by `transfer` and (-i)^order along each axis; a constant image gives 0."""
    assert boundary in WHOLE_BOUNDARIES
    array = np.asarray(array, dtype=float) - float(array.flat[0])
    sides = [array.shape[axis] for axis in axes]
    if boundary == "wrap":
        steps = [fft.fftfreq(side) for side in sides[:-1]] + [fft.rfftfreq(sides[-1])]
        weights = transfer(_along(2.0 * np.pi * step for step in steps))
        for axis, (side, count) in enumerate(zip(sides, orders, strict=True)):
            if count % 2 and side % 2 == 0:  # half a turn a voxel: forwards and backwards are one wave, and cancel
                weights[(slice(None),) * axis + (side // 2,)] = 0.0
        spectrum = fft.rfftn(array, axes=axes)
        spectrum *= np.expand_dims(weights * (-1j) ** sum(orders), _others(array.ndim, axes))
        return np.asarray(fft.irfftn(spectrum, s=sides, axes=axes))
    weights = transfer(_along(np.pi * np.arange(side) / side for side in sides))
    spectrum = fft.dctn(array, axes=axes) * np.expand_dims(weights, _others(array.ndim, axes))
    for axis, count in zip(axes, orders, strict=True):
        if count % 4 in (2, 3):
            spectrum = -spectrum
        if count % 2:
            spectrum = fft.idst(np.roll(spectrum, -1, axis), axis=axis)  # sines begin at half a turn; the constant is 0
        else:
            spectrum = fft.idct(spectrum, axis=axis)
    return spectrum


def _along(steps: Iterable[Floats]) -> list[Floats]:
    return list(np.meshgrid(*steps, indexing="ij", sparse=True))


def _others(dimensions: int, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis for axis in range(dimensions) if axis not in axes)
