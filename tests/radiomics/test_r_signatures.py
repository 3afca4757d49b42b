"""R's values for rank tests, the LASSO, logistic models, nomograms and agreement, every case at hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from mammo_aln.evaluation.statistics import agreement, logistic, ranks
from mammo_aln.evaluation.statistics.discrimination import auc
from mammo_aln.evaluation.statistics.optimism import bootstrap_optimism
from mammo_aln.evaluation.statistics.tests import holm
from mammo_aln.radiomics.signatures import clinical_model, lasso
from mammo_aln.radiomics.signatures.nomogram import build_nomogram

FOLDER = Path(__file__).resolve().parents[1] / "data" / "r_reference"
FAMILIES: dict[str, list[str]] = {}
for _path in sorted(FOLDER.glob("*.json")):
    FAMILIES.setdefault(json.loads(_path.read_text())["family"], []).append(_path.stem)


def load(name: str):
    return json.loads((FOLDER / f"{name}.json").read_text())["results"], pd.read_csv(FOLDER / f"{name}.csv")


def number(value) -> float:
    special = {"Inf": math.inf, "-Inf": -math.inf, "NaN": math.nan, "NA": math.nan}
    return special[value] if isinstance(value, str) else float(value)


def same(found, reference, relative: float = 1e-6) -> None:
    for one, other in zip(np.ravel(found), np.ravel(np.asarray(reference, dtype=object)), strict=True):
        expected = number(other)
        if not math.isfinite(expected):
            assert one == expected or (math.isnan(one) and math.isnan(expected))
        else:
            assert abs(one - expected) <= relative * max(abs(expected), 1e-3), (one, expected)


@pytest.mark.parametrize("name", FAMILIES["mann_whitney_spearman_holm"])
def test_rank_tests(name):
    results, data = load(name)
    y = data["y"]
    for row in results["features"]:
        x = data[row["feature"]]
        u, corrected, plain = (column[0] for column in ranks.rank_sum_tests(x.to_numpy()[:, None], y))
        same(u, row["U_pos"])
        same(corrected, row["p_normal_cc"], 1e-5)
        same(plain, row["p_normal_nocc"], 1e-5)
    adjusted = results["p_adjust_of_p_normal_cc"]
    p = [row["p_normal_cc"] for row in results["features"]]
    same(ranks.benjamini_hochberg(p), adjusted["BH"])
    same(holm(p), adjusted["holm"])
    order = results["spearman_order"]
    same(ranks.spearman_matrix(data[order]), results["spearman_matrix"])
    same(ranks.spearman_matrix(data[order[:2]])[0, 1], results["spearman_test_first_two"]["rho"])


@pytest.mark.parametrize("name", FAMILIES["lasso_glmnet"])
def test_lasso_path(name):
    results, data = load(name)
    x, y = data[results["feature_order"]].to_numpy(), data["y"].to_numpy(float)
    sd = x.std(axis=0)
    expected = np.array(results["lambda_path"])
    largest, lowest = lasso.largest_penalty(x, y), 1e-4 if len(x) > x.shape[1] else 1e-2
    same(largest, results["lambda_max"])
    same(lasso.default_ladder(largest, lowest, 40)[: len(expected)], expected)  # glmnet ends where nothing is gained
    path = lasso.lasso_path(x, y, expected)
    assert path.selected.tolist() == results["df_path"]
    assert len(data) == results["n"]
    likelihood = np.where(y[:, None] == 1, expit(path.linear_predictor(x)), expit(-path.linear_predictor(x)))
    share = y.mean()
    null = -2 * len(y) * (share * np.log(share) + (1 - share) * np.log(1 - share))
    same(null, results["nulldev"])
    same(1 + 2 * np.log(likelihood).sum(axis=0) / null, results["dev_ratio"], 1e-5)
    for at in [*results["at_path"], results["cv_deviance"]["at_min"], results["cv_deviance"]["at_1se"]]:
        exact = lasso.lasso_path(x, y, [at["lambda"]])
        assert np.abs((exact.coefficients[0] - at["coef"]) * sd).max() <= 1e-4
        same(exact.intercepts, [at["intercept"]], 1e-5)
        chosen = np.array(results["feature_order"])[exact.coefficients[0] != 0]
        assert chosen.tolist() == at["selected"]


@pytest.mark.parametrize("name", FAMILIES["lasso_glmnet"])
def test_lasso_cross_validation(name):
    results, data = load(name)
    x, y = data[results["feature_order"]].to_numpy(), data["y"].to_numpy(float)
    penalties = results["cv_deviance"]["lambda"]
    found, expected = lasso.cross_validate(x, y, data["fold"], penalties), results["cv_deviance"]
    same(found.mean, expected["cvm"], 1e-3)
    same(found.se, expected["cvsd"], 1e-3)
    same(penalties[found.at_min], expected["lambda_min"])
    same(penalties[found.at_1se], expected["lambda_1se"])
    link = found.path.linear_predictor(x)[:5, found.at_1se]
    assert np.abs(link - results["first5_linear_predictor_1se"]).max() <= 1e-4


def terms_agree(model: clinical_model.Model, reference) -> None:
    fit = model.fit
    assert len(fit.names) == len(reference)
    wald, profile = fit.wald_limits(), logistic.profile_limits(fit, model.design, model.labels)
    for place, row in enumerate(reference):
        assert fit.names[place] == row["term"]
        for found, key in ((fit.beta, "beta"), (fit.se, "se"), (fit.z, "z"), (fit.p_values, "p_wald")):
            same(found[place], row[key], 1e-5)
        same(np.exp(fit.beta[place]), row["OR"], 1e-5)
        same(np.exp(wald[place]), row["OR_ci95_wald"], 1e-5)
        same(np.exp(profile[place]), row["OR_ci95_profile"], 1e-5)


def terms_of(table: pd.DataFrame, names: list[str]) -> list[clinical_model.Term]:
    """Terms as R reads a table: numbers are numeric, text is a factor whose levels stand in alphabetical order."""

    def levels(values: pd.Series) -> tuple[str, ...]:
        return () if pd.api.types.is_numeric_dtype(values) else tuple(sorted(set(map(str, values))))

    return [clinical_model.Term(name, levels(table[name])) for name in names]


def model_of(results, data, variables):
    return clinical_model.fit_terms(data, data["y"], terms_of(data, variables), logistic.fit_logistic)


@pytest.mark.parametrize("name", FAMILIES["logistic_or_nomogram"])
def test_odds_ratios(name):
    results, data = load(name)
    variables = [row["variable"] for row in results["univariable"]]
    for row in results["univariable"]:
        model = model_of(results, data, [row["variable"]])
        terms_agree(model, row["terms"])
        same(clinical_model.drop_one(data, model)[row["variable"]], row["lr_p"], 1e-5)
    whole, expected = model_of(results, data, variables), results["multivariable"]
    terms_agree(whole, expected["terms"])
    fit = whole.fit
    for found, key in ((fit.loglik, "loglik"), (fit.aic, "aic"), (fit.deviance, "deviance")):
        same(found, expected[key])
    same(-2 * fit.null_loglik, expected["null_deviance"])
    fitted = 1 / (1 + np.exp(-whole.linear_predictor(data)))
    same(fitted[:6], expected["fitted_first6"], 1e-5)
    same(auc(fitted, data["y"]), expected["auc"])
    same(np.mean((fitted - data["y"]) ** 2), expected["brier"])
    for variable, p in clinical_model.drop_one(data, whole).items():
        same(p, expected["lrt_each"][variable], 1e-5)
    for column, vif in fit.vif().items():
        same(vif, results["vif"][column], 1e-5)
    kept = clinical_model.backward_aic(data, data["y"], whole.terms)
    assert [term.name for term in kept.terms] == results["backward_aic"]["kept"]
    same(kept.fit.aic, results["backward_aic"]["aic"])
    firth = logistic.fit_firth(whole.design, whole.labels, fit.names)
    assert list(firth.names) == [row["term"] for row in results["firth_brglm"]["terms"]]
    same(firth.beta, [row["beta"] for row in results["firth_brglm"]["terms"]], 1e-5)
    same(firth.se, [row["se"] for row in results["firth_brglm"]["terms"]], 1e-5)


@pytest.mark.parametrize("name", [n for n in FAMILIES["logistic_or_nomogram"] if "nomogram" in load(n)[0]])
def test_nomogram_points(name):
    results, data = load(name)
    model = model_of(results, data, [row["variable"] for row in results["univariable"]])
    found, expected = build_nomogram(model, data), results["nomogram"]
    for axis, row in zip(found.axes, expected["axes"], strict=True):
        assert axis.name == row["variable"]
        assert list(axis.ticks) == row["at"]
        same(axis.points, row["points"])
    same(found.lp, expected["lp_axis"]["lp"])
    same(found.lp_points, expected["lp_axis"]["total_points"])
    same(found.total, expected["total_points"]["x"])
    same(found.probability, expected["prob_axis"]["prob"])
    same(found.probability_points, expected["prob_axis"]["total_points"])
    n, fit = len(data), model.fit
    coefficients = expected["model"]["coef"].items()
    named = {name.replace("=", "").replace("Intercept", "(Intercept)"): beta for name, beta in coefficients}
    same([named[name] for name in fit.names], fit.beta, 1e-5)
    # definition 10: rms bins predictions to 0.002; the exact AUC is tested above
    assert abs(auc(model.linear_predictor(data), data["y"]) - expected["model"]["C"]) <= 1e-3
    cox_snell = 1 - np.exp(2 * (fit.null_loglik - fit.loglik) / n)
    same(cox_snell / (1 - np.exp(2 * fit.null_loglik / n)), expected["model"]["R2"])


@pytest.mark.parametrize("name", [n for n in FAMILIES["logistic_or_nomogram"] if "nomogram" in load(n)[0]])
def test_optimism(name):
    results, data = load(name)
    model = model_of(results, data, [row["variable"] for row in results["univariable"]])
    found, expected = bootstrap_optimism(model.design, model.labels), results["rms_validate_bootstrap400"]
    # Somers' Dxy is 2 AUC - 1, so that differences of the AUC count twice
    for index, key, factor, shift in (("auc", "Dxy", 2, 1), ("slope", "Slope", 1, 0), ("brier", "Brier", 1, 0)):
        ours, stochastic = found[index], expected[key]
        same(factor * ours.original - shift, stochastic["index.orig"], 1e-5)
        for field, name in (("corrected", "index.corrected"), ("training", "training"), ("test", "test")):
            assert abs(factor * getattr(ours, field) - shift - stochastic[name]) <= 0.02
        assert ours.optimism == pytest.approx(ours.training - ours.test)
        assert abs(factor * ours.optimism - stochastic["optimism"]) <= 0.02


@pytest.mark.parametrize("name", FAMILIES["icc"])
def test_agreement(name):
    results, data = load(name)
    ratings = data.drop(columns="subject").to_numpy()
    (row,) = (row for row in results["icc"] if row["type"] == "ICC2")
    icc = agreement.icc_interval(ratings)
    same(icc.value, row["icc"])
    same((icc.low, icc.high), row["ci95"])
    same(icc.value, results["psy_icc"]["agreement"])
    same(agreement.icc_agreement(ratings), results["psy_icc"]["agreement"])
    if results["cohen_kappa_first_two"]:
        first, second, expected = ratings[:, 0], ratings[:, 1], results["cohen_kappa_first_two"]
        kappa = agreement.cohen_kappa(first, second)
        same((kappa.value, kappa.se**2), [expected["kappa"], expected["var"]])
        same(agreement.weighted_kappa(first, second), expected["weighted_quadratic"])
