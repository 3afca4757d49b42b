"""Right-angle rotations of a separable filter, over which IBSI-2 pools responses that shall not depend on direction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product

Turn = tuple[tuple[int, bool], ...]
"""For each axis the number of the filter that lies along it, and whether it is flipped."""
Laid = tuple[tuple[str, bool], ...]
"""For each axis the name of the filter that lies along it, and whether it is flipped."""


def turns_of(dimensions: int, rotated: bool) -> list[Turn]:
    """The rotations to pool over, or the one that leaves each filter along its own axis."""
    return right_angle_rotations(dimensions) if rotated else [tuple((axis, False) for axis in range(dimensions))]


def orbit(names: Sequence[str], rotated: bool) -> frozenset[Laid]:
    """Every way in which the filters of these names, one an axis, come to lie; ways that are the same count once."""
    turns = turns_of(len(names), rotated)
    return frozenset(tuple((names[number], flip) for number, flip in turn) for turn in turns)


def right_angle_rotations(dimensions: int) -> list[tuple[tuple[int, bool], ...]]:
    """The 4 rotations of a plane, or 24 of space, on the grid: for each axis, the filter there, and if flipped."""
    turns = []
    for order in permutations(range(dimensions)):
        swaps = sum(order[i] > order[j] for i in range(dimensions) for j in range(i + 1, dimensions))
        for flips in product((False, True), repeat=dimensions):
            if (swaps + sum(flips)) % 2 == 0:  # else a mirror image
                turns.append(tuple(zip(order, flips, strict=True)))
    return turns
