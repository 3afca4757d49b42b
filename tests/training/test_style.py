"""Style randomisation bends grey values and nothing else."""

from __future__ import annotations

import numpy as np

from benchmarks.around_step import bent_by_definition
from mammo_aln.crops.store.store import display_values
from mammo_aln.training.pretraining.style import randomise_style


def crop(seed: int = 0) -> np.ndarray:
    levels = np.random.default_rng(seed).integers(0, 65536, (32, 32), dtype=np.uint16)
    levels[:, :8] = 0
    return display_values(levels)


def test_what_is_darker_stays_darker_and_air_stays_black() -> None:
    for seed in range(30):
        bent = randomise_style(crop(), 1.0, np.random.default_rng(seed))
        order = np.argsort(crop(), axis=None)
        assert (np.diff(bent.ravel()[order]) >= -1e-6).all()
        assert (bent[:, :8] == 0).all()
        assert bent.min() >= 0
        assert bent.max() <= 1


def test_strength_0_changes_nothing_and_more_strength_bends_further() -> None:
    assert np.allclose(randomise_style(crop(), 0.0, np.random.default_rng(1)), crop(), atol=1e-6)

    def bend(strength: float) -> float:
        return float(
            np.mean(
                [np.abs(randomise_style(crop(), strength, np.random.default_rng(s)) - crop()).mean() for s in range(40)]
            )
        )

    assert 0.01 < bend(0.3) < bend(1.0)


def test_a_draw_is_named_by_its_generator() -> None:
    first, again, other = (randomise_style(crop(), 1.0, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_level_of_the_store_is_bent_as_the_definition_says() -> None:
    every = display_values(np.arange(65536, dtype=np.uint16).reshape(256, 256))
    drawn = np.random.default_rng(0).integers(0, 65536, (64, 64), dtype=np.uint16)
    drawn[:, :20] = 0
    skewed = display_values((drawn.astype(np.float64) ** 3 / 65535.0**2).astype(np.uint16))
    # levels on the edges of the histogram's bins but for the last bit of their float: never one bin off
    for values in (every, skewed, np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32)):
        for seed in range(12):
            expected = bent_by_definition(values.astype(np.float64), 1.0, np.random.default_rng(seed))
            bent = randomise_style(values, 1.0, np.random.default_rng(seed))
            assert bent.dtype == np.float32
            assert np.abs(bent - expected).max() < 3e-4
            assert np.abs(bent - expected).mean() < 1e-6
