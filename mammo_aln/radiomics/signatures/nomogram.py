"""Points of a nomogram as rms::nomogram lays them out: the axis with the largest effect spans 0 to 100 points."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from mammo_aln.radiomics.signatures.clinical_model import Model, Term

Floats = NDArray[np.float64]
TICKS = 10
PROBABILITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MOST_DISCRETE = 10
"""A number with at most this many distinct values, all of them round, gets those as its ticks."""
ROUND = 2
"""Decimals of a round number."""
NO_EFFECT = 1e-9
"""Log-odds over a variable's whole axis; where none does more there is nothing to give points for."""


@dataclass(frozen=True)
class Axis:
    """One variable's axis: its ticks (numbers, or the levels of a category) and their points."""

    name: str
    ticks: tuple[float, ...] | tuple[str, ...]
    points: Floats


@dataclass(frozen=True)
class Nomogram:
    """Axes of the variables, and the scales that turn total points into log-odds and probability.

    Args:
        axes: one per variable.
        total: ticks of the total-points axis.
        lp: ticks of the linear predictor, `lp_points` their total points.
        lp_points: see `lp`.
        probability: ticks of the probability, `probability_points` their total points.
        probability_points: see `probability`.
    """

    axes: tuple[Axis, ...]
    total: Floats
    lp: Floats
    lp_points: Floats
    probability: Floats
    probability_points: Floats


def pretty(low: float, high: float, n: int = TICKS) -> Floats:
    """About n + 1 round values that cover low to high: R's `pretty` (Becker, Chambers and Wilks 1988)."""
    bias, bias5, shrink, least, slack = 1.5, 2.75, 0.75, n // 3, 1e-10
    size = max(abs(low), abs(high))
    spread = high - low
    if size == 0 or spread < size * (1.0 / (1.0 + bias)) * max(1, n) * np.finfo(float).eps * 3:
        cell = size or 1.0
        cell = (9 + cell / 10 if cell > 10 else cell) * shrink / max(1, least)
    else:
        cell = spread / n
    base = 10.0 ** math.floor(math.log10(cell))
    unit = base
    for factor, weight in ((2.0, bias), (5.0, bias5), (10.0, bias)):
        if factor * base - cell < weight * (cell - unit):
            unit = factor * base
        else:
            break
    first, last = math.floor(low / unit + slack), math.ceil(high / unit - slack)
    while first * unit > low + slack * unit:
        first -= 1
    while last * unit < high - slack * unit:
        last += 1
    missing = least - (last - first)
    if missing > 0:
        half, odd = divmod(missing, 2)
        if low == 0 and first == 0 and high != 0:
            last += missing
        elif first >= 0:
            first, last = first - half - odd, last + half
        else:
            first, last = first - half, last + half + odd
    return np.round(np.arange(first, last + 1) * unit, 12)


def _ticks(term: Term, values: pd.Series, ordinal: bool) -> tuple[float, ...] | tuple[str, ...]:
    if term.levels:
        return term.levels
    numbers = pd.to_numeric(values).to_numpy(float)
    distinct = np.unique(numbers)
    few = distinct.size <= MOST_DISCRETE and np.array_equal(distinct, np.round(distinct, ROUND))
    # between an ordinal's levels there is nothing
    return tuple(distinct if ordinal or few else pretty(float(numbers.min()), float(numbers.max())))


def build_nomogram(
    model: Model,
    table: pd.DataFrame,
    *,
    ordinals: Collection[str] = (),
) -> Nomogram | None:
    """Lay out the nomogram of a fitted model over the values in its training table.

    Probabilities are placed by linear interpolation over 1,000 points of the linear predictor's axis, as rms does;
    those outside that axis are left out.

    Args:
        model: the logistic model.
        table: rows that it was fitted on; they set the limits of the axes.
        ordinals: variables whose numbers are ranks of levels.

    Returns:
        The layout; None where no variable has an effect.
    """
    coefficient = dict(zip(model.fit.names, model.fit.beta, strict=True))
    at_zero = float(coefficient[model.fit.names[0]])
    effects: list[tuple[Term, tuple[float, ...] | tuple[str, ...], Floats]] = []
    for term in model.terms:
        ticks = _ticks(term, table[term.name], term.name in ordinals)
        slopes = np.array([coefficient.get(column, 0.0) for column in term.columns])
        effects.append((term, ticks, term.encode(pd.Series(list(ticks))) @ slopes))
    widest = max((float(np.ptp(effect)) for _, _, effect in effects), default=0.0)
    if widest < NO_EFFECT:
        return None
    scale = 100.0 / widest
    axes = tuple(Axis(term.name, ticks, scale * (effect - effect.min())) for term, ticks, effect in effects)
    at_zero += sum(float(effect.min()) for _, _, effect in effects)
    predictor = model.linear_predictor(table)
    lp = pretty(float(predictor.min()), float(predictor.max()))
    fine = np.linspace(lp[0], lp[-1], 1000)
    predictors = np.interp(PROBABILITIES, expit(fine), fine, left=np.nan, right=np.nan)
    inside = np.isfinite(predictors)
    lp_points = scale * (lp - at_zero)
    return Nomogram(
        axes=axes,
        total=pretty(0.0, 100.0 if len(axes) == 1 else float(lp_points.max())),
        lp=lp,
        lp_points=lp_points,
        probability=np.asarray(PROBABILITIES)[inside],
        probability_points=scale * (predictors[inside] - at_zero),
    )
