"""`radiomics fit` on tables: what it writes, what it refuses, and that held-out rows stay unseen."""

from __future__ import annotations

import json
from dataclasses import replace
from html import unescape
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from mammo_aln.cli import main
from mammo_aln.cohort.declaration import ClinicalFeature
from mammo_aln.errors import InputError
from mammo_aln.evaluation.report.plots import figure_text
from mammo_aln.evaluation.statistics.discrimination import auc
from mammo_aln.inference.lineage import lineage_of
from mammo_aln.radiomics.publication.joint import joint_model
from mammo_aln.radiomics.signatures import fit
from mammo_aln.radiomics.signatures.clinical_table import ClinicalLogistic, ClinicalTable
from mammo_aln.radiomics.signatures.feature_table import read_features, without_any_after, without_late
from mammo_aln.radiomics.signatures.fit import fit_signatures, read_inputs, recipes_of, training_rows
from mammo_aln.radiomics.signatures.learn import Fusion, Selected, dealt, simplest_of_the_best
from mammo_aln.radiomics.signatures.shapley import linear_shapley, sampled_shapley
from mammo_aln.radiomics.signatures.signatures import odds_ratios
from mammo_aln.settings import FitConfig

QUICK = FitConfig(
    classifier="logistic",
    folds=3,
    inner_folds=3,
    repeats=1,
    lasso_folds=3,
    stability_resamples=5,
    bootstrap_resamples=50,
)
CLINICAL = {
    "age": {"kind": "continuous", "unit": "years"},
    "er": {"kind": "categorical"},
    "ct": {"kind": "ordinal", "levels": ["T1", "T2", "T3"]},
}


def write_cohort(root: Path, n: int = 90, *, split: bool = True, seed: int = 0, clinical=CLINICAL) -> Path:
    rng = np.random.default_rng(seed)
    r, d = rng.normal(size=(2, n))
    er = rng.random(n) < 0.6
    y = (rng.random(n) < 1 / (1 + np.exp(-(2.2 * r + 2.2 * d + 0.8 * er - 0.4)))).astype(int)
    ids = [f"{place:03d}" for place in range(n)]
    patients = pd.DataFrame({"patient_id": ids, "center": np.where(np.arange(n) % 2, "a", "b"), "aln_status": y})
    patients["age"] = np.where(np.arange(n) == 5, "", rng.integers(30, 80, n).astype(str))
    patients["er"] = np.where(er, "pos", "neg")
    patients["ct"] = rng.choice(["T1", "T2", "T3"], n)
    if split:
        patients["split"] = np.where(np.arange(n) < 60, "train", "internal_test")
    root.mkdir(parents=True)
    patients.to_csv(root / "patients.csv", index=False)
    (root / "cohort.yaml").write_text(yaml.safe_dump({"name": "toy", "clinical": clinical}))
    x = rng.normal(size=(n, 16))
    x[:, :3] += 1.5 * r[:, None]
    x[:, 8:11] += 1.5 * d[:, None]
    names = [f"radiomics_{k}" for k in range(8)] + [f"deep_{k}" for k in range(8)]
    features = pd.DataFrame(x, columns=names)
    features.insert(0, "patient_id", ids)
    features.to_csv(root / "features.csv", index=False)
    return root


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("tables") / "cohort")


@pytest.fixture(scope="module")
def fitted(cohort, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("fit") / "out"
    return fit_signatures(cohort, out, features=cohort / "features.csv", settings=QUICK, workers=1)


def test_four_signatures_and_their_analysis_are_written(fitted, cohort):
    for name in ("clinical", "radiomics", "deep", "dlr"):
        table = pd.read_csv(fitted / name / "predictions.csv", dtype={"patient_id": str})
        columns = ["run_id", "patient_id", "center", "split", "aln_status", "score", "logit"]
        assert list(table.columns) == columns
        assert len(table) == 90
        assert table["score"].between(0, 1).all()
        about = json.loads((fitted / name / "predictions.json").read_text())
        assert about["threshold"]["rule"] == "youden"
        assert about["threshold"]["split"] == about["calibration"]["split"] == "train"
        assert about["splits"]["internal_test"]["opened"] == 1
        found = json.loads((fitted / "evaluation" / name / "metrics.json").read_text())["splits"]
        rows = table[table["split"] == "internal_test"]
        assert found["internal_test"]["auc"]["value"] == pytest.approx(auc(rows["score"], rows["aln_status"]))
        assert found["internal_test"]["threshold"]["value"] == about["threshold"]["value"]
        judged = pd.read_csv(fitted / name / "classifiers.csv")
        assert (judged["nested_low"] < judged["nested_auc"]).all()
        assert (judged["nested_auc"] < judged["nested_high"]).all()
        low, high = about["signature_facts"]["nested_auc_limits"]
        assert low < about["signature_facts"]["nested_auc"] < high
    benefit = pd.read_csv(fitted / "evaluation" / "net_benefit_differences.csv")
    assert len(benefit) == (6 + 2) * 2 * 99  # pairs of signatures, the nomogram and its two parts; splits; percents
    entries = json.loads((fitted / "evaluation" / "comparisons.json").read_text())
    assert len(entries) == 6 * 2
    assert all(entry["delong_p_holm"]["family"] == 6 for entry in entries)
    assert (fitted / "evaluation" / "report.html").is_file()
    assert len(list((fitted / "figures").glob("*nomogram*.svg"))) == 1
    drawn = {kind: {path.stem for path in (fitted / "figures").glob(f"*.{kind}")} for kind in ("svg", "pdf")}
    assert drawn["svg"] == drawn["pdf"]
    optimism = pd.read_csv(fitted / "evaluation" / "optimism_nomogram.csv", index_col="index")
    assert optimism["original"]["slope"] == pytest.approx(1.0, abs=1e-6)  # a fit of its own predictions
    assert optimism["corrected"]["slope"] < 1.0
    assert 0.5 < optimism["corrected"]["auc"] < optimism["original"]["auc"] < 1.0
    assert f"<td>{optimism['corrected']['auc']:.3g}</td>" in (fitted / "evaluation" / "report.html").read_text()
    assert len((cohort / "openings.jsonl").read_text().splitlines()) == 1
    notes = json.loads((fitted / "clinical" / "predictions.json").read_text())["notes"]
    assert any("events per variable" in note for note in notes)  # 60 patients, 4 coefficients
    for page in ("report.html", "clinical/report.html"):  # the same notes on the page of all and on each one's own
        text = unescape((fitted / "evaluation" / page).read_text())
        assert all(note in text for note in notes)


def test_the_nomogram_is_a_model_with_predictions_and_a_judgement_of_its_own(fitted, cohort):
    table = pd.read_csv(fitted / "nomogram" / "predictions.csv", dtype={"patient_id": str}).set_index("patient_id")
    image = pd.read_csv(fitted / "dlr" / "predictions.csv", dtype={"patient_id": str}).set_index("patient_id")
    odds = pd.read_csv(fitted / "evaluation" / "odds_ratios_nomogram.csv")
    beta = odds[odds["model"] == "multivariable"].set_index("term")["beta"]
    patients = pd.read_csv(cohort / "patients.csv", dtype={"patient_id": str}).set_index("patient_id")
    tested = patients.index[patients["split"] == "internal_test"]
    score = np.log(image["score"] / (1 - image["score"])).clip(-5, 5)
    by_hand = (
        beta["age"] * patients["age"]
        + beta["erpos"] * (patients["er"] == "pos")
        + beta["ct"] * patients["ct"].map({"T1": 0, "T2": 1, "T3": 2})
        + beta["dlr score"] * score
    )[tested]
    np.testing.assert_allclose(np.diff(table.loc[tested, "logit"]), np.diff(by_hand))
    metrics = json.loads((fitted / "evaluation" / "metrics.json").read_text())
    area = metrics["nomogram"]["splits"]["internal_test"]["auc"]["value"]
    assert area == pytest.approx(auc(table.loc[tested, "score"], table.loc[tested, "aln_status"]))
    assert set(metrics["signatures"]) == {"clinical", "radiomics", "deep", "dlr"}
    entries = json.loads((fitted / "evaluation" / "comparisons_nomogram.json").read_text())
    assert {(entry["reference"], entry["other"]) for entry in entries} == {
        ("clinical", "nomogram"),
        ("dlr", "nomogram"),
    }
    assert (fitted / "evaluation" / "nomogram" / "report.html").is_file()
    text = unescape((fitted / "evaluation" / "report.html").read_text())
    assert f"<td>nomogram</td><td>internal test</td><td>{figure_text(slope_of(metrics['nomogram']))}</td>" in text


def test_pages_say_when_inputs_are_known_and_how_signatures_were_made(fitted):
    clinical, image, joint = (
        json.loads((fitted / name / "predictions.json").read_text()) for name in ("clinical", "radiomics", "nomogram")
    )
    assert clinical["timing"] == {"inputs": "before NAT", "kept": "before NAT"}
    assert image["timing"]["inputs"] == "at a time that the names of its features do not state"
    assert joint["timing"]["inputs"] == f"before NAT, and {image['timing']['inputs']}"
    page = unescape((fitted / "evaluation" / "radiomics" / "report.html").read_text())
    assert image["timing"]["inputs"] in page
    assert "no features.json lies beside the table" in page
    assert all(sentence in page for sentence in image["methods"])
    assert "CLEAR (Insights Imaging 2023;14:75)" in page
    assert "CLEAR" not in (fitted / "evaluation" / "clinical" / "report.html").read_text()
    together = unescape((fitted / "evaluation" / "report.html").read_text())
    assert all(sentence in together for sentence in (*clinical["methods"], *image["methods"]))


def slope_of(metrics):
    return metrics["splits"]["internal_test"]["calibration_slope"]


@pytest.mark.parametrize(("inside", "image"), [(("clinical", "image"), "radiomics"), (("radiomics", "deep"), "dlr")])
def test_the_nomogram_counts_the_clinical_model_once(fitted, cohort, inside, image):
    inputs = read_inputs(cohort, cohort / "features.csv", (), QUICK)
    rows = {name: training_rows(inputs, name, split=True) for name in ("clinical", "radiomics", "dlr")}
    clinical = ClinicalLogistic(tuple(inputs.cohort.clinical.values())).fit(
        rows["clinical"].table, rows["clinical"].labels
    )
    scores = SimpleNamespace(score=np.linspace(0.1, 0.9, 60))
    models = {"clinical": clinical, "radiomics": None, "dlr": Fusion(dict.fromkeys(inside), {})}
    written = {
        name: SimpleNamespace(
            signature=SimpleNamespace(name=name, rows=rows[name], learnt=SimpleNamespace(model=model), nested=scores)
        )
        for name, model in models.items()
    }
    assert joint_model(written).image == image


def test_lineage_of_a_fit_is_that_of_its_cohort_and_features(fitted):
    assert [source.name for source in lineage_of(fitted)] == [
        "a cohort whose cohort.yaml states no dataset",
        "features features.csv",
    ]


def test_fusion_beats_its_parts_where_both_carry_signal(fitted):
    def test_auc(name):
        return json.loads((fitted / "evaluation" / name / "metrics.json").read_text())["splits"]["internal_test"]["auc"]

    assert test_auc("dlr")["value"] > max(test_auc(name)["value"] for name in ("clinical", "radiomics", "deep"))


def test_a_finished_fit_is_not_done_again_and_another_is_refused(fitted, cohort, capsys):
    stamp = (fitted / "dlr" / "predictions.csv").stat().st_mtime_ns
    assert fit_signatures(cohort, fitted, features=cohort / "features.csv", settings=QUICK, workers=1) == fitted
    assert (fitted / "dlr" / "predictions.csv").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="another fit"):
        fit_signatures(cohort, fitted, features=cohort / "features.csv", settings=QUICK, seed=1, workers=1)


def test_test_rows_cannot_influence_what_is_learnt(cohort, tmp_path):
    root = tmp_path / "cohort"
    root.mkdir()
    (root / "cohort.yaml").write_text((cohort / "cohort.yaml").read_text())
    patients = pd.read_csv(cohort / "patients.csv", dtype=str, keep_default_na=False)
    tested = patients["split"] == "internal_test"
    patients.loc[tested, "aln_status"] = patients.loc[tested, "aln_status"].map({"0": "1", "1": "0"})
    patients.loc[tested, "age"] = "33"
    patients.to_csv(root / "patients.csv", index=False)
    features = pd.read_csv(cohort / "features.csv", dtype={"patient_id": str})
    features.loc[tested, features.columns[1:]] *= 100
    features.to_csv(root / "features.csv", index=False)
    learnt = []
    for folder in (cohort, root):
        inputs = read_inputs(folder, folder / "features.csv", (), QUICK)
        recipe, rows = recipes_of(inputs, QUICK)["dlr"], training_rows(inputs, "dlr", split=True)
        learnt.append((recipe.learn(rows.table, rows.labels, rows.groups, QUICK, 0), rows.table))
    (first, table), (second, _) = learnt
    assert np.array_equal(first.score(table), second.score(table))
    assert first.frozen == second.frozen


def test_without_a_split_every_patient_is_scored_out_of_fold(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "write_analysis", lambda *_, **__: None)  # tested above, and slow
    root = write_cohort(tmp_path / "cohort", split=False)
    words = ["radiomics", "fit", str(root), "--out", str(tmp_path / "out"), "--features", str(root / "features.csv")]
    words += ["--fit.classifier=logistic", "--fit.folds=3", "--fit.inner_folds=3", "--fit.repeats=2"]
    words += ["--fit.stability_resamples=0", "--fit.bootstrap_resamples=50", "--workers=1", "--fit.fusion=score"]
    assert main(words) == 0
    table = pd.read_csv(tmp_path / "out" / "dlr" / "predictions.csv")
    assert set(table["split"]) == {"cv"}
    assert len(table) == 90
    assert auc(table["score"], table["aln_status"]) > 0.7
    assert not (root / "openings.jsonl").exists()
    assert (
        "fusion_weights" in json.loads((tmp_path / "out" / "dlr" / "predictions.json").read_text())["signature_facts"]
    )


def test_clinical_alone_needs_no_features(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "write_analysis", lambda *_, **__: None)
    root = write_cohort(tmp_path / "cohort")
    out = fit_signatures(root, tmp_path / "out", settings=QUICK, workers=1)
    assert (out / "clinical" / "predictions.csv").is_file()
    assert not (out / "dlr").exists()
    table = pd.read_csv(out / "clinical" / "odds_ratios.csv")
    assert set(table["model"]) == {"univariable", "multivariable"}
    imputed = fit_signatures(root, tmp_path / "imputed", settings=replace(QUICK, imputations=3), workers=1) / "clinical"
    pooled = pd.read_csv(imputed / "odds_ratios_imputed.csv").set_index("term")
    assert pooled["missing"].to_dict() == {"age": 1, "erpos": 0, "ct": 0}
    scores = [pd.read_csv(folder / "predictions.csv")["score"] for folder in (out / "clinical", imputed)]
    assert scores[0].equals(scores[1])  # gaps are filled with medians all the same
    with pytest.raises(InputError, match=r"fit\.imputations = 1: .* expected 0, or 2 to 100"):
        fit_signatures(root, tmp_path / "one", settings=replace(QUICK, imputations=1), workers=1)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            lambda t: t.rename(columns=lambda c: c.replace("radiomics_", "r_").replace("deep_", "d_")),
            "no column begins",
        ),
        (lambda t: t.assign(radiomics_1=["x"] + ["1"] * (len(t) - 1)), "row 2, radiomics_1 = 'x'"),
        (lambda t: t.assign(deep_0=["inf"] + ["1"] * (len(t) - 1)), "row 2, deep_0 = 'inf'"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "row 92, patient_id = '000'"),
        (lambda t: t.drop(columns="patient_id"), "patient_id is missing"),
        (lambda t: t.assign(patient_id=[f"z{k}" for k in range(len(t))]), "no patient_id in common"),
    ],
)
def test_bad_feature_tables_get_one_message(cohort, tmp_path, capsys, edit, expected):
    table = edit(pd.read_csv(cohort / "features.csv", dtype=str))
    table.to_csv(tmp_path / "f.csv", index=False)
    words = ["radiomics", "fit", str(cohort), "--out", str(tmp_path / "out"), "--features", str(tmp_path / "f.csv")]
    assert main(words) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("known_at", "allow", "expected"),
    [("post_surgery", True, "post_surgery"), ("post_nat", False, "fit.allow_post_nat"), ("post_nat", True, None)],
)
def test_late_clinical_features(tmp_path, known_at, allow, expected):
    late = CLINICAL | {"age": {"kind": "continuous", "known_at": known_at}}
    root = write_cohort(tmp_path / "cohort", clinical=late)
    settings = FitConfig(allow_post_nat=allow)
    if expected is None:
        assert "age" in read_inputs(root, None, (), settings).names["clinical"]
        return
    with pytest.raises(InputError, match=expected):
        read_inputs(root, None, (), settings)


def test_features_after_nat_are_left_out_unless_allowed(cohort, tmp_path, capsys):
    table = pd.read_csv(cohort / "features.csv", dtype=str).rename(columns={"radiomics_0": "radiomics_post_t2w_0"})
    table.to_csv(tmp_path / "f.csv", index=False)
    kept = read_inputs(cohort, tmp_path / "f.csv", (), FitConfig())
    assert "radiomics_post_t2w_0" not in kept.table
    assert kept.late == 1
    assert "left out" in capsys.readouterr().err
    assert "radiomics_post_t2w_0" in read_inputs(cohort, tmp_path / "f.csv", (), FitConfig(allow_post_nat=True)).table


def test_patients_without_features_keep_their_clinical_score(cohort, tmp_path):
    table = pd.read_csv(cohort / "features.csv", dtype={"patient_id": str}).iloc[3:]
    table.to_csv(tmp_path / "f.csv", index=False)
    inputs = read_inputs(cohort, tmp_path / "f.csv", (), FitConfig())
    assert training_rows(inputs, "clinical", split=True).labels.size == 60
    assert training_rows(inputs, "radiomics", split=True).labels.size == 57
    assert set(recipes_of(inputs, FitConfig())) == {"clinical", "radiomics", "deep", "dlr"}


def test_both_sides_of_a_patient_get_the_features_and_stay_in_one_fold(tmp_path):
    patients = pd.DataFrame(
        {"unit_id": ["1/L", "1/R", "2"], "patient_id": ["1", "1", "2"], "side": ["L", "R", np.nan]}, dtype=object
    )
    (tmp_path / "f.csv").write_text("patient_id,radiomics_a\n1,4\n2,\n")
    found = read_features(tmp_path / "f.csv", patients)
    assert found["radiomics_a"].tolist()[:2] == [4.0, 4.0]
    assert np.isnan(found.loc["2", "radiomics_a"])
    groups = np.repeat(np.arange(20), 2)
    labels = np.tile([0.0, 1.0, 1.0, 0.0], 10)
    for inside, out in dealt(labels, groups, 4, 0):
        assert not set(groups[inside]) & set(groups[out])


def test_clinical_gaps_and_new_levels(cohort):
    inputs = read_inputs(cohort, None, (), FitConfig())
    features = tuple(inputs.cohort.clinical.values())
    rows = training_rows(inputs, "clinical", split=True)
    table = ClinicalTable(features, rows.table)
    assert {term.name for term in table.terms} == {"age", "er", "ct"}  # one missing age makes no term
    strange = rows.table.iloc[:2].assign(er=["unknown", np.nan], age=np.nan)
    encoded = table.encode(strange)
    assert encoded["er"].tolist() == [rows.table["er"].mode()[0]] * 2
    assert encoded["age"].iloc[0] == rows.table["age"].median()
    assert table.unknown(strange) == {"er": 1}
    many = rows.table.assign(
        age=rows.table["age"].where(np.arange(60) > 11), er=rows.table["er"].where(np.arange(60) < 45)
    )
    gaps = ClinicalTable(features, many)
    assert {term.name for term in gaps.terms} == {"age", "age_missing", "er", "ct"}
    assert gaps.encode(strange)["age_missing"].tolist() == [1.0, 1.0]
    assert gaps.encode(strange)["er"].tolist() == [many["er"].mode()[0], "missing"]
    model = ClinicalLogistic(features).fit(rows.table, rows.labels)
    assert np.isfinite(model.decision_function(strange)).all()


def test_few_patients_of_an_outcome_are_refused_before_the_folder_is_made(tmp_path):
    root = write_cohort(tmp_path / "cohort", n=60, split=False)
    patients = pd.read_csv(root / "patients.csv", dtype=str, keep_default_na=False)
    patients.assign(aln_status=["1"] * 3 + ["0"] * 57).to_csv(root / "patients.csv", index=False)
    with pytest.raises(
        InputError, match=r"the rarer outcome has 3 training patients.*too few for fit\.folds=5; set fit\.folds to 3"
    ):
        fit_signatures(root, tmp_path / "out", settings=FitConfig(), workers=1)
    assert not (tmp_path / "out").exists()


def test_inner_folds_are_no_more_than_the_rarer_outcome_has_patients():
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=list("abc"))
    labels = np.repeat([1.0, 0.0], [3, 37])
    learnt = Selected(("a", "b", "c")).learn(table, labels, np.arange(40), replace(QUICK, inner_folds=5), 0)
    assert np.isfinite(learnt.out_of_fold).all()


def test_a_clinical_feature_that_a_fold_lacks_makes_no_term_there():
    features = [ClinicalFeature("age", "continuous"), ClinicalFeature("er", "categorical")]
    training = pd.DataFrame({"age": [50.0, 60.0, 70.0, 55.0] * 5, "er": [None] * 20})
    model = ClinicalLogistic(features).fit(training, np.tile([0.0, 1.0], 10))
    assert [term.name for term in model.table_.terms] == ["age"]
    assert np.isfinite(model.decision_function(training.assign(er="pos"))).all()


def test_a_clinical_feature_that_all_training_patients_lack_is_refused_before_the_folder_is_made(tmp_path):
    root = write_cohort(tmp_path / "cohort")
    patients = pd.read_csv(root / "patients.csv", dtype=str, keep_default_na=False)
    patients.loc[patients["split"] == "train", "er"] = ""
    patients.to_csv(root / "patients.csv", index=False)
    with pytest.raises(InputError, match=r"without a value in any training patient: er; fill them in"):
        fit_signatures(root, tmp_path / "out", settings=QUICK, workers=1)
    assert not (tmp_path / "out").exists()


def test_few_repeated_measurements_are_refused_before_the_folder_is_made(cohort, tmp_path):
    pd.read_csv(cohort / "features.csv", dtype=str).iloc[:4].to_csv(tmp_path / "again.csv", index=False)
    with pytest.raises(InputError, match=r"--repeats: 4 training patients have radiomics features in all tables"):
        fit_signatures(
            cohort, tmp_path / "out", features=cohort / "features.csv", repeats=[tmp_path / "again.csv"], settings=QUICK
        )
    assert not (tmp_path / "out").exists()


def test_odds_ratios_count_observed_patients_and_the_terms_that_predict():
    rng = np.random.default_rng(0)
    features = (ClinicalFeature("age", "continuous"), ClinicalFeature("noise", "continuous"))
    table = pd.DataFrame({"age": rng.normal(60, 10, 120), "noise": rng.normal(size=120)})
    labels = (rng.random(120) < 1 / (1 + np.exp(-(table["age"] - 60) / 4))).to_numpy(float)
    table.loc[:4, "noise"] = np.nan
    model = ClinicalLogistic(features, backward=True).fit(table, labels)
    assert [term.name for term in model.model_.terms] == ["age"]
    found = odds_ratios(model, SimpleNamespace(rows=SimpleNamespace(table=table, labels=labels)))
    alone = found[found["model"] == "univariable"].set_index("variable")["n"]
    assert alone.to_dict() == {"age": 120, "noise": 115}
    assert found.loc[found["model"] == "multivariable", "variable"].tolist() == ["age"]


def test_a_region_that_is_gone_is_information_and_a_missing_scan_is_told(tmp_path, capsys, monkeypatch):
    """Complete responders have volume 0 after NAT and no texture there: they are no average lesions."""
    monkeypatch.setattr(fit, "write_analysis", lambda *_, **__: None)
    root = write_cohort(tmp_path / "cohort")
    patients = pd.read_csv(root / "patients.csv", dtype={"patient_id": str})
    rng = np.random.default_rng(0)
    gone = (patients["aln_status"] == 0) & (rng.random(90) < 0.7)
    features = pd.DataFrame({"patient_id": patients["patient_id"], "radiomics_pre_t2w_lesion_shape_morph_volume": 1.0})
    features["radiomics_pre_t2w_lesion_shape_morph_volume"] += rng.random(90)
    features["radiomics_post_t2w_lesion_shape_morph_volume"] = np.where(gone, 0.0, 0.2 + rng.random(90))
    features["radiomics_post_t2w_lesion_original_cm_corr"] = np.where(gone, np.nan, rng.random(90))
    features.loc[[2, 3], features.columns[2:]] = np.nan  # no scan after NAT
    features.to_csv(tmp_path / "f.csv", index=False)
    settings = replace(QUICK, allow_post_nat=True)
    table = read_inputs(root, tmp_path / "f.csv", (), settings).table
    flag = table["radiomics_post_t2w_lesion_shape_absent"]
    assert flag.isna().to_numpy().nonzero()[0].tolist() == [2, 3]
    assert flag.drop(flag.index[[2, 3]]).eq(gone.drop([2, 3]).to_numpy()).all()
    out = fit_signatures(root, tmp_path / "out", features=tmp_path / "f.csv", settings=settings, workers=1)
    kept = pd.read_csv(out / "radiomics" / "selection.csv")["feature"]
    assert kept.str.contains("shape_absent|post_t2w_lesion_shape_morph_volume").any()
    note = "2 patients have image features before NAT and none after it"
    assert any(note in each for each in json.loads((out / "radiomics" / "predictions.json").read_text())["notes"])
    assert note in capsys.readouterr().err
    assert without_any_after(table.drop(columns=[name for name in table if "post" in name])) == 0


def test_levels_that_training_lacks_are_told_per_split(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fit, "write_analysis", lambda *_, **__: None)
    root = write_cohort(tmp_path / "cohort")
    patients = pd.read_csv(root / "patients.csv", dtype=str, keep_default_na=False)
    patients.loc[80:, "er"] = "equivocal"
    patients.to_csv(root / "patients.csv", index=False)
    out = fit_signatures(root, tmp_path / "out", settings=QUICK, workers=1)
    note = "10 patients of internal_test have a level of er that training does not hold; it counts as the commonest"
    assert note in json.loads((out / "clinical" / "predictions.json").read_text())["notes"]
    assert note in capsys.readouterr().err


def test_features_of_sides_meet_a_cohort_without_sides(tmp_path):
    patients = pd.DataFrame({"unit_id": ["1", "2"], "patient_id": ["1", "2"], "side": [None, None]}, dtype=object)
    (tmp_path / "f.csv").write_text("patient_id,side,radiomics_a\n1,L,4\n2,R,NA\n")
    found = read_features(tmp_path / "f.csv", patients)["radiomics_a"]
    assert found["1"] == 4.0
    assert np.isnan(found["2"])
    (tmp_path / "f.csv").write_text("patient_id,side,radiomics_a\n1,L,4\n1,R,5\n")
    with pytest.raises(InputError, match=r"patient 1 has features of both sides.*no column side"):
        read_features(tmp_path / "f.csv", patients)


def test_na_and_nan_are_missing_values(tmp_path):
    patients = pd.DataFrame({"unit_id": list("123"), "patient_id": list("123"), "side": None}, dtype=object)
    (tmp_path / "f.csv").write_text("patient_id,radiomics_a,deep_b\n1,NaN,1\n2,nan,NA\n3,7,\n")
    found = read_features(tmp_path / "f.csv", patients)
    assert found.isna().sum().tolist() == [2, 2]


def test_a_name_in_both_tables_is_refused(tmp_path):
    root = write_cohort(tmp_path / "cohort", clinical=CLINICAL | {"radiomics_0": {"kind": "continuous"}})
    patients = pd.read_csv(root / "patients.csv", dtype=str).assign(radiomics_0="1")
    patients.to_csv(root / "patients.csv", index=False)
    with pytest.raises(InputError, match=r"^radiomics_0: a clinical feature of cohort\.yaml and a column of"):
        read_inputs(root, root / "features.csv", (), QUICK)


def test_foreign_names_of_images_after_nat_are_known():
    names = ["radiomics_t2w_post_x", "deep_post_1", "radiomics_t2w_delta", "radiomics_posterior_x", "radiomics_a"]
    kept, late = without_late(pd.DataFrame(columns=names, dtype=float), False)
    assert kept.columns.tolist() == names[3:]
    assert late == 3


def test_the_simplest_classifier_within_one_standard_error_is_taken():
    areas = {
        "logistic": np.array([0.70, 0.72, 0.74]),
        "knn": np.array([0.6, 0.6, 0.6]),
        "trees": np.array([0.7, 0.74, 0.78]),
    }
    assert simplest_of_the_best(areas) == "logistic"
    assert (
        simplest_of_the_best({"logistic": np.array([0.5, 0.5, 0.5]), "trees": np.array([0.7, 0.74, 0.78])}) == "trees"
    )


def test_linear_shapley_values_equal_the_sampled_ones_and_sum_to_the_prediction():
    rng = np.random.default_rng(0)
    background, rows, weights = rng.normal(size=(400, 4)), rng.normal(size=(6, 4)), np.array([1.0, -2.0, 0.5, 0.0])
    exact = linear_shapley(weights, rows, background)
    assert np.allclose(exact.sum(axis=1), rows @ weights - (background @ weights).mean())
    sampled = sampled_shapley(lambda z: z @ weights, rows, background, orders=400)
    assert np.abs(sampled - exact).max() < 0.25
    assert np.allclose(sampled[:, 3], 0)


def test_sampled_shapley_values_equal_enumeration():
    def predict(z):
        return z[:, 0] * z[:, 1] + z[:, 2] ** 2

    background, rows = np.zeros((1, 3)), np.array([[1.0, 2.0, 3.0]])
    expected = np.zeros(3)
    for order in permutations(range(3)):
        stage, level = background.copy(), predict(background)[0]
        for feature in order:
            stage[0, feature] = rows[0, feature]
            expected[feature] += (predict(stage)[0] - level) / 6
            level = predict(stage)[0]
    found = sampled_shapley(predict, rows, background, orders=200)
    assert found[0] == pytest.approx(expected, abs=1e-9)
