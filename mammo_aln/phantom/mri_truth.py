"""The planted truth of the MRI phantom: which factors decide the nodal status, and each model's Bayes AUC.

The logit of residual disease is a sum of three independent parts. `clinical` stands in `patients.csv`. `radiomics` is
the response of lesion and node between the two scans (they shrink, the lesion's texture fades): what a mirror-invariant
measure of size and heterogeneity can tell. `deep` is the handedness of the lesion's texture, oblique one way or the
other: its strength, and so every feature that a mirror image leaves unchanged, is independent of the label; a network
sees its sign. So the signals complement each other by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

from mammo_aln.phantom.truth import Floats, clinical_logit, clinical_values, draw_clinical, expectation, weighted_auc

MODELS = ("clinical", "radiomics", "deep")
SUBSETS: tuple[tuple[str, ...], ...] = tuple(subset for count in (1, 2, 3) for subset in combinations(MODELS, count))
STRENGTH = {"clinical": 0.9, "radiomics": 2.0, "deep": 2.0}
"""Multiplies each part; `radiomics` and `deep` are standard normal factors."""
INTERCEPT = 0.2
SLICES = 48


def draw_factors(centers: Sequence[str], rng: np.random.Generator) -> pd.DataFrame:
    """Draw every factor of every patient, each independent of all others."""
    count = len(centers)
    table = pd.DataFrame({"center": list(centers)})
    draw_clinical(table, rng)
    table["non_response"] = rng.normal(size=count)
    table["handedness"] = rng.normal(size=count)
    return table


def contributions(factors: pd.DataFrame, strength: float) -> dict[str, Floats]:
    """Each part of each patient's logit, shape (patients,)."""
    return {
        "clinical": strength * STRENGTH["clinical"] * clinical_logit(factors),
        "radiomics": strength * STRENGTH["radiomics"] * factors["non_response"].to_numpy(float),
        "deep": strength * STRENGTH["deep"] * factors["handedness"].to_numpy(float),
    }


def _values(strength: float) -> dict[str, tuple[Floats, Floats]]:
    """Per part: the contributions it can take and their probabilities."""
    normal = norm.ppf((np.arange(SLICES) + 0.5) / SLICES)
    even = np.full(SLICES, 1.0 / SLICES)
    clinical, share = clinical_values()
    return {
        "clinical": (strength * STRENGTH["clinical"] * clinical, share),
        "radiomics": (strength * STRENGTH["radiomics"] * normal, even),
        "deep": (strength * STRENGTH["deep"] * normal, even),
    }


def posterior(subset: Sequence[str], factors: pd.DataFrame, strength: float) -> Floats:
    """p(residual disease | the parts in `subset`) of each patient."""
    parts, values = contributions(factors, strength), _values(strength)
    seen = np.asarray(INTERCEPT + sum(parts[name] for name in subset))
    return np.asarray(expectation([values[name] for name in MODELS if name not in subset])(seen))


def bayes_auc(subset: Sequence[str], strength: float) -> float:
    """The best AUC that any model can reach from the parts in `subset`."""
    values = _values(strength)
    seen, share = np.full(1, INTERCEPT), np.ones(1)
    for name in subset:
        seen = np.add.outer(seen, values[name][0]).ravel()
        share = np.multiply.outer(share, values[name][1]).ravel()
    return weighted_auc(expectation([values[name] for name in MODELS if name not in subset])(seen), share)


def probability(factors: pd.DataFrame, strength: float) -> Floats:
    """The probability that generates each patient's label."""
    return np.asarray(expit(INTERCEPT + sum(contributions(factors, strength).values())))
