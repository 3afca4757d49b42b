"""Style randomisation bends grey values and nothing else."""

from __future__ import annotations

import numpy as np

from mammo_aln.training.pretraining.style import randomise_style


def crop(seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random((32, 32)).astype(np.float32)
    values[:, :8] = 0.0
    return values


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
