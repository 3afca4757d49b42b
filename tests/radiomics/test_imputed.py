"""Multiple imputation: Rubin's rules by hand, and chained equations against complete data and complete cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from mammo_aln.cohort.declaration import ClinicalFeature
from mammo_aln.evaluation.statistics.rubin import pool
from mammo_aln.radiomics.publication.imputed import chained_equations, imputed_odds_ratios
from mammo_aln.radiomics.signatures.clinical_model import Term, fit_terms
from mammo_aln.radiomics.signatures.clinical_table import ClinicalTable

FEATURES = (ClinicalFeature("size", "continuous"), ClinicalFeature("grade", "categorical", ("low", "mid", "high")))


def test_rubins_rules_by_hand():
    one = pool([1.0, 2.0, 3.0], [0.5, 0.5, 0.5], 100)
    total = 0.5 + (4 / 3) * 1.0
    share = (4 / 3) / total
    old, observed = 2 / share**2, 101 / 103 * 100 * (1 - share)
    assert one.value == 2.0
    assert one.se == pytest.approx(total**0.5)
    assert one.df == pytest.approx(old * observed / (old + observed))
    same = pool([1.0, 1.0], [0.25, 0.25], 50)  # nothing between: the complete-data answer
    assert (same.se, same.missing) == (0.5, 0.0)
    assert same.df == pytest.approx(51 / 53 * 50)


def simulated(rng, n: int) -> tuple[pd.DataFrame, np.ndarray]:
    size = rng.normal(size=n)
    grade = pd.Series(
        np.array(["low", "mid", "high"])[np.clip(np.round(size + rng.normal(size=n)) + 1, 0, 2).astype(int)]
    )
    logit = 0.8 * size + 0.9 * (grade == "high").to_numpy() - 0.4
    return pd.DataFrame({"size": size, "grade": grade}), (rng.random(n) < expit(logit)).astype(float)


def test_gaps_alone_are_drawn_from_values_that_occur_and_the_seed_draws_them():
    table, labels = simulated(np.random.default_rng(0), 120)
    gaps = table.astype(object)
    gaps.loc[::3, "size"] = np.nan
    gaps.loc[1::4, "grade"] = np.nan
    terms = [Term("size"), Term("grade", ("low", "mid", "high"))]
    first, second = chained_equations(gaps, terms, labels, imputations=2, seed=1)
    assert first.loc[1::3, "size"].equals(gaps.loc[1::3, "size"])
    assert set(first["size"]) <= set(gaps["size"].dropna())
    assert set(first["grade"]) <= {"low", "mid", "high"}
    assert not first.equals(second)
    assert first.equals(chained_equations(gaps, terms, labels, imputations=1, seed=1)[0])


def test_where_values_are_missing_by_what_is_seen_imputation_is_right_and_complete_cases_are_not():
    """Size is missing where grade and outcome say so: complete cases are biased, chained equations are not."""
    rng = np.random.default_rng(3)
    betas: dict[str, list[float]] = {"all": [], "imputed": [], "complete": []}
    inside, share = [], []
    terms = [Term("size"), Term("grade", ("low", "mid", "high"))]
    for number in range(20):
        table, labels = simulated(rng, 300)
        truth = fit_terms(table, labels, terms).fit
        betas["all"].append(truth.beta[3])
        gone = rng.random(300) < np.where((labels == 1) & (table["grade"] == "high"), 0.75, 0.15)
        gaps = table.assign(size=table["size"].mask(gone))
        kept = gaps["size"].notna().to_numpy()
        betas["complete"].append(fit_terms(table[kept], labels[kept], terms).fit.beta[3])
        clinical = ClinicalTable(FEATURES, gaps)
        rows = imputed_odds_ratios(clinical, gaps, labels, imputations=4, seed=number).set_index("term")
        betas["imputed"].append(rows.loc["gradehigh", "beta"])
        low, high = np.log(rows.loc["gradehigh", ["ci_low", "ci_high"]].astype(float))
        inside.append(low <= 0.9 <= high)
        share.append(rows.loc["size", "missing_information"])
        assert rows.loc["gradehigh", "se"] > truth.se[3] * 0.95
    mean = {name: float(np.mean(values)) for name, values in betas.items()}
    assert abs(mean["imputed"] - mean["all"]) < 0.2
    assert mean["complete"] - mean["all"] < -0.6
    assert np.mean(inside) >= 0.85
    assert 0.05 < np.mean(share) < 0.5


def test_without_gaps_there_is_nothing_to_impute():
    table, labels = simulated(np.random.default_rng(1), 60)
    assert imputed_odds_ratios(ClinicalTable(FEATURES, table), table, labels, imputations=3, seed=0).empty
