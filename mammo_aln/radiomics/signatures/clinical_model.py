"""Uni- and multivariable logistic models of clinical variables: odds ratios, tests, backward choice by AIC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mammo_aln.evaluation.statistics.logistic import (
    INTERCEPT,
    Logistic,
    fit_either,
    fit_logistic,
    independent_columns,
    likelihood_ratio_p,
    profile_limits,
)
from mammo_aln.radiomics.signatures.terms import Floats, Term, design_of


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
    return Model(tuple(terms), method(design, y, [names[place] for place in kept]), design, y, tuple(kept))


def drop_one(table: pd.DataFrame, model: Model) -> dict[str, float]:
    """Likelihood-ratio p of each term, the others kept (R's `drop1(test = "LRT")`).

    The likelihood has a supremum under separation too, so these tests need no penalty.
    """
    whole = fit_terms(table, model.labels, model.terms, fit_logistic).fit
    found = {}
    for term in model.terms:
        others = [other for other in model.terms if other != term]
        found[term.name] = likelihood_ratio_p(whole, fit_terms(table, model.labels, others, fit_logistic).fit)
    return found


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
    """One row per design column but the intercept: beta, SE, odds ratio, 95 % Wald and profile limits, p.

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
    """Univariable and multivariable odds ratios one below the other, with each term's likelihood-ratio p and VIF.

    Args:
        table: a column per term, gaps filled.
        labels: outcomes.
        terms: variables of the univariable models.
        observed: where a term's value is the patient's own; its univariable model takes those rows alone.
        kept: terms of the multivariable model, on all rows; by default all.
    """
    parts = []
    for term in terms:
        own = (
            observed[term.name].to_numpy(bool)
            if observed is not None and term.name in observed
            else np.ones(len(table), bool)
        )
        if np.unique(labels[own]).size < 2:
            continue
        alone = fit_terms(table[own], labels[own], [term])
        found = odds_ratios(alone).assign(model="univariable", variable=term.name, n=alone.fit.n)
        parts.append(found.assign(p_likelihood_ratio=drop_one(table[own], alone)[term.name]))
    kept = terms if kept is None else kept
    whole = fit_terms(table, labels, kept)
    owner = {column: term.name for term in kept for column in term.columns}
    together = odds_ratios(whole)
    variable = together["term"].map(owner)
    vif = whole.fit.vif() if len(whole.fit.names) > 1 else {}
    parts.append(
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
    return pd.concat(parts, ignore_index=True).reindex(columns=columns + rest)
