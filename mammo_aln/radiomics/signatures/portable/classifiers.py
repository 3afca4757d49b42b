"""Fitted classifiers as plain numbers, each with its score on the log-odds scale.

A row is summed by itself, column after column, so that its score does not depend on the rows beside it, the number of
threads or the version of a library: a saved signature and the fit that wrote it score to the last bit alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mammo_aln.errors import InputError

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
CERTAIN = 1e-3
"""Shares of votes are kept this far from 0 and 1 before they become log-odds."""
MOST_AT_ONCE = 1 << 21
"""So many numbers are compared at once, whatever the number of rows."""
MOST_ROWS, MOST_TREES = 100_000, 10_000
"""Training rows and trees of a classifier: each costs time for every patient that is scored."""


def weighted_sums(columns: Floats, weights: Sequence[float] | Floats, intercept: float) -> Floats:
    """Sum each row's columns by their weights, beginning with the intercept."""
    total = np.full(len(columns), float(intercept))
    for number, weight in enumerate(weights):
        total += columns[:, number] * weight
    return total


def logit_of_share(share: Floats) -> Floats:
    """Log-odds of a share of votes."""
    share = np.clip(share, CERTAIN, 1 - CERTAIN)
    return np.asarray(np.log(share / (1 - share)), dtype=np.float64)


def _within_certainty(log_odds: Floats) -> Floats:
    limit = float(logit_of_share(np.ones(1))[0])
    return np.clip(log_odds, -limit, limit)


def _squared_distances(rows: Floats, points: Floats, by: Floats | None = None) -> Floats:
    """Squared distance of every row to every point, each column's over `by` of that point and column."""
    total = np.zeros((len(rows), len(points)))
    for number in range(points.shape[1]):
        square = (rows[:, number, None] - points[None, :, number]) ** 2
        total += square if by is None else square / by[None, :, number]
    return total


def require(holds: bool, expected: str) -> None:
    """Refuse numbers that do not go together, as a file that somebody edited may hold."""
    if not holds:
        raise InputError(f"expected {expected}")


class PlainClassifier(ABC):
    """Fitted classifier of `width` scaled features; `numbers` are compared with each row."""

    KIND: ClassVar[str]

    @property
    @abstractmethod
    def width(self) -> int:
        """Features that it reads."""

    @property
    def numbers(self) -> int:
        """Numbers that one row is compared with."""
        return self.width

    def log_odds(self, features: Floats) -> Floats:
        """Score rows of features, shape (n, width)."""
        step = max(1, MOST_AT_ONCE // max(1, self.numbers))
        blocks = [self._log_odds(features[start : start + step]) for start in range(0, len(features), step)]
        return np.concatenate(blocks) if blocks else np.empty(0)

    @abstractmethod
    def _log_odds(self, features: Floats) -> Floats:
        """Score a block of rows."""


@dataclass(frozen=True)
class Linear(PlainClassifier):
    """Weighted sum: logistic regression, a linear support vector machine, or a fusion of scores."""

    KIND: ClassVar[str] = "linear"
    weights: Floats
    intercept: float

    def __post_init__(self) -> None:
        require(self.weights.ndim == 1, "one weight a feature")

    @property
    def width(self) -> int:
        """See `PlainClassifier`."""
        return self.weights.size

    def _log_odds(self, features: Floats) -> Floats:
        return weighted_sums(features, self.weights, self.intercept)


@dataclass(frozen=True)
class RadialKernel(PlainClassifier):
    """Support vector machine with a radial kernel.

    Args:
        vectors: support vectors, shape (m, k).
        weights: of each vector, shape (m,).
        gamma: of `exp(-gamma * squared distance)`.
        intercept: of the margin.
    """

    KIND: ClassVar[str] = "radial_kernel"
    vectors: Floats
    weights: Floats
    gamma: float
    intercept: float

    def __post_init__(self) -> None:
        require(self.vectors.ndim == 2 and self.weights.shape == (len(self.vectors),), "one weight a vector")
        require(self.gamma > 0, "gamma above 0")
        require(len(self.vectors) <= MOST_ROWS, f"at most {MOST_ROWS} vectors")

    @property
    def width(self) -> int:
        """See `PlainClassifier`."""
        return self.vectors.shape[1]

    @property
    def numbers(self) -> int:
        """See `PlainClassifier`."""
        return self.vectors.size

    def _log_odds(self, features: Floats) -> Floats:
        kernel = np.exp(-self.gamma * _squared_distances(features, self.vectors))
        return weighted_sums(kernel, self.weights, self.intercept)


@dataclass(frozen=True)
class NormalDensities(PlainClassifier):
    """Gaussian naive Bayes: the outcomes' shares (2,), and each one's means and variances of the features (2, k)."""

    KIND: ClassVar[str] = "normal_densities"
    shares: Floats
    means: Floats
    variances: Floats

    def __post_init__(self) -> None:
        fits = self.shares.shape == (2,) and self.means.ndim == 2 and self.means.shape == self.variances.shape
        require(fits and len(self.means) == 2, "means and variances of two outcomes")
        require(bool((self.shares > 0).all() and (self.variances > 0).all()), "shares and variances above 0")

    @property
    def width(self) -> int:
        """See `PlainClassifier`."""
        return self.means.shape[1]

    def _log_odds(self, features: Floats) -> Floats:
        constants = [
            float(weighted_sums(np.log(2 * np.pi * spread)[None, :], np.ones(self.width), 0.0)[0])
            for spread in self.variances
        ]
        likelihood = -0.5 * (np.array(constants) + _squared_distances(features, self.means, self.variances))
        joint = np.log(self.shares) + likelihood
        return _within_certainty(joint[:, 1] - joint[:, 0])


@dataclass(frozen=True)
class NearestRows(PlainClassifier):
    """Share of the outcome among so many nearest training rows; of rows equally near, the first ones.

    Args:
        rows: features of training rows, shape (m, k).
        labels: their outcomes, shape (m,).
        neighbours: rows that vote.
    """

    KIND: ClassVar[str] = "nearest_rows"
    rows: Floats
    labels: Floats
    neighbours: int

    def __post_init__(self) -> None:
        require(self.rows.ndim == 2 and self.labels.shape == (len(self.rows),), "one outcome a row")
        require(len(self.rows) <= MOST_ROWS, f"at most {MOST_ROWS} rows")
        require(bool(np.isin(self.labels, (0.0, 1.0)).all()), "outcomes of 0 and 1")
        require(1 <= self.neighbours <= len(self.rows), "at least one neighbour, and no more than there are rows")

    @property
    def width(self) -> int:
        """See `PlainClassifier`."""
        return self.rows.shape[1]

    @property
    def numbers(self) -> int:
        """See `PlainClassifier`."""
        return self.rows.size

    def _log_odds(self, features: Floats) -> Floats:
        near = np.argsort(_squared_distances(features, self.rows), axis=1, kind="stable")[:, : self.neighbours]
        return logit_of_share(self.labels[near].sum(axis=1) / self.neighbours)  # sums of 0 and 1 are exact


@dataclass(frozen=True)
class Trees(PlainClassifier):
    """Forest or boosted trees, all their nodes in one list, children behind their parent.

    Args:
        joined: `share` means the leaves' shares (forests), `sum` adds their log-odds (boosting).
        single: features are compared in single precision, as scikit-learn's trees do.
        features: number of features.
        roots: node that each tree begins with, shape (t,).
        feature: that each node compares; -1 for a leaf, shape (m,).
        threshold: up to which a row goes left.
        left: node that follows then; 0 for a leaf.
        right: node that follows else; 0 for a leaf.
        value: of a leaf.
    """

    KIND: ClassVar[str] = "trees"
    joined: str
    single: bool
    features: int
    roots: Integers
    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    value: Floats

    def __post_init__(self) -> None:
        nodes = (self.feature, self.threshold, self.left, self.right, self.value)
        require(self.joined in ("share", "sum"), "joined by share or sum")
        require(len({each.shape for each in nodes}) == 1 and self.feature.ndim == self.roots.ndim == 1, "equal lists")
        count, inner = self.feature.size, np.flatnonzero(self.feature >= 0)
        require(bool(((self.roots >= 0) & (self.roots < count)).all()), "roots among the nodes")
        require(0 < self.roots.size <= MOST_TREES, f"at least one tree, at most {MOST_TREES}")
        require(bool((self.feature >= -1).all() and (self.feature < self.features).all()), "known features")
        for child in (self.left[inner], self.right[inner]):
            require(bool((child > inner).all() and (child < count).all()), "children behind their parent")

    @property
    def width(self) -> int:
        """See `PlainClassifier`."""
        return self.features

    @property
    def numbers(self) -> int:
        """See `PlainClassifier`."""
        return self.roots.size

    def _log_odds(self, features: Floats) -> Floats:
        values = features.astype(np.float32).astype(np.float64) if self.single else features
        node = np.tile(self.roots, (len(values), 1))
        rows = np.arange(len(values))[:, None]
        while (inner := self.feature[node] >= 0).any():
            goes_left = values[rows, np.maximum(self.feature[node], 0)] <= self.threshold[node]
            node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
        total = weighted_sums(self.value[node], np.ones(self.roots.size), 0.0)
        return _within_certainty(total) if self.joined == "sum" else logit_of_share(total / self.roots.size)


AnyClassifier: TypeAlias = Linear | RadialKernel | NormalDensities | NearestRows | Trees
