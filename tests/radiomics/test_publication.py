"""Sentences and lists of a fit: they say what its files say, and what is not known from them."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from mammo_aln.evaluation.judge import Judgement
from mammo_aln.evaluation.metric import Metric, unknown
from mammo_aln.evaluation.report import checklists
from mammo_aln.radiomics.publication.answers import fit_answers
from mammo_aln.radiomics.publication.methods import NOT_KNOWN, Making, extraction_sentences, fit_methods
from mammo_aln.radiomics.publication.timing import UNSTATED, in_words, joined_times, times
from mammo_aln.settings import FitConfig, RadiomicsConfig

SETTINGS = replace(
    RadiomicsConfig(),
    families=("stat", "cm"),
    filters=("original", "log"),
    log_sigma_mm=(2.0, 4.0),
    spacing_mm=(3.0, 1.0, 1.0),
    bin_width=25.0,
    resegment_range=(-500.0, 400.0),
    aggregation="3D_comb",
)
EXTRACTION = {
    "settings": asdict(SETTINGS),
    "package_version": "9.8.7",
    "calculation_version": 3,
    "images": 12,
    "regions": 7,
}
STEPS = [{"step": "rank_test", "kept": 30, "dropped": 70}, {"step": "lasso", "kept": 5, "dropped": 25}]
MAKING = Making(
    name="radiomics",
    columns={"radiomics": 100},
    rows=80,
    positive=31,
    patients=80,
    repeats=1,
    cross_validated=False,
    timing=("before and after NAT", "before NAT"),
    about={
        "classifier": "naive_bayes",
        "nested_auc": 0.7123,
        "nested_auc_limits": [0.6, 0.8],
        "steps": STEPS,
        "features": 5,
    },
    fit=FitConfig(alpha=0.01, rho_max=0.8, combat=True),
    extraction=EXTRACTION,
)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["radiomics_pre_t2w_lesion_stat_mean"], "before NAT"),
        (["radiomics_post_t2w_lesion_stat_mean"], "after NAT"),
        (["radiomics_pre_t2w_x", "deep_post_dce_0"], "before and after NAT"),
        (["radiomics_delta_t2w_x"], "before and after NAT"),
        (["radiomics_relative_adc_x"], "before and after NAT"),
        (["age"], "before NAT"),
        (["clip"], "after NAT"),
        (["radiomics_preserved_x"], UNSTATED),  # `pre` is a word of its own
        (["radiomics_3", "age"], f"before NAT, and {UNSTATED}"),
        ([], ""),
    ],
)
def test_the_time_of_inputs_is_that_of_their_names(columns, expected):
    known_at = {"age": "baseline", "clip": "post_nat"}
    assert in_words(times(columns, known_at)) == expected
    assert joined_times([expected]) == expected


def test_methods_say_what_features_json_and_the_fit_say():
    text = " ".join(fit_methods(MAKING))
    for words in (
        "first order, GLCM",
        "mammo_aln 9.8.7 (calculation version 3) from 12 images and 7 regions",
        "a grid of 3, 1, 1 mm (cubic interpolation, masks linear)",
        "bins of 25 intensity units from -500",
        "original, log (log sigma mm 2, 4, log normalise scale)",
        "texture matrices joined by 3D_comb",
        "80 patients, 31 of them with the outcome, out of 100 radiomics features",
        "its inputs are known before and after NAT",
        "ICC(2,1) of 0.75 over 2 measurements",
        "ComBat",
        "p < 0.01",
        "|Spearman's rho| of at least 0.8",
        "rank test kept 30; lasso kept 5; 5 features, known before NAT, classifier naive bayes",
        "Nested cross-validation (5 outer folds of patients) gave an AUC of 0.712 (95 % interval 0.600 to 0.800)",
    ):
        assert words in text
    assert "Deep features" not in text
    assert extraction_sentences({}, True) == [NOT_KNOWN]
    assert "extracted" not in " ".join(fit_methods(replace(MAKING, name="clinical", columns={"clinical": 3})))


def test_lists_of_radiomics_are_whole_and_honest():
    lists = {name: checklists.checklist(name) for name in checklists.OF_RADIOMICS}
    assert [item.number for item in lists["CLEAR"]] == [str(number) for number in range(1, 59)]
    assert [item.number for item in lists["METRICS"]] == [str(number) for number in range(1, 31)]
    assert [item.number for item in lists["RQS 2.0"] if item.number != "2.0"] == [
        str(number) for number in range(1, 17)
    ]
    judgement = Judgement(
        ["p.csv"], {"all": {"n": Metric(3), "n_positive": Metric(1), "threshold": unknown("")}}, {}, [], []
    )
    answered = fit_answers(replace(MAKING, fit=FitConfig(combat=True)), 2, ["external_test"])
    asked = {item.answer for items in lists.values() for item in items if item.answer.startswith("radiomic_")}
    clinical = {"radiomic_multivariable", "radiomic_stability"}  # of a nomogram; with stability_resamples
    assert asked - clinical <= set(answered)
    assert set(answered) <= asked
    filled = checklists.filled({"answers": answered}, judgement, unknown(""), None)
    clear = {number: answer for number, _, answer in filled[checklists.OF_RADIOMICS["CLEAR"]]}
    assert clear["23"] == "bins of 25 intensity units from -500"
    assert clear["27"] == "100 radiomics"
    assert clear["8"] == clear["19"] == checklists.NOT_KNOWN
    metrics = {number: answer for number, _, answer in filled[checklists.OF_RADIOMICS["METRICS"]]}
    assert metrics["16"] == "5 of 100 features for 31 training patients of the rarer outcome"
    assert metrics["4"] == "2 centres in training"
    unread = fit_answers(replace(MAKING, extraction={}, repeats=0, fit=FitConfig()), 1, [])
    for key in (
        "discretisation",
        "resampling",
        "filters",
        "software",
        "reliability",
        "centers",
        "external",
        "confounders",
    ):
        assert f"radiomic_{key}" not in unread
    assert set(checklists.filled({}, judgement, unknown(""), None)) == set(checklists.SOURCES.values())
