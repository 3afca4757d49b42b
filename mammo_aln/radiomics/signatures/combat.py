"""ComBat: features of several centres brought to one location and scale (Johnson, Li and Rabinovic 2007)."""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

Floats = NDArray[np.float64]
LEAST_PER_CENTER = 3


class ComBat(TransformerMixin, BaseEstimator):
    """Parametric empirical-Bayes ComBat without covariates, learnt from training patients alone.

    The outcome is never a covariate: it is unknown where the model is used. A centre that training does not hold (or
    with fewer than three training patients) has no effect to remove: its values pass unchanged, and `strangers` counts
    such rows.

    Args:
        centers: centre of every unit, by the index of the tables.
    """

    def __init__(self, centers: pd.Series) -> None:
        self.centers = centers

    def fit(self, table: pd.DataFrame, labels: np.ndarray | None = None) -> Self:
        """Estimate each centre's shift and scale, drawn towards their mean over features."""
        center = self.centers.reindex(table.index).to_numpy()
        names, counts = np.unique(center.astype(str), return_counts=True)
        used = [str(name) for name, count in zip(names, counts, strict=True) if count >= LEAST_PER_CENTER]
        values = table.to_numpy(float)
        known = np.isin(center.astype(str), used)
        inside, of = values[known], center[known].astype(str)
        means = np.array([inside[of == name].mean(axis=0) for name in used]).reshape(len(used), values.shape[1])
        sizes = np.array([np.sum(of == name) for name in used], float)
        self.grand_ = (sizes[:, None] * means).sum(axis=0) / max(sizes.sum(), 1.0)
        left = inside - means[[used.index(name) for name in of]] if used else inside
        pooled = np.sqrt((left**2).mean(axis=0)) if used else np.zeros(values.shape[1])
        self.constant_ = ~(pooled > 1e-12 * np.maximum(1.0, np.abs(self.grand_)))
        self.scale_ = np.where(self.constant_, 1.0, pooled)
        scaled = (inside - self.grand_) / self.scale_
        self.shift_: dict[str, Floats] = {}
        self.spread_: dict[str, Floats] = {}
        for name in used if len(used) > 1 else []:
            shift, spread = _shrunk(scaled[of == name][:, ~self.constant_])
            self.shift_[name], self.spread_[name] = np.zeros(values.shape[1]), np.ones(values.shape[1])
            self.shift_[name][~self.constant_], self.spread_[name][~self.constant_] = shift, np.sqrt(spread)
        self.columns_ = table.columns
        return self

    def transform(self, table: pd.DataFrame) -> pd.DataFrame:
        """Values without their centre's shift and scale."""
        center = self.centers.reindex(table.index).astype(str).to_numpy()
        values = table[self.columns_].to_numpy(float).copy()
        for name, shift in self.shift_.items():
            rows = center == name
            scaled = (values[rows] - self.grand_) / self.scale_
            values[rows] = self.scale_ * (scaled - shift) / self.spread_[name] + self.grand_
        return pd.DataFrame(values, index=table.index, columns=self.columns_)

    def strangers(self, units: pd.Index) -> int:
        """Rows whose centre training does not hold; none where there was no centre effect to learn."""
        center = self.centers.reindex(units).astype(str).to_numpy()
        return int((~np.isin(center, list(self.shift_))).sum()) if self.shift_ else 0


def _shrunk(scaled: Floats) -> tuple[Floats, Floats]:
    """Posterior shift and variance of one centre's scaled features, shape (features,) each (Johnson 2007, eq. 3)."""
    n = len(scaled)
    mean, variance = scaled.mean(axis=0), scaled.var(axis=0, ddof=1)
    centre, width = float(mean.mean()), float(mean.var(ddof=1)) if mean.size > 1 else 0.0
    average, scatter = float(variance.mean()), float(variance.var(ddof=1)) if variance.size > 1 else 0.0
    if width <= 0 or scatter <= 0:  # one feature, or all alike: nothing to borrow from
        return mean, np.maximum(variance, 1e-12)
    shape = (2 * scatter + average**2) / scatter
    rate = (average * scatter + average**3) / scatter
    shift, spread = mean.copy(), np.maximum(variance, 1e-12)
    for _ in range(1000):
        before = shift, spread
        shift = (n * width * mean + spread * centre) / (n * width + spread)
        spread = (rate + 0.5 * np.sum((scaled - shift) ** 2, axis=0)) / (n / 2.0 + shape - 1.0)
        change = max(
            float(np.abs(new / np.where(old == 0, 1, old) - 1).max())
            for new, old in zip((shift, spread), before, strict=True)
        )
        if change < 1e-6:
            break
    return shift, spread
