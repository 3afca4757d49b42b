"""Uni- and multivariable logistic models of clinical variables: odds ratios, tests, backward choice by AIC."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammo_aln.errors import InputError
from mammo_aln.evaluation.statistics.firth import firth_limits, firth_ratio_p
from mammo_aln.evaluation.statistics.logistic import (
    INTERCEPT,
    Logistic,
    fit_either,
    fit_logistic,
    independent_columns,
    likelihood_ratio_p,
    profile_limits,
    with_intercept,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Term:
    """One variable of a model; without levels it is numeric, else its first level is the reference."""

    name: str
    levels: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its design columns, as R names them: the variable, followed by the level."""
        return tuple(f"{self.name}{level}" for level in self.levels[1:]) if self.levels else (self.name,)

    def encode(self, values: pd.Series) -> Floats:
        """Design columns of its values, shape (n, columns).

        Raises:
            InputError: a value is missing, no number, or none of the levels.
        """
        if not self.levels:
            numeric = pd.to_numeric(values, errors="coerce").to_numpy(float)
            if not np.isfinite(numeric).all():
                strange = values[~np.isfinite(numeric)].iloc[0]
                raise InputError(f"{self.name} = {strange!r}: expected a finite number")
            return numeric[:, None]
        text = values.astype(str)
        if not text.isin(self.levels).all():
            strange = text[~text.isin(self.levels)].iloc[0]
            raise InputError(f"{self.name} = {strange!r}: expected one of {', '.join(self.levels)}")
        return (text.to_numpy()[:, None] == np.array(self.levels[1:], dtype=object)[None, :]).astype(np.float64)


def design_of(table: pd.DataFrame, terms: Sequence[Term]) -> tuple[Floats, tuple[str, ...]]:
    """Design matrix with its intercept, and the names of its columns."""
    blocks = [term.encode(table[term.name]) for term in terms]
    columns = np.concatenate(blocks, axis=1) if blocks else np.empty((len(table), 0))
    names = (INTERCEPT, *(column for term in terms for column in term.columns))
    return with_intercept(columns, len(table)), names


@dataclass(frozen=True)
class Model:
    """A logistic model of some terms; `design` is what it was fitted on, dependent columns left out."""

    terms: tuple[Term, ...]
    fit: Logistic
    design: Floats
    labels: Floats
    columns: tuple[int, ...]

    def linear_predictor(self, table: pd.DataFrame) -> Floats:
        """Log-odds of each row."""
        return design_of(table, self.terms)[0][:, list(self.columns)] @ self.fit.beta


def fit_terms(
    table: pd.DataFrame,
    labels: np.ndarray,
    terms: Sequence[Term],
    method: Callable[[Floats, Floats, Sequence[str]], Logistic] = fit_either,
) -> Model:
    """Fit a logistic model: by default maximum likelihood, or Firth's estimates where the outcomes are separated.

    Columns that earlier ones determine are left out, as R does.
    """
    design, names = design_of(table, terms)
    y = np.asarray(labels, dtype=np.float64)
    kept = independent_columns(design)
    design = design[:, kept]
    return Model(tuple(terms), method(design, y, [names[column] for column in kept]), design, y, tuple(kept))


def drop_one(table: pd.DataFrame, model: Model) -> dict[str, float]:
    """Likelihood-ratio p of each term, the others kept (R's `drop1(test = "LRT")`).

    The likelihood has a supremum under separation too.
    """
    whole = fit_terms(table, model.labels, model.terms, fit_logistic).fit
    p_values = {}
    for term in model.terms:
        others = [other for other in model.terms if other != term]
        p_values[term.name] = likelihood_ratio_p(whole, fit_terms(table, model.labels, others, fit_logistic).fit)
    return p_values


def backward_aic(table: pd.DataFrame, labels: np.ndarray, terms: Sequence[Term]) -> Model:
    """Leave out one term after another while that lowers Akaike's criterion (R's `step(direction = "backward")`)."""
    model = fit_terms(table, labels, terms, fit_logistic)
    while model.terms:
        fewer = [[other for other in model.terms if other != term] for term in model.terms]
        smaller = [fit_terms(table, labels, others, fit_logistic) for others in fewer]
        best = min(smaller, key=lambda candidate: candidate.fit.aic)
        if best.fit.aic >= model.fit.aic:
            break
        model = best
    return fit_terms(table, labels, model.terms)


def odds_ratios(model: Model) -> pd.DataFrame:
    """Table a model's odds ratios, one row per design column but the intercept: beta, SE, 95 % limits, p.

    `p_term` is the test that goes with the limits: the likelihood ratio of that column alone, or Wald's. Under
    separation the estimates are Firth's with penalised profile limits, and `penalised` says so. A column that earlier
    ones determine has a row without figures, and `aliased` says so.
    """
    fit = model.fit
    wald, limits = np.exp(fit.wald_limits()), firth_limits if fit.penalised else profile_limits
    profile = np.exp(limits(fit, model.design, model.labels))
    known = ~np.isnan(profile).any(axis=1)
    kind = f"{'penalised ' if fit.penalised else ''}profile likelihood"
    table = pd.DataFrame(
        {
            "term": fit.names,
            "beta": fit.beta,
            "se": fit.se,
            "odds_ratio": np.exp(fit.beta),
            "ci_low": np.where(known, profile[:, 0], wald[:, 0]),
            "ci_high": np.where(known, profile[:, 1], wald[:, 1]),
            "interval": np.where(known, kind, "Wald"),
            "wald_low": wald[:, 0],
            "wald_high": wald[:, 1],
            "p_term": np.where(known, _column_p(model), fit.p_values),
            "p_wald": fit.p_values,
            "penalised": fit.penalised,
        }
    ).set_index("term")
    columns = [column for term in model.terms for column in term.columns]
    table = table.reindex(pd.Index(columns, name="term")).reset_index()
    rarer = int(min(model.labels.sum(), fit.n - model.labels.sum()))
    aliased, coefficients = ~table["term"].isin(fit.names), max(1, len(fit.names) - 1)
    table["penalised"] = np.full(len(table), fit.penalised)
    return table.assign(aliased=aliased, events=rarer, events_per_variable=rarer / coefficients)


def _column_p(model: Model) -> Floats:
    """Likelihood-ratio p of each coefficient being 0, the others kept, as the profile limits have it."""
    fit = model.fit
    if fit.penalised:
        groups = {name: np.arange(len(fit.names)) == column for column, name in enumerate(fit.names)}
        return np.array(list(firth_ratio_p(fit, model.design, model.labels, groups).values()))
    p_values = np.full(len(fit.names), math.nan)
    for column in range(1, len(fit.names)):
        rest = [name for name in fit.names if name != fit.names[column]]
        p_values[column] = likelihood_ratio_p(
            fit, fit_logistic(np.delete(model.design, column, axis=1), model.labels, rest)
        )
    return p_values


def ratio_tests(table: pd.DataFrame, model: Model) -> dict[str, float]:
    """Likelihood-ratio p of each term, the others kept: by the penalised likelihood where the estimates are Firth's."""
    if not model.fit.penalised:
        return drop_one(table, model)
    groups = {term.name: np.isin(model.fit.names, term.columns) for term in model.terms}
    return firth_ratio_p(model.fit, model.design, model.labels, {name: at for name, at in groups.items() if at.any()})


def odds_ratio_report(
    table: pd.DataFrame,
    labels: np.ndarray,
    terms: Sequence[Term],
    *,
    observed: pd.DataFrame | None = None,
    kept: Sequence[Term] | None = None,
) -> pd.DataFrame:
    """List univariable, then multivariable odds ratios, with each term's likelihood-ratio p and VIF.

    Args:
        table: a column per term, gaps filled.
        labels: outcomes.
        terms: variables of the univariable models.
        observed: where a term's value is the patient's own; its univariable model takes those rows alone.
        kept: terms of the multivariable model, on all rows; by default all.
    """
    tables = []
    for term in terms:
        own = np.ones(len(table), bool)
        if observed is not None and term.name in observed:
            own = observed[term.name].to_numpy(bool)
        if np.unique(labels[own]).size < 2:
            continue
        alone = fit_terms(table[own], labels[own], [term])
        ratios = odds_ratios(alone).assign(model="univariable", variable=term.name, n=alone.fit.n)
        tables.append(ratios.assign(p_likelihood_ratio=ratio_tests(table[own], alone).get(term.name, math.nan)))
    kept = terms if kept is None else kept
    whole = fit_terms(table, labels, kept)
    owner = {column: term.name for term in kept for column in term.columns}
    together = odds_ratios(whole)
    variable = together["term"].map(owner)
    vif = whole.fit.vif() if len(whole.fit.names) > 1 else {}
    tables.append(
        together.assign(
            model="multivariable",
            variable=variable,
            n=whole.fit.n,
            p_likelihood_ratio=variable.map(ratio_tests(table, whole)).where(~together["aliased"]),
            vif=together["term"].map(vif),
        )
    )
    columns = ["model", "variable", "term", "n", "odds_ratio", "ci_low", "ci_high", "interval", "p_term", "p_wald"]
    rest = ["p_likelihood_ratio", "beta", "se", "wald_low", "wald_high", "vif", "penalised", "aliased", "events"]
    rest = [*rest, "events_per_variable"]
    return pd.concat(tables, ignore_index=True).reindex(columns=columns + rest)
