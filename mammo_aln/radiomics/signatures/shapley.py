"""Shapley values: what each selected feature adds to a patient's log-odds, exact where the model is linear.

Values are interventional: a feature that is left out is drawn from the background (training) rows. For a linear model
that is `coefficient * (value - background mean)` (Lundberg and Lee 2017); for others it is estimated from orders of
the features (Strumbelj and Kononenko 2014, doi 10.1007/s10115-013-0679-x), each order walked forth and back.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def linear_shapley(coefficients: ArrayLike, rows: ArrayLike, background: ArrayLike) -> Floats:
    """Exact Shapley values of a linear model, shape (n, k)."""
    x, reference = np.asarray(rows, dtype=np.float64), np.asarray(background, dtype=np.float64)
    return np.asarray(coefficients, dtype=np.float64) * (x - reference.mean(axis=0))


def sampled_shapley(
    predict: Callable[[Floats], Floats], rows: ArrayLike, background: ArrayLike, *, orders: int = 64, seed: int = 0
) -> Floats:
    """Shapley values of any model, shape (n, k).

    In every order the features of all rows are switched, one after another, from those of a background row (each row
    its own) to their own; the change of the prediction belongs to the feature. The values of a row sum to its
    prediction minus the mean prediction of the background rows it met.

    Args:
        predict: (m, k) features -> m predictions.
        rows: patients to explain, shape (n, k).
        background: rows that stand for an unknown value, shape (b, k).
        orders: number of random orders; each is also walked backwards.
        seed: draws orders and background rows.
    """
    x, reference = np.asarray(rows, dtype=np.float64), np.asarray(background, dtype=np.float64)
    n, k = x.shape
    rng = np.random.default_rng(seed)
    values = np.zeros((n, k))
    for _ in range(orders):
        order = rng.permutation(k)
        drawn = reference[rng.integers(0, len(reference), n)]
        for walk in (order, order[::-1]):
            stages = np.repeat(drawn[None], k + 1, axis=0)
            for step, feature in enumerate(walk):
                stages[step + 1 :, :, feature] = x[:, feature]
            level = predict(stages.reshape(-1, k)).reshape(k + 1, n)
            values[:, walk] += np.diff(level, axis=0).T
    return values / (2 * orders)
