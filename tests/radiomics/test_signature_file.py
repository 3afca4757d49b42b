"""Saved signatures: a fresh process scores as the fit did, strangers are told, and no file that was edited is read."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.files import json_ready
from mammo_aln.radiomics.extraction.cases import CALCULATION_VERSION
from mammo_aln.radiomics.scoring.check import check_against_signature
from mammo_aln.radiomics.signatures import fit
from mammo_aln.radiomics.signatures.classifiers import CLASSIFIERS, log_odds
from mammo_aln.radiomics.signatures.fit import fit_signatures, read_inputs, recipes_of, training_rows
from mammo_aln.radiomics.signatures.portable.extraction import Extraction
from mammo_aln.radiomics.signatures.portable.freezing import frozen_classifier
from mammo_aln.radiomics.signatures.portable.saving import Origin, save_signature
from mammo_aln.radiomics.signatures.portable.signature import read_signature
from mammo_aln.radiomics.signatures.signatures import FitFacts, Signature
from mammo_aln.runs.seal import digest_of
from mammo_aln.settings import FitConfig
from tests.radiomics.test_fit import write_cohort

QUICK = FitConfig(
    **{"classifier": "logistic", "folds": 2, "inner_folds": 2, "repeats": 1, "lasso_folds": 3},
    **{"stability_resamples": 0, "bootstrap_resamples": 50, "dlr_clinical": True},
)
IN_A_FRESH_PROCESS = """
import sys
from pathlib import Path
import pandas as pd
from mammo_aln.evaluation.statistics.calibration import apply_calibration
from mammo_aln.radiomics.signatures.portable.signature import read_signature

table = pd.read_pickle(sys.argv[1])
for path in sys.argv[2:]:
    saved = read_signature(Path(path))[0]
    logit = saved.model.log_odds(table, table["center"])
    print(*(float(value).hex() for value in [*logit, *apply_calibration(logit, saved.calibration)]))
"""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("signature") / "cohort")


@pytest.fixture(scope="module")
def fitted(cohort, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("fit") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "write_analysis", lambda *_, **__: None)  # its reports are tested elsewhere, and slow
        return fit_signatures(cohort, out, features=cohort / "features.csv", settings=QUICK, workers=1)


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """Another hospital's cohort, of other people."""
    root = write_cohort(tmp_path / "elsewhere", 40, split=False, seed=7)
    (root / "cohort.yaml").write_text((root / "cohort.yaml").read_text().replace("toy", "elsewhere"))
    return root


def predict(*words: object) -> int:
    return main(["radiomics", "predict", *map(str, words)])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_plain_numbers_score_as_the_library_does_and_each_row_by_itself(name):
    rng = np.random.default_rng(3)
    x, strangers = rng.normal(size=(120, 5)), rng.normal(size=(30, 5))
    y = (x[:, 0] + rng.normal(size=120) > 0).astype(float)
    fitted_one = CLASSIFIERS[name](1).fit(x, y)
    plain = frozen_classifier(name, fitted_one, x, y)
    ours = plain.log_odds(strangers)
    assert ours == pytest.approx(log_odds(fitted_one, strangers), abs=1e-11)
    assert np.ptp(ours) > 0
    assert [plain.log_odds(strangers[n : n + 1])[0] for n in range(30)] == ours.tolist()


def saved(cohort: Path, folder: Path, name: str, extraction: Extraction | None = None, **changes) -> list[float]:
    """Learn and save one signature without judging it; gives log-odds and scores of all patients."""
    settings = replace(QUICK, **changes)
    inputs = read_inputs(cohort, cohort / "features.csv", (), settings)
    rows = training_rows(inputs, name, split=True)
    learnt = recipes_of(inputs, settings)[name].learn(rows.table, rows.labels, rows.groups, settings, 1)
    signature = Signature(name, inputs.names[name], rows, learnt, None)
    facts = FitFacts(f"id-{name}", "id", name, "toy", {}, (), settings, (), inputs.cohort.outcome)
    save_signature(folder, signature, facts, Origin(inputs.cohort, extraction, ()))
    return [*learnt.predict(inputs.table), *learnt.score(inputs.table)]


def test_the_saved_numbers_are_those_of_the_fitted_pipeline(tmp_path):
    cohort = write_cohort(tmp_path / "cohort")
    features = pd.read_csv(cohort / "features.csv", dtype={"patient_id": str})
    gaps = np.random.default_rng(2).random(features.iloc[:, 1:].shape) < 0.1
    features.iloc[:, 1:] = features.iloc[:, 1:].mask(gaps)
    features.to_csv(cohort / "features.csv", index=False)
    settings = replace(QUICK, combat=True, fusion="score", alpha=0.3)
    inputs = read_inputs(cohort, cohort / "features.csv", (), settings)
    recipes, learnt = recipes_of(inputs, settings), {}
    table, centers = inputs.table, inputs.patients["center"]
    for name in ("clinical", "radiomics", "dlr"):
        rows = training_rows(inputs, name, split=True)
        learnt[name] = recipes[name].learn(rows.table, rows.labels, rows.groups, settings, 1)
    pipeline = learnt["radiomics"].model
    read = table[list(inputs.names["radiomics"])]
    expected = log_odds(pipeline.named_steps["classifier"], pipeline[:-1].transform(read).to_numpy())
    ours = learnt["radiomics"].portable
    assert read[[column.name for column in ours.columns]].isna().any().any()
    assert ours.log_odds(table, centers) == pytest.approx(expected, abs=1e-12)
    assert not np.allclose(ours.log_odds(table, centers.replace("a", "elsewhere")), expected)
    clinical = learnt["clinical"]
    expected = clinical.model.decision_function(table)
    assert clinical.portable.log_odds(table, centers) == pytest.approx(expected, abs=1e-12)
    fusion = learnt["dlr"].model
    weighted = sum(weight * fusion.members[name].predict(table) for name, weight in fusion.weights.items())
    assert set(fusion.members) == {"radiomics", "deep", "clinical"}
    assert np.ptp(learnt["dlr"].portable.log_odds(table, centers) - weighted) < 1e-12


EVERY = [("radiomics", {"classifier": name, "combat": name == "logistic"}) for name in CLASSIFIERS]
EVERY += [("dlr", {"classifier": name, "combat": True}) for name in CLASSIFIERS]
EVERY += [("deep", {}), ("clinical", {}), ("dlr", {"fusion": "score"}), ("dlr", {"dlr_clinical": False})]
QUICK_ONES = [("radiomics", {"classifier": name}) for name in ("rbf_svm", "boosting")]
QUICK_ONES += [("deep", {"classifier": "knn", "combat": True}), ("clinical", {"clinical": "backward_aic"})]
QUICK_ONES += [("dlr", {"fusion": "score", "classifier": "naive_bayes"}), ("dlr", {"dlr_clinical": False})]


@pytest.mark.parametrize("kinds", [QUICK_ONES, pytest.param(EVERY, marks=pytest.mark.slow)], ids=["quick", "every"])
def test_every_kind_of_signature_scores_to_the_last_bit_in_a_fresh_process(cohort, tmp_path, kinds):
    folders = [tmp_path / str(number) for number in range(len(kinds))]
    expected = [saved(cohort, folder, name, **changes) for folder, (name, changes) in zip(folders, kinds, strict=True)]
    assert len({tuple(scores) for scores in expected}) == len(kinds)
    files = [folder / "signature.json" for folder in folders]
    inputs = read_inputs(cohort, cohort / "features.csv", (), QUICK)
    inputs.table.join(inputs.patients["center"]).to_pickle(tmp_path / "table.pkl")
    words = [sys.executable, "-c", IN_A_FRESH_PROCESS, str(tmp_path / "table.pkl"), *map(str, files)]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [[float.fromhex(word) for word in line.split()] for line in lines] == expected


def test_predict_gives_a_fit_its_own_scores_again(fitted, cohort, tmp_path, capsys):
    for name in ("clinical", "radiomics", "deep", "dlr"):
        out = tmp_path / f"{name}.csv"
        words = ["--run", str(fitted / name), "--cohort", str(cohort), "--features", str(cohort / "features.csv")]
        assert main(["predict", *words, "--out", str(out)]) == 0
        columns = ["run_id", "patient_id", "center", "split", "aln_status", "score", "logit"]
        ours, fits = (pd.read_csv(path, dtype=str) for path in (out, fitted / name / "predictions.csv"))
        assert ours[columns].equals(fits[columns])
        called = ours["score"].astype(float) >= json.loads(out.with_suffix(".json").read_text())["threshold"]["value"]
        assert (ours["call"] == called.astype(int).astype(str)).all()
    assert main(["predict", "--run", str(fitted), *words[2:], "--out", str(tmp_path / "fullest.csv")]) == 0
    assert "scored by the signature dlr" in capsys.readouterr().err
    assert (tmp_path / "fullest.csv").read_bytes() == (tmp_path / "dlr.csv").read_bytes()


def test_another_centre_is_scored_its_strangers_named_and_its_opening_counted(fitted, elsewhere, tmp_path, capsys):
    patients = pd.read_csv(elsewhere / "patients.csv", dtype=str, keep_default_na=False)
    patients.loc[3, "er"], patients.loc[4, "age"], patients.loc[6, "age"] = "borderline", "97", ""
    patients.to_csv(elsewhere / "patients.csv", index=False)
    read = [column.name for column in read_signature(fitted / "dlr" / "signature.json")[0].model.columns]
    features = pd.read_csv(elsewhere / "features.csv", dtype={"patient_id": str})
    features.loc[8, read[0]], features.loc[9, read[1]] = 1e6, np.nan
    features = features[features["patient_id"] != "010"]
    features[["patient_id", *read]].to_csv(elsewhere / "features.csv", index=False)  # the others are not needed
    alone = tmp_path / "mailed" / "signature.json"
    alone.parent.mkdir()
    alone.write_bytes((fitted / "dlr" / "signature.json").read_bytes())
    words = [alone, "--cohort", elsewhere, "--features", elsewhere / "features.csv", "--out", tmp_path / "e.csv"]
    assert predict(*words) == 0
    said = capsys.readouterr().err
    assert "unknown level) 1" in said
    assert "1 of 40 patients have none of the signature's features: not scored" in said
    assert "scored without a value of age" in said
    table = pd.read_csv(tmp_path / "e.csv", dtype=str, keep_default_na=False).set_index("patient_id")
    assert len(table) == 39
    assert table["split"].eq("external_test").all()
    strange = table["outside_training"]
    assert "er=borderline" in strange["003"].split(";")
    assert "age" in strange["004"].split(";")
    assert read[0] in strange["008"].split(";")
    assert f"without {read[1]}" in table["inputs_seen"]["009"]
    assert "without age" in table["inputs_seen"]["006"]
    about = json.loads((tmp_path / "e.json").read_text())
    assert about["splits"]["external_test"]["opened"] == 1
    counted = {(count["input"], count["kind"]) for count in about["inputs"]["counts"] if count["n"]}
    assert {(read[0], "outside_training"), ("clinical er", "unknown_level"), ("clinical age", "missing")} <= counted
    assert predict(*words) == 0
    assert json.loads((tmp_path / "e.json").read_text())["splits"]["external_test"]["by_this_run"] == 2
    evaluated = ["evaluate", str(tmp_path / "e.csv"), "--out", str(tmp_path / "judged"), "--resamples", "20"]
    assert main(evaluated) == 0


def test_check_tells_beforehand_what_a_signature_lacks_of_a_cohort(fitted, cohort, elsewhere, capsys):
    assert check_against_signature(fitted / "dlr" / "signature.json", elsewhere) == []
    assert "needs --features TABLE" in capsys.readouterr().err
    patients = pd.read_csv(elsewhere / "patients.csv", dtype=str, keep_default_na=False)
    patients["age"] = patients["age"].map(lambda age: str(12 * int(age)) if age else "")
    patients.loc[:19, "er"] = "unclear"
    patients.drop(columns="ct").to_csv(elsewhere / "patients.csv", index=False)
    declared = yaml.safe_load((elsewhere / "cohort.yaml").read_text())
    del declared["clinical"]["ct"]
    (elsewhere / "cohort.yaml").write_text(yaml.safe_dump(declared))
    refused = check_against_signature(fitted / "clinical" / "signature.json", elsewhere)
    assert [line.split(";")[0] for line in refused if "no column" in line] == ["no column ct (ordinal)"]
    assert any(
        "20 of 40 patients are scored with a level of er that no training patient has" in line for line in refused
    )
    assert "months in place of years" in capsys.readouterr().err
    for name in ("clinical", "radiomics"):
        assert check_against_signature(fitted / name / "signature.json", cohort) == []  # its tests were not fitted on


def test_patients_that_a_signature_was_fitted_on_are_no_test(fitted, cohort, elsewhere, tmp_path, capsys):
    signature, features = fitted / "radiomics" / "signature.json", ["--features", cohort / "features.csv"]
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("cohort.yaml", "patients.csv"):
        (copied / name).write_text((cohort / name).read_text())
    patients = pd.read_csv(copied / "patients.csv", dtype=str, keep_default_na=False).drop(columns="split")
    patients.to_csv(copied / "patients.csv", index=False)
    assert predict(signature, "--cohort", copied, *features, "--out", tmp_path / "e.csv") == 2
    assert "were fitted on by" in capsys.readouterr().err
    # under other names, by their image features alone
    table = pd.read_csv(elsewhere / "features.csv", dtype={"patient_id": str})
    table.iloc[0, 1:] = pd.read_csv(cohort / "features.csv").iloc[11, 1:]
    table.to_csv(tmp_path / "f.csv", index=False)
    assert predict(signature, "--cohort", elsewhere, "--features", tmp_path / "f.csv", "--out", tmp_path / "e.csv") == 2
    assert "1 patient (000) of the test were fitted on by" in capsys.readouterr().err
    assert not (tmp_path / "e.csv").exists()
    assert not (elsewhere / "openings.jsonl").exists()


def test_what_a_signature_needs_and_does_not_get_is_one_message(fitted, elsewhere, tmp_path, capsys):
    signature, out = fitted / "dlr" / "signature.json", ["--out", tmp_path / "e.csv"]
    features = elsewhere / "features.csv"

    def refused(*words: object) -> str:
        assert predict(*words, *out) == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert "expected --cohort COHORT, --features TABLE, or both" in refused(signature)
    assert "reads clinical features (age, ct, er): give --cohort" in refused(signature, "--features", features)
    assert "give --features TABLE" in refused(signature, "--cohort", elsewhere)
    table = pd.read_csv(features, dtype=str)
    gone = read_signature(signature)[0].model.columns[0].name
    table.drop(columns=gone).to_csv(tmp_path / "f.csv", index=False)
    assert gone in refused(signature, "--cohort", elsewhere, "--features", tmp_path / "f.csv")
    table.assign(**{gone: ""}).to_csv(tmp_path / "f.csv", index=False)
    words = [signature, "--cohort", elsewhere, "--features", tmp_path / "f.csv"]
    refused(*words)
    assert predict(*words, *out, "--allow_missing=true") == 0
    patients = pd.read_csv(elsewhere / "patients.csv", dtype=str, keep_default_na=False)
    patients.drop(columns="er").to_csv(elsewhere / "patients.csv", index=False)
    declared = (elsewhere / "cohort.yaml").read_text()
    (elsewhere / "cohort.yaml").write_text(declared.replace("  er:\n    kind: categorical\n", ""))
    assert predict(signature, "--cohort", elsewhere, "--features", features, *out) == 2
    assert "no column er" in capsys.readouterr().err


def test_features_of_other_settings_are_refused_by_the_settings_that_differ(cohort, elsewhere, tmp_path, capsys):
    learnt = {"bins": 32, "normalise": "zscore", "families": ["stat"], "deep_backbone": ""}
    beside = {"settings": learnt, "calculation_version": 3, "package_version": "0.1.0", "networks": {}}
    (tmp_path / "of_training.json").write_text(json.dumps(beside))
    out, extraction = tmp_path / "fit", Extraction.beside(tmp_path / "of_training.csv")
    for name in ("radiomics", "deep", "clinical"):
        saved(cohort, out / name, name, extraction)
    features = elsewhere / "features.csv"
    words = ["--cohort", elsewhere, "--features", features, "--out", tmp_path / "e.csv"]
    for settings, differing in (
        (None, "features.json of `radiomics extract` beside it"),
        ({**learnt, "bins": 16, "normalise": "none"}, "radiomics.bins = 16, not 32; radiomics.normalise = 'none', not"),
        ({**learnt, "families": ["stat", "cm"], "deep_size_px": 64}, ""),  # other columns, or of networks alone
    ):
        if settings:
            features.with_suffix(".json").write_text(json.dumps({**beside, "settings": settings}))
        assert predict(out / "radiomics" / "signature.json", *words) == (2 if differing else 0)
        assert differing in capsys.readouterr().err
    assert predict(out / "deep" / "signature.json", *words) == 2
    assert "radiomics.deep_size_px = 64, not 96" in capsys.readouterr().err
    features.with_suffix(".json").write_text(json.dumps({**beside, "calculation_version": 2}))
    assert predict(out / "radiomics" / "signature.json", *words) == 2
    assert "calculation_version = 2, not 3" in capsys.readouterr().err
    assert predict(out / "clinical" / "signature.json", *words) == 0


def test_networks_are_compared_by_content_and_their_paths_stay_at_home(cohort, elsewhere, tmp_path, capsys):
    table = elsewhere / "features.csv"
    settings = {
        "deep_pretrained": "/home/me/w.safetensors",
        "deep_runs": ["/home/me/runs/1"],
        "deep_backbone": "r",
    }
    networks = {"/home/me/w.safetensors": "aa", "/home/me/runs/1": "bb"}
    beside = {"settings": settings, "calculation_version": CALCULATION_VERSION, "package_version": "1"}
    table.with_suffix(".json").write_text(json.dumps({**beside, "networks": networks}))
    saved(cohort, tmp_path, "deep", Extraction.beside(table))
    assert "/home/me" not in (tmp_path / "signature.json").read_text()
    there = {"deep_pretrained": "w", "deep_runs": ["r"], "deep_backbone": "r"}
    words = [tmp_path / "signature.json", "--cohort", elsewhere, "--out", tmp_path / "e.csv"]
    for digest, code in (("aa", 0), ("cc", 2)):
        content = {**beside, "settings": there, "networks": {"w": digest, "r": "bb"}}
        table.with_suffix(".json").write_text(json.dumps(content))
        assert predict(*words, "--features", table) == code
    assert "radiomics.deep_pretrained = 'cc', not 'aa'" in capsys.readouterr().err
    assert predict(*words) == 2
    assert "weights that its file does not hold" in capsys.readouterr().err


def _forest(path: Path) -> dict:
    """A signature with a forest of one split, as a file holds it."""
    plain = json.loads(path.read_text())
    nodes = {"roots": [0], "feature": [0, -1, -1], "threshold": [0.0, 0.0, 0.0]}
    nodes |= {"left": [1, 0, 0], "right": [2, 0, 0], "value": [0.0, 0.2, 0.8]}
    width = len(plain["model"]["features"])
    plain["model"]["classifier"] = {"kind": "trees", "joined": "share", "single": True, "features": width, **nodes}
    return plain


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda p: p["model"]["classifier"].update(value=[0.0, 0.2, float("nan")]), "no number of JSON"),
        (lambda p: p["model"]["classifier"].update(value=[0.0, 0.2, 1e305]), "a list of finite numbers"),
        (lambda p: p["model"]["classifier"].update(left=[0, 0, 0]), "children behind their parent"),
        (lambda p: p["model"]["classifier"].update(right=[10**9, 0, 0]), "children behind their parent"),
        (lambda p: p["model"]["classifier"].update(right=[10**400, 0, 0]), "a list of whole numbers"),
        (lambda p: p["model"]["classifier"].update(roots=[True]), "a list of whole numbers"),
        (lambda p: p["model"]["classifier"].update(features=10**12), "as many features as the classifier reads"),
        (lambda p: p["model"]["classifier"].update(kind="os.system"), "expected one of linear"),
        (lambda p: p["model"].update(kind=["trees"]), "expected one of selected_features"),
        (lambda p: p["model"]["features"][0].update(sd=0.0), "an SD above 0"),
        (lambda p: p["model"]["features"][0].pop("median"), "holds no median"),
        (lambda p: p["model"].update(extra=1), "extra: unknown to this version"),
        (lambda p: p["calibration"].update(temperature=0), "a temperature above 0"),
        (lambda p: p["threshold"].update(value="high"), "a numeric value"),
        (lambda p: p.update(schema_version=2), "a signature of schema 2, this version reads 1"),
        (lambda p: p.update(name=3), "name = 3: expected a text"),
        (lambda p: p.update(learnt_from=None), "learnt_from = None: expected a list"),
    ],
)
def test_a_file_that_is_no_signature_is_refused_in_a_line(fitted, tmp_path, edit, expected):
    whole = _forest(fitted / "radiomics" / "signature.json")
    path = tmp_path / "signature.json"

    def written(plain: dict) -> Path:
        plain.pop("digest", None)
        path.write_text(json.dumps({**plain, "digest": digest_of(plain)}))
        return path

    assert read_signature(written(whole))[0].model.classifier.value.tolist() == [0.0, 0.2, 0.8]
    edit(whole)
    with pytest.raises(InputError, match=expected):
        read_signature(written(whole))


def test_bytes_that_would_fill_the_memory_are_not_parsed(fitted, tmp_path, capsys):
    path = tmp_path / "signature.json"
    whole = (fitted / "radiomics" / "signature.json").read_text()
    for text, expected in (
        (whole.replace('"kept":', '"kept": 1, "kept":', 1), "a name stands twice"),
        (whole.replace("0.1.0", "0.1.1", 1), "changed after it was written"),
        (whole[: len(whole) // 2], "cannot be read as JSON"),
        ("[" * 90_000, "cannot be read as JSON"),
        ("[" + "[]," * 200_000 + "1]", "more than 100000 lists"),
        (" " * ((1 << 25) + 1), "expected at most 33554432"),
        ("[1]", "expected a JSON object"),
        ("{}", "not a signature that `radiomics fit` wrote"),
    ):
        path.write_text(text)
        assert predict(path, "--features", path, "--out", tmp_path / "e.csv") == 2
        said = capsys.readouterr().err
        assert expected in said
        assert said.count("\n") == 1


def test_a_signature_of_a_fit_that_ended_otherwise_is_refused(fitted, elsewhere, tmp_path, capsys):
    run = tmp_path / "fit"
    (run / "radiomics").mkdir(parents=True)
    (run / "state.json").write_bytes((fitted / "state.json").read_bytes())
    plain = json.loads((fitted / "radiomics" / "signature.json").read_text())
    plain.pop("digest")
    plain["model"]["classifier"]["intercept"] += 1
    edited = json_ready({**plain, "digest": digest_of(plain)})
    (run / "radiomics" / "signature.json").write_text(json.dumps(edited))
    words = ["--run", run / "radiomics", "--cohort", elsewhere, "--features", elsewhere / "features.csv"]
    assert main(["predict", *map(str, words), "--out", str(tmp_path / "e.csv")]) == 2
    assert "changed after the fit ended" in capsys.readouterr().err
