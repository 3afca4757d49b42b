"""Crossing: which of a sweep's configurations combine every level of one axis with every level of the others.

On such a complete crossing the configurations' means split into orthogonal effects: of each axis, of each two axes
together, and of more together. An incomplete grid loses levels until it is complete: an average over the levels that
happen to be there would lend one axis the effect of another.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from mammo_aln.sweeps.choosing.cells import Floats, Numbers

FULL_ENOUGH = 0.5
"""Share of a grid's combinations that must be exceeded: else its axes do not span it, as a list of configurations."""


@dataclass(frozen=True)
class Effect:
    """Contrasts of the configurations' means that show one axis, or several together.

    Attributes:
        axes: their names.
        basis: (configurations, degrees of freedom) orthonormal contrasts.
        repeats: combinations of the other axes that each of its levels is averaged over.
    """

    axes: tuple[str, ...]
    basis: Floats
    repeats: int

    @property
    def df(self) -> int:
        """Degrees of freedom."""
        return self.basis.shape[1]


@dataclass(frozen=True)
class Crossing:
    """A complete crossing of axes.

    Attributes:
        levels: of each axis that has several, in the sweep's order.
        members: number of the configuration of each combination, the last axis fastest.
        left_out: levels that were left out to make it complete, as `axis=level`.
    """

    levels: dict[str, list[str]]
    members: Numbers
    left_out: tuple[str, ...] = ()

    @property
    def effects(self) -> list[Effect]:
        """Effects of each axis, of each two, and of three and more together; their degrees of freedom span all."""
        sizes = {name: len(levels) for name, levels in self.levels.items()}
        alone = [self._effect((name,), sizes) for name in sizes]
        pairs = [self._effect(two, sizes) for two in itertools.combinations(sizes, 2)]
        several = [
            self._effect(axes, sizes)
            for order in range(3, len(sizes) + 1)
            for axes in itertools.combinations(sizes, order)
        ]
        if not several:
            return [*alone, *pairs]
        together = Effect(tuple(sizes), np.concatenate([effect.basis for effect in several], axis=1), 1)
        return [*alone, *pairs, together]

    def averaging(self, axis: str) -> Floats:
        """Weights that average the combinations of each level of an axis, (levels, combinations)."""
        weights = np.ones((1, 1))
        for name, levels in self.levels.items():
            size = len(levels)
            weights = np.kron(weights, np.eye(size) if name == axis else np.full((1, size), 1 / size))
        return weights

    def _effect(self, axes: tuple[str, ...], sizes: Mapping[str, int]) -> Effect:
        basis = np.ones((1, 1))
        for name, size in sizes.items():
            # Helmert's contrasts sum to 0 and are orthonormal.
            own = linalg.helmert(size).T if name in axes else np.full((size, 1), 1 / math.sqrt(size))
            basis = np.kron(basis, own)
        return Effect(axes, basis, self.members.size // math.prod(sizes[name] for name in axes))


def crossing_of(settings: Sequence[Mapping[str, str]]) -> Crossing | None:
    """Cross the axes of configurations as far as every combination is there.

    The level that lacks the greatest share of its combinations leaves first, of several such the last one.

    Args:
        settings: each configuration's level on each axis.

    Returns:
        None where no more than half of all combinations are there, or no axis keeps two levels.
    """
    names = list(settings[0])
    levels = {name: list(dict.fromkeys(own[name] for own in settings)) for name in names}
    if any(own.keys() != settings[0].keys() for own in settings):
        return None
    if len(settings) <= FULL_ENOUGH * math.prod(map(len, levels.values())):
        return None
    there = {tuple(own[name] for name in names): number for number, own in enumerate(settings)}
    left_out: list[str] = []
    while len(there) < math.prod(map(len, levels.values())):
        axis, level = _emptiest(there, levels)
        levels[names[axis]].remove(level)
        left_out.append(f"{names[axis]}={level}")
        there = {combination: number for combination, number in there.items() if combination[axis] != level}
    several = {name: own for name, own in levels.items() if len(own) > 1}
    if not several:
        return None
    members = np.array([there[combination] for combination in itertools.product(*levels.values())], dtype=np.int64)
    return Crossing(several, members, tuple(left_out))


def _emptiest(there: Mapping[tuple[str, ...], int], levels: Mapping[str, list[str]]) -> tuple[int, str]:
    """Find the axis (its number) and level that the smallest share of combinations has."""
    combinations = math.prod(map(len, levels.values()))
    counts = Counter((axis, level) for combination in there for axis, level in enumerate(combination))
    shares = {
        (axis, level): counts[axis, level] * len(own) / combinations
        for axis, own in enumerate(levels.values())
        for level in own
    }
    return min(reversed(shares), key=shares.__getitem__)
