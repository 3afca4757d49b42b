"""Odds ratios by multiple imputation: gaps drawn by chained equations, several times, and pooled by Rubin's rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from mammo_aln.evaluation.statistics.logistic import INTERCEPT, with_intercept
from mammo_aln.evaluation.statistics.rubin import pool
from mammo_aln.radiomics.signatures.clinical_model import Floats, Term, fit_terms
from mammo_aln.radiomics.signatures.clinical_table import MISSING, ClinicalTable

CYCLES = 10
DONORS = 5
RIDGE = 1e-5
WEAK_PENALTY = 100.0


def chained_equations(
    table: pd.DataFrame, terms: Sequence[Term], labels: np.ndarray, *, imputations: int, seed: int
) -> list[pd.DataFrame]:
    """Complete a table several times (van Buuren and Groothuis-Oudshoorn 2011).

    Numbers are drawn by predictive mean matching with five donors, levels by a multinomial logistic regression of a
    bootstrap sample; each from all other variables and the outcome, in ten cycles.

    Args:
        table: a column per term, with gaps.
        terms: its variables.
        labels: outcomes, which are never missing.
        imputations: completed tables.
        seed: draws them.
    """
    return [
        _completed(table, terms, np.asarray(labels, float), np.random.default_rng([seed, number]))
        for number in range(imputations)
    ]


def _completed(table: pd.DataFrame, terms: Sequence[Term], labels: Floats, rng: np.random.Generator) -> pd.DataFrame:
    full, gaps = table.copy(), {term.name: table[term.name].isna().to_numpy() for term in terms}
    for name, missing in gaps.items():
        if missing.any():
            full.loc[missing, name] = rng.choice(table[name].dropna().to_numpy(), int(missing.sum()))
    for _ in range(CYCLES):
        for term in sorted(terms, key=lambda one: int(gaps[one.name].sum())):
            missing = gaps[term.name]
            if not missing.any():
                continue
            others = [other.encode(full[other.name]) for other in terms if other is not term]
            x = np.column_stack([*others, labels])
            draw = _levels if term.levels else _matched
            full.loc[missing, term.name] = draw(x, full[term.name].to_numpy(), missing, rng)
    return full


def _matched(x: Floats, values: np.ndarray, missing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Values of patients whose prediction is near, by coefficients drawn from their posterior."""
    design, y = with_intercept(x, len(x)), values[~missing].astype(float)
    seen = design[~missing]
    cross = seen.T @ seen
    inverse = np.linalg.inv(cross + np.diag(np.diag(cross)) * RIDGE)
    beta = inverse @ seen.T @ y
    df = max(len(y) - design.shape[1], 1)
    sigma = np.sqrt(float(np.sum((y - seen @ beta) ** 2)) / rng.chisquare(df))
    drawn = beta + sigma * np.linalg.cholesky((inverse + inverse.T) / 2) @ rng.normal(size=beta.size)
    near = np.abs((design[missing] @ drawn)[:, None] - (seen @ beta)[None, :])
    donors = np.argsort(near, axis=1, kind="stable")[:, :DONORS]
    return y[donors[np.arange(len(donors)), rng.integers(0, donors.shape[1], len(donors))]]


def _levels(x: Floats, values: np.ndarray, missing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Levels drawn with the probabilities of a model of a bootstrap sample."""
    scaled = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12)
    rows = rng.choice(np.flatnonzero(~missing), int((~missing).sum()))
    levels = values[rows].astype(str)
    if np.unique(levels).size < 2:
        return np.full(int(missing.sum()), levels[0], dtype=object)
    model = LogisticRegression(C=WEAK_PENALTY, max_iter=1000).fit(scaled[rows], levels)
    shares = model.predict_proba(scaled[missing]).cumsum(axis=1)
    return model.classes_[(rng.random(len(shares))[:, None] > shares[:, :-1]).sum(axis=1)].astype(object)


def imputed_odds_ratios(
    clinical: ClinicalTable, rows: pd.DataFrame, labels: np.ndarray, *, imputations: int, seed: int
) -> pd.DataFrame:
    """Multivariable odds ratios of clinical features, pooled over imputations; empty where nothing is missing.

    Args:
        clinical: features and their levels, as training has them.
        rows: training rows.
        labels: outcomes.
        imputations: completed tables.
        seed: draws them.
    """
    gaps = pd.DataFrame({feature.name: rows[feature.name].isna() for feature in clinical.features})
    if not gaps.to_numpy().any():
        return pd.DataFrame()
    names = [feature.name for feature in clinical.features]
    terms = [
        Term(term.name, tuple(level for level in term.levels if level != MISSING))
        for term in clinical.terms
        if term.name in names
    ]
    table = clinical.encode(rows)[names].astype(object).mask(gaps)
    fits = [
        fit_terms(full, labels, terms).fit
        for full in chained_equations(table, terms, labels, imputations=imputations, seed=seed)
    ]
    shared = [name for name in fits[0].names if name != INTERCEPT and all(name in fit.names for fit in fits)]
    variable = {column: term.name for term in terms for column in term.columns}
    pooled = []
    for name in shared:
        at = [fit.names.index(name) for fit in fits]
        beta = [float(fit.beta[column]) for fit, column in zip(fits, at, strict=True)]
        variances = [float(fit.covariance[column, column]) for fit, column in zip(fits, at, strict=True)]
        one = pool(beta, variances, len(labels) - fits[0].beta.size)
        low, high = np.exp(one.limits())
        pooled.append(
            {
                **{"variable": variable[name], "term": name, "n": len(labels), "odds_ratio": float(np.exp(one.value))},
                **{"ci_low": low, "ci_high": high, "p_term": one.p_value, "beta": one.value, "se": one.se},
                **{"df": one.df, "missing_information": one.missing, "missing": int(gaps[variable[name]].sum())},
                **{"imputations": imputations, "penalised": sum(fit.penalised for fit in fits)},
            }
        )
    return pd.DataFrame(pooled)
