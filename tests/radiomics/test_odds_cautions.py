"""Firth's profile limits as logistf prints them, and what the report says of tables of odds ratios."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize
from scipy.special import expit

from mammo_aln.evaluation.statistics.firth import firth_limits, firth_ratio_p
from mammo_aln.evaluation.statistics.logistic import fit_firth, with_intercept
from mammo_aln.radiomics.signatures import figures
from mammo_aln.radiomics.signatures.cautions import odds_cautions
from mammo_aln.radiomics.signatures.clinical_model import Term, odds_ratio_report

ENDOMETRIAL = pd.read_csv(Path(__file__).resolve().parents[1] / "data" / "endometrial.csv")
"""79 endometrial cancers (Heinze and Schemper 2002, Stat Med 21:2409): NV separates the grades but for ties."""


def test_firths_profile_limits_and_tests_are_logistfs():
    x = with_intercept(ENDOMETRIAL[["NV", "PI", "EH"]], len(ENDOMETRIAL))
    fit = fit_firth(x, ENDOMETRIAL["HG"], ("(Intercept)", "NV", "PI", "EH"))
    limits = firth_limits(fit, x, ENDOMETRIAL["HG"])
    printed = [[1.0825371, 7.2092805], [0.6097244, 7.85463171], [-0.1244587, 0.04045547], [-4.3651832, -1.23272106]]
    np.testing.assert_allclose(limits, printed, rtol=1e-6)
    each = {name: np.arange(4) == place for place, name in enumerate(fit.names)}
    p = firth_ratio_p(fit, x, ENDOMETRIAL["HG"], each)
    np.testing.assert_allclose(list(p.values()), [4.193628e-03, 9.123668e-03, 3.874822e-01, 2.506867e-05], rtol=1e-5)


def test_a_penalised_ratio_test_of_two_columns_is_that_of_a_general_optimiser():
    x = with_intercept(ENDOMETRIAL[["NV", "PI", "EH"]], len(ENDOMETRIAL))
    y = ENDOMETRIAL["HG"].to_numpy(float)

    def loss(free):
        p = expit(x @ np.array([free[0], 0.0, 0.0, free[1]]))
        information = (x * (p * (1 - p))[:, None]).T @ x
        return -np.sum(np.log(np.where(y == 1, p, 1 - p))) - 0.5 * np.linalg.slogdet(information)[1]

    def whole(b):
        p = expit(x @ b)
        information = (x * (p * (1 - p))[:, None]).T @ x
        return -np.sum(np.log(np.where(y == 1, p, 1 - p))) - 0.5 * np.linalg.slogdet(information)[1]

    fit = fit_firth(x, y, ("i", "NV", "PI", "EH"))
    options = {"xatol": 1e-10, "fatol": 1e-12, "maxiter": 20000, "maxfev": 20000}
    restricted = minimize(loss, [0.0, 0.0], method="Nelder-Mead", options=options).fun
    chi2 = 2 * (restricted - whole(fit.beta))
    held = np.array([False, True, True, False])
    assert firth_ratio_p(fit, x, y, {"both": held})["both"] == pytest.approx(stats.chi2.sf(chi2, 2), rel=1e-6)


def test_separation_has_penalised_limits_and_is_told():
    report = odds_ratio_report(ENDOMETRIAL, ENDOMETRIAL["HG"], [Term("NV"), Term("PI"), Term("EH")])
    rows = report[report["model"] == "multivariable"].set_index("term")
    assert rows["penalised"].all()
    assert (rows["interval"] == "penalised profile likelihood").all()
    np.testing.assert_allclose(np.log(rows.loc["NV", ["ci_low", "ci_high"]].astype(float)), [0.6097244, 7.85463171])
    assert rows.loc["NV", "p_term"] == pytest.approx(9.123668e-03, rel=1e-5)
    assert rows.loc["NV", "p_likelihood_ratio"] == pytest.approx(9.123668e-03, rel=1e-5)
    alone = report[report["model"] == "univariable"].set_index("term")["penalised"].to_dict()
    assert alone == {"NV": True, "PI": False, "EH": False}
    told = odds_cautions(report)
    assert any("separated by NV" in sentence for sentence in told)
    assert any("multivariable model: the outcomes are separated, so that" in sentence for sentence in told)


def simulated(n: int, seed: int, **more: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"age": rng.normal(size=n), "size": rng.normal(size=n), **more})
    return table, (rng.random(n) < expit(table["age"] - 0.5)).to_numpy(float)


def test_events_per_variable_shared_information_and_aliased_columns_are_told():
    table, labels = simulated(60, 1)
    rng = np.random.default_rng(2)
    table["size_mm"] = table["size"] + 0.1 * rng.normal(size=60)
    table["twice"] = 2 * table["age"]
    table["flat"] = "only"
    terms = [Term("age"), Term("size"), Term("size_mm"), Term("twice"), Term("flat", ("none", "only"))]
    report = odds_ratio_report(table, labels, terms)
    rows = report[report["model"] == "multivariable"].set_index("term")
    rarer = min(labels.sum(), 60 - labels.sum())
    assert rows["aliased"].to_dict() == {
        "age": False,
        "size": False,
        "size_mm": False,
        "twice": True,
        "flatonly": True,
    }
    assert rows.loc["twice", ["odds_ratio", "ci_low", "p_term", "p_likelihood_ratio"]].isna().all()
    assert (rows["events_per_variable"] == rarer / 3).all()
    design = np.column_stack([np.ones(60), table[["size", "age", "size_mm"]]])
    squares = np.linalg.inv(np.corrcoef(design[:, 1:].T))[0, 0]  # VIF by the correlations of the columns
    assert rows.loc["size", "vif"] == pytest.approx(squares, rel=0.2)
    told = " ".join(odds_cautions(report))
    for words in (
        f"{rarer / 3:.1f} events per variable",
        "variance inflation above 5 (size",
        "no figure for twice, flat",
    ):
        assert words in told
    assert "separated" not in told
    assert figures.odds_forest(report, "Odds ratios").uri


def test_a_sound_table_has_no_cautions():
    table, labels = simulated(400, 3)
    report = odds_ratio_report(table, labels, [Term("age"), Term("size")])
    assert odds_cautions(report) == []
    inside = (report["ci_low"] > 1) | (report["ci_high"] < 1)
    assert ((report["p_term"] < 0.05) == inside).all()
