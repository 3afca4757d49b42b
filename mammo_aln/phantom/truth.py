"""The planted truth: which factors decide the nodal status, and the best AUC that any model can reach with each input.

The logit of residual disease is a sum of independent parts, one per input (`primary`, `auxiliary`, `clinical`), plus an
intercept per centre. As the parts are independent, what a subset of the inputs tells is a plain expectation over
everything it does not show:

    p(y = 1 | subset) = E[sigmoid(intercept + parts that are seen + parts that are not)]

and the AUC of that probability is the Bayes AUC. Nothing is simulated: levels are enumerated, lengths are integrated at
the midpoints of equal-probability slices. cT is drawn independently of the lesion's size (in life they go together), so
that no input tells of another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import truncnorm

Floats = NDArray[np.float64]

INPUTS = ("primary", "auxiliary", "clinical")
SUBSETS: tuple[tuple[str, ...], ...] = tuple(subset for count in (1, 2, 3) for subset in combinations(INPUTS, count))
SLICES = 32


@dataclass(frozen=True)
class TwoGroups:
    """A length in millimetres from a small or a large group, each a normal cut at its limits, equally often.

    Args:
        small: mean, SD, lower and upper limit of the small group.
        large: the same of the large group.
    """

    small: tuple[float, float, float, float]
    large: tuple[float, float, float, float]

    def at(self, quantile: Floats, is_large: NDArray[np.bool_]) -> Floats:
        """Lengths in mm at the given quantiles of the given groups."""
        return np.where(is_large, _cut_normal(quantile, self.large), _cut_normal(quantile, self.small))


def _cut_normal(quantile: Floats, shape: tuple[float, float, float, float]) -> Floats:
    mean, sd, low, high = shape
    return np.asarray(truncnorm.ppf(quantile, (low - mean) / sd, (high - mean) / sd, loc=mean, scale=sd))


LESION_SIZE_MM = TwoGroups(small=(15.0, 2.4, 8.0, 20.0), large=(28.5, 3.7, 23.0, 45.0))
NODE_SHORT_AXIS_MM = TwoGroups(small=(9.0, 1.3, 6.0, 12.5), large=(18.5, 2.2, 14.0, 24.0))

LEVELS: dict[str, dict[str, tuple[float, float]]] = {
    "er": {"negative": (0.40, -1.10), "positive": (0.60, 0.75)},
    "her2": {"negative": (0.40, 0.55), "low": (0.30, 0.55), "positive": (0.30, -1.35)},
    "ct": {"cT1": (0.20, -1.30), "cT2": (0.40, -0.30), "cT3": (0.25, 0.80), "cT4": (0.15, 1.15)},
}
"""Informative clinical features: level -> (share of patients, contribution to the logit)."""
MISSING_SHARE = {"er": 0.03, "her2": 0.05, "ct": 0.03, "age": 0.03}
ONE_VIEW_SHARE = 0.08
"""Patients who lack one of the two views, either one equally often; without the MLO view the node is not seen."""
CENTER_INTERCEPTS = (0.05, -0.15, 0.15, -0.05)
"""Taken in turn by the centres."""


def primary_logit(size_mm: Floats, spiculated: Floats) -> Floats:
    """Contribution of the lesion: large and spiculated lesions leave residual disease more often."""
    return 2.05 * np.tanh((size_mm - 21.0) / 5.0) + 0.62 * (2.0 * spiculated - 1.0)


def auxiliary_logit(node_short_mm: Floats, hilum_lost: Floats) -> Floats:
    """Contribution of the axillary node: a long short axis and a lost fatty hilum."""
    return 1.35 * np.tanh((node_short_mm - 13.2) / 3.0) + 1.05 * (2.0 * hilum_lost - 1.0)


def draw_factors(centers: Sequence[str], rng: np.random.Generator) -> pd.DataFrame:
    """Draw every factor of every patient, each independent of all others; `centers` holds each patient's centre."""
    count = len(centers)
    table = pd.DataFrame({"center": list(centers)})
    table["size_mm"] = LESION_SIZE_MM.at(rng.random(count), rng.random(count) < 0.5)
    table["spiculated"] = rng.integers(0, 2, count)
    table["node_short_mm"] = NODE_SHORT_AXIS_MM.at(rng.random(count), rng.random(count) < 0.5)
    table["hilum_lost"] = rng.integers(0, 2, count)
    draw_clinical(table, rng)
    for feature, share in MISSING_SHARE.items():
        table[f"{feature}_recorded"] = rng.random(count) >= share
    one_view = rng.random(count) < ONE_VIEW_SHARE
    lacks_mlo = rng.random(count) < 0.5
    table["has_mlo"] = ~(one_view & lacks_mlo)
    table["has_cc"] = ~(one_view & ~lacks_mlo)
    return table


def draw_clinical(table: pd.DataFrame, rng: np.random.Generator) -> None:
    """Draw each patient's clinical features into the table."""
    for feature, levels in LEVELS.items():
        shares = [share for share, _ in levels.values()]
        table[feature] = rng.choice(np.array(list(levels), dtype=object), size=len(table), p=shares)
    table["age"] = np.round(np.clip(rng.normal(52.0, 11.0, len(table)), 25, 85)).astype(int)


def clinical_logit(factors: pd.DataFrame) -> Floats:
    """Sum the contributions of each patient's levels, shape (patients,)."""
    logits = [
        factors[name].map({level: logit for level, (_, logit) in levels.items()}) for name, levels in LEVELS.items()
    ]
    return np.asarray(np.sum([column.to_numpy(float) for column in logits], axis=0))


def clinical_values() -> tuple[Floats, Floats]:
    """Enumerate the combinations of levels: their contributions and their probabilities, each of shape (values,)."""
    states = list(product(*(levels.values() for levels in LEVELS.values())))
    contributions = np.array([sum(logit for _, logit in state) for state in states])
    return contributions, np.array([np.prod([share for share, _ in state]) for state in states])


def _region_values(lengths: TwoGroups, logit: Callable[[Floats, Floats], Floats]) -> Floats:
    middle = np.tile((np.arange(SLICES) + 0.5) / SLICES, 2)
    length = lengths.at(middle, np.repeat([False, True], SLICES))
    return np.concatenate([logit(length, np.full(length.size, float(sign))) for sign in (0, 1)])


def _clinical_states() -> list[tuple[str, ...]]:
    return list(product(*LEVELS.values()))


@dataclass(frozen=True)
class Truth:
    """The distribution of every input's contribution to the logit.

    Args:
        strength: multiplies all contributions; 0 gives labels that nothing can predict.
    """

    strength: float = 1.0

    def values(self) -> dict[str, tuple[Floats, Floats]]:
        """Per input: the contributions it can take, and their probabilities; each of shape (values,)."""
        primary = _region_values(LESION_SIZE_MM, primary_logit)
        auxiliary = _region_values(NODE_SHORT_AXIS_MM, auxiliary_logit)
        clinical, share = clinical_values()
        return {
            "primary": (primary * self.strength, np.full(primary.size, 1.0 / primary.size)),
            "auxiliary": (auxiliary * self.strength, np.full(auxiliary.size, 1.0 / auxiliary.size)),
            "clinical": (clinical * self.strength, share),
        }

    def contributions(self, factors: pd.DataFrame) -> dict[str, Floats]:
        """Each input's true contribution to each patient's logit, seen or not; shape (patients,)."""
        numbers = {
            name: factors[name].to_numpy(float) for name in ("size_mm", "spiculated", "node_short_mm", "hilum_lost")
        }
        return {
            "primary": primary_logit(numbers["size_mm"], numbers["spiculated"]) * self.strength,
            "auxiliary": auxiliary_logit(numbers["node_short_mm"], numbers["hilum_lost"]) * self.strength,
            "clinical": clinical_logit(factors) * self.strength,
        }

    def probability(self, factors: pd.DataFrame, intercept: Floats) -> Floats:
        """The probability that generates each patient's label."""
        parts = self.contributions(factors)
        return np.asarray(expit(intercept + parts["primary"] + parts["auxiliary"] + parts["clinical"]))

    def posterior(self, subset: Sequence[str], factors: pd.DataFrame, intercept: Floats) -> Floats:
        """p(residual disease | what the patient's files show of `subset`), shape (patients,).

        A node is seen in the MLO view alone; a clinical value that is missing is averaged over.
        """
        parts = self.contributions(factors)
        if "auxiliary" in subset and not factors["has_mlo"].all():
            without = [name for name in subset if name != "auxiliary"]
            seen = factors["has_mlo"].to_numpy(bool)
            everyone = factors.assign(has_mlo=True)
            return np.where(
                seen, self.posterior(subset, everyone, intercept), self.posterior(without, everyone, intercept)
            )
        seen_logit = intercept + sum(parts[name] for name in subset if name != "clinical")
        values = self.values()
        if "clinical" in subset:
            logits, weights = values["clinical"][0], clinical_weights(factors)
        else:
            logits, weights = np.zeros(1), np.ones((len(factors), 1))
        expected = expectation([values[name] for name in INPUTS if name not in subset])
        return np.asarray((weights * expected(seen_logit[:, None] + logits[None, :])).sum(axis=1))

    def states(self, subset: Sequence[str]) -> dict[str, tuple[Floats, Floats]]:
        """Per input: the probability of each state that can be observed, and the values behind it (states, values)."""
        blind = {name: (np.ones(1), share[None, :]) for name, (_, share) in self.values().items()}
        seen = {}
        for name, (_, share) in self.values().items():
            alike = np.eye(share.size)
            if name == "auxiliary":
                lost = ONE_VIEW_SHARE / 2.0
                seen[name] = (np.append(share * (1.0 - lost), lost), np.vstack([alike, share]))
            elif name == "clinical":
                seen[name] = _clinical_observations(share)
            else:
                seen[name] = (share, alike)
        return {name: (seen if name in subset else blind)[name] for name in INPUTS}

    def bayes_auc(self, subset: Sequence[str], intercepts: Mapping[float, float]) -> float:
        """Bayes AUC of a subset of the inputs over centres, given as intercept -> share of the patients."""
        values, states = self.values(), self.states(subset)
        logits = (
            values["primary"][0][:, None, None]
            + values["auxiliary"][0][None, :, None]
            + values["clinical"][0][None, None, :]
        )
        behind = [states[name][1] for name in INPUTS]
        share = np.einsum("i,j,k->ijk", *(states[name][0] for name in INPUTS)).ravel()
        posteriors = [
            np.einsum("abc,ia,jb,kc->ijk", expit(logits + intercept), *behind, optimize=True).ravel()
            for intercept in intercepts
        ]
        return weighted_auc(
            np.concatenate(posteriors), np.concatenate([share * center_share for center_share in intercepts.values()])
        )


def clinical_weights(factors: pd.DataFrame) -> Floats:
    """Probability of every combination of levels given the values that are recorded, shape (patients, combinations)."""
    states = np.array(_clinical_states(), dtype=object)
    weights = np.tile(clinical_values()[1], (len(factors), 1))
    for column, name in enumerate(LEVELS):
        same = factors[name].to_numpy(object)[:, None] == states[None, :, column]
        weights *= same | ~factors[f"{name}_recorded"].to_numpy(bool)[:, None]
    return weights / weights.sum(axis=1, keepdims=True)


def _clinical_observations(share: Floats) -> tuple[Floats, Floats]:
    states = _clinical_states()
    chances, rows = [], []
    for recorded in product((True, False), repeat=len(LEVELS)):
        missing = [MISSING_SHARE[name] for name in LEVELS]
        chance = np.prod([1.0 - lost if seen else lost for lost, seen in zip(missing, recorded, strict=True)])
        shown = [tuple(level if seen else "" for level, seen in zip(state, recorded, strict=True)) for state in states]
        for observed in dict.fromkeys(shown):
            behind = share * np.array([state == observed for state in shown])
            chances.append(chance * behind.sum())
            rows.append(behind / behind.sum())
    return np.array(chances), np.stack(rows)


def expectation(unseen: Sequence[tuple[Floats, Floats]]) -> Callable[[Floats], Floats]:
    """Tabulate E[sigmoid(t + unseen parts)] as a function of t; the interpolation errs by less than 1e-6."""
    if not unseen:
        return lambda seen: np.asarray(expit(seen))
    grid = np.linspace(-30.0, 30.0, 12001)
    table = expit(grid)
    for values, share in unseen:
        table = np.sum(
            [weight * np.interp(grid + value, grid, table) for value, weight in zip(values, share, strict=True)], axis=0
        )
    return lambda seen: np.interp(seen, grid, table)


def weighted_auc(probability: Floats, share: Floats) -> float:
    """AUC of a calibrated probability over states: P(p of a positive > p of a negative), ties counted half.

    Args:
        probability: p(y = 1) of each state, shape (states,).
        share: probability of each state, shape (states,).
    """
    levels, level = np.unique(np.round(probability, 12), return_inverse=True)
    positive = np.bincount(level, share * probability, levels.size)
    negative = np.bincount(level, share * (1.0 - probability), levels.size)
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2.0)).sum() / (positive.sum() * negative.sum()))
