"""Uni- and multivariable logistic models of clinical variables: odds ratios, tests, backward choice by AIC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammo_aln.errors import InputError
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

    The likelihood has a supremum under separation too, so these tests need no penalty.
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

    Under separation the estimates are Firth's, `penalised` says so, and the profile limits are empty.
    """
    fit = model.fit
    wald = np.exp(fit.wald_limits())
    profile = np.full_like(wald, np.nan) if fit.penalised else np.exp(profile_limits(fit, model.design, model.labels))
    table = pd.DataFrame(
        {
            "term": fit.names,
            "beta": fit.beta,
            "se": fit.se,
            "odds_ratio": np.exp(fit.beta),
            "ci_low": np.where(np.isfinite(profile[:, 0]), profile[:, 0], wald[:, 0]),
            "ci_high": np.where(np.isfinite(profile[:, 1]), profile[:, 1], wald[:, 1]),
            "interval": np.where(np.isfinite(profile).all(axis=1), "profile likelihood", "Wald"),
            "wald_low": wald[:, 0],
            "wald_high": wald[:, 1],
            "p_wald": fit.p_values,
            "penalised": fit.penalised,
        }
    )
    return table[table["term"] != INTERCEPT].reset_index(drop=True)


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
        tables.append(ratios.assign(p_likelihood_ratio=drop_one(table[own], alone)[term.name]))
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
            p_likelihood_ratio=variable.map(drop_one(table, whole)),
            vif=together["term"].map(vif),
        )
    )
    columns = ["model", "variable", "term", "n", "odds_ratio", "ci_low", "ci_high", "interval", "p_wald"]
    rest = ["p_likelihood_ratio", "beta", "se", "wald_low", "wald_high", "vif", "penalised"]
    return pd.concat(tables, ignore_index=True).reindex(columns=columns + rest)
