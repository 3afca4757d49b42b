"""No result of R is left without a test: what the tests read of each case, and what is left aside with the reason."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest

from tests.evaluation import test_r_reference as judging
from tests.radiomics import test_r_signatures as fitting
from tests.support.r_reference import FAMILIES, FOLDER, leaves, noted

TESTS: dict[str, list[Callable[[str], None]]] = {
    "roc": [judging.test_roc, judging.test_roc_operating_points, judging.test_roc_pairs],
    "auc_unpaired": [judging.test_auc_unpaired],
    "frozen_threshold": [
        functools.partial(judging.test_frozen_threshold, rule=rule) for rule in ("youden", "target_sensitivity_0.90")
    ],
    "calibration_dca": [judging.test_calibration, judging.test_decision_curve],
    "nri_idi": [judging.test_reclassification],
    "binomial_ci": [judging.test_binomial_intervals],
    "mcnemar": [judging.test_mcnemar],
    "mann_whitney_spearman_holm": [fitting.test_rank_tests],
    "lasso_glmnet": [fitting.test_lasso_path, fitting.test_lasso_cross_validation],
    "logistic_or_nomogram": [fitting.test_odds_ratios, fitting.test_nomogram_points, fitting.test_optimism],
    "icc": [fitting.test_agreement],
}

NOT_PRINTED = "left aside: no report prints it"
NO_NUMBER = "says how the number was made, or how far it may be off"
ASIDE = (
    "*note",
    "*rule",
    "*.clipped_to",
    "*.stochastic",
    "*tolerance*",
    "*warnings",
    "*.kind",
    "*bootstrap*.B",
    "*permutations",
    "*._row",
    "*.groups",
    "*ece[].intervals",
)
NOT_USED = {
    "*": dict.fromkeys(ASIDE, NO_NUMBER),
    "roc": {
        "*hanley_mcneil_obuchowski_var": "a binormal approximation, which nothing here uses",
        "*delong_paired.cov": NOT_PRINTED,
        "*delong_paired.p_greater": NOT_PRINTED,
        "*closest_topleft_best*": NOT_PRINTED,
        "*sd_diff_exact_infinite_B": NOT_PRINTED,
        "*venkatraman_paired*": NOT_PRINTED,
        "*sens_1_to_0.9": NOT_PRINTED,
    },
    "auc_unpaired": {"*venkatraman_unpaired*": NOT_PRINTED},
    "frozen_threshold": {
        f"*test_epiR.*.{name}.*": NOT_PRINTED
        for name in ("ap", "tp", "p.rout", "p.rin", "p.tpdn", "p.tndp", "p.dntp", "p.dptn", "youden", "nndx")
    },
    "calibration_dca": {
        "*val_prob.Dxy": "definition 10: computed by rms from predictions binned to 0.002; `auc` is tested",
        "*val_prob.C (ROC)": "definition 10: computed by rms from predictions binned to 0.002; `auc` is tested",
        "*observed_expected_ratio": NOT_PRINTED,
        "*slope.p_vs_1": NOT_PRINTED,
        **{
            f"*val_prob.{name}": NOT_PRINTED
            for name in ("R2", "D", "D:Chi-sq", "U", "U:Chi-sq", "U:p", "Q", "S:z", "S:p")
        },
        "*val_prob.D:p": "NA in R wherever predictions are worse than the prevalence",
    },
    "nri_idi": {
        "*improveS*": NOT_PRINTED,
        "*pup_*": NOT_PRINTED,
        "*pdown_*": NOT_PRINTED,
        "old": "name of a column",
        "new": "name of a column",
    },
    "binomial_ci": {
        "*wald": "leaves [0, 1] and has width 0 at 0 and n; never printed",
        "*hmisc_wilson": "definition 7: not Wilson's interval at x = 1 and x = n - 1",
        "*hmisc_wilson_is_modified": "definition 7",
    },
    "mcnemar": {"*chisq*": NOT_PRINTED},
    "mann_whitney_spearman_holm": {
        "dichotomised_first_feature*": NOT_PRINTED,
        "*features[].default_method": NOT_PRINTED,
        "*features[].has_ties": NOT_PRINTED,
        "*features[].p_default": NOT_PRINTED,
        "*features[].p_exact*": NOT_PRINTED,
        "*features[].t_test_welch_p": NOT_PRINTED,
        **{f"p_adjust*.{name}": NOT_PRINTED for name in ("hochberg", "BY", "bonferroni")},
        "spearman_test_first_two.p": NOT_PRINTED,
        "kruskal_first_p": NOT_PRINTED,
        "shapiro_first_p": NOT_PRINTED,
    },
    "lasso_glmnet": {
        "gaussian.*": "the outcome is a class: no model of a measured outcome is fitted",
        "cv_auc.*": "the penalty is chosen by deviance; no path is judged by its AUC",
    },
    "logistic_or_nomogram": {
        "multivariable.formula": "names the columns",
        "multivariable.bic": NOT_PRINTED,
        "nomogram.prob_axis.fat": "`prob` written as text",
        "rms_validate_bootstrap400.*.n": "number of resamples",
    },
    "icc": {
        "shrout_fleiss_names": "names of the forms",
        **{f"*icc[].{name}": NOT_PRINTED for name in ("F", "df1", "df2", "p")},
        "psy_icc.consistency": NOT_PRINTED,
        "bland_altman_first_two*": NOT_PRINTED,
    },
}


@pytest.mark.parametrize("family", sorted(TESTS))
def test_every_result_is_read_by_a_test_or_left_aside_with_a_reason(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = json.loads
    for name in FAMILIES[family]:
        seen: set[str] = set()

        def noting(text: str, seen: set[str] = seen) -> object:
            value = loads(text)
            return {**value, "results": noted(value["results"], "", seen)} if "results" in value else value

        monkeypatch.setattr(json, "loads", noting)
        for test in TESTS[family]:
            test(name=name)
        monkeypatch.setattr(json, "loads", loads)
        everything = set(leaves(loads((FOLDER / f"{name}.json").read_text())["results"]))
        aside = [*NOT_USED["*"], *NOT_USED[family]]
        left = {path for path in everything - seen if not any(fnmatchcase(path, pattern) for pattern in aside)}
        assert not left


def test_what_is_left_aside_is_really_there() -> None:
    for family, aside in NOT_USED.items():
        found = [json.loads((FOLDER / f"{name}.json").read_text())["results"] for name in FAMILIES.get(family, [])]
        paths = {path for results in found for path in leaves(results)}
        assert not [
            pattern for pattern in aside if family != "*" and not any(fnmatchcase(path, pattern) for path in paths)
        ]


def test_every_case_has_a_copy_and_every_family_its_tests(shared) -> None:
    for path in (shared / "reference" / "stats").glob("*.json"):
        assert json.loads(path.read_text())["family"] in TESTS
        assert (FOLDER / path.name).read_bytes() == path.read_bytes()
