"""Regions drawn again for the ICC filter."""

from __future__ import annotations

import numpy as np
import pytest

from mammo_aln.radiomics.extraction.regions import jittered, seed_for

SPACING_MM = (2.0, 0.8, 0.8)


def ball(radius_mm: float = 12.0) -> np.ndarray:
    z, y, x = np.ogrid[:20, :60, :60]
    away = ((z - 10) * SPACING_MM[0]) ** 2 + ((y - 30) * SPACING_MM[1]) ** 2 + ((x - 30) * SPACING_MM[2]) ** 2
    return away <= radius_mm**2


def test_edge_and_centre_move_by_no_more_than_the_jitter():
    mask = ball()
    for seed in range(8):
        found = jittered(mask, SPACING_MM, 2.0, seed)
        moved = (np.argwhere(found).mean(axis=0) - np.argwhere(mask).mean(axis=0)) * SPACING_MM
        assert np.abs(moved).max() < 2.0 + 0.4
        radius = ((found.sum() / mask.sum()) ** (1 / 3)) * 12.0
        assert 9.0 < radius < 15.0
        assert not np.array_equal(found, mask)
        assert np.array_equal(found, jittered(mask, SPACING_MM, 2.0, seed))


def test_small_regions_are_never_lost():
    mask = np.zeros((9, 9), dtype=bool)
    mask[4, 4] = True
    assert all(jittered(mask, (1.0, 1.0), 5.0, seed).any() for seed in range(20))
    assert not jittered(np.zeros_like(mask), (1.0, 1.0), 5.0, 0).any()


@pytest.mark.parametrize("other", [(1, "p", "CC"), (0, "q", "CC"), (0, "p", "MLO")])
def test_each_region_has_its_own_seed(other):
    assert seed_for(0, "p", "CC") != seed_for(*other)
