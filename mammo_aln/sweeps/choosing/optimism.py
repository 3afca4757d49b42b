"""Optimism: how much the AUC of the best of many is flattered by its having been chosen as the best.

A parametric bootstrap: the likely true AUCs of the configurations (`together`) are measured anew with the noise that
they were measured with, the best is chosen anew, and its excess over its own truth is averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mammo_aln.sweeps.choosing.cells import Floats


@dataclass(frozen=True)
class Excess:
    """Mean excess of the best's AUC over its truth, and its standard deviation from sweep to sweep."""

    mean: float
    sd: float


def excess_of_best(truth: Floats, noise: Floats) -> Excess:
    """Average the excess of the best over noise (recipes, draws) about true AUCs (recipes,); at least 0."""
    # Draws of each recipe about their own mean: what no choice flatters is then flattered by exactly 0.
    noise = noise - noise.mean(axis=1, keepdims=True)
    best = (truth[:, None] + noise).argmax(axis=0)
    excess = noise[best, np.arange(best.size)]
    return Excess(float(excess.mean()), float(excess.std(ddof=1)))
